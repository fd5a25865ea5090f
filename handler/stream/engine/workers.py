"""Threads that run the items of a batch concurrently, and each item's changes in order."""

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

ItemRuns = Sequence[Iterator[None]]
"""One generator per item, which yields before each change."""
Seconds = Callable[[], float]


class SimulatedCrash(BaseException):
    """Raised only by the simulation tests to stop the function mid-batch, as a crash would.

    Never counted as a change's failure.
    """


class Executor(Protocol):
    """Runs the items of a batch."""

    def __call__(self, items: ItemRuns, seconds_left: Seconds | None, on_deadline: Callable[[], None], /) -> None:
        """Run each generator to its end, and return when all have ended.

        If `seconds_left` returns 0 while a generator still runs, call `on_deadline` once and continue to wait. A
        SimulatedCrash of a generator is raised again.
        """
        ...


class _Job(NamedTuple):
    items: Iterator[Iterator[None]]
    done: "queue.SimpleQueue[BaseException | None]"


class Workers:
    """The executor of a function: up to `number` threads, which live as long as the execution environment.

    Each worker is queued once per batch and then pulls items; queueing every item would cost 24 µs each.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._started = 0
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()

    def __call__(self, items: ItemRuns, seconds_left: Seconds | None, on_deadline: Callable[[], None], /) -> None:
        """Run the items in as many threads as there are items or workers, whichever is fewer."""
        wanted = min(self._number, len(items))
        while self._started < wanted:
            threading.Thread(target=self._work, name=f"worker-{self._started}", daemon=True).start()
            self._started += 1
        job = _Job(iter(items), queue.SimpleQueue())
        for _ in range(wanted):
            self._jobs.put(job)
        errors = list[BaseException | None]()
        for _ in range(wanted):
            try:
                errors.append(job.done.get(timeout=None if seconds_left is None else max(0.0, seconds_left())))
            except queue.Empty:
                seconds_left = None
                on_deadline()
                errors.append(job.done.get())
        for error in errors:
            if error is not None:
                raise error

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            error = None
            try:
                for item in job.items:  # threads share the iterator, so each item goes to one thread
                    deque(item, maxlen=0)
            except BaseException as raised:  # the waiting thread raises it again
                error = raised
            job.done.put(error)
