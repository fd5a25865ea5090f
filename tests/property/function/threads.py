"""Locks and events on virtual time, in place of the engine's own. A wait lets virtual time pass.

The engine's threads are tasks of the virtual clock, or steps of an executor. A real lock would stop the whole
history if a task held the lock during a request.
"""

import threading
from typing import Protocol

WAIT_SECONDS = 0.02


class Waiting(Protocol):
    """An environment that lets time pass."""

    def spend(self, seconds: float) -> None: ...


class _Current(threading.local):
    environment: Waiting | None = None


current = _Current()
"""The environment that this thread runs now."""


def _wait() -> None:
    assert current.environment is not None, "only a simulated run may wait"
    current.environment.spend(WAIT_SECONDS)


class RLock:
    """Stands for threading's class of this name."""

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
    """Stands for threading's class of this name."""

    def __init__(self) -> None:
        self._is_set = False

    def set(self) -> None:
        """End every wait."""
        self._is_set = True

    def wait(self) -> None:
        """Return when the event is set."""
        while not self._is_set:
            _wait()
