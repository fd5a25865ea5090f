"""The permissions of a consumer's roles: for the environment, the destination and the retries."""

import json
from typing import Any

import pulumi_aws as aws
import pytest

from infra.consumer import Environment
from infra.encryption import EncryptionKey
from infra.grants import Grant, allow, read_from, secret, write_to
from infra.settings import Tuning
from infra.stores import Stores
from infra.table import StreamTable
from tests.infra.programs import PROD_USERS, bare_consumer, mapping, stores, users, variables
from tests.program import recording as kinds
from tests.program.policy_lint import complaints
from tests.program.recording import arn, physical, record, table_arn


@pytest.mark.parametrize(
    ("destination", "service", "action"), [("queue", "sqs", "SendMessage"), ("topic", "sns", "Publish")]
)
def test_a_queue_or_a_topic_stands_in_for_the_bucket(destination: str, service: str, action: str) -> None:
    def program() -> None:
        target = aws.sqs.Queue("lost") if destination == "queue" else aws.sns.Topic("lost")
        bare_consumer(users().changes(), stores=stores(), on_failure=target)

    recorder = record(program)
    lost = arn(service, physical("lost"))
    assert mapping(recorder)["destinationConfig"] == {"onFailure": {"destinationArn": lost}}
    rights = recorder.statements("mirror")
    assert {"Effect": "Allow", "Action": [f"{service}:{action}"], "Resource": [lost]} in rights
    assert [statement for statement in rights if "s3:ListBucket" in statement["Action"]] == []
    assert [statement["Resource"] for statement in rights if "s3:PutObject" in statement["Action"]] == [
        [f"arn:aws:s3:::{physical('stores-failures')}/engine/mirror/*"]
    ]


@pytest.mark.parametrize(("enabled", "state"), [(True, "ENABLED"), (False, "DISABLED")])
def test_with_stores_the_function_is_invoked_every_minute(enabled: bool, state: str) -> None:
    def program() -> None:
        bare_consumer(users().changes(), stores=stores(), tuning=Tuning(enabled=enabled))

    recorder = record(program)
    function = arn("lambda", f"function:{physical('mirror-function')}")
    may_invoke = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": ["lambda:InvokeFunction"], "Resource": [function]}],
    }
    schedule = recorder.one(kinds.SCHEDULE, "mirror-retry")
    assert schedule.inputs == {
        "scheduleExpression": "rate(1 minute)",
        "flexibleTimeWindow": {"mode": "OFF"},
        "state": state,
        "target": {
            "arn": function,
            "roleArn": arn("iam", f"role/{physical('mirror-retry-role')}"),
            "input": '{"table-stream": "retry"}',
            "retryPolicy": {"maximumRetryAttempts": 0, "maximumEventAgeInSeconds": 60},
        },
    }
    policy = recorder.one(kinds.POLICY, "mirror-retry-policy")
    assert (policy.inputs["role"], json.loads(policy.inputs["policy"])) == (physical("mirror-retry-role"), may_invoke)
    assert policy.urn in schedule.dependencies  # the first call comes at once
    assert json.loads(recorder.one(kinds.ROLE, "mirror-retry-role").inputs["assumeRolePolicy"]) == {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "scheduler.amazonaws.com"},
                "Action": "sts:AssumeRole",
                "Condition": {"StringEquals": {"aws:SourceAccount": kinds.ACCOUNT}},
            }
        ],
    }
    assert recorder.one(kinds.INVOCATIONS, "mirror-invocations").inputs == {
        "functionName": physical("mirror-function"),
        "maximumRetryAttempts": 0,
        "maximumEventAgeInSeconds": 60,
    }
    helpers = recorder.one(kinds.POLICY, "mirror-helpers").inputs
    assert (helpers["role"], json.loads(helpers["policy"])) == (physical("mirror-role"), may_invoke)


def test_a_loop_may_be_declared_and_another_table_is_none() -> None:
    def program() -> None:
        table, other = users(), users("others")
        environment = {"TARGET": write_to(table, "UpdateItem"), "OTHER": write_to(other, "PutItem")}
        bare_consumer(table.changes("INSERT"), environment=environment, allow_writes_to=[table])

    assert record(program).statements("mirror")[-2:] == [
        {"Effect": "Allow", "Action": ["dynamodb:UpdateItem"], "Resource": [table_arn("users-table")]},
        {"Effect": "Allow", "Action": ["dynamodb:PutItem"], "Resource": [table_arn("others-table")]},
    ]


