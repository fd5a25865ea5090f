"""Threads that run the items of a batch concurrently, and each item's changes in order."""

import operator
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from handler.stream.engine.deadline import Deadline, Seconds

ItemRuns = Sequence[Iterator[None]]
"""One generator per item, which yields before each change."""


class SimulatedCrash(BaseException):
    """Raised only by the simulation tests to stop the function mid-batch, as a crash would.

    Never counted as a change's failure.
    """


class Executor(Protocol):
    """Runs the items of a batch."""

    def __call__(self, items: ItemRuns, seconds_left: Seconds | None, on_deadline: Callable[[], None], /) -> None:
        """Run each generator to its end, and return when all have ended.

        If `seconds_left` seconds pass while a generator still runs, call `on_deadline` once and continue to wait. After
        an error of a generator no other one begins; the error is raised again when the running ones have ended.
        """
        ...


class _Job:
    """The items of a batch, and the helpers that have joined the calling thread to run them."""

    def __init__(self, items: ItemRuns) -> None:
        self.helpers = 0
        self.error: BaseException | None = None
        self._items = iter(items)
        self._is_closed = False
        self._lock = threading.Lock()
        self._left: queue.SimpleQueue[None] = queue.SimpleQueue()

    def has_work_for_two(self) -> bool:
        """Return whether two threads find an item each."""
        return operator.length_hint(self._items) >= 2

    def join(self) -> bool:
        """Join as a helper, unless the calling thread has found no more items."""
        with self._lock:
            self.helpers += not self._is_closed
            return not self._is_closed

    def run(self) -> None:
        """Run items until there are no more."""
        try:
            for item in self._items:  # threads share the iterator, so each item goes to one thread
                deque(item, maxlen=0)
        except BaseException as error:  # the calling thread raises it again
            self.error = error
            deque(self._items, maxlen=0)

    def leave(self) -> None:
        """End as a helper that has joined."""
        self._left.put(None)

    def close(self) -> None:
        """Wait until every helper that has joined has left. Raises the error of an item."""
        with self._lock:
            self._is_closed = True
        for _ in range(self.helpers):
            self._left.get()
        if self.error is not None:
            raise self.error


class Workers:
    """The executor of a function: the calling thread and helpers, which live as long as the execution environment.

    The calling thread calls the first helper, and each helper calls the next one, while there are more items. Python
    lets a helper begin when the others wait, or have computed for 5 ms. So quick handlers that wait for nothing all run
    in the calling thread, which has their records in its processor's cache.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._started = 0
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._deadline = Deadline()

    def __call__(self, items: ItemRuns, seconds_left: Seconds | None, on_deadline: Callable[[], None], /) -> None:
        """Run the items in up to `number` threads."""
        if not items:
            return
        job = _Job(items)
        with self._deadline.watch(seconds_left, on_deadline):
            self._call_helper(job)
            job.run()
            job.close()

    def _call_helper(self, job: _Job) -> None:
        """Call one more helper if it and this thread find an item each."""
        if job.helpers + 1 >= self._number or not job.has_work_for_two():
            return
        if self._started == job.helpers:
            threading.Thread(target=self._help, name=f"worker-{self._started + 1}", daemon=True).start()
            self._started += 1
        self._jobs.put(job)

    def _help(self) -> None:
        while True:
            job = self._jobs.get()
            if job.join():
                try:
                    self._call_helper(job)
                    job.run()
                finally:
                    job.leave()
