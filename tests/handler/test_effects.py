"""Fenced writes and transactions: their result is right in any order and with repetitions."""

import itertools
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from botocore.exceptions import ClientError  # pyright: ignore[reportMissingTypeStubs] # botocore has none

from handler.stream import Change, PermanentError, aws, consumer
from handler.stream.effects import OtherSourceError, UnfencedItemError, put_if_newer, transact
from handler.stream.entry import Engine
from handler.stream.environment import Environment
from handler.stream.testing import deliver, inserted, modified
from tests.fakes.aws import HookedDynamoDB, refusal, refused
from tests.fakes.executor import InlineExecutor
from tests.fakes.records import STREAM, record


@pytest.fixture
def dynamodb(monkeypatch: pytest.MonkeyPatch) -> Iterator[HookedDynamoDB]:
    fake = HookedDynamoDB({"mirror": ("id",), "by-email": ("email",), "counters": ("id",)})
    monkeypatch.setenv("LEDGER_TABLE", "ledger")
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "counts")
    monkeypatch.setenv("REMEMBER_SECONDS", "100")
    with aws.use_clients({"dynamodb": fake}):
        yield fake


def change(number: int, *, stream: str = STREAM, name: str = "MODIFY", **body: Any) -> Change:
    return Change(record(number, name=name, stream=stream, **body))


def only(dynamodb: HookedDynamoDB, table: str = "mirror") -> dict[str, Any]:
    """Return the only item of a table."""
    [item] = dynamodb.items(table)
    return item


@pytest.mark.parametrize("order", list(itertools.permutations([1, 2, 3, 2])))
def test_the_newest_change_wins_in_any_order_and_with_repetitions(
    order: tuple[int, ...], dynamodb: HookedDynamoDB
) -> None:
    for number in order:
        put_if_newer(change(number), "mirror")
    assert only(dynamodb)["n"] == {"N": "3"}


def test_the_result_says_whether_the_item_was_written(dynamodb: HookedDynamoDB) -> None:
    assert put_if_newer(change(2), "mirror") is True
    assert put_if_newer(change(2), "mirror") is False
    assert put_if_newer(change(1), "mirror") is False
    assert put_if_newer(change(3), "mirror") is True


def test_the_whole_item_is_replaced(dynamodb: HookedDynamoDB) -> None:
    put_if_newer(change(1, NewImage={"id": {"S": "a"}, "old": {"S": "x"}}), "mirror")
    put_if_newer(change(2), "mirror")
    assert set(only(dynamodb)) == {"id", "n", "change_version"}


def test_no_older_change_overwrites_a_tombstone(dynamodb: HookedDynamoDB) -> None:
    put_if_newer(change(1), "mirror")
    put_if_newer(change(3, name="REMOVE"), "mirror")
    put_if_newer(change(2), "mirror")
    assert set(only(dynamodb)) == {"id", "change_version", "expiry"}
    put_if_newer(change(4), "mirror")
    assert "expiry" not in only(dynamodb)


def test_a_tombstones_expiry_counts_from_the_write(dynamodb: HookedDynamoDB, monkeypatch: pytest.MonkeyPatch) -> None:
    """The change may be a day old."""
    monkeypatch.setattr("time.time", lambda: 5_000_000_000.5)
    put_if_newer(change(1, name="REMOVE"), "mirror")
    assert only(dynamodb)["expiry"] == {"N": "5000000100"}


def test_changes_of_a_new_stream_are_newer_than_those_of_the_former_one(dynamodb: HookedDynamoDB) -> None:
    later = STREAM.replace("2026-01-01", "2026-02-01")
    assert put_if_newer(change(9), "mirror")
    assert put_if_newer(change(1, stream=later), "mirror")
    assert not put_if_newer(change(10), "mirror")
    assert only(dynamodb)["change_version"] == {"S": f"{later}#{'0' * 19}{10**20 + 1}"}


def test_another_source_is_a_permanent_error(dynamodb: HookedDynamoDB) -> None:
    put_if_newer(change(1), "mirror")
    for other in ("orders-2", "order", "users"):
        with pytest.raises(OtherSourceError, match=f"the item in mirror was written from {STREAM}#"):
            put_if_newer(change(9, stream=STREAM.replace("orders", other)), "mirror")
    assert issubclass(OtherSourceError, PermanentError)


def test_a_version_of_another_type_is_another_source(dynamodb: HookedDynamoDB) -> None:
    dynamodb.put_item(TableName="mirror", Item={"id": {"S": "a"}, "change_version": {"N": "7"}})
    with pytest.raises(OtherSourceError, match="the item in mirror was written from another source"):
        put_if_newer(change(1), "mirror")


