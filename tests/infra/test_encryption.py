"""A customer managed key: the resource, the data that it encrypts, and the permissions to use it."""

import json
from typing import Any

import pulumi
import pulumi_aws as aws
import pytest

from infra.archive import build
from infra.consumer import StreamConsumer
from infra.encryption import EncryptionKey
from infra.grants import read_from, write_to
from infra.settings import Tuning
from infra.stores import Stores
from infra.table import StreamTable
from sandbox.program.in_process import Program, run
from tests.consumers.project import SAMPLE
from tests.infra.test_table import FOUND
from tests.program import recording as kinds
from tests.program.recording import ACCOUNT, REGION, RecordingBackend, arn, key_arn, physical, record

KEY = key_arn("encryption-key")


def decrypt_in_dynamodb(key: str = KEY) -> dict[str, Any]:
    return through("dynamodb", key, "Decrypt")


def through(service: str, key: str, *actions: str) -> dict[str, Any]:
    return {
        "Effect": "Allow",
        "Action": [f"kms:{action}" for action in actions],
        "Resource": [key],
        "Condition": {"StringEquals": {"kms:ViaService": f"{service}.{REGION}.amazonaws.com"}},
    }


def kms(recorder: RecordingBackend, consumer: str = "mirror") -> list[dict[str, Any]]:
    """Return the statements of the consumer about keys."""
    return [each for each in recorder.statements(consumer) if each["Action"][0].startswith("kms:")]


@pytest.mark.parametrize("protect", [True, False])
def test_the_key_is_rotated_and_ruled_by_iam_and_used_for_logs_and_filters(protect: bool) -> None:
    recorder = record(lambda: EncryptionKey("encryption", protect=protect))
    assert recorder.counts() == {kinds.ENCRYPTION_KEY: 1, kinds.KEY: 1, kinds.ALIAS: 1}
    assert {each.protect for each in recorder.registered.values()} == {protect}
    assert recorder.one(kinds.KEY, "encryption-key").retain_on_delete is True  # tables and backups may still need it
    assert recorder.one(kinds.ALIAS, "encryption-alias").inputs == {
        "name": "alias/table-stream-test-encryption",
        "targetKeyId": "id-of-encryption-key",
    }
    inputs = dict(recorder.one(kinds.KEY, "encryption-key").inputs)
    assert json.loads(inputs.pop("policy")) == {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "AdministrationByIam",
                "Effect": "Allow",
                "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
                "Action": "kms:*",
                "Resource": "*",
            },
            {
                "Sid": "LogsOfThisAccount",
                "Effect": "Allow",
                "Principal": {"Service": f"logs.{REGION}.amazonaws.com"},
                "Action": [
                    "kms:Encrypt",
                    "kms:Decrypt",
                    "kms:ReEncryptFrom",
                    "kms:ReEncryptTo",
                    "kms:GenerateDataKey",
                    "kms:GenerateDataKeyWithoutPlaintext",
                ],
                "Resource": "*",
                "Condition": {"StringLike": {"kms:EncryptionContext:aws:logs:arn": arn("logs", "log-group:*")}},
            },
            {
                "Sid": "FiltersOfThisAccount",
                "Effect": "Allow",
                "Principal": {"Service": "lambda.amazonaws.com"},
                "Action": "kms:Decrypt",
                "Resource": "*",
                "Condition": {
                    "StringLike": {"kms:EncryptionContext:aws:lambda:FunctionArn": arn("lambda", "function:*")}
                },
            },
        ],
    }
    assert inputs == {
        "description": "Data of table-stream in stack test",
        "enableKeyRotation": True,
        "deletionWindowInDays": 30,
    }


def test_the_key_s_policy_names_the_region_and_account_of_its_provider() -> None:
    def program() -> None:
        provider = aws.Provider("west", region="eu-west-1")
        EncryptionKey("encryption", opts=pulumi.ResourceOptions(providers=[provider]))

    recorder = record(program)
    assert set(recorder.providers) == {"west"}
    assert recorder.one(kinds.KEY, "encryption-key").provider.split("::")[-2] == "west"


def test_the_alias_is_one_that_kms_takes_whatever_the_stack_is_called() -> None:
    recorder = RecordingBackend()

    def program() -> None:
        EncryptionKey("encryption")

    run(Program(program, stack="dev.eu", config={}), recorder)
    assert recorder.one(kinds.ALIAS, "encryption-alias").inputs["name"] == "alias/table-stream-dev-eu-encryption"


