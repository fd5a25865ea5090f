"""One batch through the engine: each item's changes in order, a failing item held, only the rest reported."""

import threading
from collections import deque
from collections.abc import Callable, Collection, Container, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from handler.stream.change import Change
from handler.stream.engine.attempt import InPlace, attempt, reason_to_park
from handler.stream.engine.batch import Batch, Function, Item
from handler.stream.engine.health import Health
from handler.stream.engine.invocation import RESERVE, Invocation
from handler.stream.engine.parking import Parking
from handler.stream.engine.workers import Executor
from handler.stream.environment import Environment
from handler.stream.failures import FailureStore
from handler.stream.ledger import Ledger
from handler.stream.ledger.notes import DONE, HELD, UNDONE, Note
from handler.stream.telemetry import count, log_failure, logger

if TYPE_CHECKING:
    from handler.stream.held_items.holding import Holding
    from handler.stream.ledger.rows import HoldRow

# A cold environment in which all is well does not pay for what only a failure needs: that is imported when it is used.

RECORD_AGE_SECONDS = 86_100.0
"""The mapping discards older records, five minutes before the stream may, so that they reach the failure bucket."""
AGE_MARGIN = 120.0
"""Seconds after this invocation in which a reported record could be delivered again: longer than the mapping's
back-off."""
ALONE_SECONDS = 30.0
"""Older than this and alone in its batch, a record is likely what bisecting a batch that fails has left."""
MOST_DELIVERIES = 3
"""The delivery of a record alone at which it is held unrun: two before it ended without an answer."""


Invoke = Callable[[Any, dict[str, Any]], None]
"""Invokes the function again, asynchronously, with a context and a payload."""


class Setting(Protocol):
    """What a batch takes from the processor of its environment."""

    settings: Environment
    ledger: Ledger | None
    failures: FailureStore | None
    executor: Executor
    health: Health
    sleep: Callable[[float], None]
    invoke: Invoke | None


class _OwnedHold:
    """A hold that was made of an item while its handler ran; the handler's end waits for `made`."""

    def __init__(self) -> None:
        self.made = threading.Event()
        self.row: HoldRow | None = None


