"""One change and its handler: run it, catch its failure, and retry it within the invocation."""

import contextvars
import time
from collections.abc import Callable
from dataclasses import dataclass

from handler.stream.change import Change, MalformedChangeError, PermanentError
from handler.stream.engine.batch import Function, call
from handler.stream.engine.health import Health
from handler.stream.engine.invocation import Invocation
from handler.stream.engine.workers import SimulatedCrash
from handler.stream.telemetry import current_change

PAUSE_SECONDS = (0.2, 0.4)
"""Pauses before the second and the third try within an invocation: most transient errors end within 0.6 s."""
LONGEST_TRIED_SECONDS = 1.0
"""A change that has used 1 s is not retried within the invocation: a slow failure would delay the batch."""
FAILED_ITEMS = 10
"""After 10 failed items of a batch, no change is retried within the invocation: the cause is not one item."""


def pause(seconds: float) -> None:
    """Sleep for 75 to 125 % of the time, so that environments that fail together do not retry together."""
    import random  # only a failure pays for this import

    time.sleep(seconds * random.uniform(0.75, 1.25))  # noqa: S311 - not a secret


def attempt(function: Function, change: Change) -> BaseException | None:
    """Run a handler for a change; return its error, or None. Raises only SimulatedCrash."""
    try:
        contextvars.copy_context().run(_run, function, change)
    except SimulatedCrash:
        raise
    except BaseException as error:  # any error of a handler is a failure of its change
        return error
    return None


def _run(function: Function, change: Change) -> None:
    current_change.set(change)
    change.check_event_name()
    call(function, change)


def reason_to_park(error: BaseException) -> str | None:
    """Return why a retry cannot succeed, or None if it may."""
    if isinstance(error, MalformedChangeError):
        return "Undecodable"
    return "PermanentError" if isinstance(error, PermanentError) else None


@dataclass
class InPlaceRetries:
    """Retries of one batch's changes within the invocation: up to three tries of each change."""

    function: Function
    invocation: Invocation
    sleep: Callable[[float], None]
    health: Health
    handler_timeout_seconds: float
    failed_items: int = 0
    """How many items of the batch have failed in this invocation."""

    def retry(self, change: Change, error: BaseException, began: float) -> tuple[BaseException | None, int]:
        """Retry a change that has failed once; return its last error, None if it is done, and the number of tries."""
        tries, last = 1, error
        for seconds in PAUSE_SECONDS:
            if reason_to_park(last) or not self._may_try_again(began, seconds):
                break
            self.sleep(seconds)
            tries += 1
            next_error = attempt(self.function, Change(change.record, change.origin))
            if next_error is None:
                return None, tries
            last = next_error
        return last, tries

    def _may_try_again(self, began: float, seconds: float) -> bool:
        now = self.invocation.clock()
        has_time = self.invocation.seconds_left() > seconds + self.handler_timeout_seconds
        is_quick = now - began < LONGEST_TRIED_SECONDS
        return has_time and is_quick and self.failed_items < FAILED_ITEMS and self.health.may_pause(now, seconds)
