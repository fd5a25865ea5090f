"""The findings about one resource, for any resource, without an engine."""

import json
from collections.abc import Mapping
from datetime import date
from typing import Any

import pytest

from infra.rules import RULES, STACK_RULES
from infra.rules.functions import runtime_near_its_end
from infra.rules.view import UNKNOWN, ResourceView, Type
from tests.infra.rules.views import (
    SAFE_TABLE,
    STREAM,
    TABLE_ARN,
    allow,
    beginnings,
    mapping,
    messages,
    policy,
    table_view,
    view,
)

FULL_ACCESS = "arn:aws:iam::aws:policy/IAMFullAccess"


@pytest.mark.parametrize(
    ("resource", "findings"),
    [
        (mapping(), []),
        (mapping(destinationConfig=None), ["late: no destinationConfig.onFailure"]),
        (mapping(destinationConfig={}), ["late: no destinationConfig.onFailure"]),
        (mapping(maximumRecordAgeInSeconds=None), ["late: maximumRecordAgeInSeconds -1"]),
        (mapping(maximumRecordAgeInSeconds=-1), ["late: maximumRecordAgeInSeconds -1"]),
        (mapping(maximumRecordAgeInSeconds=86_399, eventSourceArn=STREAM), []),
        (mapping(maximumRecordAgeInSeconds=86_400, eventSourceArn=STREAM), ["late: maximumRecordAgeInSeconds 86400"]),
        (mapping(maximumRecordAgeInSeconds=604_800, eventSourceArn="arn:aws:kinesis:eu-central-1:1:stream/s"), []),
        (mapping(startingPosition="LATEST"), ["late: startingPosition LATEST"]),
        (mapping(maximumRetryAttempts=0), ["late: maximumRetryAttempts 0"]),
        (mapping(maximumRetryAttempts=UNKNOWN, bisectBatchOnFunctionError=UNKNOWN), []),
        (mapping(bisectBatchOnFunctionError=False), ["late: no bisectBatchOnFunctionError"]),
        (mapping(bisectBatchOnFunctionError=None), ["late: no bisectBatchOnFunctionError"]),
        (mapping(functionResponseTypes=[]), ["late: functionResponseTypes without ReportBatchItemFailures"]),
        (view(Type.MAPPING, "of-a-queue", {"eventSourceArn": "arn:aws:sqs:eu-central-1:1:q"}), []),
        (mapping(topics=["t"], destinationConfig=None, startingPosition="LATEST"), []),
        (view(Type.TABLE, "items", SAFE_TABLE), []),
        (view(Type.TABLE, "items", {}), ["items: no pointInTimeRecovery", "items: no deletionProtectionEnabled"]),
        (view(Type.LOG_GROUP, "logs", {"retentionInDays": 1}), []),
        (view(Type.LOG_GROUP, "logs", {"retentionInDays": 0}), ["logs: no retentionInDays"]),
        (view(Type.LOG_GROUP, "logs", {}), ["logs: no retentionInDays"]),
        (view(Type.FUNCTION, "f" * 56, {}), []),
        (view(Type.FUNCTION, "f" * 57, {}), [f"{'f' * 57}: a name of 65 characters with the 8 that Pulumi adds"]),
        (view(Type.FUNCTION, "f" * 57, {"name": "short"}), []),
        (view(Type.FUNCTION, "f" * 57, {"namePrefix": "short-"}), []),
        (view(Type.BUCKET_PRIVATE, "p" * 99, {}), []),
        (view(Type.QUEUE, "q", {"name": "q" * 81}), ["q: a name of 81 characters"]),
        (view(Type.SCHEDULE, "s" * 57, {}), [f"{'s' * 57}: a name of 65 characters with the 8 that Pulumi adds"]),
    ],
    ids=lambda value: value.name if isinstance(value, ResourceView) else "",
)
def test_one_resource(resource: ResourceView, findings: list[str]) -> None:
    assert beginnings(resource) == findings


@pytest.mark.parametrize(
    ("resource", "findings"),
    [
        (policy(Type.ROLE_POLICY, allow("dynamodb:PutItem", TABLE_ARN)), []),
        (policy(Type.ROLE_POLICY, allow("dynamodb:GetRecords", "*"), text=False), ["policy: dynamodb:GetRecords on *"]),
        (policy(Type.POLICY, allow("DynamoDB:getrecords", "*")), ["policy: DynamoDB:getrecords on *"]),
        (
            view(Type.ROLE, "role", {"inlinePolicies": [{"policy": json.dumps({"Statement": allow("s3:Get*", "*")})}]}),
            ["role: Action s3:Get*", "role: s3:Get* on *"],
        ),
        (
            view(Type.ROLE, "role", {"managedPolicyArns": ["arn:aws:iam::aws:policy/AmazonS3FullAccess"]}),
            ["role: AmazonS3FullAccess"],
        ),
        (
            view(Type.ROLE_ATTACHMENT, "all", {"policyArn": "arn:aws:iam::aws:policy/IAMFullAccess"}),
            ["all: IAMFullAccess"],
        ),
        (view(Type.ATTACHMENT, "all", {"policyArn": "arn:aws:iam::aws:policy/IAMFullAccess"}), ["all: IAMFullAccess"]),
        (view(Type.ROLE_ATTACHMENT, "one", {"policyArn": UNKNOWN}), []),
        (policy(Type.ROLE_POLICY, {"Sid": "OnAllSms", **allow("sns:Publish", "*")}), []),
    ],
    ids=lambda value: value.name if isinstance(value, ResourceView) else "",
)
def test_rights_wherever_a_role_has_them(resource: ResourceView, findings: list[str]) -> None:
    """test_wide_permissions shows which statements are too wide."""
    assert beginnings(resource) == findings


