"""Locks and events on simulated time, in place of the engine's own: whoever waits lets time pass.

The engine's threads are runs of the clock, or steps of one another; a real lock that is held while a request travels
would stop the whole history.
"""

import threading
from typing import Protocol

WAIT_SECONDS = 0.02


class Waiting(Protocol):
    """Whoever can let time pass."""

    def spend(self, seconds: float) -> None: ...


class _Current(threading.local):
    environment: Waiting | None = None


current = _Current()
"""The environment that this thread runs at the moment."""


def _wait() -> None:
    assert current.environment is not None, "only a simulated run may wait"
    current.environment.spend(WAIT_SECONDS)


class RLock:
    """As threading's."""

    def __init__(self) -> None:
        self._owner: int | None = None
        self._depth = 0

    def __enter__(self) -> bool:
        me = threading.get_ident()
        while self._owner not in (None, me):
            _wait()
        self._owner = me
        self._depth += 1
        return True

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if not self._depth:
            self._owner = None


Lock = RLock


class Event:
    """As threading's."""

    def __init__(self) -> None:
        self._is_set = False

    def set(self) -> None:
        """Let those who wait go on."""
        self._is_set = True

    def wait(self) -> None:
        """Return once it is set."""
        while not self._is_set:
            _wait()
