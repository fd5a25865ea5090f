"""A consumer of an existing table: the program neither creates nor destroys the table."""

from collections.abc import Callable
from typing import Any

import pulumi
import pytest

from infra.archive import build
from infra.consumer import StreamConsumer
from infra.settings import Tuning
from infra.table import StreamTable
from tests.consumers.project import SAMPLE
from tests.local import LocalAws

HOST = {"target": "host"}


def attach(table_name: str) -> Callable[[], None]:
    """Return a program that logs the changes of the table."""

    def program() -> None:
        invoices = StreamTable.existing("invoices", table_name=table_name)
        rest: dict[str, Any] = {"environment": {}, "stores": None, "tuning": Tuning()}
        package = build("host", SAMPLE)
        change_log = StreamConsumer("change-log", reads=[invoices.changes()], package=package, **rest)
        pulumi.export("change-log", change_log.outputs)

    return program


def test_its_changes_are_processed_and_it_survives_destroy(aws: LocalAws):
    aws.create_table("invoices", StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"})
    deployment = aws.deploy(attach("invoices"), config=HOST)
    aws.write("invoices", {"id": "1"})
    aws.wait_until_idle()
    (entry,) = aws.log_entries(deployment.outputs["change-log"]["logGroup"], "change")
    assert entry["dynamodb"]["NewImage"] == {"id": {"S": "1"}}
    deployment.destroy()
    assert aws.items("invoices") == [{"id": "1"}]


def test_a_table_without_a_stream_or_no_table_is_one_clear_error(aws: LocalAws):
    aws.create_table("quiet")
    message = "table quiet has no stream; switch it on with: aws dynamodb update-table"
    with pytest.raises(pulumi.RunError, match=message):
        aws.deploy(attach("quiet"), config=HOST)
    with pytest.raises(pulumi.RunError, match=r"invoices: table nowhere cannot be read: .*ResourceNotFoundException"):
        aws.deploy(attach("nowhere"), config=HOST)
