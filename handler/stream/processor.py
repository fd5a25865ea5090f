"""KeyOrderedProcessor: each item's changes in order, different items at once, what failed reported."""

import contextvars
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self

from handler.stream.batch import Batch, Function, Item, call, read_batch, refuse_async
from handler.stream.change import Change, PermanentError
from handler.stream.environment import Environment
from handler.stream.failures import FailureStore, failure_body
from handler.stream.patience import Patience
from handler.stream.progress import DONE, PARKED, UNDONE, Note, Notes
from handler.stream.telemetry import count, current, log_change, logger
from handler.stream.workers import Death, Executor, Workers

RESERVE = 2.0
"""Seconds kept at an invocation's end for the note and for parking."""


class UntriedError(Exception):
    """A change that had to be parked before its turn came."""


class StillRunningError(Exception):
    """A handler still ran when the function's time was over."""


class KeyOrderedProcessor:
    """Processes one stream's batches, one at a time; with Powertools, `process_partial_response` takes it.

    Parameters
    ----------
    settings : Environment
        Times and number of workers.
    notes : Notes or None
        Progress notes; without them a partly failed batch repeats what it had done.
    failures : FailureStore or None
        Where changes are parked; without it a PermanentError is an ordinary failure, and no change is given up.
    executor : Executor or None
        What runs the items; the environment's own threads unless given.
    clock : callable
        Seconds since 1970.

    Example
    -------
        >>> processor = KeyOrderedProcessor()
        >>> def handler(event, context):
        ...     return process_partial_response(event, record_handler, processor, context)
    """

    event_type = type("EventType", (), {"value": "DynamoDBStreams"})  # what Powertools looks at

    def __init__(
        self,
        settings: Environment | None = None,
        *,
        notes: Notes | None = None,
        failures: FailureStore | None = None,
        executor: Executor | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings or Environment()
        self.notes, self.failures, self.clock = notes, failures, clock
        self.executor = executor or Workers(self.settings.workers)
        self.given_up = set[Item]()

    def __call__(self, records: Any, record_handler: Function, lambda_context: Any = None) -> Self:
        """Take a batch.

        Raises
        ------
        InvalidBatchError
            Where it is none; no handler has started.
        """
        refuse_async(record_handler)
        self._delivery = Delivery(self, read_batch(records), record_handler, lambda_context)
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def process(self) -> None:
        """Run what of the batch is not done; return when no handler runs any more."""
        self._delivery.run()

    def response(self) -> dict[str, list[dict[str, str]]]:
        """What Lambda is told: the sequence numbers that are to come again, ascending."""
        return {"batchItemFailures": [{"itemIdentifier": number} for number in self._delivery.undone_numbers()]}


class Delivery:
    """One batch on its way through the processor; what is known of a record stands at its position."""

    def __init__(self, processor: KeyOrderedProcessor, batch: Batch, function: Function, context: Any) -> None:
        self._env, self._batch, self._function, self._context = processor, batch, function, context
        self._millis: Callable[[], float] | None = getattr(context, "get_remaining_time_in_millis", None)
        self._states = [UNDONE] * len(batch.records)
        self._running: dict[Item, int] = {}
        self._failed: dict[int, tuple[float, BaseException]] = {}
        self._parked: list[int] = []

    def undone_numbers(self) -> list[str]:
        """Sequence numbers of what is not done, as the stream wrote them, ascending."""
        return [self._batch.records[position]["dynamodb"]["SequenceNumber"] for position in self._undone()]

    def run(self) -> None:
        """Read the note, run what is not done, give up what is over, write the note."""
        try:
            self._note = self._read()
        except Exception:
            logger.exception("the ledger cannot be read: the whole batch comes again")
            count(HeldChanges=len(self._states))
            return
        self._states = [self._note.states.get(sequence, UNDONE) for sequence in self._batch.sequences]
        healthy = [item for item, state in zip(self._batch.items, self._states, strict=True) if state == DONE]
        self._patience = Patience(self._env.settings, self._note, self._env.given_up, healthy)
        self._first = next(iter(self._undone()), None)
        self._env.executor(self._items(), self._left if self._millis else None, self._last_words)
        if due := list(self._due()):
            self._write(self._checkpoint())  # parking may take longer than what is left
        self._park_all(due)
        undone = self._undone()
        failed = sum(position in self._failed for position in undone)
        repeats = self._write(self._checkpoint())
        count(
            FailedChanges=failed,
            HeldChanges=len(undone) - failed,
            ParkedChanges=len(self._parked),
            RepeatsToCome=repeats,
        )

    def _read(self) -> Note:
        return self._env.notes.read(self._batch.stream, self._batch.sequences[0]) if self._env.notes else Note()

    def _undone(self) -> list[int]:
        return [position for position, state in enumerate(self._states) if state == UNDONE]

    def _checkpoint(self) -> int:
        return next(iter(self._undone()), len(self._states))

    def _left(self) -> float:
        return self._millis() / 1000 - RESERVE if self._millis else float("inf")

    def _items(self) -> list[Iterator[None]]:
        positions: dict[Item, list[int]] = {}
        for position in self._undone():
            positions.setdefault(self._batch.items[position], []).append(position)
        return [self._item(item, own) for item, own in positions.items()]

    def _item(self, item: Item, positions: list[int]) -> Iterator[None]:
        for position in positions:
            yield
            if position != self._first and self._left() <= self._env.settings.handler_timeout_seconds:
                return
            self._running[item] = position
            done = contextvars.copy_context().run(self._attempt, item, position)
            del self._running[item]
            if not done:
                return

    def _attempt(self, item: Item, position: int) -> bool:
        change = Change(self._batch.records[position])
        current.set(change)
        try:
            change.check_name()
            call(self._function, change)
        except Death:
            raise
        except BaseException as error:  # whatever a handler raises is its change's failure
            return self._failure(item, position, change, error)
        self._states[position] = DONE
        self._patience.succeeded(item, self._env.clock())
        return True

    def _failure(self, item: Item, position: int, change: Change, error: BaseException) -> bool:
        now = self._env.clock()
        if isinstance(error, PermanentError):
            reason = "PermanentError"
        else:
            reason = self._patience.too_old(change.created_seconds, now)
            reason = reason or self._patience.over(item, self._batch.sequences[position], now)
        if self._states[position] == PARKED or (reason and self._park(position, change, error, reason)):
            return True
        if position not in self._failed:  # unless the last words have told of it
            self._failed[position] = (now, error)
            log_change("change failed", change, error)
        return False

    def _park(self, position: int, change: Change, error: BaseException, reason: str) -> bool:
        if self._env.failures is None:
            return False
        try:
            body = failure_body(change, error, reason, self._context, self._env.clock())
            self._env.failures.park(change, body)
        except Exception as refused:
            log_change("change cannot be parked", change, refused)
            return False
        self._states[position] = PARKED
        self._parked.append(position)
        log_change("change parked", change, error)
        return True

    def _due(self) -> Iterator[tuple[int, BaseException, str]]:
        """What is over by now, and why; also what has not failed, where the mapping is about to discard it."""
        now = self._env.clock()
        for position in self._undone():
            item, sequence = self._batch.items[position], self._batch.sequences[position]
            change = Change(self._batch.records[position])
            reason = self._patience.too_old(change.created_seconds, now)
            failed, error = self._failed.get(position, (None, UntriedError("its turn did not come in time")))
            if failed is not None:
                reason = reason or self._patience.over(item, sequence, now)
                reason = reason or self._patience.over_alone(item, sequence, failed, now)
            if reason:
                yield position, error, reason

    def _park_all(self, due: Iterable[tuple[int, BaseException, str]]) -> None:
        """Park these; what has not failed only while there is time."""
        for position, error, reason in due:
            if position in self._failed or self._left() > 0:
                self._park(position, Change(self._batch.records[position]), error, reason)

    def _last_words(self) -> None:
        """Write down what is done before the function dies of a handler that does not end."""
        now = self._env.clock()
        for position in list(self._running.values()):
            error = StillRunningError(f"the handler still ran with {RESERVE:g} s left")
            self._failed[position] = (now, error)
            log_change("change failed", Change(self._batch.records[position]), error)
        repeats = self._write(0)
        self._park_all(self._due())
        if self._parked:
            repeats = self._write(0)
        count(ParkedChanges=len(self._parked), RepeatsToCome=repeats)
        self._parked.clear()

    def _write(self, start: int) -> int:
        """Write the note about the records from a position on; the number of repeats that come if it cannot be written.

        What a batch has left unused of its own note is carried on, under the record that comes next.
        """
        notes, note = self._env.notes, self._note
        if notes is None:
            return 0
        rest = notes.carried(note, self._batch.sequences[-1])
        positions = range(start, len(self._states))
        states = {self._batch.sequences[position]: self._states[position] for position in positions} | dict(rest.states)
        if not states:
            return 0
        clocks, alone = dict(rest.clocks), rest.alone
        undone = [position for position in self._undone() if position >= start]
        for position in undone:
            item, sequence = self._batch.items[position], self._batch.sequences[position]
            failed, _ = self._failed.get(position, (None, None))
            if (clock := self._patience.clock(item, sequence, failed)) is not None:
                clocks[sequence] = clock
            if position == undone[0]:
                alone = None if failed is None else self._patience.alone_since(sequence, failed)
        try:
            notes.write(self._batch.stream, next(iter(states)), Note(states, clocks, alone), self._env.clock())
        except Exception:
            repeats = sum(state != UNDONE for state in states.values())
            logger.exception("the note cannot be written: what is done comes again", repeats=repeats)
            return repeats
        return 0
