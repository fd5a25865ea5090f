"""The run of one batch: each item's changes run in order, and a failing item is held with its later changes."""

import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from handler.stream.engine.attempt import InPlaceRetries, attempt, reason_to_park
from handler.stream.engine.batch import Batch, Function, ItemKey
from handler.stream.engine.batch_state import BatchState
from handler.stream.engine.health import Health
from handler.stream.engine.invocation import RESERVE_SECONDS, Invocation
from handler.stream.engine.parking import Parking
from handler.stream.engine.workers import Executor
from handler.stream.environment import Environment
from handler.stream.failures import FailureStore
from handler.stream.ledger import Ledger
from handler.stream.ledger.notes import DONE, HELD, Note
from handler.stream.telemetry import emit_counts, log_failure, logger

if TYPE_CHECKING:
    from handler.stream.held_items.holding import Holding
    from handler.stream.ledger.rows import HoldRow

# Modules that only a failure needs are imported on first use, so that a cold start does not pay for them.

RECORD_AGE_SECONDS = 86_100.0
"""The mapping discards older records: 5 min before the stream may, so that they reach the failure bucket."""
AGE_MARGIN_SECONDS = 120.0
"""How long after this invocation the mapping may deliver a reported record again: longer than its back-off."""
ALONE_SECONDS = 30.0
"""A record that is older and alone in its batch may be left over from bisecting a batch that kills the function."""
MOST_DELIVERIES = 3
"""The third delivery of such a record is held without a try: two deliveries have ended without a response."""


Invoke = Callable[[Any, dict[str, Any]], None]
"""Invokes this function asynchronously, with a context and a payload."""


class Processor(Protocol):
    """The attributes of KeyOrderedProcessor that a batch run and a retry run use."""

    settings: Environment
    ledger: Ledger | None
    failures: FailureStore | None
    executor: Executor
    health: Health
    sleep: Callable[[float], None]
    invoke: Invoke | None


class _LateHold:
    """A hold that is written at the deadline while the item's handler runs; the handler's end waits for `written`."""

    def __init__(self) -> None:
        self.written = threading.Event()
        self.row: HoldRow | None = None


