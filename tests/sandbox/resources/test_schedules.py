"""Schedules and the settings of asynchronous invocations in the emulator."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from sandbox.resources.assets import Archive
from tests.local import REGION, LocalAws
from tests.sandbox.resource_factory import ACCOUNT, Created, ResourceFactory

ROLE = f"arn:aws:iam::{ACCOUNT}:role/retry"
RETRY = json.dumps({"table-stream": "retry"})


def schedule(factory: ResourceFactory, target: dict[str, Any], rate: str = "rate(1 minute)", **inputs: Any) -> Created:
    window = {"mode": "OFF"}
    return factory.create("Schedule", scheduleExpression=rate, flexibleTimeWindow=window, target=target, **inputs)


def test_a_schedule_is_disabled_in_the_emulator_and_handed_over(factory: ResourceFactory, aws: LocalAws):
    one, other = (f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}" for name in ("one", "other"))
    retries = {"maximumRetryAttempts": 0, "maximumEventAgeInSeconds": 60}
    target: dict[str, Any] = {"arn": one, "roleArn": ROLE, "input": RETRY, "retryPolicy": retries}
    resource_type, identity, old = schedule(factory, target, state="ENABLED")
    group, _, name = identity.partition("/")
    assert resource_type.read(identity) == {"arn": f"arn:aws:scheduler:{REGION}:{ACCOUNT}:schedule/default/{name}"}
    assert (group, old["name"], old["groupName"], old["state"]) == ("default", name, "default", "ENABLED")
    created = aws.client("scheduler").get_schedule(Name=name)
    retries = {"MaximumRetryAttempts": 0, "MaximumEventAgeInSeconds": 60}
    assert created["Target"] == {"Arn": one, "RoleArn": ROLE, "Input": RETRY, "RetryPolicy": retries}
    assert (created["State"], created["ScheduleExpression"]) == ("DISABLED", "rate(1 minute)")
    assert created["FlexibleTimeWindow"] == {"Mode": "OFF"}

    disabled = {**old, "state": "DISABLED"}
    resource_type.update(identity, old, disabled)
    elsewhere = {**disabled, "target": {**target, "arn": other}}
    resource_type.update(identity, disabled, elsewhere)
    assert aws.client("scheduler").get_schedule(Name=name)["Target"]["Arn"] == other
    resource_type.delete(identity, elsewhere)
    assert factory.mappings.calls == [
        ("schedule", {"arn": one, "input": RETRY, "enabled": True}),
        ("schedule", {"arn": one, "input": RETRY, "enabled": False}),
        ("unschedule", {"arn": one}),
        ("schedule", {"arn": other, "input": RETRY, "enabled": False}),
        ("unschedule", {"arn": other}),
    ]


def test_a_schedule_that_cannot_be_handed_over_is_deleted(factory: ResourceFactory, aws: LocalAws):
    factory.mappings.fails = True
    with pytest.raises(ValueError, match="no such function"):
        schedule(factory, {"arn": "arn:none", "roleArn": ROLE, "input": RETRY})
    names = [each["Name"] for each in aws.client("scheduler").list_schedules()["Schedules"]]
    assert [name for name in names if name.startswith("thing-")] == []


def test_a_schedule_that_is_no_retry_schedule_never_fires(factory: ResourceFactory, aws: LocalAws):
    """The sandbox fires retry schedules every second, and no other schedule."""
    queue, arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:q", f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:one"
    targets = [{"arn": queue}, {"arn": arn}, {"arn": arn, "input": "{}"}, {"arn": arn, "input": "every night"}]
    for target in targets:
        resource_type, identity, old = schedule(factory, {**target, "roleArn": ROLE}, "cron(0 3 * * ? *)")
        assert resource_type.list_unsupported(old) == ["scheduleExpression"]
        assert resource_type.list_unsupported({**old, "state": "DISABLED"}) == []
        resource_type.update(identity, old, {**old, "description": "d"})
        assert aws.client("scheduler").get_schedule(Name=old["name"])["State"] == "DISABLED"
    assert factory.mappings.calls == []


def test_a_schedule_that_stops_being_a_retry_schedule_stops(factory: ResourceFactory):
    arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:one"
    target = {"arn": arn, "roleArn": ROLE, "input": RETRY}
    resource_type, identity, old = schedule(factory, target)
    resource_type.update(identity, old, {**old, "target": {**target, "input": "{}"}})
    assert [what for what, _ in factory.mappings.calls] == ["schedule", "unschedule"]


def test_settings_of_asynchronous_invocations(factory: ResourceFactory, code: Callable[[str], Archive], aws: LocalAws):
    _, name, _ = factory.create_function(code("1"))
    inputs: dict[str, Any] = {"functionName": name, "maximumRetryAttempts": 0, "maximumEventAgeInSeconds": 60}
    resource_type, identity, old = factory.create("FunctionEventInvokeConfig", **inputs)
    assert (identity, resource_type.read(identity), old) == (name, {}, inputs)
    resource_type.update(identity, old, {**old, "maximumEventAgeInSeconds": 120})
    actual = aws.client("lambda").get_function_event_invoke_config(FunctionName=name)
    assert (actual["MaximumRetryAttempts"], actual["MaximumEventAgeInSeconds"]) == (0, 120)