def test_tables_stores_logs_and_variables_are_encrypted_with_the_key_and_a_consumer_may_use_it_for_them() -> None:
    def program() -> None:
        key = EncryptionKey("encryption")
        users, target = (StreamTable(name, key="id", encryption_key=key) for name in ("users", "target"))
        stores = Stores("stores", retention_in_days=1, encryption_key=key)
        environment = {"TARGET": write_to(target, "PutItem")}
        StreamConsumer(
            "mirror",
            reads=[users.changes()],
            environment=environment,
            stores=stores,
            tuning=Tuning(),
            package=build("host", SAMPLE),
        )

    recorder = record(program)
    for table in ("users-table", "target-table", "stores-ledger"):
        assert recorder.one(kinds.TABLE, table).inputs["serverSideEncryption"] == {"enabled": True, "kmsKeyArn": KEY}
    assert recorder.one(kinds.LOG_GROUP, "mirror-logs").inputs["kmsKeyId"] == KEY
    assert recorder.one(kinds.FUNCTION, "mirror-function").inputs["kmsKeyArn"] == KEY
    assert recorder.one(kinds.BUCKET_ENCRYPTION, "stores-failures-encryption").inputs == {
        "bucket": physical("stores-failures"),
        "rules": [
            {
                "applyServerSideEncryptionByDefault": {"sseAlgorithm": "aws:kms", "kmsMasterKeyId": KEY},
                "bucketKeyEnabled": True,
            }
        ],
    }
    function = arn("lambda", f"function:{physical('mirror-function')}")
    assert kms(recorder) == [decrypt_in_dynamodb(), through("s3", KEY, "GenerateDataKey")]
    assert json.loads(recorder.one(kinds.POLICY, "mirror-variables").inputs["policy"])["Statement"] == [
        {
            "Effect": "Allow",
            "Action": ["kms:Decrypt"],
            "Resource": [KEY],
            "Condition": {"StringEquals": {"kms:EncryptionContext:aws:lambda:FunctionArn": function}},
        }
    ]


def test_a_function_waits_for_the_rights_that_lambda_asks_for_when_it_is_made() -> None:
    """Lambda refuses tracing while the role lacks the permission for it."""

    def program() -> None:
        key = EncryptionKey("encryption")
        stores = Stores("stores", retention_in_days=30, encryption_key=key)
        users = StreamTable("users", key="id", encryption_key=key)
        StreamConsumer(
            "mirror",
            reads=[users.changes()],
            environment={},
            stores=stores,
            tuning=Tuning(tracing=True),
            package=build("host", SAMPLE),
        )

    recorder = record(program)
    function, policy = recorder.one(kinds.FUNCTION, "mirror-function"), recorder.one(kinds.POLICY, "mirror-policy")
    assert policy.urn in function.dependencies
    assert function.urn not in policy.dependencies


def test_a_table_brings_the_right_to_its_own_key_along_be_it_read_written_or_there_already() -> None:
    theirs = key_arn("theirs")

    def program() -> None:
        key = EncryptionKey("encryption")
        found = StreamTable.existing("users", table_name="prod-users")
        environment = {
            "OTHER": read_from(StreamTable("other", key="id", encryption_key=key)),
            "PLAIN": write_to(plain()),
        }
        StreamConsumer(
            "mirror",
            reads=[found.changes()],
            environment=environment,
            stores=None,
            tuning=Tuning(),
            package=build("host", SAMPLE),
        )

    def plain() -> StreamTable:
        return StreamTable("plain", key="id")

    encrypted = FOUND | {"serverSideEncryption": {"enabled": True, "kmsKeyArn": theirs}}
    recorder = record(program, tables={"prod-users": encrypted})
    assert kms(recorder) == [decrypt_in_dynamodb(theirs), decrypt_in_dynamodb()]
    assert "kmsKeyId" not in recorder.one(kinds.LOG_GROUP, "mirror-logs").inputs


def sent_to(service: str, key: str | None) -> RecordingBackend:
    """Record a consumer with a destination that `key` encrypts."""

    def program() -> None:
        users = StreamTable("users", key="id")
        lost = (aws.sqs.Queue if service == "sqs" else aws.sns.Topic)("lost", kms_master_key_id=key)
        StreamConsumer(
            "mirror",
            reads=[users.changes()],
            environment={},
            stores=None,
            tuning=Tuning(),
            package=build("host", SAMPLE),
            on_failure=lost,
        )

    return record(program)


@pytest.mark.parametrize("service", ["sqs", "sns"])
@pytest.mark.parametrize("key", [key_arn("mine"), "id-of-mine"])
def test_a_destination_brings_the_right_to_its_key_along(service: str, key: str) -> None:
    assert kms(sent_to(service, key)) == [through(service, key_arn("mine"), "GenerateDataKey", "Decrypt")]


@pytest.mark.parametrize("key", [None, "alias/aws/sqs"])
def test_a_destination_without_a_key_of_one_s_own_brings_none(key: str | None) -> None:
    assert kms(sent_to("sqs", key)) == []


def test_a_destination_that_names_its_key_by_an_alias_is_refused() -> None:
    with pytest.raises(pulumi.RunError) as caught:
        sent_to("sqs", "alias/mine")
    assert str(caught.value) == (
        f"{arn('sqs', physical('lost'))} is encrypted with alias/mine: a permission names a key, not an alias; set the "
        "key's ARN there"
    )
