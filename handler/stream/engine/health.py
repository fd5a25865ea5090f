"""Whether changes can be tried at all: what an environment has learned from its last failures."""

import threading
from collections.abc import Hashable

FAILURES_IN_A_ROW = 20
"""Failures without a success between them after which an environment takes what the handler needs to be down."""
DOWN_SECONDS = 5.0
"""Time since the first of these failures: a flood of bad items that come together is shorter."""
PROBE_SECONDS = 10.0
"""How often a change is tried while that is down."""
LEAST_SLOW_SECONDS = 2.0
"""A failure is slow after half of a handler's time, and not before this: a batch may wait so long, pauses included."""
SLOW_FAILURES_SECONDS = 60.0
"""Two slow failures within this time make an environment careful, and it stays so for this time after the last one."""
ASKED_SECONDS = 5.0
"""How often a careful environment asks for a retry run of what it holds."""
PAUSED_SECONDS, PAUSED_SHARE = 1.2, 0.1
"""Pauses in place may take a tenth of an environment's time, and two changes' pauses together at once: in a busy shard
each pause makes the batches behind wait."""
MOST_TRUSTED = 100_000
"""Items that an environment remembers as trusted, at about 300 bytes each; beyond, an item takes a detour again."""


class Health:
    """What keeps changes from being tried; it outlives invocations.

    After 20 failures in a row, 5 s after the first of them, what the handler needs is *down*: changes are held untried,
    one is tried every 10 s, and the next success ends it.

    After two slow failures within a minute the environment is *careful*, since each slow failure makes a whole batch
    wait: an item is held untried, and a retry run beside the shard tries it at once. Once a change of the item has
    succeeded, there or here, the item is trusted again.

    Parameters
    ----------
    slow_seconds : float
        How long a handler takes at least whose failure is slow.
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

    def succeeded(self, item: Hashable) -> None:
        """A change of the item is done."""
        self._failures = 0
        if self._careful_until > 0 and len(self._trusted) < MOST_TRUSTED:
            self._trusted.add(item)

    def failed(self, item: Hashable, now: float, seconds: float) -> None:
        """A change of the item has failed for good in its invocation, after so many seconds."""
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
        """Whether what the handler needs seems to be there: always while nothing is down, else once every 10 s."""
        if self._failures < FAILURES_IN_A_ROW or now - self._failing_since < DOWN_SECONDS:
            return True
        with self._lock:
            if now < self._probe_at:
                return False
            self._probe_at = now + PROBE_SECONDS
            return True

    def may_pause(self, now: float, seconds: float) -> bool:
        """Whether a batch may wait so long for another try; pauses of several changes at once count as one."""
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
        """Whether a change of the item may be tried before its batch goes on.

        `released_at` is when a retry run released the item, as far as the ledger still knows.
        """
        if now >= self._careful_until or item in self._trusted:
            return True
        return released_at is not None and released_at >= self._careful_since

    def took_detour(self) -> None:
        """An item was held that a retry run is to try at once."""
        self._is_run_wanted = True

    def should_ask(self, now: float) -> bool:
        """Whether to ask for a retry run now: where one is wanted, every 5 s."""
        if not self._is_run_wanted:
            return False
        with self._lock:
            if not self._is_run_wanted or now - self._asked_at < ASKED_SECONDS:
                return False
            self._is_run_wanted, self._asked_at = False, now
            return True
