"""One turn of a held item: its waiting changes run in order until one fails, the time is over, or none is left."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from handler.stream.engine.attempt import attempt, reason_to_park
from handler.stream.engine.batch import Function
from handler.stream.engine.invocation import Invocation
from handler.stream.engine.parking import Parking
from handler.stream.environment import Environment
from handler.stream.held_items.holding import SuspectError
from handler.stream.ledger.holds import PASSED, Holds, Lease, Position
from handler.stream.ledger.rows import HoldBrokenError, HoldRow, Waiting
from handler.stream.ledger.writes import RefusedError
from handler.stream.telemetry import change_fields, iso_time, log_failure, logger, summary_fields

TURN_SECONDS = 15.0
"""The longest turn of an item, after which another item may have the worker."""
SAVED_SECONDS = 1.0
"""How often a turn writes how far it has come: a death repeats at most the changes of this time. The turn of a suspect
writes after each change, so that the next death counts for the change that causes it."""
WRITE_SECONDS = 3.0
"""Seconds before the invocation's end at which no write is tried again: an attempt may take so long."""
WRITE_TRIES = 20
"""Tries of a write where there is no deadline, at most a second apart."""
LONGEST_BACK_OFF_MINUTES = 60
FATAL_DEATHS = 2
"""Deaths in a row after which a change that has failed for too long is given up without another try. One may have
another cause: the owner may have died before it came to this change."""

Result = TypeVar("Result")


def back_off(settings: Environment, failing_seconds: float) -> float:
    """Seconds until the next try: a quarter of the time that the item has failed, from a minute to an hour."""
    minute = settings.minute_seconds
    return min(max(failing_seconds / 4, minute), LONGEST_BACK_OFF_MINUTES * minute)


@dataclass(frozen=True)
class Workplace:
    """What the turns of one run share."""

    function: Function
    settings: Environment
    holds: Holds
    parking: Parking
    invocation: Invocation
    sleep: Callable[[float], None]
    others_succeed: Callable[[str], bool]
    """Whether a change of another item than this one has succeeded in the run."""
    succeeded: Callable[[str], None]
    """To be called with an item's digest when a change of it is done."""


