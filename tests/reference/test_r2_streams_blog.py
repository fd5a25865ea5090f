"""R2: the four view types, an e-mail to every new user, and what at-least-once delivery asks of a function."""

import json
from collections.abc import Callable
from typing import get_args

import pulumi
import pytest

from infra.grants import send_email_from
from infra.settings import Tuning
from infra.stores import Stores
from infra.table import StreamTable, ViewType
from sandbox.program.deploy import Deployment
from tests.infra.programs import bare_consumer
from tests.local import LocalAws
from tests.program.recording import MAPPING, record

CONFIG = {"target": "host", "mailFrom": "shop@example.com"}
IMAGES = {
    "KEYS_ONLY": set[str](),
    "NEW_IMAGE": {"NewImage"},
    "OLD_IMAGE": {"OldImage"},
    "NEW_AND_OLD_IMAGES": {"NewImage", "OldImage"},
}


def welcome() -> None:
    """An e-mail to every new user, in batches of ten, its failures kept."""
    users = StreamTable("users", key="id")
    mails = bare_consumer(
        users.changes("INSERT"),
        name="welcome-email",
        environment={"MAIL_FROM": send_email_from("shop@example.com")},
        stores=Stores("stores", retention_in_days=30),
        tuning=Tuning(batch_size=10),
        mapping_args={"maximum_retry_attempts": 5},
    )
    pulumi.export("users", users.outputs)
    pulumi.export("welcome-email", mails.outputs)


@pytest.mark.parametrize("view_type", get_args(ViewType))
def test_a_view_type_decides_which_images_a_change_carries(
    view_type: ViewType, aws: LocalAws, deployed: Callable[..., Deployment]
) -> None:
    def program() -> None:
        items = StreamTable("items", key="id", view_type=view_type)
        change_log = bare_consumer(items.changes(), name="change-log")
        pulumi.export("items", items.outputs)
        pulumi.export("change-log", change_log.outputs)

    outputs = deployed(program, config=CONFIG).outputs
    aws.write(outputs["items"]["name"], {"id": "1", "n": 1}, {"id": "1", "n": 2})
    aws.wait_until_idle()
    _, modified = aws.log_entries(outputs["change-log"]["logGroup"], "change")
    assert modified["event_name"] == "MODIFY"
    assert modified["dynamodb"].keys() & {"NewImage", "OldImage"} == IMAGES[view_type]


def test_the_trigger_has_a_batch_size_retries_and_a_destination_for_what_fails() -> None:
    mapping = record(welcome, CONFIG).one(MAPPING, "welcome-email-users").inputs
    assert mapping["batchSize"] == 10
    assert mapping["maximumRetryAttempts"] == 5
    assert mapping["destinationConfig"]["onFailure"]["destinationArn"].startswith("arn:aws:s3:::stores-failures")


def test_the_role_has_the_four_stream_actions() -> None:
    actions = {action for item in record(welcome, CONFIG).statements("welcome-email") for action in item["Action"]}
    stream_actions = {"DescribeStream", "GetRecords", "GetShardIterator", "ListStreams"}
    assert {f"dynamodb:{action}" for action in stream_actions} <= actions


def test_a_new_user_gets_one_mail_however_often_the_change_is_delivered(
    aws: LocalAws, deployed: Callable[..., Deployment]
) -> None:
    outputs = deployed(welcome, config=CONFIG).outputs
    address = "ada.r2@example.com"
    aws.write(outputs["users"]["name"], {"id": "1", "email": address, "name": "Ada"})
    aws.wait_until_idle()
    function = outputs["welcome-email"]["function"]
    (invocation,) = aws.invocations(function)
    again = aws.client("lambda").invoke(
        FunctionName=function, Payload=json.dumps({"Records": list(invocation.records)})
    )
    assert json.load(again["Payload"]) == {"batchItemFailures": []}
    assert [mail["Subject"] for mail in aws.mails() if address in mail["To"]] == ["Welcome!"]
