"""One batch through the engine: each item's changes in order, a failing item held, only the rest reported."""

import threading
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from handler.stream.attempt import Health, InPlace, reason_to_park
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
        self._settings, self._ledger = setting.settings, setting.ledger
        self._in_place = InPlace(function, invocation, setting.sleep, setting.settings.handler_timeout_seconds)
        self._parking = Parking(setting.failures, invocation)
        self._states = [UNDONE] * len(batch.records)
        self._note = Note()
        self._rows: Mapping[str, HoldRow] = {}
        self._running: dict[Item, list[int]] = {}
        self._owned: dict[Item, _OwnedHold] = {}
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
        self._invocation.counts["OutOfSequence"] += 1
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

    def _item(self, item: Item, positions: list[int]) -> Iterator[None]:
        """Run an item's changes one after the other; `positions` are those that are left."""
        row = self._rows.get(self._digest(positions[0])) if self._rows else None
        if row is not None:
            yield
            if version_of(self._change(positions[0])) <= row.tail:
                return  # it is out of sequence and cannot be parked
            if row.is_held:
                positions = self._append(row, positions)
        while positions:
            yield
            if positions[0] != self._first and self._invocation.left() <= self._settings.handler_timeout_seconds:
                if any(map(self._is_too_old, positions)):
                    self._hold(positions, UntriedError("its turn did not come in time"), tries=0)
                return
            if self._ledger and not self._setting.health.may_try(self._invocation.clock()):
                positions = self._hold(
                    positions, UntriedError("the changes before it failed one after the other"), tries=0
                )
                continue
            positions = self._try(item, positions)

    def _try(self, item: Item, positions: list[int]) -> list[int]:
        """Run the first of an item's changes; the positions that are still to be run."""
        with self._lock:
            self._running[item] = positions
        change = self._change(positions[0])
        error, tries = self._in_place.run(change)
        with self._lock:
            del self._running[item]
            owned = self._owned.get(item)
        reason = error and reason_to_park(error)
        is_parked = bool(error and reason and self._parking.park(change, error, reason))
        if error is None:
            self._setting.health.succeeded()
        if owned is not None:
            owned.made.wait()
            if owned.row is not None:
                self._end_owned(owned.row, positions, None if is_parked else error)
                return []
        if error is None or is_parked:
            self._states[positions[0]] = DONE if error is None else HELD
            return positions[1:]
        self._in_place.failed_items += 1
        if not reason:
            self._setting.health.failed(self._invocation.clock())
        return self._hold(positions, error, tries=tries)

    # Holds

    def _hold(self, positions: list[int], error: BaseException, *, tries: int, deaths: int = 0) -> list[int]:
        """Hold an item, of which these changes wait; the positions of those that may run now after all."""
        changes = [self._change(position) for position in positions]
        if self._ledger is None:
            log_failure("change failed", changes[0], error)
            return []
        now = self._invocation.clock()
        due = now + self._settings.minute_seconds
        try:
            row = self._ledger.holds.hold(
                digest_of(changes[0]), changes, error, now=now, due=due, tries=tries, deaths=deaths
            )
        except RefusedError as refused:
            return self._refused(refused, positions)
        except Exception:
            logger.exception("the ledger cannot hold an item: its changes come again", **described(changes[0]))
            log_failure("change failed", changes[0], error)
            return []
        self._waits(positions)
        log_failure(
            "item held",
            changes[0],
            error,
            item=row.digest,
            attempts=tries,
            next_try=moment(due),
            **listed(changes),
        )
        return []

    def _append(self, row: HoldRow, positions: list[int]) -> list[int]:
        """Let an item's later changes wait, too; the positions of those that may run now after all."""
        if self._ledger is None:
            return positions
        if row.waiting >= MOST_WAITING:
            positions = [position for position in positions if not self._park_full(row, position)]
        changes = [self._change(position) for position in positions]
        if not changes:
            return []
        try:
            row = self._ledger.holds.append(row.digest, changes)
        except RefusedError as refused:
            return self._refused(refused, positions)
        except Exception:
            logger.exception("the ledger cannot hold changes: they come again", **described(changes[0]))
            return []
        self._waits(positions)
        first = (row.next or "").rpartition("#")[2].lstrip("0")
        logger.info(
            "changes wait",
            **described(changes[0]),
            item=row.digest,
            waits_for=first,
            waiting=row.waiting,
            **listed(changes),
        )
        return []

    def _refused(self, refused: RefusedError, positions: list[int]) -> list[int]:
        """A hold stands otherwise than this batch knew: settle what it took in, and let the rest wait, or run."""
        row = HoldRow.read(refused.row) if refused.row is not None else None
        if row is None:
            return positions
        if row.format > FORMAT:
            logger.error("a newer version is at work: these changes come again", item=row.digest)
            return []
        for position in positions:
            self._settle(position, row)
        rest = [position for position in positions if self._states[position] == UNDONE]
        if any(version_of(self._change(position)) <= row.tail for position in rest):
            return []  # what is out of sequence and cannot be parked comes again, with all that is after it
        return self._append(row, rest) if row.is_held else rest

    def _park_full(self, row: HoldRow, position: int) -> bool:
        error = HoldFullError(f"{row.waiting} changes of its item wait")
        is_parked = self._parking.park(self._change(position), error, "HoldFull")
        if is_parked:
            self._states[position] = HELD
        return is_parked

    def _waits(self, positions: Sequence[int]) -> None:
        for position in positions:
            self._states[position] = HELD
        self._invocation.counts["HeldChanges"] += len(positions)

    def _is_too_old(self, position: int) -> bool:
        """Whether the mapping could discard a change before it is delivered again."""
        created = self._change(position).created_seconds
        return created is not None and created + RECORD_AGE_SECONDS <= self._invocation.ends() + AGE_MARGIN

    # The deadline

    def _on_deadline(self) -> None:
        """Save what is done before Lambda ends the function, and hold the items whose handlers still run."""
        with self._lock:
            running = dict(self._running)
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

    def _end_owned(self, row: HoldRow, positions: Sequence[int], error: BaseException | None) -> None:
        """A handler has ended after its item was held: move the hold on as its owner."""
        assert self._ledger is not None  # noqa: S101 - an owned hold has a ledger
        now, holds = self._invocation.clock(), self._ledger.holds
        try:
            if error is not None:
                unmoved = Position(row.next, 0, row.since, 0, 0)
                holds.hand_back(row, unmoved, now + self._settings.minute_seconds)
            elif len(positions) == 1:
                holds.release(row, row.tail, now)
            else:
                following = version_of(self._change(positions[1]))
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
            self._invocation.counts["RepeatedChanges"] += repeats

    def _change(self, position: int) -> Change:
        return Change(self._batch.records[position])

    def _digest(self, position: int) -> str:
        return digest_of(self._change(position))
