"""The three consumers of the demo, tested as users test their own."""

import json
from pathlib import Path
from typing import Any

import pytest

from handler.stream.testing import deliver, inserted, modified, removed
from handler.stream.testing.dynamodb import MemoryDynamoDB
from tests.fakes.aws import refusal
from tests.handler.conftest import Lines

change_log, mirror, welcome_email = (
    pytest.importorskip(f"handler.{name}", reason="the example is gone: delete tests/example, too")
    for name in ("change_log", "mirror", "welcome_email")
)
UPDATE = json.loads((Path(__file__).parent.parent / "events" / "dynamodb-update.json").read_text())


class Mail:
    """boto3's SES v2 client, with a log of sent e-mails. Not imitated: identities, limits, unknown addresses."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.sent = list[dict[str, Any]]()
        self.failure = failure

    def send_email(self, **request: Any) -> dict[str, str]:
        if self.failure:
            raise self.failure
        self.sent.append(request)
        return {"MessageId": str(len(self.sent))}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAIL_FROM", "hello@example.com")
    monkeypatch.setenv("MIRROR_TABLE", "orders-mirror")


def test_change_log_logs_id_name_and_body_of_every_record(log_lines: Lines) -> None:
    assert change_log.handler(UPDATE) == {"batchItemFailures": []}
    lines = [(line["message"], line["event_id"], line["event_name"], line["dynamodb"]) for line in log_lines()]
    assert lines == [("change", raw["eventID"], raw["eventName"], raw["dynamodb"]) for raw in UPDATE["Records"]]


def test_change_log_needs_no_images() -> None:
    keys_only = inserted("users", id="1")
    del keys_only.raw["dynamodb"]["NewImage"]
    keys_only.raw["dynamodb"]["StreamViewType"] = "KEYS_ONLY"
    assert deliver(change_log.handler, keys_only).applied == [keys_only]


def test_welcome_email_uses_the_users_language() -> None:
    mail = Mail()
    user = inserted("users", id="1", email="ana@example.com", name="Ana {x}", language="es")
    assert deliver(welcome_email.handler, user, clients={"sesv2": mail}).applied == [user]
    text = "Hola, Ana {x}:\n\nnos alegra que estés aquí.\n"
    assert mail.sent == [
        {
            "FromEmailAddress": "hello@example.com",
            "Destination": {"ToAddresses": ["ana@example.com"]},
            "Content": {"Simple": {"Subject": {"Data": "¡Te damos la bienvenida!"}, "Body": {"Text": {"Data": text}}}},
        }
    ]


def test_welcome_email_is_english_without_a_language() -> None:
    mail = Mail()
    deliver(welcome_email.handler, inserted("users", id="1", email="a@example.com"), clients={"sesv2": mail})
    assert mail.sent[0]["Content"]["Simple"]["Subject"] == {"Data": "Welcome!"}
    assert "Hello a@example.com," in mail.sent[0]["Content"]["Simple"]["Body"]["Text"]["Data"]


def test_welcome_email_parks_a_language_without_a_template(log_lines: Lines) -> None:
    mail = Mail()
    user = inserted("users", id="1", email="a@example.com", language="xx")
    assert deliver(welcome_email.handler, user, clients={"sesv2": mail}).parked == [user]
    assert mail.sent == []
    assert log_lines()[0]["error"] == {"type": "NoTemplateError", "text": "no template for 'xx'; there are de, en, es"}


def test_welcome_email_is_held_if_the_mail_service_fails() -> None:
    mail = Mail(refusal("TooManyRequestsException", "SendEmail"))
    user = inserted("users", id="1", email="a@example.com")
    assert deliver(welcome_email.handler, user, clients={"sesv2": mail}).held == [user]


@pytest.fixture
def orders_mirror() -> MemoryDynamoDB:
    return MemoryDynamoDB({"orders-mirror": ("customer_id", "order_id")})


KEY = ("customer_id", "order_id")
ORDER = {"customer_id": "c", "order_id": "1", "total": 7}


def test_mirror_keeps_the_newest_item_if_changes_come_twice_or_late(orders_mirror: MemoryDynamoDB) -> None:
    changes = [inserted("orders", key=KEY, **ORDER), modified("orders", ORDER, key=KEY, total=8)]
    for order in (changes, changes, changes[:1]):
        assert deliver(mirror.handler, *order, clients={"dynamodb": orders_mirror}).applied == list(order)
    [item] = orders_mirror.items("orders-mirror")
    assert item["total"] == {"N": "8"}


def test_mirror_removes_an_item_and_ignores_its_older_changes(orders_mirror: MemoryDynamoDB) -> None:
    before = inserted("orders", key=KEY, **ORDER)
    removal = removed("orders", key=KEY, **ORDER)
    deliver(mirror.handler, removal, clients={"dynamodb": orders_mirror})
    deliver(mirror.handler, before, clients={"dynamodb": orders_mirror})
    [item] = orders_mirror.items("orders-mirror")
    assert set(item) == {*KEY, "change_version", "expiry"}
