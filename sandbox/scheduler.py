"""Invokes functions by their schedules, on the threads of a poller, as EventBridge Scheduler does on AWS."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from sandbox.mapping.invocation import LambdaFunction, ObservedInvocation
from sandbox.mapping.poller import Poller
from sandbox.schedule import Schedule


class Scheduler:
    """Fires one schedule a function, on the threads of a poller, until the poller is closed.

    The observers of the poller see the invocations of the scheduler as well.
    """

    def __init__(self, poller: Poller) -> None:
        self._poller, self._loop = poller, poller.loop
        self._schedules: dict[LambdaFunction, Schedule] = {}
        poller.observers.append(self._record_batch)
        poller.loop.add(self._advance)

    def schedule(self, function_arn: str, input_text: str, *, enabled: bool) -> None:
        """Invoke a function with this input, a JSON object, by a schedule. A second call changes the input.

        Raises
        ------
        RefusalError
            The function does not exist.
        """
        function = self._poller.invoker.describe(function_arn)
        with self._loop.changed:
            schedule = self._schedules.setdefault(function, Schedule(input_text, time.time()))
            schedule.configure(input_text, enabled=enabled)
            self._loop.changed.notify_all()

    def unschedule(self, function_arn: str) -> None:
        """Invoke a function no more; observers still see the invocation that runs."""
        with self._loop.changed:
            self._schedules = {key: value for key, value in self._schedules.items() if key.arn != function_arn}

    def is_enabled(self, function_arn: str, input_text: str) -> bool | None:
        """Return whether a function's schedule is on; None if it has no schedule with this input."""
        with self._loop.changed:
            schedules = (each for function, each in self._schedules.items() if function.arn == function_arn)
            return next((each.enabled for each in schedules if each.input_text == input_text), None)

    def make_all_due(self) -> None:
        """Have every function retry all its held items at once, regardless of the back-off."""
        with self._loop.changed:
            for schedule in self._schedules.values():
                schedule.make_all_due(time.time())
            self._loop.changed.notify_all()

    def held_items(self) -> dict[str, int]:
        """Return the functions that may hold items, by name, with the number of held items after the last retry run."""
        with self._loop.changed:
            return {function.name: each.held for function, each in self._schedules.items() if not each.is_idle()}

    def is_idle(self) -> bool:
        """Return whether no retry run is under way and no function may hold an item."""
        with self._loop.changed:
            return all(schedule.is_idle() for schedule in self._schedules.values())

    def _advance(self, now: float) -> float | None:
        for function, schedule in self._schedules.items():
            if (event := schedule.advance(now)) is not None:
                self._loop.submit(f"schedule of {function.name}", partial(self._fire, function, schedule, event))
        due = (schedule.due() for schedule in self._schedules.values())
        return min((moment for moment in due if moment is not None), default=None)

    def _fire(self, function: LambdaFunction, schedule: Schedule, event: Mapping[str, Any]) -> Callable[[], None]:
        run = self._poller.invoker.invoke(function, event)
        self._poller.observe(run)
        return lambda: schedule.record_run(run.response, time.time(), failed=run.error is not None)

    def _record_batch(self, invocation: ObservedInvocation) -> None:
        if invocation.scheduled is not None or invocation.refusal:
            return
        with self._loop.changed:
            for function, schedule in self._schedules.items():
                if function.name == invocation.function:
                    schedule.record_batch(invocation.log, time.time(), failed=invocation.error is not None)
            self._loop.changed.notify_all()
