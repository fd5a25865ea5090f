"""The feed of facts: whatever happens in the sandbox is published once, and every reader gets it in the same order.

A fact is a JSON object with its `kind`, the running number `n` and the time `at` (epoch seconds). docs/sandbox.md lists
the kinds and their fields.
"""

import queue
import threading
import time
from collections import deque
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

KEPT = 2_000
"""The number of latest facts that a new reader gets first."""
PENDING = 10_000
"""Facts that wait for a slow reader, at most; the reader misses the newest ones of a longer backlog."""

Fact = Mapping[str, Any]


class Reader:
    """The facts from one reader's subscription on."""

    def __init__(self, kept: list[Fact]) -> None:
        self.missed = 0
        self._waiting: queue.Queue[Fact] = queue.Queue(PENDING)
        for fact in kept:
            self._waiting.put_nowait(fact)

    def put(self, fact: Fact) -> None:
        """Add a fact, or count it as missed if too many wait."""
        try:
            self._waiting.put_nowait(fact)
        except queue.Full:
            self.missed += 1

    def next(self, timeout_seconds: float) -> Fact | None:
        """Return the next fact; None if there is none within the time."""
        try:
            return self._waiting.get(timeout=timeout_seconds)
        except queue.Empty:
            return None


class Feed:
    """Takes facts on any thread, and passes each to every reader."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: deque[Fact] = deque(maxlen=KEPT)
        self._latest: dict[str, Fact] = {}
        self._readers: set[Reader] = set()
        self._count = 0

    def publish(self, kind: str, at: float | None = None, **fields: Any) -> Fact:
        """Publish a fact of now, or of the time `at`, and return it; its fields must be values of JSON."""
        with self._lock:
            self._count += 1
            moment = round(time.time() if at is None else at, 3)
            fact: Fact = {"kind": kind, "n": self._count, "at": moment, **fields}
            self._latest[kind] = fact
            self._kept.append(fact)
            for reader in self._readers:
                reader.put(fact)
            return fact

    def latest(self, kind: str) -> Fact | None:
        """Return the latest fact of a kind."""
        with self._lock:
            return self._latest.get(kind)

    @contextmanager
    def read(self, after: int = 0) -> Generator[Reader]:
        """Yield a reader of the kept facts with a larger `n` than `after`, and of all later ones.

        The latest facts of the kinds `deployed`, `state` and `faults` come first if they are not among the kept ones.
        """
        with self._lock:
            kept = [fact for fact in self._kept if fact["n"] > after]
            first = kept[0]["n"] if kept else self._count + 1
            older = [self._latest[kind] for kind in ("deployed", "state", "faults") if kind in self._latest]
            reader = Reader([*(fact for fact in older if fact["n"] < first), *kept])
            self._readers.add(reader)
        try:
            yield reader
        finally:
            with self._lock:
                self._readers.discard(reader)
