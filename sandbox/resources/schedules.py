"""What leads to retries, in the emulator: a function's schedule, and how often an asynchronous call is repeated.

Other schedules are made and never fire.
"""

# ruff: noqa: ARG002, D102 -- every type has the operations of ResourceType, which says what they do and take

import json
from typing import ClassVar

from sandbox.resources.resource_type import Inputs, ResourceType, known

GROUP = "default"
"""The group that a schedule is in where none is named (AWS: CreateSchedule)."""
RETRY = {"table-stream": "retry"}
"""The input by which a schedule has a function try again what it holds (handler/stream/entry.py)."""


class Schedule(ResourceType):
    """A schedule, always switched off in the emulator: somebody else fires the one of a function's retries."""

    type, service = "aws:scheduler/schedule:Schedule", "scheduler"
    created, described, deleted = "create_schedule", "get_schedule", "delete_schedule"
    id_from = "{groupName}/{name}"
    replaced_by = frozenset({"name", "groupName"})
    properties = known(
        """name groupName description state scheduleExpression scheduleExpressionTimezone flexibleTimeWindow.mode
        target.arn target.roleArn target.input target.retryPolicy.maximumEventAgeInSeconds
        target.retryPolicy.maximumRetryAttempts target.deadLetterConfig.arn"""
    )
    defaults: ClassVar = {"groupName": GROUP}
    outputs: ClassVar = {"arn": "Arn"}

    def unimitated(self, inputs: Inputs) -> list[str]:
        fired = _retries(inputs) or inputs.get("state") == "DISABLED"
        return super().unimitated(inputs) + ([] if fired else ["scheduleExpression"])

    def at(self, identity: str) -> Inputs:
        group, _, name = identity.partition("/")
        return {"GroupName": group, "Name": name}

    def request(self, inputs: Inputs) -> Inputs:
        return {**super().request(inputs), "State": "DISABLED"}

    def create(self, inputs: Inputs) -> str:
        identity = super().create(inputs)
        try:
            self._fire(inputs)
        except Exception:
            super().delete(identity, inputs)
            raise
        return identity

    def update(self, identity: str, old: Inputs, new: Inputs) -> None:
        self.client.update_schedule(**self.request(new))
        if _retries(old) and (not _retries(new) or old["target"]["arn"] != new["target"]["arn"]):
            self.aws.schedules.unschedule(old["target"]["arn"])
        self._fire(new)

    def delete(self, identity: str, inputs: Inputs) -> None:
        if _retries(inputs):
            self.aws.schedules.unschedule(inputs["target"]["arn"])
        super().delete(identity, inputs)

    def _fire(self, inputs: Inputs) -> None:
        target = inputs["target"]
        if _retries(inputs):
            self.aws.schedules.schedule(
                target["arn"], target["input"], enabled=inputs.get("state", "ENABLED") == "ENABLED"
            )


def _retries(inputs: Inputs) -> bool:
    """Whether a schedule is one of retries: what another one asks for, and when, the sandbox does not imitate."""
    try:
        return json.loads(inputs["target"].get("input", "")) == RETRY
    except json.JSONDecodeError:
        return False


class FunctionEventInvokeConfig(ResourceType):
    """How often, and for how long, an asynchronous invocation of a function is tried again; its id is the function."""

    type, service = "aws:lambda/functionEventInvokeConfig:FunctionEventInvokeConfig", "lambda"
    created, described = "put_function_event_invoke_config", "get_function_event_invoke_config"
    deleted, key = "delete_function_event_invoke_config", "FunctionName"
    named_by, id_from = None, "{functionName}"
    replaced_by = frozenset({"functionName"})
    properties = known("functionName maximumRetryAttempts maximumEventAgeInSeconds")
