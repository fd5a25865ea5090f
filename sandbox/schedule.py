"""A function's schedule decides when to invoke it, so that held items are retried: a pure state machine on a clock."""

import json
from collections.abc import Mapping
from typing import Any, cast

from sandbox.report import HELD, WAIT, still_held

MINUTE_SECONDS = 1.0
"""How long a minute of the schedule and of the engine's back-off lasts in the sandbox, where somebody is watching."""
CHECK_SECONDS = 5.0
"""How often the schedule asks a function that seems to hold nothing: a tool may have put changes into a hold."""
HOLDING = (HELD, WAIT)
"""What a batch logs that leaves something for the schedule to do."""


class Schedule:
    """When a function is invoked with the input of its schedule, and whether it may hold anything.

    On AWS the schedule fires every minute. Here it fires every `MINUTE_SECONDS`, but only while something may be held,
    and never while its last invocation still runs.

    Parameters
    ----------
    text
        The input that the function is given, a JSON object.
    now
        Epoch seconds.
    """

    def __init__(self, text: str, now: float, *, enabled: bool = True) -> None:
        self.held = 0
        self._began = now
        self._has_run = self._may_hold = self._held_since_run = self._all_due = self._run_tries_all = self._running = (
            False
        )
        self._fires_at = now
        self.configure(text, enabled=enabled)

    def configure(self, text: str, *, enabled: bool) -> None:
        """Take a new input, and whether the schedule is on."""
        self._input = cast("dict[str, Any]", json.loads(text))
        self._enabled = enabled

    def make_all_due(self, now: float) -> None:
        """Invoke the function at once, so that it tries everything that it holds, whatever the back-off."""
        self._all_due = self._may_hold = self._held_since_run = True
        self._fires_at = now

    def record_batch(self, log: str, now: float, *, failed: bool) -> None:
        """Take in the log of a batch. A batch that failed may have held items before its end."""
        if failed or any(f'"{message}"' in log for message in HOLDING):
            if not self._may_hold:
                self._fires_at = self._next_firing(now)
            self._may_hold = self._held_since_run = True
        elif not self._has_run:
            self._fires_at = self._next_firing(now, CHECK_SECONDS)
        self._has_run = True

    def advance(self, now: float) -> Mapping[str, Any] | None:
        """The input to invoke the function with now, if any; the caller passes the result to `record_run`."""
        due = self.due()
        if due is None or now < due:
            return None
        self._running, self._held_since_run, self._run_tries_all = True, False, self._all_due
        self._all_due = False
        return self._input | ({"now": True} if self._run_tries_all else {})

    def record_run(self, answer: object, now: float, *, failed: bool) -> None:
        """Take in the answer of an invocation. Where it failed, the next invocation has the same input."""
        self._running, self._has_run = False, True
        held = None if failed else still_held(answer)
        if held is None:
            self._may_hold = True
            self._all_due |= self._run_tries_all
        else:
            self.held = held
            self._may_hold = self._held_since_run or held > 0
        if not self._all_due or failed:
            self._fires_at = self._next_firing(now, MINUTE_SECONDS if self._may_hold else CHECK_SECONDS)

    def due(self) -> float | None:
        """When `advance` has an input for the function, if nothing happens until then; None for never."""
        if not self._enabled or self._running or not (self._may_hold or self._has_run):
            return None
        return self._fires_at

    def is_idle(self) -> bool:
        """Whether nothing runs and nothing seems to be held; a schedule that is off has nothing to do."""
        return not self._running and not (self._may_hold and self._enabled)

    def _next_firing(self, now: float, every_seconds: float = MINUTE_SECONDS) -> float:
        """The next moment after `now` at which the schedule fires."""
        return self._began + ((now - self._began) // every_seconds + 1) * every_seconds