@pytest.mark.parametrize(
    ("runtime", "today", "findings"),
    [
        ("python3.13", date(2029, 1, 1), []),
        (
            "python3.13",
            date(2029, 1, 2),
            [
                "runtime python3.13: Lambda deprecates it on 2029-06-30, and refuses updates of its functions some "
                "weeks later; use python3.14"
            ],
        ),
        ("nodejs24.x", date(2040, 1, 1), []),
        (None, date(2040, 1, 1), []),
        (UNKNOWN, date(2040, 1, 1), []),
    ],
)
def test_a_run_time_near_its_end(runtime: Any, today: date, findings: list[str]) -> None:
    assert list(runtime_near_its_end(view(Type.FUNCTION, "f", {"runtime": runtime}), today)) == findings


@pytest.mark.parametrize(
    ("variables", "findings"),
    [
        ({"A1": "x", "MAIL_FROM": UNKNOWN}, []),
        ({"AWS_REGION": "x"}, ["f: the variable AWS_REGION: Lambda sets this variable itself; choose another name"]),
        (
            {"my-var": "", "A": "", "1A": ""},
            [
                f"f: the variable {name}: Lambda takes letters, digits and _, at least two, and a letter first"
                for name in ("my-var", "A", "1A")
            ],
        ),
        (
            {"TEXT": "x" * 4_093},
            ["f: variables of 4097 bytes: Lambda takes 4096; keep large values in Parameter Store or S3"],
        ),
        ({"POWERTOOLS_IDEMPOTENCY_DISABLED": "false", "POWERTOOLS_DEV": "On"}, []),
        (
            {"POWERTOOLS_TRACE_DISABLED": "perhaps"},
            ["f: POWERTOOLS_TRACE_DISABLED=perhaps: Powertools raises an error at this value; use true or false"],
        ),
        (
            {"POWERTOOLS_IDEMPOTENCY_DISABLED": "True"},
            ["f: POWERTOOLS_IDEMPOTENCY_DISABLED=True: claimed effects would be repeated; remove the variable"],
        ),
    ],
)
def test_variables_of_a_function(variables: dict[str, Any], findings: list[str]) -> None:
    assert sorted(messages(view(Type.FUNCTION, "f", {"environment": {"variables": variables}}))) == sorted(findings)


@pytest.mark.parametrize(
    ("kind", "name", "inputs"),
    [
        (Type.TABLE, "ünï", SAFE_TABLE),
        (Type.TABLE, "items", {**SAFE_TABLE, "name": "it"}),
        (Type.ALIAS, "a", {"name": "alias/shop-dev.eu"}),
        (Type.BUCKET, "my_bucket", {}),
        (Type.FUNCTION, "my.function", {}),
        (Type.ROLE, "my role", {}),
        (Type.QUEUE, "my.queue", {}),
        (Type.LOG_GROUP, "my logs", {"retentionInDays": 1}),
        (Type.SCHEDULE, "my/schedule", {}),
    ],
)
def test_a_name_that_aws_refuses(kind: str, name: str, inputs: Mapping[str, Any]) -> None:
    assert [each for each in messages(view(kind, name, inputs)) if "AWS takes" in each]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"hashKey": ""}, "items: the key '': DynamoDB takes a name of 1 to 255 bytes"),
        (
            {"rangeKey": "id"},
            "items: id is partition and sort key: DynamoDB needs two different attributes; remove the sort key",
        ),
        (
            {"ttl": {"enabled": True, "attributeName": "id"}},
            "items: id is a key and the attribute of the time to live: DynamoDB refuses a key; use another attribute",
        ),
    ],
)
def test_keys_that_dynamodb_refuses(inputs: dict[str, Any], message: str) -> None:
    assert messages(table_view("items", **inputs)) == [message]
    assert messages(table_view("items", rangeKey="at", ttl={"enabled": False, "attributeName": "id"})) == []


def test_a_policy_that_cannot_be_read_is_left_to_aws() -> None:
    for document in ("", "no JSON", "[]", {"Statement": UNKNOWN}, {"Statement": [UNKNOWN]}, UNKNOWN, None):
        assert messages(view(Type.ROLE_POLICY, "policy", {"policy": document})) == []


def test_rules_have_names_of_their_own_and_say_what_they_are_about() -> None:
    names = [rule.name for rule in (*RULES, *STACK_RULES)]
    assert len(set(names)) == len(names)
    assert [rule.name for rule in (*RULES, *STACK_RULES) if not rule.about.endswith(".")] == []
