"""What users' own tests lean on."""

import threading
from decimal import Decimal

from handler.stream import Change, PermanentError, consumer
from handler.stream.aws import client
from handler.stream.testing import deliver, inserted, modified, removed


@consumer
def handler(change: Change) -> None:
    match (change.new_image or {}).get("mood"):
        case "bad":
            raise ValueError
        case "hopeless":
            raise PermanentError
        case _:
            pass


@consumer(claim=True)
def greets(change: Change) -> None:
    client("greeter").greet(change.keys["id"])


def test_what_was_applied_retried_and_parked_is_told() -> None:
    good, bad, held = inserted("users", id="1"), inserted("users", id="2", mood="bad"), removed("users", id="2")
    never, next_one = inserted("users", id="3", mood="hopeless"), inserted("users", id="3")
    assert deliver(handler, good, bad, held, never, next_one) == ([good, next_one], [bad, held], [never])


def test_deliveries_share_their_threads() -> None:
    deliver(handler, *(inserted("users", id=str(number)) for number in range(20)))
    before = threading.active_count()
    deliver(handler, *(inserted("users", id=str(number)) for number in range(20)))
    assert threading.active_count() == before


def test_changes_of_several_tables_are_a_batch_each() -> None:
    changes = [inserted("users", id="1"), inserted("orders", id="1"), inserted("users", id="2")]
    assert deliver(handler, *changes).applied == changes


def test_a_claim_needs_no_ledger_and_clients_are_stood_in_for() -> None:
    class Greeter:
        def __init__(self) -> None:
            self.greeted = list[str]()

        def greet(self, name: str) -> None:
            self.greeted.append(name)

    greeter, user = Greeter(), inserted("users", id="1")
    assert deliver(greets, user, clients={"greeter": greeter}).applied == [user]
    assert greeter.greeted == ["1"]
    assert deliver(greets, user, clients={"greeter": object()}).retried == [user]


def test_changes_are_as_a_stream_records_them() -> None:
    old = {"customer_id": "c", "order_id": 7, "total": Decimal("1.50"), "tags": {"a"}, "seal": b"\x00"}
    change = modified("orders", old, key=("customer_id", "order_id"), total=2)
    assert change.event_name == "MODIFY"
    assert change.table_name == "orders"
    assert change.keys == {"customer_id": "c", "order_id": Decimal(7)}
    assert change.old_image == old
    assert change.new_image == {**old, "total": Decimal(2)}
    assert change.raw["dynamodb"]["NewImage"]["seal"] == {"B": "AA=="}
    assert removed("orders", id="1").new_image is None
    assert inserted("orders", id="1").old_image is None


def test_later_changes_have_higher_sequence_numbers() -> None:
    first, second = inserted("users", id="1"), removed("users", id="1")
    assert int(first.sequence_number) < int(second.sequence_number)
    assert first.event_id != second.event_id
    assert first.version < second.version
