"""Rights, each a pure function from exact ARNs to statements; and values that bring along the rights to use them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import pulumi
import pulumi_aws as aws

from infra.table import StreamTable, Table

Statement = Mapping[str, Any]
"""One statement of a policy; what stands in it may be an output."""

ReadAction = Literal["GetItem", "BatchGetItem", "Query", "Scan"]
WriteAction = Literal["PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem"]


@dataclass(frozen=True)
class Grant:
    """A value for a consumer's environment, with the rights to use it and the tables that these let it write."""

    value: pulumi.Input[str]
    statements: Sequence[Statement]
    writes: Sequence[Table] = ()
    fenced: bool = False  # whether these writes are put_if_newer's, which needs to see every change of an item


def allow(actions: Sequence[str], resources: Sequence[pulumi.Input[str]], **condition: Any) -> Statement:
    """One statement that allows `actions` on `resources`, under the condition operators given."""
    statement = {"Effect": "Allow", "Action": list(actions), "Resource": list(resources)}
    return statement | ({"Condition": condition} if condition else {})


def read_from(table: StreamTable | Table, *actions: ReadAction) -> Grant:
    """The table's name, with the right to read items, by GetItem, BatchGetItem and Query unless `actions` say."""
    table = table_of(table)
    named = [f"dynamodb:{action}" for action in actions or ("GetItem", "BatchGetItem", "Query")]
    return Grant(table.table_name, [allow(named, [table.arn])])


def write_to(table: StreamTable | Table, *actions: WriteAction) -> Grant:
    """The table's name, with the right to write items, by PutItem, UpdateItem and DeleteItem unless `actions` say."""
    table = table_of(table)
    named = [f"dynamodb:{action}" for action in actions or ("PutItem", "UpdateItem", "DeleteItem")]
    return Grant(table.table_name, [allow(named, [table.arn])], writes=[table])


def put_if_newer_into(table: StreamTable | Table) -> Grant:
    """The table's name, with the one right that `put_if_newer` needs; the consumer's filters may name keys only."""
    return replace(write_to(table, "PutItem"), fenced=True)


def send_email_from(address: str) -> Grant:
    """The sender's address, with the right to send from it, be the address itself verified with SES or its domain."""
    caller = aws.get_caller_identity_output()
    partition = caller.arn.apply(lambda arn: arn.split(":")[1])
    region = aws.get_region_output().region
    identities = [
        pulumi.Output.format("arn:{0}:ses:{1}:{2}:identity/{3}", partition, region, caller.account_id, identity)
        for identity in (address, address.partition("@")[2])
    ]
    # A domain may send as anybody in it; this consumer as one.
    return Grant(address, [allow(["ses:SendEmail"], identities, StringEquals={"ses:FromAddress": address})])


def secret(arn: pulumi.Input[str]) -> Grant:
    """A secret's ARN, with the right to read its value; the value itself is in no environment and no state."""
    return Grant(arn, [allow(["secretsmanager:GetSecretValue"], [arn])])


def write_logs(log_group_arn: pulumi.Input[str]) -> Statement:
    """Write to one log group."""
    # The streams in it bear names that Lambda makes up.
    streams = pulumi.Output.format("{0}:*", log_group_arn)
    return allow(["logs:CreateLogStream", "logs:PutLogEvents"], [streams])


def read_stream(table: Table) -> list[Statement]:
    """What a mapping does with a stream."""
    # ListStreams has no narrower resource than the table's streams, whose labels are times.
    streams = pulumi.Output.format("{0}/stream/*", table.arn)
    return [
        allow(["dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator"], [table.stream_arn]),
        allow(["dynamodb:ListStreams"], [streams]),
    ]


def keep_ledger(consumer: str, ledger_arn: pulumi.Input[str]) -> list[Statement]:
    """The engine's notes and claims: this consumer's items of the ledger, and no other's."""
    # What follows the consumer's name is a stream's ARN or an event's id.
    # A claim that is taken comes back with the refusal of PutItem, so nobody needs GetItem.
    calls = {"note": ("Query", "PutItem"), "claim": ("PutItem", "UpdateItem", "DeleteItem")}
    return [
        allow(
            [f"dynamodb:{call}" for call in made],
            [ledger_arn],
            **{"ForAllValues:StringLike": {"dynamodb:LeadingKeys": [f"{kind}#{consumer}#*"]}},
        )
        for kind, made in calls.items()
    ]


def park_failures(consumer: str, bucket_arn: pulumi.Input[str]) -> Statement:
    """The engine's own failure records: this consumer's prefix of the failure bucket."""
    # Under it stands the change that failed: table, stream and sequence number.
    return allow(["s3:PutObject"], [pulumi.Output.format("{0}/engine/{1}/*", bucket_arn, consumer)])


def deliver_failures(bucket_arn: pulumi.Input[str], account: pulumi.Input[str]) -> list[Statement]:
    """A mapping's failure records, which it writes with the function's role; only to a bucket of this account."""
    # Under the prefix stand the mapping's id, made up by Lambda, and the record's time.
    objects = pulumi.Output.format("{0}/aws/lambda/*", bucket_arn)
    owned = {"s3:ResourceAccount": account}
    return [
        allow(["s3:PutObject"], [objects], StringEquals=owned),
        allow(["s3:ListBucket"], [bucket_arn], StringEquals=owned),
    ]


def trace() -> Statement:
    """Send traces to X-Ray."""
    # X-Ray knows no resources to name here.
    return allow(["xray:PutTraceSegments", "xray:PutTelemetryRecords"], ["*"])


def table_of(table: StreamTable | Table) -> Table:
    """The table of a component, or the table itself."""
    return table.table if isinstance(table, StreamTable) else table