class Turn:
    """The turn of one item.

    `take` leases the item, `run` is a generator that yields before each change. Every method raises what boto3 raises
    where the ledger does not answer until 3 s before the invocation's end; the item's lease then ends by itself.
    """

    def __init__(self, workplace: Workplace, row: HoldRow) -> None:
        self._work, self._row = workplace, row
        self._next, self._since, self._deaths, self._given_up = row.next, row.since, row.deaths, row.given_up
        self._began = self._saved_at = workplace.invocation.clock()
        self._unsaved, self._saved_seconds = 0, SAVED_SECONDS
        self._redriven_read = row.redriven
        """`redriven` when the changes were read: a release must not pass over a redrive that came later."""
        self._passed: list[Waiting] = []
        self._done: list[Waiting] = []
        self._lock = threading.RLock()
        self.tried = False

    @property
    def digest(self) -> str:
        """The item's."""
        return self._row.digest

    def take(self, due_by: float) -> bool:
        """Lease the item; False where it is another's, held no longer, or due after `due_by`."""
        now, invocation = self._now(), self._work.invocation
        lease = Lease(invocation.owner, invocation.lease_end())
        due = now + back_off(self._work.settings, now - self._row.since)
        try:
            self._row = self._work.holds.lease(self._row, lease, now=now, due=due, due_by=due_by)
        except RefusedError:
            return False
        self._next, self._since, self._deaths = self._row.next, self._row.since, self._row.deaths
        self._given_up = self._row.given_up
        self._saved_seconds = 0.0 if self._deaths else SAVED_SECONDS
        return True

    def run(self) -> Iterator[None]:
        """Run the waiting changes of the leased item, then release it or hand it back."""
        while True:
            try:
                waiting = self._read()
            except HoldBrokenError as error:
                self._stop_broken(error)
                return
            for place, change in enumerate(waiting):
                yield
                if self._is_over():
                    self.hand_back(self._now())
                    self._log("changes done")
                    return
                if not self._settle(change, waiting[place + 1 :]):
                    return
            if self.release_or_reload():
                return

    def first(self) -> tuple[Waiting, Sequence[Waiting]]:
        """The leased item's first waiting change, and those after it. Raises HoldBrokenError."""
        first, *rest = self._read()
        return first, rest

    def _read(self) -> list[Waiting]:
        self._redriven_read = self._row.redriven
        return self._work.holds.waiting(self._view())

    # One change

    def _settle(self, waiting: Waiting, rest: Sequence[Waiting]) -> bool:
        """Run a change; False where it fails and the item waits again."""
        work, change = self._work, waiting.change
        self.tried = True
        error: BaseException | None
        reason = None
        if self._deaths >= FATAL_DEATHS and self._has_failed_too_long():
            error = SuspectError(f"the function died {self._deaths} times while this change ran")
            reason = "GivenUp"
        else:
            error = attempt(work.function, change)
        if error is None:
            work.succeeded(self.digest)
            self._given_up = 0
            self._done.append(waiting)
            self.move_past(waiting, rest)
            return True
        reason = reason or reason_to_park(error) or self._reason_to_give_up()
        if reason and work.parking.park(change, error, reason):
            self._given_up += reason == "GivenUp"
            self.move_past(waiting, rest)
            return True
        self._fail(waiting, error)
        return False

    def _reason_to_give_up(self) -> str | None:
        is_next_one = self._given_up > 0 and self._work.others_succeed(self.digest)
        return "GivenUp" if is_next_one or self._has_failed_too_long() else None

    def _has_failed_too_long(self) -> bool:
        return self._now() - self._since >= self._work.settings.give_up_after_seconds

    def _fail(self, waiting: Waiting, error: BaseException) -> None:
        now = self._now()
        tries = None
        try:
            tries = self._work.holds.note_failure(self.digest, error, now)
        except Exception:
            logger.exception("the ledger cannot tell of a failure", item=self.digest)
        due = now + back_off(self._work.settings, now - self._since)
        self._deaths = 0  # the function has outlived this try
        self.hand_back(due)
        log_failure(
            "retry failed",
            waiting.change,
            error,
            item=self.digest,
            tries=tries,
            next_try=iso_time(due),
            waiting=self._row.waiting,
            sequence_numbers=summary_fields([each.change for each in self._done])["sequence_numbers"],
        )

    def move_past(self, waiting: Waiting, rest: Sequence[Waiting]) -> None:
        """Take a change as settled: the next of `rest` is the first that waits."""
        now = self._now()
        with self._lock:
            if waiting.is_redriven:
                self._persist(lambda: self._work.holds.forget(self.digest, [waiting]))
            else:
                following = next((each.version for each in rest if not each.is_redriven), None)
                self._next = following or after(waiting.version)
                self._unsaved += 1
                self._passed.append(waiting)
            self._since, self._deaths = now, 0
        if now - self._saved_at >= self._saved_seconds:
            self.save()

    # The item's row

    def save(self) -> None:
        """Write how far the turn has come."""
        with self._lock:
            if self._row.owner != self._work.invocation.owner:
                return
            self._row = self._persist(lambda: self._work.holds.progress(self._row, self._position()))
            self._unsaved, self._saved_at = 0, self._now()

    def hand_back(self, due: float) -> None:
        """Let go of the item until it is due."""
        with self._lock:
            self._row = self._persist(lambda: self._work.holds.hand_back(self._row, self._position(), due))
            self._unsaved = 0
        self._forget()

    def release_or_reload(self) -> bool:
        """Release the item, all of whose known changes have run; False where more wait by now."""
        view, work = self._view(), self._work
        if view.next is not None and view.next <= view.tail:
            return False  # the changes that were read are not all
        since = self._row.since
        with self._lock:
            try:
                read = replace(self._row, redriven=self._redriven_read)
                self._row = self._persist(lambda: work.holds.release(read, view.tail, self._now()))
            except RefusedError as refused:
                there = HoldRow.read(refused.row) if refused.row is not None else None
                if there is None or there.owner != work.invocation.owner:
                    if there is None or there.is_held:
                        raise
                else:
                    self._row = there
                    return False
        self._forget()
        work.invocation.count("ReleasedItems")
        self._log("item released", held_seconds=round(self._now() - since))
        return True

    def _view(self) -> HoldRow:
        """The row as it would be if the turn's progress were written."""
        next_ = self._next if self._next is not None else self._row.next
        return replace(self._row, next=next_, waiting=self._row.waiting - self._unsaved)

    def _position(self) -> Position:
        next_ = self._view().next
        if next_ is not None and next_ == after(self._row.tail):
            next_ = None
        return Position(next_, self._unsaved, self._since, self._deaths, self._given_up)

    def _persist(self, write: Callable[[], Result]) -> Result:
        """Write to the ledger, again until it answers or 3 s are left."""
        tries = 0
        while True:
            try:
                return write()
            except RefusedError:
                raise
            except Exception:
                tries += 1
                invocation = self._work.invocation
                if invocation.seconds_remaining() <= WRITE_SECONDS or (
                    tries >= WRITE_TRIES and not invocation.is_timed
                ):
                    raise
                self._work.sleep(min(1.0, 0.05 * 2**tries))

    def _forget(self) -> None:
        """Remove the rows of what has run; a row that stays counts no longer."""
        passed, self._passed = self._passed, []
        try:
            self._work.holds.forget(self.digest, passed)
        except Exception:
            logger.exception("the ledger cannot remove what has run", item=self.digest)

    def _stop_broken(self, error: HoldBrokenError) -> None:
        """The item stops until what is missing is there again: later changes must not overtake it."""
        self._work.invocation.count("HoldBroken")
        logger.error("hold broken", item=self.digest, error={"type": type(error).__name__, "text": str(error)})
        self.hand_back(self._now() + LONGEST_BACK_OFF_MINUTES * self._work.settings.minute_seconds)

    def _is_over(self) -> bool:
        has_time = self._work.invocation.seconds_left() > self._work.settings.handler_timeout_seconds
        return not has_time or self._now() - self._began >= TURN_SECONDS

    def _log(self, message: str, **more: Any) -> None:
        changes = [each.change for each in self._done]
        names = change_fields(changes[0]) if changes else {}
        logger.info(message, **names, item=self.digest, waiting=self._row.waiting, **summary_fields(changes), **more)

    def _now(self) -> float:
        return self._work.invocation.clock()


def after(version: str) -> str:
    """The place after a version's rows and before those of the next one."""
    return f"{version}{PASSED}"
