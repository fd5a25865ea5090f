"""What leads to retries, in the emulator: a function's schedule, and how often an asynchronous call is repeated."""

# ruff: noqa: ARG002, D102 -- every type has the operations of Resource, which says what they do and take

from typing import ClassVar

from sandbox.resource import Inputs, Resource, known

GROUP = "default"
"""The group that a schedule is in where none is named (AWS: CreateSchedule)."""


class Schedule(Resource):
    """A schedule, always switched off in the emulator: somebody else fires it, as often as it is asked for."""

    type, service = "aws:scheduler/schedule:Schedule", "scheduler"
    created, described, deleted = "create_schedule", "get_schedule", "delete_schedule"
    id_from = "{groupName}/{name}"
    replaced_by = frozenset({"name", "groupName"})
    properties = known(
        """name groupName description state scheduleExpression scheduleExpressionTimezone flexibleTimeWindow.mode
        target.arn target.roleArn target.input target.retryPolicy.maximumEventAgeInSeconds
        target.retryPolicy.maximumRetryAttempts"""
    )
    defaults: ClassVar = {"groupName": GROUP}
    outputs: ClassVar = {"arn": "Arn"}

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
        if old["target"]["arn"] != new["target"]["arn"]:
            self.aws.mappings.unschedule(old["target"]["arn"])
        self._fire(new)

    def delete(self, identity: str, inputs: Inputs) -> None:
        self.aws.mappings.unschedule(inputs["target"]["arn"])
        super().delete(identity, inputs)

    def _fire(self, inputs: Inputs) -> None:
        target = inputs["target"]
        self.aws.mappings.schedule(
            target["arn"], target.get("input", "{}"), enabled=inputs.get("state", "ENABLED") == "ENABLED"
        )


class FunctionEventInvokeConfig(Resource):
    """How often, and for how long, an asynchronous invocation of a function is tried again; its id is the function."""

    type, service = "aws:lambda/functionEventInvokeConfig:FunctionEventInvokeConfig", "lambda"
    created, described = "put_function_event_invoke_config", "get_function_event_invoke_config"
    deleted, key = "delete_function_event_invoke_config", "FunctionName"
    named_by, id_from = None, "{functionName}"
    replaced_by = frozenset({"functionName"})
    properties = known("functionName maximumRetryAttempts maximumEventAgeInSeconds")