def test_what_a_consumer_uses_is_a_variable_with_its_rights() -> None:
    key = arn("secretsmanager", "secret:key-Ab1")
    own = Grant("https://queue", [allow(["sqs:SendMessage"], [arn("sqs", "mine")])])

    def program() -> None:
        other = read_from(users("others"))
        bare_consumer(users().changes(), environment={"PLAIN": "text", "OTHER": other, "KEY": secret(key), "OWN": own})

    recorder = record(program)
    values = {"PLAIN": "text", "OTHER": physical("others-table"), "KEY": key, "OWN": "https://queue"}
    assert values.items() <= variables(recorder).items()
    granted = recorder.statements("mirror")[-3:]
    assert granted == [
        {
            "Effect": "Allow",
            "Action": ["dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Query"],
            "Resource": [table_arn("others-table")],
        },
        {"Effect": "Allow", "Action": ["secretsmanager:GetSecretValue"], "Resource": [key]},
        {"Effect": "Allow", "Action": ["sqs:SendMessage"], "Resource": [arn("sqs", "mine")]},
    ]
    assert [complaint for statement in granted for complaint in complaints(statement)] == []


def test_writing_means_three_calls_unless_they_are_named() -> None:
    recorder = record(lambda: bare_consumer(users().changes(), environment={"TARGET": write_to(users("others"))}))
    actions = recorder.statements("mirror")[-1]["Action"]
    assert actions == ["dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem"]


def test_no_stream_is_read_before_the_function_has_all_its_rights() -> None:
    def program() -> None:
        key = EncryptionKey("encryption")
        kept = Stores("stores", retention_in_days=30, encryption_key=key)
        bare_consumer(users(encryption_key=key).changes("INSERT"), stores=kept)

    recorder = record(program)
    needed = {recorder.one(kinds.POLICY, f"mirror-{name}").urn for name in ("policy", "variables", "helpers")}
    assert needed <= set(recorder.one(kinds.MAPPING, "mirror-users").dependencies)
    assert needed <= set(recorder.one(kinds.SCHEDULE, "mirror-retry").dependencies)
    assert mapping(recorder)["kmsKeyArn"] == kinds.key_arn("encryption-key")  # its filter holds values of items


def test_nothing_else_stays_in_a_role() -> None:
    recorder = record(lambda: bare_consumer(users().changes(), stores=stores()))
    for role, policies in (("role", ["policy", "helpers"]), ("retry-role", ["retry-policy"])):
        named = {"roleName": physical(f"mirror-{role}")}
        assert recorder.one(kinds.EXCLUSIVE, f"mirror-{role}-policies").inputs == named | {
            "policyNames": [physical(f"mirror-{policy}") for policy in policies]
        }
        assert recorder.one(kinds.ATTACHED, f"mirror-{role}-attachments").inputs == named | {"policyArns": []}


def test_rights_to_read_cover_the_indexes() -> None:
    indexes = [{"name": "by-email", "hash_key": "email", "projection_type": "ALL"}]
    args: dict[str, Any] = {"attributes": [{"name": "email", "type": "S"}], "global_secondary_indexes": indexes}

    def program() -> None:
        environment: Environment = {
            "OWN": read_from(users("own", table_args=args)),
            "THEIRS": read_from(StreamTable.existing("theirs", table_name="prod-users")),
            "PLAIN": read_from(users("plain")),
            "ONE": read_from(users("one", table_args=args), "GetItem"),
        }
        bare_consumer(users().changes(), environment=environment)

    theirs = PROD_USERS | {"localSecondaryIndexes": [{"name": "by-n", "rangeKey": "n"}]}
    granted = record(program, tables={"prod-users": theirs}).statements("mirror")[3:]
    read = ["dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Query"]
    assert [(each["Action"], each["Resource"]) for each in granted] == [
        (read, [table_arn("own-table")]),
        (["dynamodb:Query"], [f"{table_arn('own-table')}/index/*"]),
        (read, [table_arn("users")]),
        (["dynamodb:Query"], [f"{table_arn('users')}/index/*"]),
        (read, [table_arn("plain-table")]),
        (["dynamodb:GetItem"], [table_arn("one-table")]),
    ]


def test_a_secret_with_a_key_of_its_own_brings_the_right_to_it() -> None:
    def program() -> None:
        key = secret(arn("secretsmanager", "secret:a"), key_arn=arn("kms", "key/1"))
        bare_consumer(users().changes(), environment={"KEY": key})

    assert record(program).statements("mirror")[-1] == {
        "Effect": "Allow",
        "Action": ["kms:Decrypt"],
        "Resource": [arn("kms", "key/1")],
        "Condition": {"StringEquals": {"kms:ViaService": f"secretsmanager.{kinds.REGION}.amazonaws.com"}},
    }
