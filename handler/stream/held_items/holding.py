"""Hold the failing items of a batch, and append the later changes of held items."""

from collections import deque
from collections.abc import Collection, Mapping, Sequence

from handler.stream.change import Change
from handler.stream.engine.batch import Batch
from handler.stream.engine.invocation import Invocation
from handler.stream.engine.parking import Parking
from handler.stream.ledger.hold_reader import just_after
from handler.stream.ledger.holds import HoldProgress, Holds, Lease, stored_row
from handler.stream.ledger.notes import HELD, UNDONE
from handler.stream.ledger.rows import HoldRow, digest_of, version_of
from handler.stream.ledger.table import FORMAT
from handler.stream.ledger.writes import RefusedError
from handler.stream.telemetry import change_fields, iso_time, log_failure, logger, summary_fields

MAX_WAITING_CHANGES = 10_000
"""Most changes that wait for one item. Further changes are parked: a longer hold does not drain without an operator."""


class UntriedError(Exception):
    """The change is held untried: its turn did not come in time, or a dependency of the handler is down."""


class StillRunningError(Exception):
    """The handler still runs shortly before the Lambda time-out."""


class SuspectError(Exception):
    """The function may crash on the change: earlier runs of the change ended without a response."""


class HoldFullError(Exception):
    """The item has the most changes that may wait."""


class OutOfSequenceError(Exception):
    """The change is older than the last change in its item's hold, and the hold does not contain the change."""


