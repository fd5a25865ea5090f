"""The test helpers for users' own consumers."""

import threading
from decimal import Decimal

import pytest

from handler.stream import Change, PermanentError, consumer
from handler.stream.aws import client
from handler.stream.environment import Environment
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


class Sender:
    """A client as a user's test would replace it."""

    def __init__(self, error: Exception | None = None, times: int | None = None) -> None:
        self.error, self._times = error, times
        self.greeted = list[str]()

    def greet(self, name: str) -> None:
        if self.error and self._times != 0:
            self._times = None if self._times is None else self._times - 1
            raise self.error
        self.greeted.append(name)


@consumer(claim=True)
def greets(change: Change) -> None:
    client("greeter").greet(change.keys["id"])


def test_the_result_lists_applied_held_and_parked_changes() -> None:
    good, bad, later = inserted("users", id="1"), inserted("users", id="2", mood="bad"), removed("users", id="2")
    never, next_one = inserted("users", id="3", mood="hopeless"), inserted("users", id="3")
    delivery = deliver(handler, good, bad, later, never, next_one)
    assert (delivery.applied, delivery.held, delivery.parked) == ([good, next_one], [bad, later], [never])


def test_a_retry_runs_the_held_changes_and_updates_the_result() -> None:
    sender, users = Sender(OSError("down")), [inserted("users", id=name) for name in "121"]
    delivery = deliver(greets, *users, clients={"greeter": sender})
    assert (delivery.applied, delivery.held) == ([], users)
    again = delivery.retry()
    assert again is delivery
    assert (delivery.applied, delivery.held, delivery.parked) == ([], users, [])
    sender.error = PermanentError("never")
    assert delivery.retry().parked == users
    assert (delivery.applied, delivery.held) == ([], [])
    assert delivery.retry().parked == []


def test_a_retry_continues_with_the_items_next_changes() -> None:
    sender = Sender(OSError("down"))
    first, second = inserted("users", id="1"), removed("users", id="1")
    delivery = deliver(greets, first, second, clients={"greeter": sender})
    sender.error = None
    assert delivery.retry().applied == [first, second]
    assert (sender.greeted, delivery.held) == (["1", "1"], [])


def test_a_change_that_fails_twice_is_applied_in_the_same_delivery() -> None:
    sender, user = Sender(OSError("down"), times=2), inserted("users", id="1")
    assert deliver(greets, user, clients={"greeter": sender}).applied == [user]


def test_ctrl_c_in_a_handler_ends_the_delivery() -> None:
    runs = list[Change]()

    @consumer
    def hangs(change: Change) -> None:
        runs.append(change)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        deliver(hangs, *(inserted("users", id=name) for name in "abc"))
    assert len(runs) == 1


def test_deliveries_share_their_threads() -> None:
    before = threading.active_count()
    for _ in range(20):
        deliver(handler, *(inserted("users", id=str(number)) for number in range(20)))
    assert threading.active_count() < before + Environment().workers


def test_each_table_has_its_own_batch() -> None:
    changes = [inserted("users", id="1"), inserted("orders", id="1"), inserted("users", id="2")]
    assert deliver(handler, *changes).applied == changes


def test_nothing_is_claimed_so_that_a_repeated_delivery_runs_again() -> None:
    sender, user = Sender(), inserted("users", id="1")
    for _ in range(2):
        assert deliver(greets, user, clients={"greeter": sender}).applied == [user]
    assert sender.greeted == ["1", "1"]


def test_changes_have_the_format_of_a_streams_records() -> None:
    old = {"customer_id": "c", "order_id": 7, "total": Decimal("1.50"), "tags": {"a"}, "seal": b"\x00"}
    change = modified("orders", old, key=("customer_id", "order_id"), total=2)
    assert (change.event_name, change.table_name) == ("MODIFY", "orders")
    assert (change.keys, change.old_image) == ({"customer_id": "c", "order_id": Decimal(7)}, old)
    assert change.new_image == {**old, "total": Decimal(2)}
    assert change.raw["dynamodb"]["NewImage"]["seal"] == {"B": "AA=="}
    assert removed("orders", id="1").new_image is None
    assert inserted("orders", id="1").old_image is None


def test_later_changes_have_higher_sequence_numbers() -> None:
    first, second = inserted("users", id="1"), removed("users", id="1")
    assert int(first.sequence_number) < int(second.sequence_number)
    assert first.event_id != second.event_id
    assert first.version < second.version


def test_an_items_attributes_have_any_name() -> None:
    item = {"id": "1", "key": "k", "old": "o", "table": "t", "item": "i", "changed": "c"}
    assert inserted("users", item).new_image == removed("users", item).old_image == item
    assert inserted("users", {"key": "k"}, id="1", old="o", table="t", item="i", changed="c").new_image == item
    assert removed("users", {"key": "k"}, id="1", old="o", table="t", item="i", changed="c").old_image == item
    change = modified("users", item, {"key": "l"}, old="p", table="u", item="j", changed="d")
    assert change.old_image == item
    assert change.new_image == {"id": "1", "key": "l", "old": "p", "table": "u", "item": "j", "changed": "d"}
    assert inserted("users", {"key": "k"}, "key").keys == {"key": "k"}


def test_an_item_without_its_key_is_refused() -> None:
    with pytest.raises(ValueError, match="no attribute secret, but key='secret' names its primary key") as caught:
        inserted("users", id="1", key="secret")
    assert str(caught.value).endswith("""as a mapping: inserted('users', {"key": ...})""")