class BatchRun:
    """One run of a batch."""

    def __init__(self, processor: Processor, batch: Batch, function: Function, invocation: Invocation) -> None:
        self._processor, self._batch, self._invocation = processor, batch, invocation
        self._settings, self._ledger, self._function = processor.settings, processor.ledger, function
        timeout_seconds = processor.settings.handler_timeout_seconds
        self._in_place = InPlaceRetries(function, invocation, processor.sleep, processor.health, timeout_seconds)
        self._parking = Parking(processor.failures, invocation)
        self._state = BatchState(batch)
        self._rows: Mapping[str, HoldRow] = {}
        self._running: dict[ItemKey, deque[int]] = {}
        self._late_holds: dict[ItemKey, _LateHold] = {}
        self._is_late = False
        self._lock = threading.Lock()

    def undone_numbers(self) -> list[str]:
        """Return the sequence numbers to report to Lambda, as the stream wrote them, ascending."""
        return self._state.undone_numbers()

    def run(self) -> None:
        """Read the note and the holds, run the undone changes, hold what fails, and note what is reported."""
        if self._read() and (deliveries := self._count_delivery()) is not None:
            self._first = next(iter(self._state.undone()), None)
            self._request_retry_run()
            if deliveries >= MOST_DELIVERIES:
                from handler.stream.held_items.holding import SuspectError

                error = SuspectError(f"{deliveries - 1} deliveries of the record alone ended without a response")
                self._hold_twice(self._state.undone(), error, deaths=1)
            else:
                seconds_left = self._invocation.seconds_left if self._invocation.is_timed else None
                self._processor.executor(self._item_runs(), seconds_left, self._on_deadline)
            self._write_note(self._state.checkpoint())
            if deliveries:
                self._forget_delivery()
        self._invocation.counts["ReportedChanges"] = len(self._state.undone())
        emit_counts(self._invocation.counts)

    def _request_retry_run(self) -> None:
        """Invoke a retry run for the items that took a detour: another environment runs it, since this one is busy."""
        if not self._processor.invoke or not self._processor.health.should_ask(self._invocation.clock()):
            return
        try:
            self._processor.invoke(self._invocation.context, {"table-stream": "retry"})
        except Exception:
            logger.exception("a retry run cannot be invoked: the next scheduled run takes the items")

    # Before the first change

    def _read(self) -> bool:
        """Read the note and the holds; return False if Lambda must deliver the whole batch again."""
        if self._ledger is None:
            return True
        try:
            note = self._ledger.notes.read(self._batch.stream, self._batch.sequences[0])
            self._rows = self._ledger.hold_rows(self._digests)
        except Exception:
            logger.exception("the ledger cannot be read: the whole batch is reported")
            return False
        self._state.start_from(note)
        if self._rows and not self._holding.settle_known(self._state.undone(), self._rows):
            self._state.start_from(Note())  # every record is undone: Lambda delivers the whole batch again
            return False
        return True

    def _digests(self) -> set[str]:
        from handler.stream.ledger.rows import digest_of

        return {digest_of(self._state.change(positions[0])) for positions in self._state.undone_by_item().values()}

    def _count_delivery(self) -> int | None:
        """Count a delivery of an old record that is alone in its batch, since the record may kill the function.

        Returns
        -------
        int or None
            The number of this delivery; 0 if it needs no count; None if the ledger cannot count it.
        """
        if self._ledger is None or len(self._batch.records) != 1 or not self._state.undone():
            return 0
        created, now = self._state.change(0).created_seconds, self._invocation.clock()
        if created is None or now - created <= self._settings.batching_window_seconds + ALONE_SECONDS:
            return 0
        try:
            return self._ledger.deliveries.count(self._batch.stream, self._batch.sequences[0], now)
        except Exception:
            logger.exception("the ledger cannot count a delivery: the batch is reported")
            return None

    def _forget_delivery(self) -> None:
        assert self._ledger is not None  # noqa: S101 - a delivery is counted in the ledger
        try:
            self._ledger.deliveries.forget(self._batch.stream, self._batch.sequences[0])
        except Exception:
            logger.exception("the ledger cannot remove the count of a delivery")

    # Running

    def _item_runs(self) -> list[Iterator[None]]:
        return [self._run_item(item, positions) for item, positions in self._state.undone_by_item().items()]

    def _run_item(self, item: ItemKey, undone: list[int]) -> Iterator[None]:
        """Run an item's changes one after the other; yield before each of them."""
        positions, released_at = deque(undone), None
        if self._rows:
            yield
            row = self._holding.row_of(positions[0], self._rows)
            positions, released_at = self._holding.let_wait(row, positions), row.released_at if row else None
        invocation, health, settings = self._invocation, self._processor.health, self._settings
        while positions:
            yield
            if positions[0] != self._first and invocation.seconds_left() <= settings.handler_timeout_seconds:
                self._hold_if_too_old(positions)
                return
            if self._processor.invoke and not health.trusts(item, invocation.clock(), released_at):
                reason = "others failed slowly: a retry run tries it"
                positions = self._hold_untried(positions, reason, due_in_seconds=0.0)
                health.record_detour()
                self._request_retry_run()
            elif self._ledger and not health.may_try(invocation.clock()):
                positions = self._hold_untried(positions, "the changes before it failed one after the other")
            else:
                positions = self._run_first(item, positions)

    def _run_first(self, item: ItemKey, positions: deque[int]) -> deque[int]:
        """Run the first of an item's changes; return the positions that may still run."""
        change = self._state.change(positions[0])
        began = self._invocation.clock()
        self._running[item] = positions
        error, tries = attempt(self._function, change), 1
        if error is not None:
            error, tries = self._in_place.retry(change, error, began)
        del self._running[item]
        late_hold = self._late_hold(item) if self._is_late else None
        if error is None and late_hold is None:
            self._processor.health.record_success(item)
            self._state.states[positions.popleft()] = DONE
            return positions
        seconds = self._invocation.clock() - began
        return self._settle(item, positions, error, (tries, seconds), late_hold)

    def _settle(
        self,
        item: ItemKey,
        positions: deque[int],
        error: BaseException | None,
        tries_and_seconds: tuple[int, float],
        late_hold: _LateHold | None,
    ) -> deque[int]:
        """Park or hold a failed change, or update the hold written while its handler ran.

        Return the positions that may still run.
        """
        change, reason = self._state.change(positions[0]), error and reason_to_park(error)
        is_parked = bool(error and reason and self._parking.park(change, error, reason))
        if late_hold is not None:
            late_hold.written.wait()
            if late_hold.row is not None:
                self._holding.end_owned(late_hold.row, positions, None if is_parked else error)
                return deque()
        if error is None or is_parked:
            self._state.states[positions.popleft()] = DONE if error is None else HELD
            return positions
        self._in_place.failed_items += 1
        tries, seconds = tries_and_seconds
        if not reason:
            self._processor.health.record_failure(item, self._invocation.clock(), seconds)
        return self._hold(positions, error, tries=tries)

    def _late_hold(self, item: ItemKey) -> _LateHold | None:
        with self._lock:
            return self._late_holds.get(item)

    # Holding

    def _hold(
        self,
        positions: Collection[int],
        error: BaseException,
        *,
        tries: int,
        deaths: int = 0,
        due_in_seconds: float | None = None,
    ) -> deque[int]:
        """Hold an item with these changes waiting; return the positions that may run after all.

        Without a ledger the changes stay undone, so that Lambda delivers them again.
        """
        if self._ledger is None:
            log_failure("change failed", self._state.change(next(iter(positions))), error)
            return deque()
        due_in = self._settings.minute_seconds if due_in_seconds is None else due_in_seconds
        return self._holding.hold(positions, error, tries=tries, deaths=deaths, due_in=due_in)

    def _hold_untried(self, positions: Collection[int], reason: str, due_in_seconds: float | None = None) -> deque[int]:
        from handler.stream.held_items.holding import UntriedError

        return self._hold(positions, UntriedError(reason), tries=0, due_in_seconds=due_in_seconds)

    def _hold_twice(self, positions: Collection[int], error: BaseException, deaths: int = 0) -> None:
        """Hold changes that must not run here: a second time if a retry run has just released their item."""
        rest = self._hold(positions, error, tries=0, deaths=deaths)
        if rest:
            self._hold(rest, error, tries=0, deaths=deaths)

    def _hold_if_too_old(self, positions: Collection[int]) -> None:
        """Hold changes that had no turn if the mapping could discard one of them before it delivers it again."""
        if any(map(self._is_too_old, positions)):
            from handler.stream.held_items.holding import UntriedError

            self._hold_twice(positions, UntriedError("its turn did not come in time"))

    def _is_too_old(self, position: int) -> bool:
        created = self._state.change(position).created_seconds
        return created is not None and created + RECORD_AGE_SECONDS <= self._invocation.end_time() + AGE_MARGIN_SECONDS

    @cached_property
    def _holding(self) -> "Holding":
        from handler.stream.held_items.holding import Holding

        assert self._ledger is not None  # noqa: S101 - nothing is held without a ledger
        return Holding(
            *(self._batch, self._state.states, self._ledger.holds, self._parking, self._invocation),
            minute_seconds=self._settings.minute_seconds,
        )

    # The deadline

    def _on_deadline(self) -> None:
        """Called just before the Lambda time-out while a handler still runs: save progress and hold the running items.

        The retry then repeats only what was interrupted.
        """
        with self._lock:  # from now on, a thread whose handler ends looks for the hold of its item
            self._is_late = True
            running = {item: list(positions) for item, positions in list(self._running.items())}
            late_holds = {item: _LateHold() for item in running} if self._ledger else {}
            self._late_holds |= late_holds
        from handler.stream.held_items.holding import StillRunningError

        self._write_note(0)
        error = StillRunningError(f"the handler still ran with {RESERVE_SECONDS:g} s left")
        try:
            for item, positions in running.items():
                if item in late_holds:
                    late_holds[item].row = self._holding.hold_running(positions, error)
                    late_holds[item].written.set()
                else:
                    log_failure("change failed", self._state.change(positions[0]), error)
        finally:
            for hold in late_holds.values():
                hold.written.set()
        if self._ledger:
            for item, positions in self._state.undone_by_item().items():
                if item not in running:
                    self._hold_if_too_old(positions)
        if late_holds:
            self._write_note(0)
        emit_counts(self._invocation.counts)
        self._invocation.counts.clear()

    def _write_note(self, start: int) -> None:
        """Write the note of the records from a position on; if that fails, count the changes that will be repeated.

        A batch may be shorter than the note that it started from. The rest of that note is kept under the record that
        comes next.
        """
        if self._ledger is None:
            return
        notes = self._ledger.notes
        note = self._state.note_from(start, notes.carried(self._state.note, self._batch.sequences[-1]))
        if not note.states:
            return
        try:
            notes.write(self._batch.stream, next(iter(note.states)), note, self._invocation.clock())
        except Exception:
            repeats = sum(state == DONE for state in note.states.values())
            logger.exception("the note cannot be written: finished changes are repeated", repeats=repeats)
            self._invocation.count("RepeatedChanges", repeats)
