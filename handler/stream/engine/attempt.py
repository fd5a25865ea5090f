"""One change through its handler: what counts as its failure, and when it is tried again in place."""

import contextvars
import time
from collections.abc import Callable

from handler.stream.change import Change, MalformedChangeError, PermanentError
from handler.stream.engine.batch import Function, call
from handler.stream.engine.health import Health
from handler.stream.engine.invocation import Invocation
from handler.stream.engine.workers import SimulatedCrash
from handler.stream.telemetry import current_change

PAUSE_SECONDS = (0.2, 0.4)
"""Seconds before the second and the third try in place: most transient errors are over by then."""
LONGEST_TRIED_SECONDS = 1.0
"""A change that has used this much time is not tried again in place: a slow failure would make the batch wait."""
FAILED_ITEMS = 10
"""Failing items of a batch from which on no change is tried again in place: this is no passing error of one item."""


def pause(seconds: float) -> None:
    """Wait about as long, so that environments that failed together do not try again together."""
    import random  # only a failure pays for it

    time.sleep(seconds * random.uniform(0.75, 1.25))  # noqa: S311 - no secret


def attempt(function: Function, change: Change) -> BaseException | None:
    """Run a handler for a change; the error, whatever it is, or None. A SimulatedCrash is raised."""
    try:
        contextvars.copy_context().run(_run, function, change)
    except SimulatedCrash:
        raise
    except BaseException as error:  # whatever a handler raises is its change's failure
        return error
    return None


def _run(function: Function, change: Change) -> None:
    current_change.set(change)
    change.check_event_name()
    call(function, change)


def reason_to_park(error: BaseException) -> str | None:
    """Why trying again is of no use; None where it may be."""
    if isinstance(error, MalformedChangeError):
        return "Undecodable"
    return "PermanentError" if isinstance(error, PermanentError) else None


class InPlaceRetries:
    """Attempts of one batch's changes, each up to three times within the invocation."""

    def __init__(
        self,
        function: Function,
        invocation: Invocation,
        sleep: Callable[[float], None],
        health: Health,
        handler_timeout_seconds: float,
    ) -> None:
        self._function, self._invocation, self._sleep = function, invocation, sleep
        self._health, self._handler_timeout = health, handler_timeout_seconds
        self.failed_items = 0
        """Items of the batch that have failed for good."""

    def retry(self, change: Change, error: BaseException, began: float) -> tuple[BaseException | None, int]:
        """Try a change again that has failed once; its last error, None where it is done, and how often it ran."""
        tries, last = 1, error
        for seconds in PAUSE_SECONDS:
            if reason_to_park(last) or not self._may_try_again(began, seconds):
                break
            self._sleep(seconds)
            tries += 1
            outcome = attempt(self._function, Change(change.record, change.origin))
            if outcome is None:
                return None, tries
            last = outcome
        return last, tries

    def _may_try_again(self, began: float, seconds: float) -> bool:
        now = self._invocation.clock()
        has_time = self._invocation.seconds_left() > seconds + self._handler_timeout
        is_quick = now - began < LONGEST_TRIED_SECONDS
        return has_time and is_quick and self.failed_items < FAILED_ITEMS and self._health.may_pause(now, seconds)