class Holding:
    """Holds the items of one batch; sets the state of each held record in `states` to HELD.

    A position is the index of a record in the batch. Methods that return positions return those that may run now.
    """

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

    def settle_already_held(self, positions: Collection[int], rows: Mapping[str, HoldRow]) -> bool:
        """Mark the changes that the holds in `rows` contain as settled.

        Return False if a newer version of the engine holds one of the items.
        """
        for position in positions:
            row = self.row_of(position, rows)
            if row is None:
                continue
            if row.format > FORMAT:
                logger.error(
                    "a newer version of the engine holds an item: the whole batch is reported", item=row.digest
                )
                return False
            self._settle(position, row)
        return True

    def row_of(self, position: int, rows: Mapping[str, HoldRow]) -> HoldRow | None:
        """Return the hold row of the record's item, None if the item has no row."""
        return rows.get(digest_of(self._change(position)))

    def append_if_held(self, row: HoldRow | None, positions: deque[int]) -> deque[int]:
        """Append the changes of one item to its hold if the item is held; return the positions that may run now."""
        if row is None:
            return positions
        if version_of(self._change(positions[0])) <= row.tail:
            return deque()  # out of sequence and not parked: this change and the later ones are reported
        return self._append(row, positions) if row.is_held else positions

    def _settle(self, position: int, row: HoldRow) -> None:
        """Mark a change that its item's hold contains as settled; park a change that is out of sequence."""
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
        self, positions: Collection[int], error: BaseException, *, tries: int, deaths: int, due_in_seconds: float
    ) -> deque[int]:
        """Hold an item with these changes waiting; return the positions that may run after all."""
        changes = [self._change(position) for position in positions]
        now = self._invocation.clock()
        due = now + due_in_seconds
        try:
            row = self._holds.hold(digest_of(changes[0]), changes, error, now=now, due=due, tries=tries, deaths=deaths)
        except RefusedError as refused:
            return self._refused(refused, positions)
        except Exception:
            logger.exception("the ledger cannot hold an item: its changes are reported", **change_fields(changes[0]))
            log_failure("change failed", changes[0], error)
            return deque()
        self._mark_held(positions)
        self._log_held(row, changes, error, tries)
        return deque()

    def _append(self, row: HoldRow, positions: Collection[int]) -> deque[int]:
        """Append later changes of a held item; return the positions that may run after all."""
        if row.waiting >= MAX_WAITING_CHANGES:
            positions = [position for position in positions if not self._park_full(row, position)]
        changes = [self._change(position) for position in positions]
        if not changes:
            return deque()
        try:
            row = self._holds.append(row.digest, changes, self._invocation.clock())
        except RefusedError as refused:
            return self._refused(refused, positions)
        except Exception:
            logger.exception("the ledger cannot hold changes: they are reported", **change_fields(changes[0]))
            return deque()
        self._mark_held(positions)
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

    def _refused(self, refused: RefusedError, positions: Collection[int]) -> deque[int]:
        """Settle the changes in a hold that another run has changed, then append the rest, or let it run."""
        row = stored_row(refused)
        if row is None:
            return deque(positions)
        if row.format > FORMAT:
            logger.error("a newer version of the engine holds an item: its changes are reported", item=row.digest)
            return deque()
        for position in positions:
            self._settle(position, row)
        rest = deque(position for position in positions if self._states[position] == UNDONE)
        if any(version_of(self._change(position)) <= row.tail for position in rest):
            return deque()  # a change out of sequence is not parked: this change and the later ones are reported
        return self._append(row, rest) if row.is_held else rest

    def _park_full(self, row: HoldRow, position: int) -> bool:
        error = HoldFullError(f"{row.waiting} changes of its item wait")
        is_parked = self._parking.park(self._change(position), error, "HoldFull")
        if is_parked:
            self._states[position] = HELD
        return is_parked

    def _mark_held(self, positions: Collection[int]) -> None:
        for position in positions:
            self._states[position] = HELD
        self._invocation.count("HeldChanges", len(positions))

    def _log_held(self, row: HoldRow, changes: Sequence[Change], error: BaseException, tries: int) -> None:
        fields = {"next_try": iso_time(row.due), **summary_fields(changes)}
        log_failure("item held", changes[0], error, item=row.digest, attempts=tries, **fields)

    def hold_running(self, positions: list[int], error: BaseException) -> HoldRow | None:
        """Hold an item whose handler still runs, leased to this invocation; return None if the write fails."""
        changes, now = [self._change(position) for position in positions], self._invocation.clock()
        due = now + self._minute_seconds
        lease = Lease(self._invocation.owner, self._invocation.lease_end())
        try:
            row = self._holds.hold(digest_of(changes[0]), changes, error, now=now, due=due, tries=1, lease=lease)
        except Exception:
            logger.exception("the ledger cannot hold an item whose handler still runs", **change_fields(changes[0]))
            return None
        self._mark_held(positions)
        self._log_held(row, changes, error, 1)
        return row

    def advance_owned_hold(self, row: HoldRow, positions: Sequence[int], error: BaseException | None) -> None:
        """Update the hold of an item whose handler ended after `hold_running`: release, hand back, or advance it."""
        try:
            self._advance(row, positions, error)
        except RefusedError:
            logger.warning("a hold is no longer this invocation's", item=row.digest)
        except Exception:
            logger.exception("the ledger cannot record that a handler has ended", item=row.digest)

    def _advance(self, row: HoldRow, positions: Sequence[int], error: BaseException | None) -> None:
        now, holds = self._invocation.clock(), self._holds
        if error is not None:
            holds.hand_back(row, HoldProgress(row.next, 0, row.since), now + self._minute_seconds)
        elif len(positions) > 1:
            following = version_of(self._change(positions[1]))
            holds.hand_back(row, HoldProgress(following, 1, now), now)
        else:
            try:
                holds.release(row, row.tail, now)
            except RefusedError as refused:
                stored = stored_row(refused)
                if stored is None or not stored.is_held or stored.owner != row.owner:
                    raise
                beyond_tail = HoldProgress(just_after(row.tail), len(positions), now)
                holds.hand_back(stored, beyond_tail, now)  # a second delivery of the batch has appended in the meantime

    def _change(self, position: int) -> Change:
        return Change(self._batch.records[position])
