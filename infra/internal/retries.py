"""What has a consumer's held items tried again: a schedule, and how its function takes the calls."""

import json
from collections.abc import Sequence

import pulumi
import pulumi_aws as aws

from infra import engine, grants
from infra.internal.registry import Children
from infra.internal.role_policies import RolePolicies

EVERY = "rate(1 minute)"
"""The shortest that a schedule can be; the engine decides which items are due."""

EVENT_AGE_SECONDS = 60
"""Seconds after which a call that could not be made is dropped: AWS's least, and by then the next one comes."""


def retry_every_minute(
    name: str,
    function: aws.lambda_.Function,
    *,
    account: pulumi.Input[str],
    enabled: bool,
    children: Children,
    depends_on: Sequence[pulumi.Resource],
) -> aws.scheduler.Schedule:
    """Have a function invoked every minute. A schedule that is not enabled waits.

    What that takes are `children`, under names that begin with `name`. `depends_on` is what the function needs to
    run.
    """
    settings = children.make(
        aws.lambda_.FunctionEventInvokeConfig,
        f"{name}-invocations",
        function_name=function.name,
        maximum_retry_attempts=0,  # the next minute's call does what a failed one has left
        maximum_event_age_in_seconds=EVENT_AGE_SECONDS,
    )
    caller = children.make(
        aws.iam.Role,
        f"{name}-retry-role",
        assume_role_policy=_assumed_by_scheduler(account),
    )
    policies = RolePolicies(name, caller, children)
    right = policies.add("retry-policy", [grants.invoke(function.arn)])
    policies.exclude_others("retry-role")
    return children.make(
        aws.scheduler.Schedule,
        f"{name}-retry",
        schedule_expression=EVERY,
        flexible_time_window={"mode": "OFF"},  # a window would put a call off by minutes
        state="ENABLED" if enabled else "DISABLED",
        target={
            "arn": function.arn,
            "role_arn": caller.arn,
            "input": json.dumps(engine.RETRY),
            "retry_policy": {"maximum_retry_attempts": 0, "maximum_event_age_in_seconds": EVENT_AGE_SECONDS},
        },
        opts=pulumi.ResourceOptions(depends_on=[right, settings, *depends_on]),
    )


def _assumed_by_scheduler(account: pulumi.Input[str]) -> pulumi.Output[str]:
    """Nobody else's schedule may use the role (Scheduler: confused deputy prevention)."""
    return pulumi.Output.json_dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"Service": "scheduler.amazonaws.com"},
                    "Action": "sts:AssumeRole",
                    "Condition": {"StringEquals": {"aws:SourceAccount": account}},
                }
            ],
        }
    )
