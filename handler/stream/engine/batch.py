"""A batch of one stream's records, checked and sorted before any handler starts."""

import inspect
from collections.abc import Callable, Hashable, Mapping
from operator import itemgetter
from typing import Any, NamedTuple, cast

from handler.stream.change import Change
from handler.stream.codec import brief

Function = Callable[[Change], Any]
Record = Mapping[str, Any]
ItemKey = Hashable
"""The stream and the full primary key of an item, as the stream writes it."""
KEY_TYPES = ("S", "N", "B")

NOT_RUN_BY_CALL = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
UNRUN_RESULTS = (inspect.isawaitable, inspect.isgenerator, inspect.isasyncgen)


class InvalidBatchError(Exception):
    """The event is not a batch of a DynamoDB stream, or a record has no valid key; no handler has started."""


class AsyncHandlerError(TypeError):
    """The handler is asynchronous or a generator; handlers must be plain functions, since threads run them."""


class Batch(NamedTuple):
    """Records in stream order; `records`, `sequences` and `items` have a record's values at the same position."""

    stream: str
    records: list[Record]
    sequences: list[int]
    items: list[ItemKey]


def read_batch(records: Any) -> Batch:
    """Return the sorted batch, each record once. Raises InvalidBatchError, which names the record and the field.

    A number and a key in a stream belong to one change, so a second record with both is the same record again.
    """
    if not isinstance(records, list) or not records:
        raise InvalidBatchError(f"Records is {brief(records)}, not a list of stream records")
    rows = dict[tuple[int, ItemKey], Record]()
    stream = None
    for index, record in enumerate(cast(list[Any], records)):
        try:
            stream = _stream(record, stream)
            rows.setdefault(_sequence_and_key(record["dynamodb"], stream), record)
        except InvalidBatchError as error:
            raise InvalidBatchError(f"Records[{index}].{error}") from error
    ordered = sorted(rows, key=itemgetter(0))
    sequences, items = [sequence for sequence, _ in ordered], [item for _, item in ordered]
    return Batch(str(stream), [rows[each] for each in ordered], sequences, items)


def _stream(record: Any, before: str | None) -> str:
    if not isinstance(record, dict) or not isinstance(cast(Record, record).get("dynamodb"), dict):
        raise InvalidBatchError(f"dynamodb: missing in {brief(record)}")
    source, stream = cast(Record, record).get("eventSource"), cast(Record, record).get("eventSourceARN")
    if source != "aws:dynamodb":
        raise InvalidBatchError(f"eventSource: {brief(source)} is not 'aws:dynamodb'")
    if not isinstance(stream, str) or not stream:
        raise InvalidBatchError(f"eventSourceARN: {brief(stream)} is not the ARN of a stream")
    if before is not None and stream != before:
        raise InvalidBatchError(f"eventSourceARN: {stream!r}, but the records before it are from {before!r}")
    return stream


def _sequence_and_key(body: Record, stream: str) -> tuple[int, ItemKey]:
    sequence, keys = body.get("SequenceNumber"), body.get("Keys")
    if not isinstance(sequence, str) or not (sequence.isascii() and sequence.isdigit()):
        raise InvalidBatchError(f"dynamodb.SequenceNumber: {brief(sequence)} is not a sequence number")
    if not isinstance(keys, dict) or not keys:
        raise InvalidBatchError(f"dynamodb.Keys: {brief(keys)} is not a primary key")
    return int(sequence), (stream, *[(name, _key(name, value)) for name, value in sorted(cast(Record, keys).items())])


def _key(name: str, value: Any) -> Hashable:
    if isinstance(value, dict) and len(cast(Record, value)) == 1:
        [(kind, content)] = cast(Record, value).items()
        if kind in KEY_TYPES and isinstance(content, str):
            return kind, content
    raise InvalidBatchError(f"dynamodb.Keys.{name}: {brief(value)} is not a key value")


def refuse_async(function: Function) -> None:
    """Raise AsyncHandlerError if a call does not run the function: `async def`, or a function with `yield`."""
    called = (function, type(function).__call__)  # an object's own __call__ may be async, too
    if any(would_not_run(each) for would_not_run in NOT_RUN_BY_CALL for each in called):
        raise AsyncHandlerError(f"{function!r} is async or a generator; make it a plain function to run in a thread")


def is_unrun(result: Any) -> bool:
    """Return whether the result of a call is code that has not run: an awaitable or a generator."""
    return result is not None and any(is_kind(result) for is_kind in UNRUN_RESULTS)


def call(function: Function, change: Change) -> None:
    """Run a handler for one change. Raises AsyncHandlerError if it returns an awaitable or a generator."""
    result = function(change)
    if is_unrun(result):
        if inspect.iscoroutine(result):
            result.close()
        raise AsyncHandlerError(f"{function!r} returned {result!r}, which is never run; make it a plain function")
