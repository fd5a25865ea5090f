"""A thread that watches the deadline of the running batch."""

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

Seconds = Callable[[], float]


class _Watched:
    """A batch whose deadline is watched."""

    def __init__(self, at: float, on_deadline: Callable[[], None]) -> None:
        self.at, self.on_deadline = at, on_deadline
        self.is_running = False
        self.error: BaseException | None = None

    def call(self) -> None:
        """Call the batch's function, and keep its error for the thread that runs the batch."""
        try:
            self.on_deadline()
        except BaseException as error:
            self.error = error


class Deadline:
    """Calls a function of a batch that still runs at its deadline.

    The thread sleeps until the deadline of a batch that has long ended, as a rule: each deadline is later than the ones
    before it, so that a new batch need not wake the thread, which would take longer than many a batch.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._watched: _Watched | None = None
        self._wakes_at = float("inf")
        self._is_started = False

    @contextmanager
    def watch(self, seconds_left: Seconds | None, on_deadline: Callable[[], None]) -> Generator[None]:
        """Call `on_deadline` once, from another thread, if the block still runs after `seconds_left` seconds.

        The block ends when the call has ended, and raises its error. Without `seconds_left` there is no deadline.
        """
        if seconds_left is None:
            yield
            return
        watched = _Watched(time.monotonic() + seconds_left(), on_deadline)
        self._begin(watched)
        try:
            yield
        finally:
            self._end(watched)

    def _begin(self, watched: _Watched) -> None:
        with self._changed:
            self._watched = watched
            if not self._is_started:
                threading.Thread(target=self._run, name="deadline", daemon=True).start()
                self._is_started = True
            elif watched.at < self._wakes_at:
                self._changed.notify_all()

    def _end(self, watched: _Watched) -> None:
        with self._changed:
            self._watched = None
            self._changed.wait_for(lambda: not watched.is_running)
        if watched.error is not None:
            raise watched.error

    def _run(self) -> None:
        with self._changed:
            while True:
                watched = self._watched
                self._wakes_at = watched.at if watched else float("inf")
                seconds = self._wakes_at - time.monotonic()
                if watched is None or seconds > 0:
                    self._changed.wait(min(seconds, threading.TIMEOUT_MAX))
                    continue
                self._watched, watched.is_running = None, True
                self._changed.release()
                watched.call()
                self._changed.acquire()
                watched.is_running = False
                self._changed.notify_all()
