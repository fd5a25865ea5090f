"""One batch through the engine: each item's changes in order, a failing item held, only the rest reported."""

import threading
from collections import deque
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from handler.stream.attempt import Health, InPlace, attempt, reason_to_park
from handler.stream.batch import Batch, Function, Item
from handler.stream.change import Change
from handler.stream.environment import Environment
from handler.stream.failures import FailureStore
from handler.stream.invocation import RESERVE, Invocation
from handler.stream.ledger import Ledger
from handler.stream.ledger.holds import Lease, Position
from handler.stream.ledger.notes import DONE, HELD, UNDONE, Note
from handler.stream.ledger.rows import FORMAT, HoldRow, digest_of, version_of
from handler.stream.ledger.table import RefusedError
from handler.stream.parking import Parking
from handler.stream.telemetry import count, described, listed, log_failure, logger, moment
from handler.stream.workers import Executor

RECORD_AGE_SECONDS = 23 * 3600.0
"""The mapping discards older records: an hour before the stream does, so that they reach the failure bucket."""
AGE_MARGIN = 120.0
"""Seconds after this invocation in which a reported record could be delivered again: longer than the mapping's
back-off."""
MOST_WAITING = 10_000
"""Waiting changes of one item: further ones are parked, since a hold that long is not drained by itself."""
ALONE_SECONDS = 30.0
"""Older than this and alone in its batch, a record is likely what bisecting a batch that fails has left."""
MOST_DELIVERIES = 3
"""The delivery of a record alone at which it is held unrun: two before it ended without an answer."""


class UntriedError(Exception):
    """A change is held without a try, since its turn did not come in time or what it needs is down."""


class StillRunningError(Exception):
    """A handler still runs when the function's time is over."""


class SuspectError(Exception):
    """A record whose deliveries end without an answer: the function may die of it."""


class HoldFullError(Exception):
    """So many changes of the item wait that no more are held."""


class OutOfSequenceError(Exception):
    """A change at or below the last one that its item's hold took in, and not among those."""


class Setting(Protocol):
    """What a batch takes from the processor of its environment."""

    settings: Environment
    ledger: Ledger | None
    failures: FailureStore | None
    executor: Executor
    health: Health
    sleep: Callable[[float], None]


@dataclass
class _OwnedHold:
    """A hold that was made of an item while its handler ran; the handler's end waits for `made`."""

    made: threading.Event = field(default_factory=threading.Event)
    row: HoldRow | None = None


