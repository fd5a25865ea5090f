"""The policies and roles of the sample program's consumers, statement by statement."""

import json
from typing import Any

import pytest

from tests.consumers.project import SAMPLE
from tests.program.recording import (
    ACCOUNT,
    EXCLUSIVE,
    FUNCTION,
    LOG_GROUP,
    MAPPING,
    POLICY,
    ROLE,
    TABLE,
    RecordingBackend,
    arn,
    key_arn,
    physical,
    record_program,
    stream_arn,
    table_arn,
)

FAILURES = f"arn:aws:s3:::{physical('stores-failures')}"
LEDGER = table_arn("stores-ledger")
OWN = {"StringEquals": {"s3:ResourceAccount": ACCOUNT}}


@pytest.fixture(scope="module")
def sample() -> RecordingBackend:
    return record_program(SAMPLE, "local")


def test_the_mirror_may_do_its_work_and_nothing_else(sample: RecordingBackend) -> None:

    def items(keys: str) -> dict[str, Any]:
        return {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": [keys]}}

    def calls(names: str) -> list[str]:
        return [f"dynamodb:{name}" for name in names.split()]

    expected: list[tuple[list[str], str, dict[str, Any]]] = [
        (["logs:CreateLogStream", "logs:PutLogEvents"], arn("logs", f"log-group:{physical('mirror-logs')}:*"), {}),
        (
            ["dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator"],
            stream_arn("orders-table"),
            {},
        ),
        (["dynamodb:ListStreams"], f"{table_arn('orders-table')}/stream/*", {}),
        (["s3:PutObject"], f"{FAILURES}/aws/lambda/*", OWN),
        (["s3:ListBucket"], FAILURES, OWN),
        (calls("Query PutItem"), LEDGER, items("note#mirror#*")),
        (calls("PutItem UpdateItem DeleteItem"), LEDGER, items("claim#mirror#*")),
        (calls("Query BatchGetItem UpdateItem DeleteItem"), LEDGER, items("hold#mirror")),
        (calls("Query BatchWriteItem UpdateItem DeleteItem"), LEDGER, items("hold#mirror#*")),
        (calls("UpdateItem DeleteItem"), LEDGER, items("alone#mirror#*")),
        (["s3:PutObject"], f"{FAILURES}/engine/mirror/*", {}),
        (["dynamodb:PutItem"], table_arn("orders-mirror-table"), {}),
    ]
    assert [
        (statement["Action"], statement["Resource"], statement.get("Condition", {}))
        for statement in sample.statements("mirror")
    ] == [(actions, [resource], condition) for actions, resource, condition in expected]


def test_the_welcome_email_may_send_from_one_address(sample: RecordingBackend) -> None:
    assert sample.statements("welcome-email")[-1] == {
        "Effect": "Allow",
        "Action": ["ses:SendEmail"],
        "Resource": [arn("ses", "identity/hello@example.com"), arn("ses", "identity/example.com")],
        "Condition": {"StringEquals": {"ses:FromAddress": "hello@example.com"}},
    }


def test_a_role_is_assumed_by_one_service_alone(sample: RecordingBackend) -> None:
    roles = {name: each.inputs for (kind, name), each in sample.registered.items() if kind == ROLE}
    by_lambda = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    by_scheduler = by_lambda | {
        "Principal": {"Service": "scheduler.amazonaws.com"},
        "Condition": {"StringEquals": {"aws:SourceAccount": ACCOUNT}},
    }
    assert {name for inputs in roles.values() for name in inputs} == {"assumeRolePolicy"}
    assert {name: json.loads(inputs["assumeRolePolicy"])["Statement"] for name, inputs in roles.items()} == {
        f"{consumer}-{role}": [statement]
        for consumer in ("change-log", "mirror", "welcome-email")
        for role, statement in (("role", by_lambda), ("retry-role", by_scheduler))
    }


def test_a_customer_managed_key_changes_only_encryption_and_its_permissions(sample: RecordingBackend) -> None:
    """Each resource that can be encrypted is, and each role may use the key for its stores."""
    encrypted_sample = record_program(SAMPLE, "local", encryption="customer")
    key = key_arn("encryption-key")
    encrypted = {
        TABLE: {"serverSideEncryption": {"enabled": True, "kmsKeyArn": key}},
        LOG_GROUP: {"kmsKeyId": key},
        FUNCTION: {"kmsKeyArn": key},
    }
    for (kind, name), plain in sample.registered.items():
        inputs = dict(encrypted_sample.one(kind, name).inputs)
        if kind == POLICY and name.endswith(("-helpers", "-retry-policy")):
            assert inputs == plain.inputs
        elif kind == EXCLUSIVE:
            for_key = set(inputs["policyNames"]) - set(plain.inputs["policyNames"])
            variables = physical(f"{name.removesuffix('-role-policies')}-variables")
            assert for_key == (set[str]() if "retry" in name else {variables})
        elif kind == POLICY:
            statements = json.loads(inputs.pop("policy"))["Statement"]
            for_key = [each for each in statements if each["Resource"] == [key]]
            assert [each["Action"] for each in for_key] == [["kms:Decrypt"], ["kms:GenerateDataKey"]]
            rest = [each for each in statements if each not in for_key]
            assert rest == sample.statements(name.removesuffix("-policy"))
            assert inputs.items() < plain.inputs.items()
        else:
            for_filters = {"kmsKeyArn": key} if kind == MAPPING and "filterCriteria" in inputs else {}
            assert inputs == plain.inputs | encrypted.get(kind, {}) | for_filters
