"""Rights, each a pure function from exact ARNs to statements; and values that bring along the rights to use them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import pulumi
import pulumi_aws as aws

from infra.internal.statements import Statement, allow
from infra.internal.statements import everywhere as everywhere
from infra.table import Table

ReadAction = Literal["GetItem", "BatchGetItem", "Query", "Scan"]
WriteAction = Literal["PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem"]
KeyAction = Literal["Decrypt", "GenerateDataKey"]


@dataclass(frozen=True)
class Grant:
    """A value for a consumer's environment, with the rights to use it and the tables that these let it write."""

    value: pulumi.Input[str]
    statements: Sequence[Statement]
    writes: Sequence[Table] = ()
    fenced: bool = False  # whether these writes are put_if_newer's, which needs to see every change of an item
    own_items: bool = False  # whether what is written so are items of the handler's own, not the source's images


def read_from(table: Table, *actions: ReadAction) -> Grant:
    """The table's name, with the right to read items, by GetItem, BatchGetItem and Query unless `actions` say.

    Where the table has secondary indexes, Query and Scan may read them, too.
    """
    named = [f"dynamodb:{action}" for action in actions or ("GetItem", "BatchGetItem", "Query")]
    statements = [allow(named, [table.arn])]
    of_indexes = [action for action in named if action in ("dynamodb:Query", "dynamodb:Scan")]
    if table.has_indexes and of_indexes:
        statements += [allow(of_indexes, [pulumi.Output.format("{0}/index/*", table.arn)])]
    return Grant(table.table_name, [*statements, *_key_of(table)])


def write_to(table: Table, *actions: WriteAction) -> Grant:
    """The table's name, with the right to write items, by PutItem, UpdateItem and DeleteItem unless `actions` say."""
    named = [f"dynamodb:{action}" for action in actions or ("PutItem", "UpdateItem", "DeleteItem")]
    return Grant(table.table_name, [allow(named, [table.arn]), *_key_of(table)], writes=[table])


def put_if_newer_into(table: Table, *, own_items: bool = False) -> Grant:
    """The table's name, with the one right that `put_if_newer` needs; the consumer's filters may name keys only.

    The images of a source fit into the table: it has the source's keys, and a time to live on `expiry`. With
    `own_items` the handler writes other items, by `item=` and `key=`, and the keys may be others.
    """
    return replace(write_to(table, "PutItem"), fenced=True, own_items=own_items)


def send_email_from(address: str, opts: pulumi.InvokeOutputOptions | None = None) -> Grant:
    """The sender's address, with the right to send from it, be the address itself verified with SES or its domain.

    Mail is sent from the Region of the provider in `opts`, the default provider's unless given.
    """
    caller = aws.get_caller_identity_output(opts=opts)
    partition = caller.arn.apply(lambda arn: arn.split(":")[1])
    region = aws.get_region_output(opts=opts).region
    identities = [
        pulumi.Output.format("arn:{0}:ses:{1}:{2}:identity/{3}", partition, region, caller.account_id, identity)
        for identity in (address, address.partition("@")[2])
    ]
    # A domain may send as anybody in it; this consumer as one.
    return Grant(address, [allow(["ses:SendEmail"], identities, StringEquals={"ses:FromAddress": address})])


def secret(arn: pulumi.Input[str], *, key_arn: pulumi.Input[str] | None = None) -> Grant:
    """A secret's ARN, with the right to read its value; the value itself is in no environment and no state.

    `key_arn` is that of the key that encrypts it, where it is no key of AWS's own.
    """
    decrypt = [use_key(key_arn, "secretsmanager", "Decrypt")] if key_arn else []
    return Grant(arn, [allow(["secretsmanager:GetSecretValue"], [arn]), *decrypt])


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
        *_key_of(table),
    ]


def keep_ledger(ledger_name: str, ledger_arn: pulumi.Input[str]) -> list[Statement]:
    """The engine's notes, claims and holds: this consumer's items of the ledger, and no other's."""
    # After the name stands a stream's ARN, an event's id, or the digest of an item's key. Nothing stands there in
    # the list of held items.
    # A claim that is taken comes back with the refusal of PutItem, so nobody needs GetItem.
    calls = {
        f"note#{ledger_name}#*": ("Query", "PutItem"),
        f"claim#{ledger_name}#*": ("PutItem", "UpdateItem", "DeleteItem"),
        f"hold#{ledger_name}": ("Query", "BatchGetItem", "UpdateItem", "DeleteItem"),
        f"hold#{ledger_name}#*": ("Query", "BatchWriteItem", "UpdateItem", "DeleteItem"),
        f"alone#{ledger_name}#*": ("UpdateItem", "DeleteItem"),
    }
    return [
        allow(
            [f"dynamodb:{call}" for call in made],
            [ledger_arn],
            **{"ForAllValues:StringLike": {"dynamodb:LeadingKeys": [keys]}},
        )
        for keys, made in calls.items()
    ]


