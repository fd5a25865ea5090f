"""One thread that finds due work, a pool of threads that does the work, and one lock for all state."""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

THREADS = 32
"""Reads, invocations and deliveries that run at the same time, at most."""

_log = logging.getLogger(__name__)


class Loop:
    """Does the work of its sources until it is closed. The lock `changed` guards the state of every source."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.closed = False
        self._sources: list[Callable[[float], float | None]] = []
        self._pool = ThreadPoolExecutor(THREADS, "mapping")
        self._thread = threading.Thread(target=self._run, name="loop", daemon=True)
        self._thread.start()

    def add(self, source: Callable[[float], float | None]) -> None:
        """Add a source: a function that submits its due work and returns when it has more; None for no time.

        The loop calls the source under the lock, with the current time. Both times are in epoch seconds.
        """
        with self.changed:
            self._sources.append(source)
            self.changed.notify_all()

    def submit(self, name: str, work: Callable[[], Callable[[], None]]) -> None:
        """Call `work` on a thread of the pool, and then, under the lock, the function that `work` returns."""
        self._pool.submit(self._perform, name, work)

    def close(self) -> None:
        """Stop all work, and wait for the work that runs."""
        with self.changed:
            self.closed = True
            self.changed.notify_all()
        self._thread.join()
        self._pool.shutdown(cancel_futures=True)

    def _run(self) -> None:
        with self.changed:
            while not self.closed:
                now = time.time()
                due = [moment for source in self._sources if (moment := source(now)) is not None]
                self.changed.wait(max(min(due) - now, 0) if due else None)

    def _perform(self, name: str, work: Callable[[], Callable[[], None]]) -> None:
        try:
            complete = work()
        except Exception:
            if not self.closed:  # the emulator ends with the loop, and breaks the calls that run
                _log.exception("%s failed; it is not tried again", name)
            return
        with self.changed:
            complete()
            self.changed.notify_all()
