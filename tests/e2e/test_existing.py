"""A consumer on a table that someone else made: nothing of it is created, nothing of it is destroyed."""

from collections.abc import Callable

import pulumi
import pytest

from infra.archive import build
from infra.consumer import StreamConsumer
from infra.settings import Tuning
from infra.table import StreamTable
from tests.local import LocalAws

HOST = {"target": "host"}


def attach(table_name: str) -> Callable[[], None]:
    """A program that logs the changes of that table."""

    def program() -> None:
        invoices = StreamTable.existing("invoices", table_name=table_name)
        change_log = StreamConsumer(
            "change-log",
            reads=[invoices.changes()],
            environment={},
            stores=None,
            tuning=Tuning(),
            package=build("host"),
        )
        pulumi.export("change-log", change_log.outputs)

    return program


def make(aws: LocalAws, name: str, **specification: object) -> None:
    aws.client("dynamodb").create_table(
        TableName=name,
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
        **specification,
    )


def test_its_changes_are_processed_and_it_outlives_the_program(aws: LocalAws):
    make(aws, "invoices", StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"})
    deployment = aws.deploy(attach("invoices"), config=HOST)
    aws.write("invoices", {"id": "1"})
    aws.settle()
    (entry,) = aws.log_entries(deployment.outputs["change-log"]["logGroup"], "change")
    assert entry["dynamodb"]["NewImage"] == {"id": {"S": "1"}}
    deployment.destroy()
    assert aws.items("invoices") == [{"id": "1"}]


def test_a_table_without_a_stream_or_no_table_is_one_clear_error(aws: LocalAws):
    make(aws, "quiet")
    with pytest.raises(
        pulumi.RunError, match="table quiet has no stream; switch it on with: aws dynamodb update-table"
    ):
        aws.deploy(attach("quiet"), config=HOST)
    with pytest.raises(pulumi.RunError, match=r"invoices: table nowhere cannot be read: .*ResourceNotFoundException"):
        aws.deploy(attach("nowhere"), config=HOST)