def test_another_item_and_key_can_be_written(dynamodb: HookedDynamoDB) -> None:
    user = {"id": "1", "email": "a@example.com"}
    put_if_newer(inserted("users", **user), "by-email", {"email": user["email"], "user": user["id"]})
    item = only(dynamodb, "by-email")
    assert (item["email"], item["user"]) == ({"S": "a@example.com"}, {"S": "1"})
    changed = modified("users", user, email="b@example.com")
    put_if_newer(changed, "by-email", key={"email": user["email"]})  # the item now has another key
    assert set(only(dynamodb, "by-email")) == {"email", "change_version", "expiry"}


def test_numbers_of_any_size_are_written_exactly(dynamodb: HookedDynamoDB) -> None:
    put_if_newer(inserted("orders", id="1", n=Decimal("1" * 60), tiny=Decimal("1E-130"), b={b"\x00"}), "mirror")
    item = only(dynamodb)
    assert (item["n"], item["tiny"], item["b"]) == ({"N": "1" * 60}, {"N": "1E-130"}, {"BS": [b"\x00"]})


@pytest.mark.parametrize("name", ["change_version", "expiry"])
def test_the_fences_attribute_names_are_reserved(name: str, dynamodb: HookedDynamoDB) -> None:
    with pytest.raises(UnfencedItemError, match=f"the fence in mirror reserves {name}; rename it"):
        put_if_newer(inserted("orders", id="1", **{name: "x"}), "mirror")
    assert dynamodb.items("mirror") == []


def test_an_item_too_large_for_its_fence_is_a_permanent_failure(dynamodb: HookedDynamoDB) -> None:
    image = {"id": {"S": "a"}, "text": {"S": "x" * (400 * 1024 - 100)}}
    dynamodb.put_item(TableName="mirror", Item=image)
    with pytest.raises(PermanentError, match="too large for mirror with the fence"):
        put_if_newer(change(1, NewImage=image), "mirror")


@pytest.mark.parametrize("code", ["ValidationException", "ProvisionedThroughputExceededException"])
def test_another_error_of_dynamodb_is_an_ordinary_failure(code: str, dynamodb: HookedDynamoDB) -> None:
    dynamodb.on["PutItem mirror"] = refused(code)
    with pytest.raises(ClientError):
        put_if_newer(change(1), "mirror")


@consumer
def counts(change: Change) -> None:
    """Count the changes of each item with a transaction."""
    add = {
        "TableName": "counters",
        "Key": {"id": {"S": change.keys["id"]}},
        "UpdateExpression": "ADD #n :one",
        "ExpressionAttributeNames": {"#n": "changes"},
        "ExpressionAttributeValues": {":one": {"N": "1"}},
    }
    transact(change, [{"Update": add}])


def test_a_counter_counts_each_change_once_in_repeated_deliveries(dynamodb: HookedDynamoDB) -> None:
    first = inserted("orders", id="a")
    changes = [first, modified("orders", {"id": "a"}, n=1), inserted("orders", id="b")]
    for _ in range(3):
        assert deliver(counts, *changes).applied == changes
    items = [(item["id"]["S"], item["changes"]["N"]) for item in dynamodb.items("counters")]
    assert items == [("a", "2"), ("b", "1")]


def test_a_transaction_claims_by_consumer_and_event_id(
    dynamodb: HookedDynamoDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: 5_000_000_000.5)
    assert transact(change(1), []) is True
    assert transact(change(1), []) is False
    claim = {"pk": {"S": "claim#counts#event-1"}, "sk": {"S": "transact"}, "expiry": {"N": "5000000100"}}
    assert dynamodb.items("ledger") == [claim]


@pytest.mark.parametrize("codes", [["None", "ConditionalCheckFailed"], ["TransactionConflict", "None"]])
def test_a_transaction_cancelled_for_another_reason_is_an_ordinary_failure(
    codes: list[str], dynamodb: HookedDynamoDB
) -> None:
    def cancel(act: Any) -> Any:
        reasons = [{"Code": code} for code in codes]
        raise refusal("TransactionCanceledException", "TransactWriteItems", CancellationReasons=reasons)

    dynamodb.on["TransactWriteItems items"] = cancel
    with pytest.raises(ClientError):
        transact(change(1), [])


def test_a_claiming_consumer_can_use_a_transaction(dynamodb: HookedDynamoDB) -> None:
    """The two claims on a change are different items."""
    clients = {"dynamodb": dynamodb, "ledger": dynamodb}
    settings = Environment(powertools_service_name="counts", ledger_table="ledger")
    engine = Engine(counts.function, settings, claim=True, client=clients.__getitem__, executor=InlineExecutor())
    assert engine({"Records": [record(1)]}) == {"batchItemFailures": []}
    assert [item["sk"]["S"] for item in dynamodb.items("ledger")] == ["claim", "transact"]
