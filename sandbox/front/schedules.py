"""Retry schedules as the sandbox's scheduler runs them: the emulator has them all disabled."""

import json
from dataclasses import replace
from typing import Any

from sandbox.front.forwarding import Forward, Request, Response
from sandbox.front.signing import signed, with_json
from sandbox.mapping.invocation import RefusalError
from sandbox.scheduler import Scheduler

NO_INPUT = "{}"
"""The input of a schedule that has none."""


class ScheduleAnswers:
    """Answers GetSchedule and UpdateSchedule; a schedule that the sandbox does not run is as the emulator has it."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def get(self, request: Request, forward: Forward) -> Response:
        """Answer with the State of the sandbox's schedule."""
        response = forward(request)
        if response.status >= 300:
            return response
        described = json.loads(response.body)
        enabled = self._scheduler.is_enabled(described["Target"]["Arn"], described["Target"].get("Input", NO_INPUT))
        if enabled is None:
            return response
        return replace(response, body=json.dumps({**described, "State": _state(enabled)}).encode())

    def update(self, request: Request, forward: Forward) -> Response | None:
        """Change the sandbox's schedule, and the emulator's, which stays disabled."""
        try:
            wanted = request.json()
            before = self._described(request, wanted, forward)
            if before is None or not isinstance(wanted.get("Target"), dict):
                return None
            target: dict[str, Any] = wanted["Target"]
            arn, text, state = str(target["Arn"]), target.get("Input", NO_INPUT), wanted.get("State", "ENABLED")
            if not isinstance(json.loads(text), dict):
                raise ValueError("the input is not an object")  # noqa: TRY004, TRY301 -- the content is wrong
        except (ValueError, KeyError, RecursionError) as error:
            return Response.error("ValidationException", f"Invalid request: {error}")
        if state not in ("ENABLED", "DISABLED"):
            return Response.error(
                "ValidationException",
                f"1 validation error detected: Value '{state}' at 'state' failed to satisfy constraint: Member must "
                "satisfy enum value set: [ENABLED, DISABLED]",
            )
        try:
            self._scheduler.schedule(arn, text, enabled=state == "ENABLED")
        except RefusalError as refusal:
            return Response.error("ValidationException", str(refusal))
        if before != arn:
            self._scheduler.unschedule(before)
        return forward(with_json(request, {**wanted, "State": "DISABLED"}))

    def _described(self, request: Request, wanted: dict[str, Any], forward: Forward) -> str | None:
        """Return the ARN of the function that the sandbox's schedule invokes; None if the sandbox does not run it."""
        group = wanted.get("GroupName", "default")
        current = forward(signed(Request("GET", f"{request.target}?groupName={group}", request.headers)))
        if current.status >= 300:
            return None
        target = json.loads(current.body)["Target"]
        enabled = self._scheduler.is_enabled(target["Arn"], target.get("Input", NO_INPUT))
        return None if enabled is None else target["Arn"]


def _state(enabled: bool) -> str:  # noqa: FBT001 -- the one value that this function is about
    return "ENABLED" if enabled else "DISABLED"
