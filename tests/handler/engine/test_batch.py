"""Batches that are refused before any handler starts, and the key of an item."""

import functools
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from handler.stream.change import Change
from handler.stream.engine.batch import AsyncHandlerError, InvalidBatchError, call, read_batch, refuse_async
from tests.fakes.records import STREAM, record, sequence
from tests.handler.harness import ENDS_LATE, FAILS, ConsumerHarness

OTHER = STREAM.replace("orders", "users")


@pytest.mark.parametrize(
    ("records", "message"),
    [
        (None, "Records is None, not a list"),
        ([], "Records is a list of 0 values, not a list"),
        ({"a": 1}, "Records is an object with a, not a list"),
        ([record(1), None], r"Records\[1\].dynamodb: missing in None"),
        ([record(1), "x"], r"Records\[1\].dynamodb: missing in 'x'"),
        ([{**record(1), "dynamodb": None}], r"Records\[0\].dynamodb: missing in an object with eventID, eventName"),
        ([record(1) | {"eventSource": "aws:kinesis"}], r"Records.0..eventSource: 'aws:kinesis' is not 'aws:dynamodb'"),
        ([{**record(1), "eventSource": None}], r"Records\[0\].eventSource: None"),
        ([{**record(1), "eventSourceARN": None}], r"Records\[0\].eventSourceARN: None is not the ARN"),
        ([record(1), record(2, stream=OTHER)], rf"Records\[1\].eventSourceARN: '{OTHER}', but the records before"),
        *[
            ([record(1, SequenceNumber=value)], rf"Records\[0\].dynamodb.SequenceNumber: {value!r} is not")
            for value in (None, "", 7, "-7", "٣")
        ],
        ([record(1), record(2, Keys=None)], r"Records\[1\].dynamodb.Keys: None is not a primary key"),
        ([record(1, Keys={})], r"Records\[0\].dynamodb.Keys: an empty object is not a primary key"),
        ([record(1, Keys={"id": "a"})], r"Records\[0\].dynamodb.Keys.id: 'a' is not a key value"),
        ([record(1, Keys={"id": {"N": 7}})], r"Records\[0\].dynamodb.Keys.id: an object with N is not a key value"),
        ([record(1, Keys={"id": {"BOOL": True}})], r"Records\[0\].dynamodb.Keys.id: .* is not a key value"),
    ],
)
def test_an_invalid_batch_is_refused_with_record_and_field(records: Any, message: str) -> None:
    with pytest.raises(InvalidBatchError, match=message):
        read_batch(records)


def test_a_record_that_a_batch_has_twice_is_one_change_and_is_reported_once() -> None:
    harness = ConsumerHarness({1: FAILS, 3: ENDS_LATE})
    copies = [record(1), record(2, "b"), record(1), record(2, "b"), record(3, "c"), record(3, "c")]
    assert harness.invoke({"Records": copies}) == {"batchItemFailures": []}
    assert (harness.applied, harness.waiting("a"), harness.waiting("c")) == ([2, 3], [1], [])
    harness.mend()
    harness.retry(now=True)
    assert sorted(harness.applied) == [1, 2, 3]
    reporting = ConsumerHarness({1: FAILS}, ledger_table="")
    answer = reporting.invoke({"Records": copies[:4]})
    assert answer == {"batchItemFailures": [{"itemIdentifier": sequence(1)}]}


def test_a_number_of_two_items_is_two_changes() -> None:
    """No stream has such records; if one had, neither change would be lost."""
    assert len(read_batch([record(1), record(1, "b"), record(1)]).records) == 2


def test_no_error_about_a_batch_shows_the_content_of_records() -> None:
    secret = {"S": "secret" * 10}
    body = record(1, NewImage={"name": secret})["dynamodb"]
    batches: list[Any] = [
        *(body, [{"a": secret}], [record(1) | {"dynamodb": [body]}], [record(1) | {"eventSource": body}]),
        *([record(1, Keys=[body])], [record(1, Keys={"id": body})], [record(1, SequenceNumber=body)]),
        *([record(1) | {"eventSourceARN": body}], [body]),
    ]
    for records in batches:
        with pytest.raises(InvalidBatchError) as caught:
            read_batch(records)
        assert "secretsecret" not in str(caught.value)


def test_a_batch_is_sorted_in_stream_order() -> None:
    batch = read_batch([record(number, SequenceNumber=text) for number, text in ((3, "1000"), (1, "0200"), (2, "999"))])
    assert batch.sequences == [200, 999, 1000]
    assert [raw["eventID"] for raw in batch.records] == ["event-1", "event-2", "event-3"]


def test_an_items_key_has_the_stream_and_the_full_primary_key_as_text() -> None:
    """Two texts of one number are two keys: a stream always writes a number of an item in the same way."""

    def item(stream: str = STREAM, **keys: Any) -> Any:
        return read_batch([record(1, stream=stream, Keys=keys)]).items[0]

    assert item(a={"S": "1"}, b={"N": "2"}) == item(b={"N": "2"}, a={"S": "1"})
    others = [
        *(item(a={"S": "1"}), item(a={"N": "1"}), item(a={"B": "MQ=="}), item(b={"S": "1"}), item(OTHER, a={"S": "1"})),
        *(item(a={"S": "1"}, b={"N": "2"}), item(a={"S": "1"}, b={"N": "2.0"})),
    ]
    assert len(set(others)) == len(others)


async def waits(change: Change) -> None: ...


def yields(change: Change) -> Iterator[None]:
    yield


async def waits_and_yields(change: Change) -> AsyncIterator[None]:
    yield


class Waits:
    async def __call__(self, change: Change) -> None: ...


@pytest.mark.parametrize("function", [waits, yields, waits_and_yields, functools.partial(waits), Waits()])
def test_a_function_that_a_call_does_not_run_is_refused(function: Any) -> None:
    with pytest.raises(AsyncHandlerError, match="make it a plain function"):
        refuse_async(function)


@pytest.mark.parametrize("function", [waits, yields, waits_and_yields])
def test_a_result_that_is_never_run_is_an_error(function: Any) -> None:
    """The coroutine is closed: Python warns of a coroutine that is never awaited, which would fail this test."""
    with pytest.raises(AsyncHandlerError, match="which is never run"):
        call(lambda change: function(change), Change(record(1)))


def test_any_other_result_is_ignored() -> None:
    call(lambda change: {"statusCode": 500}, Change(record(1)))
