"""One invocation: its remaining time, and the counts that it prints once, at its end."""

import os
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

RESERVE_SECONDS = 2.0
"""Time at the end of an invocation that is kept for writing the note and the holds."""
LONGEST_RUN_SECONDS = 900.0
"""Lambda's longest invocation, used if the context has no remaining time."""
LEASE_MARGIN_SECONDS = 5.0
"""How long a lease outlasts its invocation: more than the clocks of two environments differ."""


class Invocation:
    """One Lambda invocation: its context, remaining time and counts."""

    def __init__(self, context: Any, clock: Callable[[], float]) -> None:
        self.context, self.clock = context, clock
        self.owner = os.urandom(16).hex()
        self.began = clock()
        self.counts = Counter[str]()
        self._lock = threading.Lock()
        self._millis: Callable[[], float] | None = getattr(context, "get_remaining_time_in_millis", None)

    def count(self, name: str, number: int = 1) -> None:
        """Add to a count, from any thread."""
        with self._lock:
            self.counts[name] += number

    @property
    def is_timed(self) -> bool:
        """Whether the context has a remaining time; if not, there is no deadline."""
        return self._millis is not None

    def seconds_remaining(self) -> float:
        """Return the seconds until Lambda ends the invocation."""
        return self._millis() / 1000 if self._millis else LONGEST_RUN_SECONDS

    def seconds_left(self) -> float:
        """Return the seconds until the reserve starts; infinite without a deadline."""
        return self.seconds_remaining() - RESERVE_SECONDS if self._millis else float("inf")

    def end_time(self) -> float:
        """Return the time at which Lambda ends the invocation, in seconds since 1970."""
        return self.clock() + self.seconds_remaining()

    def lease_end(self) -> float:
        """Return the time at which a lease of this invocation ends, in seconds since 1970."""
        return self.end_time() + LEASE_MARGIN_SECONDS