class BatchRun:
    """One run of a batch; the state of each record stands at the record's position."""

    def __init__(self, setting: Setting, batch: Batch, function: Function, invocation: Invocation) -> None:
        self._setting, self._batch, self._invocation = setting, batch, invocation
        self._settings, self._ledger, self._function = setting.settings, setting.ledger, function
        self._handler_timeout = setting.settings.handler_timeout_seconds
        self._in_place = InPlace(function, invocation, setting.sleep, setting.health, self._handler_timeout)
        self._parking = Parking(setting.failures, invocation)
        self._states = [UNDONE] * len(batch.records)
        self._note = Note()
        self._rows: Mapping[str, HoldRow] = {}
        self._running: dict[Item, deque[int]] = {}
        self._owned: dict[Item, _OwnedHold] = {}
        self._is_late = False
        self._lock = threading.Lock()

    def undone_numbers(self) -> list[str]:
        """Sequence numbers of the records that are to come again, as the stream wrote them, ascending."""
        return [self._batch.records[position]["dynamodb"]["SequenceNumber"] for position in self._undone()]

    def run(self) -> None:
        """Read note and holds, run what is not settled, hold what fails, and write a note of what is reported."""
        if self._read() and (deliveries := self._count_delivery()) is not None:
            self._first = next(iter(self._undone()), None)
            self._ask_for_retry_run()
            if deliveries >= MOST_DELIVERIES:
                from handler.stream.held_items.holding import SuspectError

                error = SuspectError(f"{deliveries - 1} deliveries of the record alone ended without an answer")
                rest = self._hold(self._undone(), error, tries=0, deaths=1)
                if rest:  # its item was released a moment ago
                    self._hold(rest, error, tries=0, deaths=1)
            else:
                left = self._invocation.left if self._invocation.is_timed else None
                self._setting.executor(self._items(), left, self._on_deadline)
            self._write_note(self._checkpoint())
            if deliveries:
                self._forget_delivery()
        self._invocation.counts["ReportedChanges"] = len(self._undone())
        count(self._invocation.counts)

    def _ask_for_retry_run(self) -> None:
        """Have the items that took a detour tried at once, in another environment while this one is busy."""
        if not self._setting.invoke or not self._setting.health.should_ask(self._invocation.clock()):
            return
        try:
            self._setting.invoke(self._invocation.context, {"table-stream": "retry"})
        except Exception:
            logger.exception("a retry run cannot be asked for: the next minute's takes the items")

    # What is known at the start

    def _read(self) -> bool:
        """Read note and holds; False where the whole batch has to come again."""
        if self._ledger is None:
            return True
        try:
            self._note = self._ledger.notes.read(self._batch.stream, self._batch.sequences[0])
            self._rows = self._ledger.read_hold_rows(self._digests)
        except Exception:
            logger.exception("the ledger cannot be read: the whole batch comes again")
            return False
        self._states[:] = [self._note.states.get(sequence, UNDONE) for sequence in self._batch.sequences]
        if self._rows and not self._holding.settle_already_held(self._undone(), self._rows):
            self._states[:] = [UNDONE] * len(self._states)
            return False
        return True

    def _digests(self) -> set[str]:
        from handler.stream.ledger.rows import digest_of

        return {digest_of(self._change(positions[0])) for positions in self._by_item().values()}

    def _count_delivery(self) -> int | None:
        """The delivery's number where a function may have died of the batch's one record, else 0; None: not counted."""
        if self._ledger is None or len(self._states) != 1 or not self._undone():
            return 0
        created, now = self._change(0).created_seconds, self._invocation.clock()
        if created is None or now - created <= self._settings.batching_window_seconds + ALONE_SECONDS:
            return 0
        try:
            return self._ledger.deliveries.count(self._batch.stream, self._batch.sequences[0], now)
        except Exception:
            logger.exception("the ledger cannot count a delivery: the batch comes again")
            return None

    def _forget_delivery(self) -> None:
        assert self._ledger is not None  # noqa: S101 - a delivery is counted in the ledger
        try:
            self._ledger.deliveries.delete(self._batch.stream, self._batch.sequences[0])
        except Exception:
            logger.exception("the ledger cannot give back a counted delivery")

    # Running

    def _by_item(self) -> dict[Item, list[int]]:
        positions: dict[Item, list[int]] = {}
        for position in self._undone():
            positions.setdefault(self._batch.items[position], []).append(position)
        return positions

    def _items(self) -> list[Iterator[None]]:
        return [self._item(item, positions) for item, positions in self._by_item().items()]

    def _item(self, item: Item, own: list[int]) -> Iterator[None]:
        """Run an item's changes one after the other."""
        left, released_at = deque(own), None
        if self._rows:
            yield
            row = self._holding.row_of(left[0], self._rows)
            left, released_at = self._holding.append_if_held(row, left), row.released_at if row else None
        invocation, health, handler_timeout = self._invocation, self._setting.health, self._handler_timeout
        while left:
            yield
            if left[0] != self._first and invocation.left() <= handler_timeout:
                if any(map(self._is_too_old, left)):
                    self._hold_all(left, "its turn did not come in time")
                return
            if self._setting.invoke and not health.trusts(item, invocation.clock(), released_at):
                left = self._hold_untried(
                    left, "others failed slowly: it is tried beside the shard", due_in_seconds=0.0
                )
                health.took_detour()
                self._ask_for_retry_run()
            elif self._ledger and not health.may_try(invocation.clock()):
                left = self._hold_untried(left, "the changes before it failed one after the other")
            else:
                left = self._try(item, left)

    def _try(self, item: Item, left: deque[int]) -> deque[int]:
        """Run the first of the changes that an item has left; those that are left then."""
        position = left[0]
        change = self._change(position)
        began = self._invocation.clock()
        self._running[item] = left
        error, tries = attempt(self._function, change), 1
        if error is not None:
            error, tries = self._in_place.again(change, error, began)
        del self._running[item]
        owned = self._owned_hold(item) if self._is_late else None
        if error is None and owned is None:
            self._setting.health.succeeded(item)
            self._states[position] = DONE
            left.popleft()
            return left
        seconds = self._invocation.clock() - began
        return self._conclude(item, left, error, (tries, seconds), owned)

    def _conclude(
        self,
        item: Item,
        left: deque[int],
        error: BaseException | None,
        spent: tuple[int, float],
        owned: "_OwnedHold | None",
    ) -> deque[int]:
        """Park or hold a change that failed after so many tries and seconds; move on a hold made while it ran."""
        change, reason = self._change(left[0]), error and reason_to_park(error)
        is_parked = bool(error and reason and self._parking.park(change, error, reason))
        if owned is not None:
            owned.made.wait()
            if owned.row is not None:
                self._holding.advance_owned_hold(owned.row, left, None if is_parked else error)
                return deque()
        if error is None or is_parked:
            self._states[left[0]] = DONE if error is None else HELD
            left.popleft()
            return left
        self._in_place.failed_items += 1
        tries, seconds = spent
        if not reason:
            self._setting.health.failed(item, self._invocation.clock(), seconds)
        return self._hold(left, error, tries=tries)

    def _owned_hold(self, item: Item) -> "_OwnedHold | None":
        with self._lock:
            return self._owned.get(item)

    def _hold(
        self,
        left: Collection[int],
        error: BaseException,
        *,
        tries: int,
        deaths: int = 0,
        due_in_seconds: float | None = None,
    ) -> deque[int]:
        """Hold an item, of which these changes wait, until it is due; those that may run now after all."""
        if self._ledger is None:
            log_failure("change failed", self._change(next(iter(left))), error)
            return deque()
        due_in_seconds = self._settings.minute_seconds if due_in_seconds is None else due_in_seconds
        return self._holding.hold(left, error, tries=tries, deaths=deaths, due_in_seconds=due_in_seconds)

    def _hold_untried(self, left: Collection[int], why: str, due_in_seconds: float | None = None) -> deque[int]:
        from handler.stream.held_items.holding import UntriedError

        return self._hold(left, UntriedError(why), tries=0, due_in_seconds=due_in_seconds)

    def _hold_all(self, left: Collection[int], why: str) -> None:
        """Hold an item whose changes must not be reported, even where it was released a moment ago."""
        rest = self._hold_untried(left, why)
        if rest:
            self._hold_untried(rest, why)

    def _is_too_old(self, position: int) -> bool:
        """Whether the mapping could discard a change before it is delivered again."""
        created = self._change(position).created_seconds
        return created is not None and created + RECORD_AGE_SECONDS <= self._invocation.ends() + AGE_MARGIN

    @cached_property
    def _holding(self) -> "Holding":
        from handler.stream.held_items.holding import Holding

        assert self._ledger is not None  # noqa: S101 - nothing is held without a ledger
        return Holding(
            *(self._batch, self._states, self._ledger.holds, self._parking, self._invocation),
            minute_seconds=self._settings.minute_seconds,
        )

    # The deadline

    def _on_deadline(self) -> None:
        """Save what is done before Lambda ends the function, and hold the items whose handlers still run."""
        with self._lock:  # a handler that ends from now on looks for a hold of its item
            self._is_late = True
            running = {item: list(left) for item, left in list(self._running.items())}
            owned = {item: _OwnedHold() for item in running} if self._ledger else {}
            self._owned |= owned
        from handler.stream.held_items.holding import StillRunningError

        self._write_note(0)
        error = StillRunningError(f"the handler still ran with {RESERVE:g} s left")
        try:
            for item, positions in running.items():
                if item in owned:
                    owned[item].row = self._holding.hold_running(positions, error)
                    owned[item].made.set()
                else:
                    log_failure("change failed", self._change(positions[0]), error)
        finally:
            for hold in owned.values():
                hold.made.set()
        self._hold_too_old(running)
        if owned:
            self._write_note(0)
        count(self._invocation.counts)
        self._invocation.counts.clear()

    def _hold_too_old(self, running: Container[Item]) -> None:
        """Hold the items whose turn did not come and whose changes the mapping could discard."""
        if self._ledger is None:
            return
        for item, positions in self._by_item().items():
            if item not in running and any(map(self._is_too_old, positions)):
                self._hold_all(positions, "its turn did not come in time")

    # The note

    def _undone(self) -> list[int]:
        return [position for position, state in enumerate(self._states) if state == UNDONE]

    def _checkpoint(self) -> int:
        return next(iter(self._undone()), len(self._states))

    def _write_note(self, start: int) -> None:
        """Write the note about the records from a position on; count what is repeated where that fails.

        The part of its own note that a batch leaves unused is carried on, under the record that comes next.
        """
        if self._ledger is None:
            return
        notes = self._ledger.notes
        rest = self._note.after(self._batch.sequences[-1])
        states = dict(zip(self._batch.sequences[start:], self._states[start:], strict=True)) | dict(rest.states)
        if not states:
            return
        try:
            notes.write(self._batch.stream, next(iter(states)), Note(states), self._invocation.clock())
        except Exception:
            repeats = sum(state == DONE for state in states.values())
            logger.exception("the note cannot be written: what is done comes again", repeats=repeats)
            self._invocation.count("RepeatedChanges", repeats)

    def _change(self, position: int) -> Change:
        return Change(self._batch.records[position])
