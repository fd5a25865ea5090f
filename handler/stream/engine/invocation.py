"""One invocation: the time that it has left, and the counts that it flushes once, at its end."""

import os
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

RESERVE_SECONDS = 2.0
"""Seconds kept at an invocation's end for the note and for holds."""
LONGEST_RUN_SECONDS = 900.0
"""Lambda's longest invocation, for a context that does not tell the time that is left."""
LEASE_MARGIN_SECONDS = 5.0
"""Seconds that a lease outlasts its invocation: more than two environments' clocks differ."""


class Invocation:
    """The context of a Lambda invocation, as far as the engine looks at it."""

    def __init__(self, context: Any, clock: Callable[[], float]) -> None:
        self.context, self.clock = context, clock
        self.owner = os.urandom(16).hex()
        self.began = clock()
        self.counts = Counter[str]()
        self._lock = threading.Lock()
        self._millis: Callable[[], float] | None = getattr(context, "get_remaining_time_in_millis", None)

    def count(self, name: str, number: int = 1) -> None:
        """Add to a count; any thread may."""
        with self._lock:
            self.counts[name] += number

    @property
    def is_timed(self) -> bool:
        """Whether there is a deadline."""
        return self._millis is not None

    def seconds_remaining(self) -> float:
        """Seconds until Lambda ends the invocation."""
        return self._millis() / 1000 if self._millis else LONGEST_RUN_SECONDS

    def seconds_left(self) -> float:
        """Seconds until the reserve; without a deadline there is no end."""
        return self.seconds_remaining() - RESERVE_SECONDS if self._millis else float("inf")

    def end_time(self) -> float:
        """When Lambda ends the invocation at the latest, in seconds since 1970."""
        return self.clock() + self.seconds_remaining()

    def lease_end(self) -> float:
        """When a lease of this invocation ends."""
        return self.end_time() + LEASE_MARGIN_SECONDS
