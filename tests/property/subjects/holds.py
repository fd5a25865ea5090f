"""Mutants whose mistake is in the holds; each mistake was in a draft or came up in a review."""

import hashlib
import json
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import handler.stream.engine.batch_run as batch_run_module
import handler.stream.held_items.holding as holding_module
import handler.stream.held_items.repair as repair_module
import handler.stream.held_items.retry as retry_module
import handler.stream.held_items.turn as turn_module
import handler.stream.ledger.holds as holds_module
import handler.stream.ledger.rows as rows_module
import handler.stream.processor as processor_module
from handler.stream.change import Change
from handler.stream.engine.batch_run import BatchRun
from handler.stream.held_items.holding import Holding
from handler.stream.held_items.retry import RetryRun
from handler.stream.held_items.turn import Turn
from handler.stream.ledger.holds import Holds, Lease
from handler.stream.ledger.notes import DONE, HELD
from handler.stream.ledger.rows import HoldRow, WaitingChange
from handler.stream.ledger.table import key_of
from handler.stream.ledger.writes import RefusedError
from tests.property.subjects.engines import Subject, engine
from tests.property.subjects.substitution import reading_eventually, substitute

# pyright: reportPrivateUsage=false
# Mistakes are planted inside the engine: they have no other way in.


class _NoLease(Holds):
    """Two invocations may have the lease of one item."""

    def lease(self, row: HoldRow, lease: Lease, *, now: float, due: float, due_by: float) -> HoldRow:
        return self._update(
            row.digest, "SET #owner = :owner, #due = :due", "#state = :held", owner="everybody", due=due
        )


class _NoOwner(retry_module.Invocation):
    """Every invocation has the same owner name."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.owner = "everybody"


class _LeaseOfASecond(Holds):
    """A lease that ends before its invocation."""

    def lease(self, row: HoldRow, lease: Lease, *, now: float, due: float, due_by: float) -> HoldRow:
        return super().lease(row, replace(lease, until=now + 1), now=now, due=due, due_by=due_by)


class _ReleaseWithoutTail(Holds):
    """A release ignores changes that were appended meanwhile."""

    def release(self, row: HoldRow, last: str, now: float) -> HoldRow:
        while True:
            try:
                return super().release(row, last, now)
            except RefusedError as refused:
                there = holds_module.stored_row(refused)
                if there is None or there.owner != row.owner:
                    raise
                last = there.tail


class _DeleteAtRelease(Holds):
    """A release deletes the hold's row."""

    def release(self, row: HoldRow, last: str, now: float) -> HoldRow:
        released = super().release(row, last, now)
        self._table.delete(key_of(self._partition, row.digest))
        return released


class _OnlyTheFirst(Holds):
    """A hold contains only the failing change."""

    def hold(self, digest: str, changes: Sequence[Change], error: BaseException, **more: Any) -> HoldRow:
        return super().hold(digest, changes[:1], error, **more)


class _NoLeaseAtTheDeadline(Holds):
    """A hold at the deadline has no lease although its handler still runs."""

    def hold(self, digest: str, changes: Sequence[Change], error: BaseException, **more: Any) -> HoldRow:
        more["lease"] = None
        return super().hold(digest, changes, error, **more)


class _RedrivenLookAtTails(Holds):
    """A redriven change counts as settled if its item's hold has a later tail."""

    def put_redriven(self, items: Mapping[str, Sequence[Change]], rows: Mapping[str, HoldRow], now: float) -> None:
        super().put_redriven({digest: self._later(digest, each) for digest, each in items.items()}, rows, now)

    def hold_redriven(self, digest: str, first: Change, row: HoldRow | None, now: float) -> HoldRow:
        there = self.read_row(digest)
        if there is not None and not self._later(digest, [first]):
            return there
        return super().hold_redriven(digest, first, row, now)

    def _later(self, digest: str, changes: Sequence[Change]) -> Sequence[Change]:
        there = self.read_row(digest)
        return [change for change in changes if there is None or rows_module.version_of(change) > there.tail]


class _RowBeforeChanges(Holds):
    """A hold's row is written before its change rows."""

    def hold(self, digest: str, changes: Sequence[Change], error: BaseException, **more: Any) -> HoldRow:
        with _Deferred(self):
            return super().hold(digest, changes, error, **more)

    def append(self, digest: str, changes: Sequence[Change], now: float) -> HoldRow:
        with _Deferred(self):
            return super().append(digest, changes, now)


class _Deferred:
    """Delays a hold's change rows until the hold's row is written."""

    def __init__(self, holds: Holds) -> None:
        self._holds, self._table = holds, holds._table
        self._kept: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._table, name)

    def put_and_delete(self, puts: Any = (), deletes: Any = ()) -> None:
        self._kept += puts

    def __enter__(self) -> None:
        setattr(self._holds, "_table", self)  # noqa: B010 - it replaces a table

    def __exit__(self, kind: Any, *_: object) -> None:
        self._holds._table = self._table
        if kind is None:
            self._table.put_and_delete(self._kept)


