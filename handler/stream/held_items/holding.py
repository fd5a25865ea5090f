"""The failing side of a batch: its items are held, and the changes that come after wait behind them."""

from collections import deque
from collections.abc import Collection, Mapping, Sequence

from handler.stream.change import Change
from handler.stream.engine.batch import Batch
from handler.stream.engine.invocation import Invocation
from handler.stream.engine.parking import Parking
from handler.stream.ledger.holds import PASSED, Holds, Lease, Position
from handler.stream.ledger.notes import HELD, UNDONE
from handler.stream.ledger.rows import FORMAT, HoldRow, digest_of, version_of
from handler.stream.ledger.writes import RefusedError
from handler.stream.telemetry import change_fields, iso_time, log_failure, logger, summary_fields

MOST_WAITING = 10_000
"""Waiting changes of one item: further ones are parked, since a hold that long is not drained by itself."""


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


class Holding:
    """Holds the items of one batch; `states` are the batch's, whose positions it sets to HELD."""

    def __init__(
        self,
        batch: Batch,
        states: list[str],
        holds: Holds,
        parking: Parking,
        invocation: Invocation,
        minute_seconds: float,
    ) -> None:
        self._batch, self._states, self._holds = batch, states, holds
        self._parking, self._invocation, self._minute_seconds = parking, invocation, minute_seconds

    def settle_known(self, positions: Collection[int], rows: Mapping[str, HoldRow]) -> bool:
        """Settle the changes that the holds in `rows` took in; False where a newer version is at work on an item."""
        for position in positions:
            row = self.row_of(position, rows)
            if row is None:
                continue
            if row.format > FORMAT:
                logger.error("a newer version is at work: the whole batch comes again", item=row.digest)
                return False
            self._settle(position, row)
        return True

    def row_of(self, position: int, rows: Mapping[str, HoldRow]) -> HoldRow | None:
        """The row of the item that a record belongs to."""
        return rows.get(digest_of(self._change(position)))

    def let_wait(self, row: HoldRow | None, left: deque[int]) -> deque[int]:
        """Let the changes of one item wait where it is held; those that may run now."""
        if row is None:
            return left
        if version_of(self._change(left[0])) <= row.tail:
            return deque()  # it is out of sequence and cannot be parked: it comes again, with all that is after it
        return self._append(row, left) if row.is_held else left

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

    def hold(
        self, left: Collection[int], error: BaseException, *, tries: int, deaths: int, due_in: float
    ) -> deque[int]:
        """Hold an item, of which these changes wait, until it is due; those that may run now after all."""
        changes = [self._change(position) for position in left]
        now = self._invocation.clock()
        due = now + due_in
        try:
            row = self._holds.hold(digest_of(changes[0]), changes, error, now=now, due=due, tries=tries, deaths=deaths)
        except RefusedError as refused:
            return self._refused(refused, left)
        except Exception:
            logger.exception("the ledger cannot hold an item: its changes come again", **change_fields(changes[0]))
            log_failure("change failed", changes[0], error)
            return deque()
        self._waits(left)
        self._log_held(row, changes, error, tries)
        return deque()

    def _append(self, row: HoldRow, left: Collection[int]) -> deque[int]:
        """Let an item's later changes wait, too; those that may run now after all."""
        if row.waiting >= MOST_WAITING:
            left = [position for position in left if not self._park_full(row, position)]
        changes = [self._change(position) for position in left]
        if not changes:
            return deque()
        try:
            row = self._holds.append(row.digest, changes, self._invocation.clock())
        except RefusedError as refused:
            return self._refused(refused, left)
        except Exception:
            logger.exception("the ledger cannot hold changes: they come again", **change_fields(changes[0]))
            return deque()
        self._waits(left)
        first = (row.next or "").rpartition("#")[2].lstrip("0")
        logger.info(
            "changes wait",
            **change_fields(changes[0]),
            item=row.digest,
            waits_for=first,
            waiting=row.waiting,
            **summary_fields(changes),
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

    def _log_held(self, row: HoldRow, changes: Sequence[Change], error: BaseException, tries: int) -> None:
        fields = {"next_try": iso_time(row.due), **summary_fields(changes)}
        log_failure("item held", changes[0], error, item=row.digest, attempts=tries, **fields)

    def hold_running(self, positions: list[int], error: BaseException) -> HoldRow | None:
        """Hold an item for this invocation until its end; None where that fails."""
        changes, now = [self._change(position) for position in positions], self._invocation.clock()
        due = now + self._minute_seconds
        lease = Lease(self._invocation.owner, self._invocation.lease_end())
        try:
            row = self._holds.hold(digest_of(changes[0]), changes, error, now=now, due=due, tries=1, lease=lease)
        except Exception:
            logger.exception("the ledger cannot hold an item whose handler still runs", **change_fields(changes[0]))
            return None
        self._waits(positions)
        self._log_held(row, changes, error, 1)
        return row

    def end_owned(self, row: HoldRow, left: Sequence[int], error: BaseException | None) -> None:
        """A handler has ended after its item was held: move the hold on as its owner."""
        try:
            self._move_on(row, left, error)
        except RefusedError:
            logger.warning("a hold is no longer this invocation's", item=row.digest)
        except Exception:
            logger.exception("the ledger cannot tell that a handler has ended", item=row.digest)

    def _move_on(self, row: HoldRow, left: Sequence[int], error: BaseException | None) -> None:
        now, holds = self._invocation.clock(), self._holds
        if error is not None:
            holds.hand_back(row, Position(row.next, 0, row.since, 0, 0), now + self._minute_seconds)
        elif len(left) > 1:
            following = version_of(self._change(left[1]))
            holds.hand_back(row, Position(following, 1, now, 0, 0), now)
        else:
            try:
                holds.release(row, row.tail, now)
            except RefusedError as refused:
                there = HoldRow.read(refused.row) if refused.row is not None else None
                if there is None or not there.is_held or there.owner != row.owner:
                    raise
                passed = Position(f"{row.tail}{PASSED}", len(left), now, 0, 0)
                holds.hand_back(there, passed, now)  # a doubled delivery has appended meanwhile

    def _change(self, position: int) -> Change:
        return Change(self._batch.records[position])
