"""Puts planned changes back, watches what becomes of them, and moves the objects of those that are done."""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ops.concurrency import in_chunks
from ops.failures.bucket import FailureObjects, Moved
from ops.failures.ledger import RedrivenChanges
from ops.failures.plan_file import DONE, HELD, OUTRUN, PARKED_AGAIN, REFUSED, PlanFile, PlannedChange
from ops.failures.sending import MAX_RECORDS, Request, RetryRuns, Sender, Sent, in_requests

SENDERS = 4
"""Requests that are sent at the same time: each is an invocation of the function."""
FIRST_IN_FLIGHT, MAX_IN_FLIGHT = 100, 10_000
"""Changes whose outcome may be unknown before more are put back: 100 after a failure, and two more for each change that
is done since, up to 10,000. So a run that fails stops early, and one that succeeds is not held up."""
FAILURES_IN_A_ROW = 20
"""Failures without a success between them after which the run stops."""
POLL_SECONDS = 0.5
STALL_SECONDS = 300.0
"""A run without any outcome for five minutes stops: a retry run comes each minute."""
CHUNK = 500
"""Changes whose objects are looked up at once."""


@dataclass
class Watched:
    """An item whose redriven changes wait in its hold."""

    at: float
    """When the item became due."""
    changes: int
    failed_at: float = 0.0
    """When a change of the item failed again; 0 if none has."""


@dataclass
class Outcomes:
    """The outcomes of the changes; `failing` has the items that wait because a change failed again."""

    done: int = 0
    parked_again: int = 0
    in_a_row: int = 0
    """Failures since the last success."""
    done_in_a_row: int = 0
    """Successes since the last failure."""
    failing: set[str] = field(default_factory=set[str])
    refusals: Counter[str] = field(default_factory=Counter[str])
    stopped: str | None = None
    """Why the run stopped by itself."""

    def succeeded(self) -> None:
        """Count a change that is done."""
        self.done += 1
        self.done_in_a_row += 1
        self.in_a_row = 0

    def parked(self) -> None:
        """Count a change that was parked again."""
        self.parked_again += 1
        self._failed()

    def failed(self, item: str) -> None:
        """Count an item whose change failed again, once."""
        if item not in self.failing:
            self.failing.add(item)
            self._failed()

    def _failed(self) -> None:
        self.in_a_row += 1
        self.done_in_a_row = 0