class _EmptyReads(Holds):
    """Waiting changes are read eventually, and missing changes go unnoticed."""

    def read_waiting(self, row: HoldRow, *, has_counted: bool = False) -> list[WaitingChange]:
        partition, last = self._changes_partition(row.digest), holds_module.END_OF_PARTS
        with reading_eventually(self._table):
            items, _ = self._table.query_page(partition, start=row.next or "0", end=f"{row.tail}#{last}")
        return rows_module.read_changes(items)


class _ReleasesAnyway(Turn):
    """An item is released if no waiting change was read."""

    def release_or_reload(self) -> bool:
        self._row = self._holds.release(self._row, self._row.tail, self._now())
        return True


class _GoneIsSettled(Holding):
    """A released hold settles each change that comes later."""

    def _refused(self, refused: RefusedError, positions: Collection[int]) -> deque[int]:
        row = holds_module.stored_row(refused)
        if row is None or not row.is_held:
            self._mark_held(positions)
            return deque()
        return super()._refused(refused, positions)


class _NoteBeforeHold(BatchRun):
    """The note at the deadline calls changes held before they are."""

    def _on_deadline(self) -> None:
        for left in list(self._running.values()):
            for position in left:
                self._state.states[position] = HELD
        super()._on_deadline()


class _ReportsFailures(BatchRun):
    """A batch is reported if none of its changes succeeds."""

    def _hold(self, positions: Collection[int], error: BaseException, *, tries: int, **more: Any) -> deque[int]:
        if tries and DONE not in self._state.states:
            return deque()
        return super()._hold(positions, error, tries=tries, **more)


class _RunsPastHolds(BatchRun):
    """Later changes of a held item run at once."""

    def _read(self) -> bool:
        readable = super()._read()
        self._rows = {}
        return readable


class _CutsOff(RetryRun):
    """The items that fail longest come first, and the run ends after 20 failures."""

    def _may_begin_turn(self) -> bool:
        failing = sum(tries for tries in FAILED_TURNS.values())
        return failing < 20 and super()._may_begin_turn()

    def run(self) -> dict[str, int]:
        FAILED_TURNS.clear()
        return super().run()


FAILED_TURNS: dict[str, int] = {}


class _CountsFailures(Turn):
    def _record_failure(self, waiting: WaitingChange, error: BaseException) -> None:
        FAILED_TURNS[self.digest] = 1
        super()._record_failure(waiting, error)


def _normalised(change: Change) -> str:
    """Return a digest of the key's normalized numbers instead of their text."""
    keys = {
        name: str(Decimal(value["N"]).normalize()) if "N" in value else value
        for name, value in change.record["dynamodb"]["Keys"].items()
    }
    identity = json.dumps([change.stream_or_unknown.table_arn, keys], sort_keys=True)
    return hashlib.sha256(identity.encode()).hexdigest()[:32]


def _oldest_first(rows: Iterator[HoldRow]) -> list[HoldRow]:
    return sorted(rows, key=lambda row: row.since)


def _a_day(*_: Any) -> float:
    return 86_400.0


def _mutant(name: str, *replacements: tuple[Any, str, Any]) -> Subject:
    return Subject(name, engine, substitution=substitute(*replacements))


def _held(name: str, holds: type[Holds]) -> Subject:
    return _mutant(name, (holds_module, "Holds", holds))


HOLDS_MUTANTS = (
    _mutant(
        "no lease",
        (holds_module, "Holds", _NoLease),
        (retry_module, "Invocation", _NoOwner),
        (processor_module, "Invocation", _NoOwner),
    ),
    _held("a lease of a second", _LeaseOfASecond),
    _held("release ignores the tail", _ReleaseWithoutTail),
    _mutant("a released hold counts as settled", (holding_module, "Holding", _GoneIsSettled)),
    _held("row before changes", _RowBeforeChanges),
    _held("deadline hold without a lease", _NoLeaseAtTheDeadline),
    _mutant("note before hold", (processor_module, "BatchRun", _NoteBeforeHold)),
    _held("row deleted at release", _DeleteAtRelease),
    _mutant("release on an empty read", (holds_module, "Holds", _EmptyReads), (retry_module, "Turn", _ReleasesAnyway)),
    _held("redrive compares with the tail", _RedrivenLookAtTails),
    _held("hold keeps only the first change", _OnlyTheFirst),
    _mutant(
        "oldest first with a cut-off",
        (retry_module, "alternate_by_age", _oldest_first),
        (retry_module, "RetryRun", _CutsOff),
        (retry_module, "Turn", _CountsFailures),
    ),
    _mutant("report a batch whose changes all fail", (processor_module, "BatchRun", _ReportsFailures)),
    _mutant(
        "digest of normalized numbers",
        (rows_module, "digest_of", _normalised),
        (holding_module, "digest_of", _normalised),
        (repair_module, "digest_of", _normalised),
    ),
    _mutant("changes run past holds", (processor_module, "BatchRun", _RunsPastHolds)),
    _mutant("back-off of a day", (turn_module, "back_off_seconds", _a_day)),
    _mutant("deaths are never counted", (batch_run_module, "MOST_DELIVERIES", 10**9)),
)
