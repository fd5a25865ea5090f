"""KeyOrderedProcessor: each item's changes in order, different items at once, what failed reported."""

import contextvars
import inspect
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, Self

from handler.stream.change import Change, PermanentError
from handler.stream.failures import FailureStore
from handler.stream.telemetry import count, logger

Function = Callable[[Change], Any]


class InvalidBatchError(Exception):
    """The event is no batch of a DynamoDB stream, or a record cannot be named; no handler has started."""


class AwaitableResultError(TypeError):
    """A handler returned something that was still to be run, so nothing of it has happened."""


class Executor(Protocol):
    """Runs a list of generators, one an item, each to its end; they yield before each change."""

    def __call__(self, items: Sequence[Iterator[None]]) -> None:
        """Run the items; return when none is running any more."""
        ...


class Workers:
    """Threads, made once an environment, that pull items."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._jobs: queue.SimpleQueue[tuple[Iterator[Iterator[None]], queue.SimpleQueue[BaseException | None]]]
        self._jobs = queue.SimpleQueue()
        self._started = 0

    def __call__(self, items: Sequence[Iterator[None]]) -> None:
        """Run the items; returns when none is running any more."""
        wanted = min(self.number, len(items))
        while self._started < wanted:
            threading.Thread(target=self._work, name=f"worker-{self._started}", daemon=True).start()
            self._started += 1
        left, done = iter(items), queue.SimpleQueue[BaseException | None]()
        for _ in range(wanted):
            self._jobs.put((left, done))
        errors = [done.get() for _ in range(wanted)]
        for error in errors:
            if error is not None:
                raise error

    def _work(self) -> None:
        while True:
            left, done = self._jobs.get()
            try:
                for item in left:
                    deque(item, maxlen=0)
            except BaseException as error:
                done.put(error)
            else:
                done.put(None)


class KeyOrderedProcessor:
    """Processes one batch at a time; usable alone with Powertools' `process_partial_response`."""

    event_type = type("EventType", (), {"value": "DynamoDBStreams"})

    def __init__(
        self,
        *,
        failures: FailureStore | None = None,
        executor: Executor | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._failures = failures
        self._executor = executor or Workers(10)
        self._clock = clock

    def __call__(self, records: Any, record_handler: Function, lambda_context: Any = None) -> Self:
        """Take a batch."""
        self._records = checked(records)
        self._function, self._context = record_handler, lambda_context
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def process(self) -> None:
        """Run the batch."""
        items: dict[Any, list[int]] = {}
        for position, record in enumerate(self._records):
            items.setdefault(item_of(record), []).append(position)
        self._done = [False] * len(self._records)
        self._failed = self._parked = 0
        self._executor([self._item(positions) for positions in items.values()])
        held = self._done.count(False) - self._failed
        count(FailedChanges=self._failed, HeldChanges=held, ParkedChanges=self._parked)

    def response(self) -> dict[str, list[dict[str, str]]]:
        """What Lambda is told: the sequence numbers that are to come again, ascending."""
        undone = [
            r["dynamodb"]["SequenceNumber"] for r, done in zip(self._records, self._done, strict=True) if not done
        ]
        return {"batchItemFailures": [{"itemIdentifier": sequence} for sequence in sorted(undone, key=int)]}

    def _item(self, positions: list[int]) -> Iterator[None]:
        for position in positions:
            yield
            change = Change(self._records[position])
            if not contextvars.copy_context().run(self._attempt, change):
                return
            self._done[position] = True

    def _attempt(self, change: Change) -> bool:
        logger.thread_safe_append_keys(event_id=change.raw.get("eventID"))
        try:
            change.event_name  # noqa: B018 - an unknown one is malformed, whatever the handler looks at
            result = self._function(change)
            if result is not None and (inspect.isawaitable(result) or inspect.isgenerator(result)):
                raise AwaitableResultError(f"{result!r} was never run: a consumer is a plain function")  # noqa: TRY301
        except GeneratorExit:
            raise
        except BaseException as error:
            return (isinstance(error, PermanentError) and self._park(change, error)) or self._fail(change, error)
        return True

    def _park(self, change: Change, error: BaseException) -> bool:
        if self._failures is None:
            return False
        try:
            self._failures.park(change, error, self._context, self._clock())
        except Exception:
            logger.exception("change could not be parked", event_id=change.raw.get("eventID"))
            return False
        self._parked += 1
        self._log("change parked", change, error)
        return True

    def _fail(self, change: Change, error: BaseException) -> bool:
        self._failed += 1
        self._log("change failed", change, error)
        return False

    def _log(self, message: str, change: Change, error: BaseException) -> None:
        logger.error(
            message,
            exc_info=error,
            event_id=change.raw.get("eventID"),
            event_name=change.raw.get("eventName"),
            table=change.table_name,
            keys=plain(change.raw["dynamodb"]["Keys"]),
            sequence_number=change.sequence_number,
            error={"type": type(error).__name__, "text": str(error)},
        )


def plain(keys: Mapping[str, Any]) -> dict[str, Any]:
    """A record's keys as plain JSON; numbers stay text where they are no whole ones."""
    return {name: _plain(*next(iter(value.items()))) for name, value in keys.items()}


def _plain(kind: str, text: str) -> Any:
    return int(text) if kind == "N" and text.lstrip("-").isdecimal() else text


def checked(records: Any) -> list[dict[str, Any]]:
    """The records, once each can be named and put in order."""
    if not isinstance(records, list) or not records:
        raise InvalidBatchError(f"Records is {records!r}, not a list of stream records")
    for index, record in enumerate(records):
        where = f"Records[{index}]"
        if not isinstance(record, dict):
            raise InvalidBatchError(f"{where} is {record!r}, not a stream record")
        if record.get("eventSource") != "aws:dynamodb":
            raise InvalidBatchError(f"{where}.eventSource is {record.get('eventSource')!r}, not 'aws:dynamodb'")
        body = record.get("dynamodb") or {}
        if not isinstance(body.get("SequenceNumber"), str) or not body["SequenceNumber"].isdecimal():
            raise InvalidBatchError(f"{where}.dynamodb.SequenceNumber is {body.get('SequenceNumber')!r}, not digits")
        if not isinstance(body.get("Keys"), dict) or not body["Keys"]:
            raise InvalidBatchError(f"{where}.dynamodb.Keys is {body.get('Keys')!r}, not a primary key")
    return records


def item_of(record: Mapping[str, Any]) -> tuple[Any, ...]:
    """What names the item: its stream and full primary key."""
    keys = record["dynamodb"]["Keys"]
    return (record.get("eventSourceARN"), *((name, *keys[name].items()) for name in sorted(keys)))
