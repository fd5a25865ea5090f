"""The engine with a mistake in how it holds, each of them one that a draft had or that a review found."""

import hashlib
import json
from collections import deque
from collections.abc import Collection, Iterator, Sequence
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
from handler.stream.ledger.rows import HoldRow, Waiting
from handler.stream.ledger.table import key_of
from handler.stream.ledger.writes import RefusedError
from tests.property.subjects.engines import Subject, engine
from tests.property.subjects.substitution import substitute

# pyright: reportPrivateUsage=false
# Mistakes are planted inside the engine: they have no other way in.


class _NoLease(Holds):
    """Whoever comes takes the item, and whoever had it goes on."""

    def lease(self, row: HoldRow, lease: Lease, *, now: float, due: float, due_by: float) -> HoldRow:
        return self._update(
            row.digest, "SET #owner = :owner, #due = :due", "#state = :held", owner="everybody", due=due
        )


class _NoOwner(retry_module.Invocation):
    """Every invocation is the same owner."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.owner = "everybody"


class _LeaseOfASecond(Holds):
    """A lease that its invocation outlasts."""

    def lease(self, row: HoldRow, lease: Lease, *, now: float, due: float, due_by: float) -> HoldRow:
        return super().lease(row, replace(lease, until=now + 1), now=now, due=due, due_by=due_by)


class _ReleaseWithoutTail(Holds):
    """An item is released whatever was appended meanwhile."""

    def release(self, row: HoldRow, last: str, now: float) -> HoldRow:
        while True:
            try:
                return super().release(row, last, now)
            except RefusedError as refused:
                there = HoldRow.read(refused.row) if refused.row is not None else None
                if there is None or there.owner != row.owner:
                    raise
                last = there.tail


class _DeleteAtRelease(Holds):
    """Nothing is left of a hold that has ended."""

    def release(self, row: HoldRow, last: str, now: float) -> HoldRow:
        released = super().release(row, last, now)
        self._table.delete(key_of(self._partition, row.digest))
        return released


class _OnlyTheFirst(Holds):
    """Of an item's changes only the failing one is held."""

    def hold(self, digest: str, changes: Sequence[Change], error: BaseException, **more: Any) -> HoldRow:
        return super().hold(digest, changes[:1], error, **more)


class _NoLeaseAtTheDeadline(Holds):
    """An item whose handler still runs is anybody's."""

    def hold(self, digest: str, changes: Sequence[Change], error: BaseException, **more: Any) -> HoldRow:
        more["lease"] = None
        return super().hold(digest, changes, error, **more)


class _RedrivenLookAtTails(Holds):
    """A redriven change is taken as settled where its item's hold has come further."""

    def redrive(self, digest: str, changes: Sequence[Change], now: float) -> HoldRow:
        there = self.row(digest)
        later = [change for change in changes if there is None or rows_module.version_of(change) > there.tail]
        if later:
            return super().redrive(digest, later, now)
        assert there is not None
        return there


class _RowBeforeChanges(Holds):
    """The row that makes changes count is written before they are."""

    def hold(self, digest: str, changes: Sequence[Change], error: BaseException, **more: Any) -> HoldRow:
        with _Deferred(self):
            return super().hold(digest, changes, error, **more)

    def append(self, digest: str, changes: Sequence[Change], now: float) -> HoldRow:
        with _Deferred(self):
            return super().append(digest, changes, now)


class _Deferred:
    """Keeps back a hold's change rows until its row is written."""

    def __init__(self, holds: Holds) -> None:
        self._holds, self._table = holds, holds._table
        self._kept: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._table, name)

    def put_and_delete(self, puts: Any = (), deletes: Any = ()) -> None:
        self._kept += puts

    def __enter__(self) -> None:
        setattr(self._holds, "_table", self)  # noqa: B010 - it stands in for a table

    def __exit__(self, kind: Any, *_: object) -> None:
        self._holds._table = self._table
        if kind is None:
            self._table.put_and_delete(self._kept)


class _Stale:
    """A table whose pages may be stale."""

    def __init__(self, table: Any) -> None:
        self._table = table

    def __getattr__(self, name: str) -> Any:
        return getattr(self._table, name)

    def page(self, *arguments: Any, **bounds: Any) -> Any:
        client = self._table._dynamodb
        self._table._dynamodb = lambda: _StaleClient(client())
        try:
            return self._table.page(*arguments, **bounds)
        finally:
            self._table._dynamodb = client

    def pages(self, partition: str, **bounds: Any) -> Iterator[Any]:
        yield self.page(partition, **bounds)[0]


class _StaleClient:
    def __init__(self, client: Any) -> None:
        self._client = client

    def query(self, **request: Any) -> Any:
        return self._client.query(**{**request, "ConsistentRead": False})


class _EmptyReads(Holds):
    """Changes are read eventually, and what is missing is not missed."""

    def waiting(self, row: HoldRow) -> list[Waiting]:
        partition, last = self._changes_of(row.digest), holds_module.LAST
        items, _ = _Stale(self._table).page(partition, start=row.next or "0", end=f"{row.tail}#{last}")
        return rows_module.read_changes(items)


class _ReleasesAnyway(Turn):
    """An item of which nothing was found to be waiting is released."""

    def release_or_reload(self) -> bool:
        self._row = self._work.holds.release(self._row, self._row.tail, self._now())
        return True


class _GoneIsSettled(Holding):
    """A hold that has ended has settled whatever comes."""

    def _refused(self, refused: RefusedError, left: Collection[int]) -> deque[int]:
        row = HoldRow.read(refused.row) if refused.row is not None else None
        if row is None or not row.is_held:
            self._waits(left)
            return deque()
        return super()._refused(refused, left)


class _NoteBeforeHold(BatchRun):
    """The note at the deadline says what is held before it is."""

    def _on_deadline(self) -> None:
        for left in list(self._running.values()):
            for position in left:
                self._state.states[position] = HELD
        super()._on_deadline()


class _ReportsFailures(BatchRun):
    """A batch of which nothing succeeds is reported."""

    def _hold(self, positions: Collection[int], error: BaseException, *, tries: int, **more: Any) -> deque[int]:
        if tries and DONE not in self._state.states:
            return deque()
        return super()._hold(positions, error, tries=tries, **more)


class _RunsPastHolds(BatchRun):
    """Later changes of a held item run as they come."""

    def _read(self) -> bool:
        readable = super()._read()
        self._rows = {}
        return readable


class _CutsOff(RetryRun):
    """The longest failing come first, and after 20 failures the run ends."""

    def _may_begin(self) -> bool:
        failing = sum(tries for tries in FAILED_TURNS.values())
        return failing < 20 and super()._may_begin()

    def run(self) -> dict[str, int]:
        FAILED_TURNS.clear()
        return super().run()


FAILED_TURNS: dict[str, int] = {}


class _CountsFailures(Turn):
    def _fail(self, waiting: Waiting, error: BaseException) -> None:
        FAILED_TURNS[self.digest] = 1
        super()._fail(waiting, error)


def _normalised(change: Change) -> str:
    """An item's name by its key's values, not by their text."""
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
        *[(module, "Invocation", _NoOwner) for module in (processor_module,)],
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
        (retry_module, "alternately", _oldest_first),
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
    _mutant("back-off of a day", (turn_module, "back_off", _a_day)),
    _mutant("deaths are never counted", (batch_run_module, "MOST_DELIVERIES", 10**9)),
)
