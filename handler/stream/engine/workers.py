"""Threads that run a batch's items, many at once, each in its own order."""

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol


class SimulatedCrash(BaseException):
    """The function ends here and now: how a proof lets it die. No handler raises it, and it is nobody's failure."""


class Executor(Protocol):
    """Runs a list of generators, one an item, each to its end; they yield before each change.

    It returns when none is running any more. Where `left` (seconds) is given and nothing is left while one still runs,
    it calls `on_deadline` once and goes on waiting. A `SimulatedCrash` out of an item is raised again.
    """

    def __call__(
        self, items: Sequence[Iterator[None]], left: Callable[[], float] | None, on_deadline: Callable[[], None]
    ) -> None:
        """Run the items."""
        ...


class _Job(NamedTuple):
    left: Iterator[Iterator[None]]
    done: "queue.SimpleQueue[BaseException | None]"


class Workers:
    """The executor of a function: threads, made once an environment, that pull items.

    A queue entry a worker, not an item: an item costs no hand-over.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._started = 0
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()

    def __call__(
        self, items: Sequence[Iterator[None]], left: Callable[[], float] | None, on_deadline: Callable[[], None]
    ) -> None:
        """Run the items; as many threads as items, at most the number of workers."""
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
                errors.append(job.done.get(timeout=None if left is None else max(0.0, left())))
            except queue.Empty:
                left = None
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
                for item in job.left:  # a list's iterator: each item goes to one thread
                    deque(item, maxlen=0)
            except BaseException as raised:  # raised again in the thread that waits
                error = raised
            job.done.put(error)