def park_failures(ledger_name: str, bucket_arn: pulumi.Input[str]) -> Statement:
    """The engine's own failure records: this consumer's prefix of the failure bucket."""
    # Under it stands the change that failed: table, stream and sequence number.
    return allow(["s3:PutObject"], [pulumi.Output.format("{0}/engine/{1}/*", bucket_arn, ledger_name)])


def invoke(function_arn: pulumi.Input[str]) -> Statement:
    """Invoke one function, as it is: no version of it."""
    return allow(["lambda:InvokeFunction"], [function_arn])


def deliver_failures(bucket_arn: pulumi.Input[str], account: pulumi.Input[str]) -> list[Statement]:
    """A mapping's failure records, which it writes with the function's role; only to a bucket of this account."""
    # Under the prefix stand the mapping's id, made up by Lambda, and the record's time.
    objects = pulumi.Output.format("{0}/aws/lambda/*", bucket_arn)
    owned = {"s3:ResourceAccount": account}
    return [
        allow(["s3:PutObject"], [objects], StringEquals=owned),
        allow(["s3:ListBucket"], [bucket_arn], StringEquals=owned),
    ]


def use_key(key_arn: pulumi.Input[str], service: str, *actions: KeyAction) -> Statement:
    """Use a key through one service (`kms:ViaService`), never by itself."""
    through = pulumi.Output.from_input(key_arn).apply(lambda arn: f"{service}.{arn.split(':')[3]}.amazonaws.com")
    return allow([f"kms:{action}" for action in actions], [key_arn], StringEquals={"kms:ViaService": through})


def use_stores_key(key_arn: pulumi.Input[str]) -> list[Statement]:
    """What a consumer and its mapping need of the key that encrypts ledger and failure bucket.

    DynamoDB decrypts a table's key for whoever reads or writes it, and does the rest by its own grant (encryption at
    rest usage notes); S3 has a data key made for whoever puts an object, a mapping too (Lambda: discarded batches).
    CloudWatch Logs asks nothing of the role.
    """
    return [use_key(key_arn, "dynamodb", "Decrypt"), use_key(key_arn, "s3", "GenerateDataKey")]


def decrypt_variables(key_arn: pulumi.Input[str], function_arn: pulumi.Input[str]) -> Statement:
    """What an environment of the function needs to start (Lambda: KMSAccessDeniedException otherwise)."""
    variables = {"kms:EncryptionContext:aws:lambda:FunctionArn": function_arn}
    return allow(["kms:Decrypt"], [key_arn], StringEquals=variables)


def use_destination_key(
    destination_arn: pulumi.Output[str], key: pulumi.Output[str | None]
) -> pulumi.Output[Statement | None]:
    """What sending to a queue or topic needs of the key that encrypts it (Lambda: discarded batches).

    Nothing where there is none, or one of AWS's own, which whoever may use the service may use.

    Raises
    ------
    pulumi.RunError
        The queue or topic names its key by an alias: rights on an alias have no effect.
    """

    def right(arn: str, named: str | None) -> Statement | None:
        if not named or "alias/aws/" in named:
            return None
        if "alias/" in named:
            raise pulumi.RunError(
                f"{arn} is encrypted with {named}: a right is to a key, not to an alias; name the key's ARN there"
            )
        _, partition, service, region, account, _ = arn.split(":", 5)
        key_arn = named if named.startswith("arn:") else f"arn:{partition}:kms:{region}:{account}:key/{named}"
        return use_key(key_arn, service, "GenerateDataKey", "Decrypt")

    return pulumi.Output.all(destination_arn, key).apply(lambda both: right(*both))


def join_network() -> Statement:
    """Make and remove the network interfaces of a function in a VPC.

    Lambda asks for these on every resource (Lambda: giving functions access to resources in a VPC, November 2026).
    """
    calls = (
        *("CreateNetworkInterface", "DescribeNetworkInterfaces", "DescribeSubnets", "DeleteNetworkInterface"),
        *("AssignPrivateIpAddresses", "UnassignPrivateIpAddresses"),
    )
    return allow([f"ec2:{call}" for call in calls], ["*"])


def trace() -> Statement:
    """Send traces to X-Ray."""
    # X-Ray knows no resources to name here.
    return allow(["xray:PutTraceSegments", "xray:PutTelemetryRecords"], ["*"])


def _key_of(table: Table) -> list[Statement]:
    return [use_key(table.key_arn, "dynamodb", "Decrypt")] if table.key_arn else []
