"""Batches that are refused before any handler starts, and the key of an item."""

import functools
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from handler.stream.change import Change
from handler.stream.engine.batch import AsyncHandlerError, InvalidBatchError, call, read_batch, refuse_async
from tests.fakes.records import STREAM, record

OTHER = STREAM.replace("orders", "users")


@pytest.mark.parametrize(
    ("records", "message"),
    [
        (None, "Records is None, not a list"),
        ([], r"Records is \[\], not a list"),
        ({"a": 1}, "Records is {'a': 1}, not a list"),
        ([record(1), None], r"Records\[1\].dynamodb: missing in None"),
        ([record(1), "x"], r"Records\[1\].dynamodb: missing in 'x'"),
        ([{**record(1), "dynamodb": None}], r"Records\[0\].dynamodb: missing in"),
        ([record(1) | {"eventSource": "aws:kinesis"}], r"Records.0..eventSource: 'aws:kinesis' is not 'aws:dynamodb'"),
        ([{**record(1), "eventSource": None}], r"Records\[0\].eventSource: None"),
        ([{**record(1), "eventSourceARN": None}], r"Records\[0\].eventSourceARN: None is not the ARN"),
        ([record(1), record(2, stream=OTHER)], rf"Records\[1\].eventSourceARN: '{OTHER}', but the records before"),
        *[
            ([record(1, SequenceNumber=value)], rf"Records\[0\].dynamodb.SequenceNumber: {value!r} is not")
            for value in (None, "", 7, "-7", "٣")
        ],
        ([record(1), record(2, Keys=None)], r"Records\[1\].dynamodb.Keys: None is not a primary key"),
        ([record(1, Keys={})], r"Records\[0\].dynamodb.Keys: {} is not a primary key"),
        ([record(1, Keys={"id": "a"})], r"Records\[0\].dynamodb.Keys.id: 'a' is not a key value"),
        ([record(1, Keys={"id": {"N": 7}})], r"Records\[0\].dynamodb.Keys.id: {'N': 7} is not a key value"),
        ([record(1, Keys={"id": {"BOOL": True}})], r"Records\[0\].dynamodb.Keys.id: .* is not a key value"),
    ],
)
def test_an_invalid_batch_is_refused_with_record_and_field(records: Any, message: str) -> None:
    with pytest.raises(InvalidBatchError, match=message):
        read_batch(records)


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


@pytest.mark.parametrize("function", [waits, yields, waits_and_yields, functools.partial(waits)])
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
