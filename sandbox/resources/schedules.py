"""Schedules, and the settings of a function's asynchronous invocations.

Only a consumer's retry schedule fires in the sandbox. Other schedules exist and never fire.
"""

# ruff: noqa: ARG002, D102 -- ResourceType documents the methods of every type, and fixes their arguments

import json
from typing import ClassVar

from sandbox.resources.resource_type import Inputs, ResourceType, parse_properties

DEFAULT_GROUP = "default"
"""The default group of a schedule (AWS: CreateSchedule)."""
RETRY_INPUT = {"table-stream": "retry"}
"""The input of a retry schedule (handler/stream/entry.py)."""


class Schedule(ResourceType):
    """A schedule. It is disabled in the emulator; `Aws.mappings` fires a retry schedule."""

    type, service = "aws:scheduler/schedule:Schedule", "scheduler"
    create_call, describe_call, delete_call = "create_schedule", "get_schedule", "delete_schedule"
    id_format = "{groupName}/{name}"
    replacement_properties = frozenset({"name", "groupName"})
    properties = parse_properties(
        """name groupName description state scheduleExpression scheduleExpressionTimezone flexibleTimeWindow.mode
        target.arn target.roleArn target.input target.retryPolicy.maximumEventAgeInSeconds
        target.retryPolicy.maximumRetryAttempts target.deadLetterConfig.arn"""
    )
    defaults: ClassVar = {"groupName": DEFAULT_GROUP}
    outputs: ClassVar = {"arn": "Arn"}

    def list_unsupported(self, inputs: Inputs) -> list[str]:
        fired = _is_retry_schedule(inputs) or inputs.get("state") == "DISABLED"
        return super().list_unsupported(inputs) + ([] if fired else ["scheduleExpression"])

    def id_arguments(self, identity: str) -> Inputs:
        group, _, name = identity.partition("/")
        return {"GroupName": group, "Name": name}

    def request(self, inputs: Inputs) -> Inputs:
        return {**super().request(inputs), "State": "DISABLED"}

    def create(self, inputs: Inputs) -> str:
        identity = super().create(inputs)
        try:
            self._set_retries(inputs)
        except Exception:
            super().delete(identity, inputs)
            raise
        return identity

    def update(self, identity: str, old: Inputs, new: Inputs) -> None:
        self.client.update_schedule(**self.request(new))
        if _is_retry_schedule(old) and (not _is_retry_schedule(new) or old["target"]["arn"] != new["target"]["arn"]):
            self.aws.schedules.unschedule(old["target"]["arn"])
        self._set_retries(new)

    def delete(self, identity: str, inputs: Inputs) -> None:
        if _is_retry_schedule(inputs):
            self.aws.schedules.unschedule(inputs["target"]["arn"])
        super().delete(identity, inputs)

    def _set_retries(self, inputs: Inputs) -> None:
        target = inputs["target"]
        if _is_retry_schedule(inputs):
            self.aws.schedules.schedule(
                target["arn"], target["input"], enabled=inputs.get("state", "ENABLED") == "ENABLED"
            )


def _is_retry_schedule(inputs: Inputs) -> bool:
    """Whether the schedule starts retry runs of a consumer."""
    try:
        return json.loads(inputs["target"].get("input", "")) == RETRY_INPUT
    except json.JSONDecodeError:
        return False


class FunctionEventInvokeConfig(ResourceType):
    """The retry settings of a function's asynchronous invocations; its id is the function."""

    type, service = "aws:lambda/functionEventInvokeConfig:FunctionEventInvokeConfig", "lambda"
    create_call, describe_call = "put_function_event_invoke_config", "get_function_event_invoke_config"
    delete_call, id_argument = "delete_function_event_invoke_config", "FunctionName"
    name_property, id_format = None, "{functionName}"
    replacement_properties = frozenset({"functionName"})
    properties = parse_properties("functionName maximumRetryAttempts maximumEventAgeInSeconds")
