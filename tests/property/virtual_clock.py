"""A virtual clock for tasks that overlap: one task runs at a time, and the clock alone decides which."""

import heapq
import threading
from collections.abc import Callable
from typing import NamedTuple

from handler.stream.engine.workers import SimulatedCrash


class EndlessError(Exception):
    """The history does not end."""


class TaskKilled(SimulatedCrash):
    """Unwinds a task that never resumes."""


class _Worker:
    """A thread that runs one task at a time; the main thread is a worker, too."""

    def __init__(self) -> None:
        self.turn = threading.Lock()
        self.turn.acquire()
        self.body: Callable[[], None] | None = None
        self.is_busy = False
        self.thread: threading.Thread | None = None


class _Task(NamedTuple):
    body: Callable[[], None]


class VirtualClock:
    """Schedules callbacks and tasks by virtual time, in seconds.

    A task is a plain call that sleeps by `sleep`. The clock starts a second thread only where a second task runs while
    the first one is suspended, so a history without overlap costs no thread switch. Threads take turns and never run
    at the same time: the order of events depends on the schedule alone.
    """

    def __init__(self, start: float, most_events: int = 200_000) -> None:
        self.now = start
        self._events_left = most_events
        self._queue: list[tuple[float, int, _Worker | _Task | Callable[[], None]]] = []
        self._order = 0
        self._main = _Worker()
        self._active = self._main
        self._idle: list[_Worker] = []
        self._workers: list[_Worker] = []
        self._error: BaseException | None = None

    def at(self, when: float, call: Callable[[], None]) -> None:
        """Schedule a call, which must not sleep."""
        self._push(when, call)

    def start(self, body: Callable[[], None]) -> None:
        """Start a task now; the task may sleep."""
        self._push(self.now, _Task(body))

    def sleep(self, seconds: float) -> None:
        """Suspend the calling task, and run everything else that is due meanwhile."""
        wake = self.now + seconds
        if not self._queue or self._queue[0][0] > wake:
            self.now = wake
        else:
            me = self._active
            self._push(wake, me)
            self._dispatch(me)
        if self._error:
            raise TaskKilled

    def run(self) -> None:
        """Run until nothing is scheduled; raise the first error of a callback or task."""
        self._dispatch(self._main)
        if self._error:
            for worker in self._workers:
                if worker.is_busy:
                    self._hand_over(self._main, worker)
        for worker in self._workers:
            worker.body = None
            worker.turn.release()
            if worker.thread:
                worker.thread.join()
        if self._error:
            raise self._error

    def _push(self, when: float, event: _Worker | _Task | Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._queue, (when, self._order, event))

    def _dispatch(self, me: _Worker) -> None:
        """Run due events until the suspended task of `me` is due, or, if `me` is idle, until the end."""
        while self._queue and not self._error:
            self._events_left -= 1
            if self._events_left < 0:
                self._error = EndlessError(f"still busy at {self.now:.0f} s of virtual time")
                break
            when, _, event = heapq.heappop(self._queue)
            self.now = max(when, self.now)
            if event is me:
                return
            if isinstance(event, _Task) and not me.is_busy:
                self._perform(me, event.body)
            elif isinstance(event, _Task | _Worker):
                self._hand_over(me, event if isinstance(event, _Worker) else self._free_worker(event.body))
                if me.is_busy or me is not self._main:
                    return
            else:
                self._guard(event)
        if me is not self._main or me.is_busy:
            self._hand_over(me, self._main)

    def _perform(self, me: _Worker, body: Callable[[], None]) -> None:
        me.is_busy = True
        self._guard(body)
        me.is_busy = False

    def _guard(self, call: Callable[[], None]) -> None:
        try:
            call()
        except TaskKilled:
            if not self._error:
                raise
        except BaseException as error:  # run() raises it again
            self._error = self._error or error

    def _hand_over(self, me: _Worker, other: _Worker) -> None:
        if me is other:
            return
        if not me.is_busy and me is not self._main:
            self._idle.append(me)
        self._active = other
        other.turn.release()
        me.turn.acquire()
        self._active = me

    def _free_worker(self, body: Callable[[], None]) -> _Worker:
        if self._idle:
            worker = self._idle.pop()
        else:
            worker = _Worker()
            self._workers.append(worker)
            worker.thread = threading.Thread(target=self._work, args=(worker,), daemon=True)
            worker.thread.start()
        worker.body = body
        return worker

    def _work(self, me: _Worker) -> None:
        me.turn.acquire()
        while me.body is not None:
            body, me.body = me.body, None
            self._active = me
            self._perform(me, body)
            self._dispatch(me)