class BatchRun:
    """One run of a batch; the state of each record stands at the record's position."""

    def __init__(self, setting: Setting, batch: Batch, function: Function, invocation: Invocation) -> None:
        self._setting, self._batch, self._invocation = setting, batch, invocation
        self._settings, self._ledger, self._function = setting.settings, setting.ledger, function
        self._handler_timeout = setting.settings.handler_timeout_seconds
        self._in_place = InPlace(function, invocation, setting.sleep, self._handler_timeout)
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
            if deliveries >= MOST_DELIVERIES:
                error = SuspectError(f"{deliveries - 1} deliveries of the record alone ended without an answer")
                self._hold(self._undone(), error, tries=0, deaths=1)
            else:
                left = self._invocation.left if self._invocation.is_timed else None
                self._setting.executor(self._items(), left, self._on_deadline)
            self._write_note(self._checkpoint())
            if deliveries:
                self._forget_delivery()
        self._invocation.counts["ReportedChanges"] = len(self._undone())
        count(self._invocation.counts)

    # What is known at the start

    def _read(self) -> bool:
        """Read note and holds; False where the whole batch has to come again."""
        if self._ledger is None:
            return True
        try:
            self._note = self._ledger.notes.read(self._batch.stream, self._batch.sequences[0])
            self._rows = self._ledger.holds.of_items(self._digests)
        except Exception:
            logger.exception("the ledger cannot be read: the whole batch comes again")
            return False
        self._states = [self._note.states.get(sequence, UNDONE) for sequence in self._batch.sequences]
        if not self._rows:
            return True
        for position in self._undone():
            row = self._rows.get(self._digest(position))
            if row is None:
                continue
            if row.format > FORMAT:
                logger.error("a newer version is at work: the whole batch comes again", item=row.digest)
                self._states = [UNDONE] * len(self._states)
                return False
            self._settle(position, row)
        return True

    def _digests(self) -> Iterable[str]:
        firsts: dict[Item, int] = {}
        for position, item in enumerate(self._batch.items):
            firsts.setdefault(item, position)
        return {self._digest(position) for position in firsts.values()}

    def _settle(self, position: int, row: HoldRow) -> None:
        """Take a change as settled that its item's hold took in; park it where its place is taken by another."""
        change = self._change(position)
        if version_of(change) > row.tail:
            return
        if row.has_settled(change):
            self._states[position] = HELD
            return
        self._invocation.count("OutOfSequence")
        error = OutOfSequenceError(f"its item's hold has taken in changes up to {row.tail}")
        if self._parking.park(change, error, "OutOfSequence"):
            self._states[position] = HELD

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
            self._ledger.deliveries.forget(self._batch.stream, self._batch.sequences[0])
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
        left = deque(own)
        row = self._rows.get(self._digest(left[0])) if self._rows else None
        if row is not None:
            yield
            if version_of(self._change(left[0])) <= row.tail:
                return  # it is out of sequence and cannot be parked
            if row.is_held:
                left = self._append(row, left)
        invocation, health, handler_timeout = self._invocation, self._setting.health, self._handler_timeout
        while left:
            yield
            if left[0] != self._first and invocation.left() <= handler_timeout:
                if any(map(self._is_too_old, left)):
                    self._hold(left, UntriedError("its turn did not come in time"), tries=0)
                return
            if self._ledger and not health.may_try(invocation.clock()):
                left = self._hold(left, UntriedError("the changes before it failed one after the other"), tries=0)
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
            self._setting.health.succeeded()
            self._states[position] = DONE
            left.popleft()
            return left
        return self._conclude(left, error, tries, owned)

    def _conclude(
        self, left: deque[int], error: BaseException | None, tries: int, owned: "_OwnedHold | None"
    ) -> deque[int]:
        """Park or hold a change that failed; move a hold on that was made while its handler ran."""
        change, reason = self._change(left[0]), error and reason_to_park(error)
        is_parked = bool(error and reason and self._parking.park(change, error, reason))
        if owned is not None:
            owned.made.wait()
            if owned.row is not None:
                self._end_owned(owned.row, left, None if is_parked else error)
                return deque()
        if error is None or is_parked:
            self._states[left[0]] = DONE if error is None else HELD
            left.popleft()
            return left
        self._in_place.failed_items += 1
        if not reason:
            self._setting.health.failed(self._invocation.clock())
        return self._hold(left, error, tries=tries)

    def _owned_hold(self, item: Item) -> "_OwnedHold | None":
        with self._lock:
            return self._owned.get(item)

    # Holds

    def _hold(self, left: Collection[int], error: BaseException, *, tries: int, deaths: int = 0) -> deque[int]:
        """Hold an item, of which these changes wait; those that may run now after all."""
        changes = [self._change(position) for position in left]
        if self._ledger is None:
            log_failure("change failed", changes[0], error)
            return deque()
        now = self._invocation.clock()
        due = now + self._settings.minute_seconds
        try:
            row = self._ledger.holds.hold(
                digest_of(changes[0]), changes, error, now=now, due=due, tries=tries, deaths=deaths
            )
        except RefusedError as refused:
            return self._refused(refused, left)
        except Exception:
            logger.exception("the ledger cannot hold an item: its changes come again", **described(changes[0]))
            log_failure("change failed", changes[0], error)
            return deque()
        self._waits(left)
        log_failure(
            "item held",
            changes[0],
            error,
            item=row.digest,
            attempts=tries,
            next_try=moment(due),
            **listed(changes),
        )
        return deque()

    def _append(self, row: HoldRow, left: Collection[int]) -> deque[int]:
        """Let an item's later changes wait, too; those that may run now after all."""
        if self._ledger is None:
            return deque(left)
        if row.waiting >= MOST_WAITING:
            left = [position for position in left if not self._park_full(row, position)]
        changes = [self._change(position) for position in left]
        if not changes:
            return deque()
        try:
            row = self._ledger.holds.append(row.digest, changes)
        except RefusedError as refused:
            return self._refused(refused, left)
        except Exception:
            logger.exception("the ledger cannot hold changes: they come again", **described(changes[0]))
            return deque()
        self._waits(left)
        first = (row.next or "").rpartition("#")[2].lstrip("0")
        logger.info(
            "changes wait",
            **described(changes[0]),
            item=row.digest,
            waits_for=first,
            waiting=row.waiting,
            **listed(changes),
        )
        return deque()

    def _refused(self, refused: RefusedError, left: Collection[int]) -> deque[int]:
        """A hold stands otherwise than this batch knew: settle what it took in, and let the rest wait, or run."""
        row = HoldRow.read(refused.row) if refused.row is not None else None
        if row is None:
            return deque(left)
        if row.format > FORMAT:
            logger.error("a newer version is at work: these changes come again", item=row.digest)
            return deque()
        for position in left:
            self._settle(position, row)
        rest = deque(position for position in left if self._states[position] == UNDONE)
        if any(version_of(self._change(position)) <= row.tail for position in rest):
            return deque()  # what is out of sequence and cannot be parked comes again, with all that is after it
        return self._append(row, rest) if row.is_held else rest

    def _park_full(self, row: HoldRow, position: int) -> bool:
        error = HoldFullError(f"{row.waiting} changes of its item wait")
        is_parked = self._parking.park(self._change(position), error, "HoldFull")
        if is_parked:
            self._states[position] = HELD
        return is_parked

    def _waits(self, positions: Collection[int]) -> None:
        for position in positions:
            self._states[position] = HELD
        self._invocation.count("HeldChanges", len(positions))

    def _is_too_old(self, position: int) -> bool:
        """Whether the mapping could discard a change before it is delivered again."""
        created = self._change(position).created_seconds
        return created is not None and created + RECORD_AGE_SECONDS <= self._invocation.ends() + AGE_MARGIN

    # The deadline

    def _on_deadline(self) -> None:
        """Save what is done before Lambda ends the function, and hold the items whose handlers still run."""
        with self._lock:  # a handler that ends from now on looks for a hold of its item
            self._is_late = True
            running = {item: list(left) for item, left in list(self._running.items())}
            owned = {item: _OwnedHold() for item in running} if self._ledger else {}
            self._owned |= owned
        self._write_note(0)
        error = StillRunningError(f"the handler still ran with {RESERVE:g} s left")
        try:
            for item, positions in running.items():
                if item in owned:
                    owned[item].row = self._hold_running(positions, error)
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
                self._hold(positions, UntriedError("its turn did not come in time"), tries=0)

    def _hold_running(self, positions: list[int], error: BaseException) -> HoldRow | None:
        """Hold an item for this invocation until its end; None where that fails."""
        assert self._ledger is not None  # noqa: S101 - the caller's condition
        changes, now = [self._change(position) for position in positions], self._invocation.clock()
        due = now + self._settings.minute_seconds
        lease = Lease(self._invocation.owner, self._invocation.lease_until())
        try:
            row = self._ledger.holds.hold(digest_of(changes[0]), changes, error, now=now, due=due, tries=1, lease=lease)
        except Exception:
            logger.exception("the ledger cannot hold an item whose handler still runs", **described(changes[0]))
            return None
        self._waits(positions)
        log_failure(
            "item held", changes[0], error, item=row.digest, attempts=1, next_try=moment(due), **listed(changes)
        )
        return row

    def _end_owned(self, row: HoldRow, left: Sequence[int], error: BaseException | None) -> None:
        """A handler has ended after its item was held: move the hold on as its owner."""
        assert self._ledger is not None  # noqa: S101 - an owned hold has a ledger
        now, holds = self._invocation.clock(), self._ledger.holds
        try:
            if error is not None:
                unmoved = Position(row.next, 0, row.since, 0, 0)
                holds.hand_back(row, unmoved, now + self._settings.minute_seconds)
            elif len(left) == 1:
                holds.release(row, row.tail, now)
            else:
                following = version_of(self._change(left[1]))
                holds.hand_back(row, Position(following, 1, now, 0, 0), now)
        except RefusedError:
            logger.warning("a hold is no longer this invocation's", item=row.digest)
        except Exception:
            logger.exception("the ledger cannot tell that a handler has ended", item=row.digest)

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
        rest = notes.carried(self._note, self._batch.sequences[-1])
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

    def _digest(self, position: int) -> str:
        return digest_of(self._change(position))
