"""What has a consumer's held items tried again: a schedule, and how its function takes the calls."""

import json

import pulumi
import pulumi_aws as aws

from infra import engine, grants

EVERY = "rate(1 minute)"
"""The shortest that a schedule can be; the engine decides which items are due."""

EVENT_AGE = 60
"""Seconds after which a call that could not be made is dropped: AWS's least, and by then the next one comes."""


def retry_every_minute(
    name: str,
    function: aws.lambda_.Function,
    role: aws.iam.Role,
    *,
    account: pulumi.Input[str],
    enabled: bool,
    parent: pulumi.Resource,
) -> aws.scheduler.Schedule:
    """Have a function, which runs as `role`, invoked every minute, and let it invoke helpers of its own.

    What that takes are children of `parent`, under names that begin with `name`. A schedule that is not enabled waits.
    """
    aws.iam.RolePolicy(  # apart from the function's other rights, which it waits for: this one names the function
        f"{name}-helpers",
        role=role.name,
        policy=grants.policy([grants.invoke(function.arn)]),
        opts=pulumi.ResourceOptions(parent=parent),
    )
    settings = aws.lambda_.FunctionEventInvokeConfig(
        f"{name}-invocations",
        function_name=function.name,
        maximum_retry_attempts=0,  # the next minute's call does what a failed one has left
        maximum_event_age_in_seconds=EVENT_AGE,
        opts=pulumi.ResourceOptions(parent=parent),
    )
    caller = aws.iam.Role(
        f"{name}-retry-role",
        assume_role_policy=_assumed_by_scheduler(account),
        opts=pulumi.ResourceOptions(parent=parent),
    )
    right = aws.iam.RolePolicy(
        f"{name}-retry-policy",
        role=caller.name,
        policy=grants.policy([grants.invoke(function.arn)]),
        opts=pulumi.ResourceOptions(parent=parent),
    )
    return aws.scheduler.Schedule(
        f"{name}-retry",
        schedule_expression=EVERY,
        flexible_time_window={"mode": "OFF"},  # a window would put a call off by minutes
        state="ENABLED" if enabled else "DISABLED",
        target={
            "arn": function.arn,
            "role_arn": caller.arn,
            "input": json.dumps(engine.RETRY),
            "retry_policy": {"maximum_retry_attempts": 0, "maximum_event_age_in_seconds": EVENT_AGE},
        },
        opts=pulumi.ResourceOptions(parent=parent, depends_on=[right, settings]),
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