class Redrive:
    """One run over a plan.

    Parameters
    ----------
    plan, sender, ledger, objects, retries
        The planned changes, and what acts on them.
    began
        The time of the plan by S3's clock: an object that is written later belongs to a change that was parked again.
    rate
        Most changes a second that are put back; None for no limit.
    on_progress
        Called after each step of the run.
    """

    def __init__(
        self,
        plan: PlanFile,
        sender: Sender,
        ledger: RedrivenChanges,
        objects: FailureObjects,
        retries: RetryRuns,
        *,
        began: datetime,
        rate: float | None = None,
        on_progress: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._plan, self._sender, self._ledger, self._objects = plan, sender, ledger, objects
        self._retries, self._began, self._rate, self._on_progress = retries, began, rate, on_progress
        self._clock, self._sleep = clock, sleep
        self._watched: dict[str, Watched] = {}
        self._pool = ThreadPoolExecutor(SENDERS)
        self._running: dict[Future[Sent], tuple[Request, deque[Request]]] = {}
        self._next_send = self._next_poll = 0.0
        self.outcomes = Outcomes()
        self.put_back = 0
        """Changes that were put back in this run."""
        self.seconds_sending = 0.0
        """Seconds in which at least one request was being answered."""
        self._sending_since = 0.0

    def close(self) -> None:
        """Send nothing more."""
        self._retries.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    @property
    def waiting(self) -> int:
        """Changes that wait in their holds."""
        return sum(each.changes for each in self._watched.values())

    @property
    def _may_put_back(self) -> bool:
        """Whether the outcomes that are known allow to put more changes back."""
        in_flight = self.waiting + sum(len(changes) for changes, _ in self._running.values())
        return in_flight < min(MAX_IN_FLIGHT, FIRST_IN_FLIGHT + 2 * self.outcomes.done_in_a_row)

    def error_of(self, item: str) -> str:
        """Return the last error of an item whose changes wait."""
        return self._ledger.error(item)

    def settle_earlier(self, changes: Iterator[list[PlannedChange]]) -> None:
        """Move the objects of changes that are done since an earlier run put them back."""
        for each in changes:
            self._settle(each)

    def run(self, first: int, last: int | None = None) -> None:
        """Put the queued items from one place to another back, and wait until each is done or has failed again.

        Raises
        ------
        OpsError
            The function failed.
        Exception
            The error of boto3 if a call fails. Changes that are in their holds stay there, and the engine runs them.
        """
        most = MAX_RECORDS if self._rate is None else max(1, min(MAX_RECORDS, int(self._rate)))
        lists = in_requests(self._plan.items(first, last), most)
        has_more, last_event = True, self._clock()
        seen = self._events()
        while True:
            has_more = has_more and self._send(lists)
            self._take_answers()
            if self._clock() >= self._next_poll:
                self._poll()
                self._next_poll = self._clock() + POLL_SECONDS
            self._on_progress()
            if self._events() != seen:
                seen, last_event = self._events(), self._clock()
            if self.outcomes.in_a_row >= FAILURES_IN_A_ROW:
                self.outcomes.stopped = f"{self.outcomes.in_a_row} failures in a row"
            elif self._clock() - last_event > STALL_SECONDS:
                problem = f": {self._retries.problem}" if self._retries.problem else ""
                self.outcomes.stopped = f"nothing has moved for {STALL_SECONDS / 60:g} minutes{problem}"
            is_over = self.outcomes.stopped or not has_more
            undecided = any(not each.failed_at for each in self._watched.values())
            may_send = has_more and self._rate is None and self._may_put_back
            self._retries.want(wanted=undecided and not may_send)  # they would slow each other down
            if is_over and not self._running and (self.outcomes.stopped or not undecided):
                return
            if not self._running:
                self._sleep(0.05)

    def _events(self) -> tuple[int, ...]:
        outcomes = self.outcomes
        return outcomes.done, outcomes.parked_again, len(outcomes.failing), self.put_back

    def as_json(self) -> dict[str, Any]:
        """Return the result of the run for --json."""
        outcomes = self.outcomes
        return {
            "put_back": self.put_back,
            "seconds_sending": round(self.seconds_sending, 3),
            "done": outcomes.done,
            "parked_again": outcomes.parked_again,
            "waiting": self.waiting,
            "failing_items": len(outcomes.failing),
            "refused": dict(outcomes.refusals),
            "states": self._plan.counts(),
            "objects_moved": self._plan.count_objects(Moved.DONE.name),
            "stopped": outcomes.stopped,
        }

    # Putting back

    def _send(self, lists: Iterator[list[Request]]) -> bool:
        """Begin to send requests while that is allowed; return whether there may be more."""
        while len(self._running) < SENDERS and self._may_put_back and self.outcomes.stopped is None:
            if self._rate and self._clock() < self._next_send:
                return True
            requests = next(lists, None)
            if requests is None:
                return False
            self._submit(deque(requests), is_whole=len(requests) == 1)
        return self.outcomes.stopped is None

    def _submit(self, requests: deque[Request], *, is_whole: bool) -> None:
        changes = requests.popleft()
        if self._rate:
            self._next_send = max(self._clock(), self._next_send) + len(changes) / self._rate
        if not self._running:
            self._sending_since = self._clock()
        future = self._pool.submit(self._sender.send, changes, self._plan.records(changes), is_whole=is_whole)
        self._running[future] = changes, requests

    def _take_answers(self) -> None:
        if not self._running:
            return
        for future in wait(self._running, timeout=0.05, return_when=FIRST_COMPLETED).done:
            _, rest = self._running.pop(future)
            self._take(future.result())
            if rest and not future.result().refused and self.outcomes.stopped is None:
                self._submit(rest, is_whole=False)
            if not self._running:
                self.seconds_sending += self._clock() - self._sending_since

    def _take(self, sent: Sent) -> None:
        """Record an answer, and copy the objects whose changes are all in their holds."""
        self._plan.set_state((change.id for change in sent.held), HELD)
        self._plan.set_state(sent.refused, REFUSED)
        self._plan.set_state((change.id for change in sent.outrun), OUTRUN)
        self.outcomes.refusals.update(sent.refused.values())
        self.put_back += len(sent.held)
        for change in sent.held:
            watched = self._watched.setdefault(change.item, Watched(sent.at, 0))
            watched.at, watched.changes, watched.failed_at = sent.at, watched.changes + 1, 0.0
        ids = [change.id for change in sent.held]
        ready = self._plan.objects_of(ids, HELD, DONE, PARKED_AGAIN) if ids else []
        self._copy([(key, etag) for key, etag, is_copied in ready if not is_copied])

    # Watching

    def _poll(self) -> None:
        if not self._watched:
            return
        rows = self._ledger.held_rows(list(self._watched))
        is_over = [item for item in self._watched if item not in rows or not rows[item].redriven]
        settled = [change for item in is_over for change in self._plan.changes_of(item, HELD)]
        for item in is_over:
            del self._watched[item]
            self.outcomes.failing.discard(item)
        looked_at = [
            item
            for item, row in rows.items()
            if row.redriven and row.owner is None and row.due > self._watched[item].at
        ]
        for item, state in self._ledger.states(looked_at).items():
            waiting = self._plan.changes_of(item, HELD)
            settled += [change for change in waiting if change.version not in state.waiting]
            watched = self._watched[item]
            watched.changes = sum(change.version in state.waiting for change in waiting)
            if not watched.changes:
                del self._watched[item]
                self.outcomes.failing.discard(item)
            elif state.failed_at > max(watched.at, watched.failed_at):
                watched.failed_at = state.failed_at
                self.outcomes.failed(item)
        for some in in_chunks(settled, CHUNK):
            self._settle(some)

    def _settle(self, changes: Sequence[PlannedChange]) -> None:
        """Find out whether changes that wait no more are done or were parked again, and move their objects."""
        states = {change.key: self._plan.state_of_object(change.key) for change in changes}
        own = {key for key, state in states.items() if state is not None}
        found = self._objects.existing(sorted(states.keys() - own))
        again = {key for key, listed in found.items() if listed.modified >= self._began}
        again |= {key for key, state in states.items() if state == Moved.CHANGED.name}
        ids = [change.id for change in changes]
        self._plan.set_state(ids, DONE)
        ready = self._plan.objects_of(ids, DONE, PARKED_AGAIN)
        again |= own & self._copy([(key, etag) for key, etag, is_copied in ready if not is_copied])
        for key, moved in self._objects.delete_all((key, etag) for key, etag, _ in ready if key not in again):
            self._plan.close_object(key, moved.name)
            if moved is Moved.CHANGED and key in own:
                again.add(key)
        for change in changes:
            if change.key in again:
                self.outcomes.parked()
            else:
                self.outcomes.succeeded()
        self._plan.set_state((change.id for change in changes if change.key in again), PARKED_AGAIN)

    def _copy(self, objects: Sequence[tuple[str, str]]) -> set[str]:
        """Copy objects to `redriven/`; return the keys of those that another failure record has replaced."""
        changed: set[str] = set()
        copied: list[str] = []
        for (key, _), moved in self._objects.copy_all(objects):
            if moved is Moved.DONE:
                copied.append(key)
            else:
                self._plan.close_object(key, moved.name)
                changed |= {key} if moved is Moved.CHANGED else set()
        self._plan.mark_copied(copied)
        return changed
