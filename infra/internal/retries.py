"""The schedule that invokes a consumer's function to retry its held items."""

import json
from collections.abc import Sequence

import pulumi
import pulumi_aws as aws

from infra import engine, grants
from infra.internal.registry import Children
from infra.internal.role_policies import RolePolicies

EVERY = "rate(1 minute)"
"""The shortest rate that Scheduler supports. The engine decides which items are due."""

EVENT_AGE_SECONDS = 60
"""Seconds after which AWS discards a waiting invocation: the shortest that it accepts. The next one is due by then."""


def retry_every_minute(
    children: Children,
    name: str,
    function: aws.lambda_.Function,
    account: pulumi.Input[str],
    depends_on: Sequence[pulumi.Resource],
    *,
    enabled: bool,
) -> aws.scheduler.Schedule:
    """Make a schedule that invokes the function every minute, or a disabled one, and its role.

    The resources are made by `children`, with names that begin with `name`. The schedule depends on `depends_on`: the
    resources that the function needs to run.
    """
    settings = children.make(
        aws.lambda_.FunctionEventInvokeConfig,
        f"{name}-invocations",
        function_name=function.name,
        maximum_retry_attempts=0,  # the next invocation, a minute later, continues the work
        maximum_event_age_in_seconds=EVENT_AGE_SECONDS,
    )
    caller = children.make(aws.iam.Role, f"{name}-retry-role", assume_role_policy=_assumed_by_scheduler(account))
    policies = RolePolicies(name, caller, children)
    policy = policies.add("retry-policy", [grants.invoke(function.arn)])
    policies.exclude_others("retry-role")
    return children.make(
        aws.scheduler.Schedule,
        f"{name}-retry",
        schedule_expression=EVERY,
        flexible_time_window={"mode": "OFF"},  # a window would delay an invocation by minutes
        state="ENABLED" if enabled else "DISABLED",
        target={
            "arn": function.arn,
            "role_arn": caller.arn,
            "input": json.dumps(engine.RETRY),
            "retry_policy": {"maximum_retry_attempts": 0, "maximum_event_age_in_seconds": EVENT_AGE_SECONDS},
        },
        opts=pulumi.ResourceOptions(depends_on=[policy, settings, *depends_on]),
    )


def _assumed_by_scheduler(account: pulumi.Input[str]) -> pulumi.Output[str]:
    """Allow only schedules of this account to use the role (Scheduler: confused deputy prevention)."""
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
