"""The schedule that retries a function's held items, as a pure state machine."""

import json
from collections.abc import Mapping
from typing import Any, cast

from sandbox.report import HELD, WAIT, remaining_held

MINUTE_SECONDS = 1.0
"""Length of a minute of the schedule and of the engine's back-off in the sandbox, in seconds, since a user waits."""
CHECK_SECONDS = 5.0
"""Seconds between two retry runs of a function that seems to hold no item: an operator's tool may add changes."""
HOLDING = (HELD, WAIT)
"""Log messages of a batch that leaves a held item."""


class Schedule:
    """Decides when to invoke a function with its schedule's input, and whether the function may hold items.

    On AWS the schedule fires every minute. Here it fires from the first batch on, but never during its last invocation:
    every `MINUTE_SECONDS` while the function may hold items, else every `CHECK_SECONDS`. Times are in epoch seconds.

    Parameters
    ----------
    text
        The input, a JSON object.
    now
        The current time.
    """

    def __init__(self, text: str, now: float, *, enabled: bool = True) -> None:
        self.held = 0
        self._began = now
        self._has_run = self._may_hold = self._held_since_run = False
        self._all_due = self._run_tries_all = self._running = False
        self._fires_at = now
        self.configure(text, enabled=enabled)

    def configure(self, text: str, *, enabled: bool) -> None:
        """Take a new input, and turn the schedule on or off."""
        self._input = cast("dict[str, Any]", json.loads(text))
        self.input_text, self.enabled = text, enabled

    def make_all_due(self, now: float) -> None:
        """Invoke the function at once, so that it retries all its held items, regardless of the back-off."""
        self._all_due = self._may_hold = self._held_since_run = True
        self._fires_at = now

    def record_batch(self, log: str, now: float, *, failed: bool) -> None:
        """Take in the log of a batch. A batch that failed may have held items before."""
        if failed or any(f'"{message}"' in log for message in HOLDING):
            if not self._may_hold:
                self._fires_at = self._next_firing(now)
            self._may_hold = self._held_since_run = True
        elif not self._has_run:
            self._fires_at = self._next_firing(now, CHECK_SECONDS)
        self._has_run = True

    def advance(self, now: float) -> Mapping[str, Any] | None:
        """Return the input of an invocation that is due, or None. The caller passes the result to `record_run`."""
        due = self.due()
        if due is None or now < due:
            return None
        self._running, self._held_since_run, self._run_tries_all = True, False, self._all_due
        self._all_due = False
        return self._input | ({"now": True} if self._run_tries_all else {})

    def record_run(self, answer: object, now: float, *, failed: bool) -> None:
        """Take in the answer of an invocation. After a failure, the next invocation has the same input."""
        self._running, self._has_run = False, True
        held = None if failed else remaining_held(answer)
        if held is None:
            self._may_hold = True
            self._all_due |= self._run_tries_all
        else:
            self.held = held
            self._may_hold = self._held_since_run or held > 0
        if not self._all_due or failed:
            self._fires_at = self._next_firing(now, MINUTE_SECONDS if self._may_hold else CHECK_SECONDS)

    def due(self) -> float | None:
        """Return when `advance` has an input, if nothing happens before; None for no time."""
        if not self.enabled or self._running or not (self._may_hold or self._has_run):
            return None
        return self._fires_at

    def is_idle(self) -> bool:
        """Return whether no invocation runs and no item is held. A schedule that is off ignores held items."""
        return not self._running and not (self._may_hold and self.enabled)

    def _next_firing(self, now: float, every_seconds: float = MINUTE_SECONDS) -> float:
        """Return the first time after `now` at which the schedule fires."""
        return self._began + ((now - self._began) // every_seconds + 1) * every_seconds
