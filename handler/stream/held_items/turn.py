"""One turn of a held item: run its waiting changes in order until one fails, time is up, or none waits."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from handler.stream.engine.attempt import attempt, reason_to_park
from handler.stream.engine.batch import Function
from handler.stream.engine.batch_run import Processor
from handler.stream.engine.invocation import Invocation
from handler.stream.engine.parking import Parking
from handler.stream.environment import Environment
from handler.stream.held_items.holding import SuspectError
from handler.stream.ledger.hold_reader import just_after
from handler.stream.ledger.holds import HoldProgress, Holds, Lease, stored_row
from handler.stream.ledger.rows import HoldBrokenError, HoldRow, WaitingChange
from handler.stream.ledger.writes import RefusedError
from handler.stream.telemetry import change_fields, iso_time, log_failure, logger, summary_fields

MAX_TURN_SECONDS = 15.0
"""After this time a turn ends, so that another item can use the worker."""
SAVE_INTERVAL_SECONDS = 1.0
"""A turn saves its progress at this interval, so that a crash repeats at most one second of changes. The turn of a
suspect saves after each change, so that the next crash counts for the change that causes it."""
NO_RETRY_SECONDS = 3.0
"""A write is not repeated with this time or less before the Lambda time-out: one attempt may take 3 s."""
MAX_WRITE_TRIES = 20
"""Most attempts of a write without a Lambda deadline; the pauses are at most 1 s."""
MAX_BACK_OFF_MINUTES = 60
DEATHS_TO_GIVE_UP = 2
"""Consecutive crashes after which a change past `give_up_after_seconds` is given up untried. A single crash may have
another cause: the owner may have crashed before it started this change."""

Result = TypeVar("Result")


def back_off_seconds(settings: Environment, failing_seconds: float) -> float:
    """Return the seconds until the next try: a quarter of the failing time, at least a minute, at most an hour."""
    minute = settings.minute_seconds
    return min(max(failing_seconds / 4, minute), MAX_BACK_OFF_MINUTES * minute)


class SucceededItems:
    """The items with a successful change in this run; two of them are enough to answer for every item."""

    def __init__(self) -> None:
        self._items = set[str]()

    def add(self, digest: str) -> None:
        """Add an item with a successful change."""
        if len(self._items) < 2:
            self._items.add(digest)

    def has_other_than(self, digest: str) -> bool:
        """Return whether another item has a successful change."""
        return bool(self._items - {digest})


@dataclass(frozen=True)
class TurnDependencies:
    """The objects that all turns of one run share."""

    processor: Processor
    function: Function
    holds: Holds
    parking: Parking
    invocation: Invocation
    successes: SucceededItems = field(default_factory=SucceededItems)


class Turn:
    """The turn of one item.

    `acquire_lease` leases the item; `run` is a generator that yields before each change. Every method raises the error
    of boto3 if the ledger does not respond until 3 s before the Lambda time-out; the item's lease then expires.
    """

    def __init__(self, dependencies: TurnDependencies, row: HoldRow) -> None:
        self._dependencies, self._row = dependencies, row
        self._holds, self._invocation = dependencies.holds, dependencies.invocation
        self._settings = dependencies.processor.settings
        self._next, self._since, self._deaths, self._given_up = row.next, row.since, row.deaths, row.given_up
        self._began = self._saved_at = self._invocation.clock()
        self._unsaved, self._save_interval_seconds = 0, SAVE_INTERVAL_SECONDS
        self._redriven_read = row.redriven
        """The row's `redriven` when the changes were read: a release must not lose a later redrive."""
        self._has_counted = False
        self._settled: list[WaitingChange] = []
        self._done_changes: list[WaitingChange] = []
        self._lock = threading.RLock()
        self.has_tried = False

    @property
    def digest(self) -> str:
        """The item's digest."""
        return self._row.digest

    def acquire_lease(self, due_by: float) -> bool:
        """Lease the item; return False if another run has it, it is no longer held, or it is due after `due_by`."""
        now = self._now()
        lease = Lease(self._invocation.owner, self._invocation.lease_end())
        due = now + back_off_seconds(self._settings, now - self._row.since)
        try:
            self._row = self._holds.lease(self._row, lease, now=now, due=due, due_by=due_by)
        except RefusedError:
            return False
        self._next, self._since, self._deaths = self._row.next, self._row.since, self._row.deaths
        self._given_up = self._row.given_up
        self._save_interval_seconds = 0.0 if self._deaths else SAVE_INTERVAL_SECONDS
        return True

    def run(self) -> Iterator[None]:
        """Run the waiting changes of the leased item, then release it or hand it back."""
        while True:
            try:
                waiting = self._read_waiting()
            except HoldBrokenError as error:
                self._stop_broken(error)
                return
            while waiting:
                yield
                if self._must_stop():
                    self.hand_back(self._now())
                    self._log("changes done")
                    return
                if not self._settle(waiting.popleft(), waiting):
                    return
            if self.release_or_reload():
                return

    def read_first(self) -> tuple[WaitingChange, Sequence[WaitingChange]]:
        """Return the leased item's first waiting change and the later ones. Raises HoldBrokenError."""
        first, *rest = self._read_waiting()
        return first, rest

    def _read_waiting(self) -> deque[WaitingChange]:
        self._redriven_read = self._row.redriven
        waiting = self._holds.read_waiting(self._current_row(), has_counted=self._has_counted)
        self._has_counted = True
        return deque(waiting)

    # One change

    def _settle(self, waiting: WaitingChange, rest: Iterable[WaitingChange]) -> bool:
        """Run a change; return False if it fails and the item waits for its next try."""
        dependencies, change = self._dependencies, waiting.change
        self.has_tried = True
        error: BaseException | None
        reason = None
        if self._deaths >= DEATHS_TO_GIVE_UP and self._has_failed_too_long():
            error = SuspectError(f"the function died {self._deaths} times while this change ran")
            reason = "GivenUp"
        else:
            error = attempt(dependencies.function, change)
        if error is None:
            dependencies.successes.add(self.digest)
            self._given_up = 0
            self._done_changes.append(waiting)
            self.move_past(waiting, rest)
            return True
        reason = reason or reason_to_park(error) or self._reason_to_give_up()
        if reason and dependencies.parking.park(change, error, reason):
            self._given_up += reason == "GivenUp"
            self.move_past(waiting, rest)
            return True
        self._record_failure(waiting, error)
        return False

    def _reason_to_give_up(self) -> str | None:
        is_next_one = self._given_up > 0 and self._dependencies.successes.has_other_than(self.digest)
        return "GivenUp" if is_next_one or self._has_failed_too_long() else None

    def _has_failed_too_long(self) -> bool:
        return self._now() - self._since >= self._settings.give_up_after_seconds

    def _record_failure(self, waiting: WaitingChange, error: BaseException) -> None:
        now = self._now()
        tries = None
        try:
            tries = self._holds.record_failure(self.digest, error, now)
        except Exception:
            logger.exception("the ledger cannot record a failure", item=self.digest)
        due = now + back_off_seconds(self._settings, now - self._since)
        self._deaths = 0  # the function survived this try
        self.hand_back(due)
        log_failure(
            "retry failed",
            waiting.change,
            error,
            item=self.digest,
            tries=tries,
            next_try=iso_time(due),
            waiting=self._row.waiting,
            sequence_numbers=summary_fields([each.change for each in self._done_changes])["sequence_numbers"],
        )

    def move_past(self, waiting: WaitingChange, rest: Iterable[WaitingChange]) -> None:
        """Record a change as settled; the first of `rest` becomes the first waiting change."""
        now = self._now()
        with self._lock:
            if waiting.is_redriven:
                self._write_until_answered(lambda: self._holds.delete_changes(self.digest, [waiting]))
            else:
                following = next((each.version for each in rest if not each.is_redriven), None)
                self._next = following or just_after(waiting.version)
                self._unsaved += 1
                self._settled.append(waiting)
            self._since, self._deaths = now, 0
        if now - self._saved_at >= self._save_interval_seconds:
            self.save()

    # The item's row

    def save(self) -> None:
        """Save the progress of the turn."""
        with self._lock:
            if self._row.owner != self._invocation.owner:
                return
            self._row = self._write_until_answered(lambda: self._holds.write_progress(self._row, self._progress()))
            self._unsaved, self._saved_at = 0, self._now()

    def hand_back(self, due: float) -> None:
        """Save the progress and end the lease; the item waits until `due`."""
        with self._lock:
            self._row = self._write_until_answered(lambda: self._holds.hand_back(self._row, self._progress(), due))
            self._unsaved = 0
        self._delete_settled()

    def release_or_reload(self) -> bool:
        """Release the item after its last known change; return False if more changes wait now."""
        row = self._current_row()
        if row.next is not None and row.next <= row.tail:
            return False  # one read does not return all changes of a large hold
        since = self._row.since
        with self._lock:
            try:
                row_as_read = replace(self._row, redriven=self._redriven_read)
                self._row = self._write_until_answered(lambda: self._holds.release(row_as_read, row.tail, self._now()))
            except RefusedError as refused:
                stored = stored_row(refused)
                if stored is None or stored.owner != self._invocation.owner:
                    if stored is None or stored.is_held:
                        raise
                else:
                    self._row = stored
                    return False
        self._delete_settled()
        self._invocation.count("ReleasedItems")
        self._log("item released", held_seconds=round(self._now() - since))
        return True

    def _current_row(self) -> HoldRow:
        """Return the row with the unsaved progress of the turn."""
        next_ = self._next if self._next is not None else self._row.next
        return replace(self._row, next=next_, waiting=self._row.waiting - self._unsaved)

    def _progress(self) -> HoldProgress:
        # Behind the last known change, `next` stays: an append may have moved the tail since the turn read it.
        next_ = self._current_row().next
        return HoldProgress(next_, self._unsaved, self._since, self._deaths, self._given_up)

    def _write_until_answered(self, write: Callable[[], Result]) -> Result:
        """Write to the ledger; repeat the write until the ledger responds or 3 s are left."""
        tries = 0
        while True:
            try:
                return write()
            except RefusedError:
                raise
            except Exception:
                tries += 1
                is_last = tries >= MAX_WRITE_TRIES and not self._invocation.is_timed
                if is_last or self._invocation.seconds_remaining() <= NO_RETRY_SECONDS:
                    raise
                self._dependencies.processor.sleep(min(1.0, 0.05 * 2**tries))

    def _delete_settled(self) -> None:
        """Delete the rows of settled changes; the hold no longer counts a row that remains."""
        settled, self._settled = self._settled, []
        try:
            self._holds.delete_changes(self.digest, settled)
        except Exception:
            logger.exception("the ledger cannot delete the rows of settled changes", item=self.digest)

    def _stop_broken(self, error: HoldBrokenError) -> None:
        """Stop the item for an hour: later changes must not overtake a missing one."""
        self._invocation.count("HoldBroken")
        logger.error("hold broken", item=self.digest, error={"type": type(error).__name__, "text": str(error)})
        self.hand_back(self._now() + MAX_BACK_OFF_MINUTES * self._settings.minute_seconds)

    def _must_stop(self) -> bool:
        has_time = self._invocation.seconds_left() > self._settings.handler_timeout_seconds
        return not has_time or self._now() - self._began >= MAX_TURN_SECONDS

    def _log(self, message: str, **more: Any) -> None:
        changes = [each.change for each in self._done_changes]
        names = change_fields(changes[0]) if changes else {}
        logger.info(message, **names, item=self.digest, waiting=self._row.waiting, **summary_fields(changes), **more)

    def _now(self) -> float:
        return self._invocation.clock()
