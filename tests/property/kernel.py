"""One clock for runs that overlap: at every moment exactly one goes on, and the clock alone decides which."""

import heapq
import threading
from collections.abc import Callable
from typing import NamedTuple

from handler.stream.engine.workers import SimulatedCrash


class EndlessError(Exception):
    """A history that does not come to its end."""


class Killed(SimulatedCrash):
    """Unwinds a run that nothing will resume."""


class _Carrier:
    """A thread that carries one run at a time; the main thread is one too."""

    def __init__(self) -> None:
        self.turn = threading.Lock()
        self.turn.acquire()
        self.body: Callable[[], None] | None = None
        self.carrying = False
        self.thread: threading.Thread | None = None


class _Run(NamedTuple):
    body: Callable[[], None]


class Kernel:
    """Schedules callbacks and runs by simulated time, in seconds.

    Runs are plain calls that sleep by `sleep`. Only where a second one is to go on while the first is suspended does a
    second thread come into play, so that a history without overlap costs no switch of threads. Threads take turns and
    never run at once: what happens depends on the schedule alone.
    """

    def __init__(self, start: float, most_events: int = 200_000) -> None:
        self.now = start
        self._left = most_events
        self._queue: list[tuple[float, int, _Carrier | _Run | Callable[[], None]]] = []
        self._order = 0
        self._main = _Carrier()
        self._active = self._main
        self._idle: list[_Carrier] = []
        self._carriers: list[_Carrier] = []
        self._error: BaseException | None = None

    def at(self, when: float, call: Callable[[], None]) -> None:
        """Call at a moment; a call must not sleep."""
        self._push(when, call)

    def start(self, body: Callable[[], None]) -> None:
        """Begin a run now; it may sleep."""
        self._push(self.now, _Run(body))

    def sleep(self, seconds: float) -> None:
        """Let a run's time pass, and whatever else is due meanwhile."""
        wake = self.now + seconds
        if not self._queue or self._queue[0][0] > wake:
            self.now = wake
        else:
            me = self._active
            self._push(wake, me)
            self._dispatch(me)
        if self._error:
            raise Killed

    def run(self) -> None:
        """Go on until nothing is left to do; raises what a callback or a run raised."""
        self._dispatch(self._main)
        if self._error:
            for carrier in self._carriers:
                if carrier.carrying:
                    self._hand_over(self._main, carrier)
        for carrier in self._carriers:
            carrier.body = None
            carrier.turn.release()
            if carrier.thread:
                carrier.thread.join()
        if self._error:
            raise self._error

    def _push(self, when: float, what: "_Carrier | _Run | Callable[[], None]") -> None:
        self._order += 1
        heapq.heappush(self._queue, (when, self._order, what))

    def _dispatch(self, me: _Carrier) -> None:
        """Do what is due until it is the turn of what `me` carries, or, where it carries nothing, until the end."""
        while self._queue and not self._error:
            self._left -= 1
            if self._left < 0:
                self._error = EndlessError(f"still busy at {self.now:.0f} s of simulated time")
                break
            when, _, what = heapq.heappop(self._queue)
            self.now = max(when, self.now)
            if what is me:
                return
            if isinstance(what, _Run) and not me.carrying:
                self._carry(me, what.body)
            elif isinstance(what, _Run | _Carrier):
                self._hand_over(me, what if isinstance(what, _Carrier) else self._carrier(what.body))
                if me.carrying or me is not self._main:
                    return
            else:
                self._guard(what)
        if me is not self._main or me.carrying:
            self._hand_over(me, self._main)

    def _carry(self, me: _Carrier, body: Callable[[], None]) -> None:
        me.carrying = True
        self._guard(body)
        me.carrying = False

    def _guard(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Killed:
            if not self._error:
                raise
        except BaseException as error:  # raised again by run()
            self._error = self._error or error

    def _hand_over(self, me: _Carrier, other: _Carrier) -> None:
        if me is other:
            return
        if not me.carrying and me is not self._main:
            self._idle.append(me)
        self._active = other
        other.turn.release()
        me.turn.acquire()
        self._active = me

    def _carrier(self, body: Callable[[], None]) -> _Carrier:
        if self._idle:
            carrier = self._idle.pop()
        else:
            carrier = _Carrier()
            self._carriers.append(carrier)
            carrier.thread = threading.Thread(target=self._live, args=(carrier,), daemon=True)
            carrier.thread.start()
        carrier.body = body
        return carrier

    def _live(self, me: _Carrier) -> None:
        me.turn.acquire()
        while me.body is not None:
            body, me.body = me.body, None
            self._active = me
            self._carry(me, body)
            self._dispatch(me)
