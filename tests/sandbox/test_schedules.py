"""A schedule and the settings of asynchronous calls in the emulator, and who is told to fire the one."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from sandbox.program import Archive
from tests.local import REGION, LocalAws
from tests.sandbox.test_resources import ACCOUNT, Maker, code, function, maker

__all__ = ["code", "maker"]  # fixtures

RETRY = json.dumps({"table-stream": "retry"})


def test_a_schedule_stays_off_and_somebody_else_is_told_to_fire_it(maker: Maker, aws: LocalAws):
    one, other = (f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}" for name in ("one", "other"))
    target: dict[str, Any] = {
        "arn": one,
        "roleArn": f"arn:aws:iam::{ACCOUNT}:role/retry",
        "input": RETRY,
        "retryPolicy": {"maximumRetryAttempts": 0, "maximumEventAgeInSeconds": 60},
    }
    made, identity, old = maker.make(
        "Schedule",
        scheduleExpression="rate(1 minute)",
        flexibleTimeWindow={"mode": "OFF"},
        target=target,
        state="ENABLED",
    )
    group, name = identity.split("/")
    assert (group, made.read(identity)) == (
        "default",
        {"arn": f"arn:aws:scheduler:{REGION}:{ACCOUNT}:schedule/default/{name}"},
    )
    assert (old["name"], old["groupName"], old["state"]) == (name, "default", "ENABLED")
    found = aws.client("scheduler").get_schedule(Name=name)
    assert found["Target"] == {
        "Arn": one,
        "RoleArn": target["roleArn"],
        "Input": RETRY,
        "RetryPolicy": {"MaximumRetryAttempts": 0, "MaximumEventAgeInSeconds": 60},
    }
    assert (found["State"], found["ScheduleExpression"], found["FlexibleTimeWindow"]) == (
        "DISABLED",
        "rate(1 minute)",
        {"Mode": "OFF"},
    )

    disabled = {**old, "state": "DISABLED"}
    made.update(identity, old, disabled)
    elsewhere = {**disabled, "target": {**target, "arn": other}}
    made.update(identity, disabled, elsewhere)
    assert aws.client("scheduler").get_schedule(Name=name)["Target"]["Arn"] == other
    made.delete(identity, elsewhere)
    assert maker.mappings.told == [
        ("schedule", {"arn": one, "input": RETRY, "enabled": True}),
        ("schedule", {"arn": one, "input": RETRY, "enabled": False}),
        ("unschedule", {"arn": one}),
        ("schedule", {"arn": other, "input": RETRY, "enabled": False}),
        ("unschedule", {"arn": other}),
    ]


def test_a_schedule_that_nobody_can_fire_is_unmade(maker: Maker, aws: LocalAws):
    maker.mappings.refuses = True
    with pytest.raises(ValueError, match="no such function"):
        maker.make(
            "Schedule",
            scheduleExpression="rate(1 minute)",
            flexibleTimeWindow={"mode": "OFF"},
            target={"arn": "arn:none", "roleArn": f"arn:aws:iam::{ACCOUNT}:role/retry"},
        )
    names = [each["Name"] for each in aws.client("scheduler").list_schedules()["Schedules"]]
    assert [name for name in names if name.startswith("thing-")] == []


def test_asynchronous_calls_of_a_function(maker: Maker, code: Callable[[str], Archive], aws: LocalAws):
    _, name, _ = function(maker, code("1"))
    inputs: dict[str, Any] = {"functionName": name, "maximumRetryAttempts": 0, "maximumEventAgeInSeconds": 60}
    made, identity, old = maker.make("FunctionEventInvokeConfig", **inputs)
    assert (identity, made.read(identity), old) == (name, {}, inputs)
    made.update(identity, old, {**old, "maximumEventAgeInSeconds": 120})
    found = aws.client("lambda").get_function_event_invoke_config(FunctionName=name)
    assert (found["MaximumRetryAttempts"], found["MaximumEventAgeInSeconds"]) == (0, 120)
