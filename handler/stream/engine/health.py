"""Health of one execution environment: whether its last failures allow it to try a change."""

import threading
from collections.abc import Hashable

FAILURES_IN_A_ROW = 20
"""Failures in a row, without a success between them, that an outage has at least."""
DOWN_SECONDS = 5.0
"""The least time since the first of these failures: many bad items in one batch fail within less."""
PROBE_SECONDS = 10.0
"""How often a change is tried during an outage."""
LEAST_SLOW_SECONDS = 2.0
"""The least time of a slow failure, pauses included; else half of the handler time-out. A batch may wait 2 s."""
SLOW_FAILURES_SECONDS = 60.0
"""Two slow failures within 60 s make an environment careful, until 60 s after the last slow failure."""
ASKED_SECONDS = 5.0
"""How often a careful environment may invoke a retry run."""
PAUSED_SECONDS, PAUSED_SHARE = 1.2, 0.1
"""The budget of pauses before retries: 1.2 s, the pauses of two changes, refilled by 10 % of the time that passes.
In a busy shard each pause delays the next batches."""
MOST_TRUSTED = 100_000
"""The most trusted items that an environment remembers, at about 300 bytes each; others take a detour again."""


class Health:
    """The health of one execution environment, kept across its invocations.

    *Outage*: after 20 failures in a row and 5 s since the first of them, changes are held without a try. One change is
    tried every 10 s, and the next success ends the outage.

    *Careful*: after two slow failures within 60 s, an item takes a detour, since each slow failure delays a whole
    batch. The item is held without a try, and a retry run in another environment tries it at once. After a change of
    the item has succeeded in either environment, the item is trusted again.

    Parameters
    ----------
    slow_seconds : float
        The handler's run time from which a failure is slow.
    """

    def __init__(self, slow_seconds: float) -> None:
        self._slow_seconds = slow_seconds
        self._failures = 0
        self._failing_since = self._probe_at = 0.0
        self._paused = self._paused_at = self._paused_until = 0.0
        self._last_slow = self._careful_since = self._careful_until = self._asked_at = float("-inf")
        self._is_run_wanted = False
        self._trusted = set[Hashable]()
        self._lock = threading.Lock()

    def record_success(self, item: Hashable) -> None:
        """Record that a change of the item is done."""
        self._failures = 0
        if self._careful_until > 0 and len(self._trusted) < MOST_TRUSTED:
            self._trusted.add(item)

    def record_failure(self, item: Hashable, now: float, seconds: float) -> None:
        """Record that a change of the item has failed in this invocation after so many seconds, retries included."""
        with self._lock:
            self._failures += 1
            self._probe_at = now + PROBE_SECONDS
            if self._failures == 1:
                self._failing_since = now
            self._trusted.discard(item)
            if seconds < self._slow_seconds:
                return
            if now - self._last_slow < SLOW_FAILURES_SECONDS:
                if now >= self._careful_until:
                    self._careful_since = now
                    self._trusted.clear()
                self._careful_until = now + SLOW_FAILURES_SECONDS
            self._last_slow = now

    def may_try(self, now: float) -> bool:
        """Return whether a change may be tried: always if there is no outage, else once every 10 s."""
        if self._failures < FAILURES_IN_A_ROW or now - self._failing_since < DOWN_SECONDS:
            return True
        with self._lock:
            if now < self._probe_at:
                return False
            self._probe_at = now + PROBE_SECONDS
            return True

    def may_pause(self, now: float, seconds: float) -> bool:
        """Return whether a change may pause before its retry, and take the pause from the budget.

        Concurrent pauses of several changes count as one.
        """
        with self._lock:
            drained = max(0.0, now - self._paused_at) * PAUSED_SHARE
            self._paused, self._paused_at = max(0.0, self._paused - drained), max(self._paused_at, now)
            cost = max(0.0, now + seconds - max(now, self._paused_until))
            if self._paused + cost > PAUSED_SECONDS:
                return False
            self._paused += cost
            self._paused_until = max(self._paused_until, now + seconds)
            return True

    def trusts(self, item: Hashable, now: float, released_at: float | None) -> bool:
        """Return whether a change of the item may be tried in its batch.

        `released_at` is the time at which a retry run released the item, or None if the ledger has none.
        """
        if now >= self._careful_until or item in self._trusted:
            return True
        return released_at is not None and released_at >= self._careful_since

    def record_detour(self) -> None:
        """Record that an item was held for a retry run that must start at once."""
        self._is_run_wanted = True

    def should_ask(self, now: float) -> bool:
        """Return whether to invoke a retry run now: at most every 5 s, and only if an item has taken a detour."""
        if not self._is_run_wanted:
            return False
        with self._lock:
            if not self._is_run_wanted or now - self._asked_at < ASKED_SECONDS:
                return False
            self._is_run_wanted, self._asked_at = False, now
            return True
