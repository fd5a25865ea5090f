"""Permissions as functions from exact ARNs to statements, and values for the environment with their permissions."""

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
    """A value for a consumer's environment, the permissions to use it, and the tables that these allow to write."""

    value: pulumi.Input[str]
    statements: Sequence[Statement]
    writes: Sequence[Table] = ()
    fenced: bool = False  # whether put_if_newer makes these writes; it needs every change of an item
    own_items: bool = False  # whether these writes are other items than the source's images


def read_from(table: Table, *actions: ReadAction) -> Grant:
    """Return the table's name with the permission to read items: GetItem, BatchGetItem and Query, or `actions`.

    Query and Scan cover the secondary indexes of the table.
    """
    named = [f"dynamodb:{action}" for action in actions or ("GetItem", "BatchGetItem", "Query")]
    statements = [allow(named, [table.arn])]
    of_indexes = [action for action in named if action in ("dynamodb:Query", "dynamodb:Scan")]
    if table.has_indexes and of_indexes:
        statements += [allow(of_indexes, [pulumi.Output.format("{0}/index/*", table.arn)])]
    return Grant(table.table_name, [*statements, *_key_of(table)])


def write_to(table: Table, *actions: WriteAction) -> Grant:
    """Return the table's name with the permission to write items: PutItem, UpdateItem and DeleteItem, or `actions`."""
    named = [f"dynamodb:{action}" for action in actions or ("PutItem", "UpdateItem", "DeleteItem")]
    return Grant(table.table_name, [allow(named, [table.arn]), *_key_of(table)], writes=[table])


def put_if_newer_into(table: Table, *, own_items: bool = False) -> Grant:
    """Return the table's name with the permission that `put_if_newer` needs. The consumer's filters may name keys only.

    The table has the keys of the source and a time to live on `expiry`. With `own_items`, the handler writes other
    items, by `item=` and `key=`, and the keys may differ.
    """
    return replace(write_to(table, "PutItem"), fenced=True, own_items=own_items)


def send_email_from(address: str, opts: pulumi.InvokeOutputOptions | None = None) -> Grant:
    """Return the sender's address with the permission to send from it. SES has verified the address or its domain.

    The Region is that of the provider in `opts`, or of the default provider.
    """
    caller = aws.get_caller_identity_output(opts=opts)
    partition = caller.arn.apply(lambda arn: arn.split(":")[1])
    region = aws.get_region_output(opts=opts).region
    identities = [
        pulumi.Output.format("arn:{0}:ses:{1}:{2}:identity/{3}", partition, region, caller.account_id, identity)
        for identity in (address, address.partition("@")[2])
    ]
    # A verified domain can send from any of its addresses, and this consumer from one.
    return Grant(address, [allow(["ses:SendEmail"], identities, StringEquals={"ses:FromAddress": address})])


def secret(arn: pulumi.Input[str], *, key_arn: pulumi.Input[str] | None = None) -> Grant:
    """Return a secret's ARN with the permission to read its value. No environment and no state contains the value.

    `key_arn` is the ARN of the key that encrypts the secret, unless it is an AWS managed key.
    """
    decrypt = [use_key(key_arn, "secretsmanager", "Decrypt")] if key_arn else []
    return Grant(arn, [allow(["secretsmanager:GetSecretValue"], [arn]), *decrypt])


def write_logs(log_group_arn: pulumi.Input[str]) -> Statement:
    """Permission to write to one log group."""
    # Lambda generates the names of the log streams.
    streams = pulumi.Output.format("{0}:*", log_group_arn)
    return allow(["logs:CreateLogStream", "logs:PutLogEvents"], [streams])


def read_stream(table: Table) -> list[Statement]:
    """Permissions of a mapping to read a stream."""
    # ListStreams supports no narrower resource than all streams of a table.
    streams = pulumi.Output.format("{0}/stream/*", table.arn)
    return [
        allow(["dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator"], [table.stream_arn]),
        allow(["dynamodb:ListStreams"], [streams]),
        *_key_of(table),
    ]


def keep_ledger(ledger_name: str, ledger_arn: pulumi.Input[str]) -> list[Statement]:
    """Permissions of the engine on this consumer's notes, claims and holds in the ledger."""
    # The name is followed by a stream's ARN, an event's id or the digest of an item's key, and by nothing in the list
    # of held items. PutItem returns the claim of another holder when it fails, so claims need no GetItem.
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
    """Permission of the engine to write failure records under this consumer's prefix of the failure bucket."""
    return allow(["s3:PutObject"], [pulumi.Output.format("{0}/engine/{1}/*", bucket_arn, ledger_name)])


def invoke(function_arn: pulumi.Input[str]) -> Statement:
    """Permission to invoke one function, but none of its versions."""
    return allow(["lambda:InvokeFunction"], [function_arn])


def deliver_failures(bucket_arn: pulumi.Input[str], account: pulumi.Input[str]) -> list[Statement]:
    """Permissions of a mapping, which uses the function's role, to write failure records to a bucket of the account."""
    # Lambda generates the mapping's id, which follows the prefix.
    objects = pulumi.Output.format("{0}/aws/lambda/*", bucket_arn)
    owned = {"s3:ResourceAccount": account}
    return [
        allow(["s3:PutObject"], [objects], StringEquals=owned),
        allow(["s3:ListBucket"], [bucket_arn], StringEquals=owned),
    ]


def use_key(key_arn: pulumi.Input[str], service: str, *actions: KeyAction) -> Statement:
    """Permission to use a key through one service only (`kms:ViaService`)."""
    through = pulumi.Output.from_input(key_arn).apply(lambda arn: f"{service}.{arn.split(':')[3]}.amazonaws.com")
    return allow([f"kms:{action}" for action in actions], [key_arn], StringEquals={"kms:ViaService": through})


def use_stores_key(key_arn: pulumi.Input[str]) -> list[Statement]:
    """Permissions of a consumer and its mappings to use the key that encrypts the ledger and the failure bucket.

    DynamoDB decrypts a table's data key with the caller's permission, and uses a grant for everything else (encryption
    at rest usage notes). S3 generates a data key with the permission of the principal that puts an object (Lambda:
    discarded batches). CloudWatch Logs needs no permission of the role.
    """
    return [use_key(key_arn, "dynamodb", "Decrypt"), use_key(key_arn, "s3", "GenerateDataKey")]


def decrypt_variables(key_arn: pulumi.Input[str], function_arn: pulumi.Input[str]) -> Statement:
    """Permission to decrypt the variables, without which the function does not start (KMSAccessDeniedException)."""
    variables = {"kms:EncryptionContext:aws:lambda:FunctionArn": function_arn}
    return allow(["kms:Decrypt"], [key_arn], StringEquals=variables)


def use_destination_key(
    destination_arn: pulumi.Output[str], key: pulumi.Output[str | None]
) -> pulumi.Output[Statement | None]:
    """Permission to use the KMS key of an encrypted queue or topic (Lambda: discarded batches).

    None if it is unencrypted or uses an AWS managed key.

    Raises
    ------
    pulumi.RunError
        The queue or topic names its key by an alias. Permissions on an alias have no effect.
    """

    def statement(arn: str, named: str | None) -> Statement | None:
        if not named or "alias/aws/" in named:
            return None
        if "alias/" in named:
            raise pulumi.RunError(
                f"{arn} is encrypted with {named}: a permission names a key, not an alias; set the key's ARN there"
            )
        _, partition, service, region, account, _ = arn.split(":", 5)
        key_arn = named if named.startswith("arn:") else f"arn:{partition}:kms:{region}:{account}:key/{named}"
        return use_key(key_arn, service, "GenerateDataKey", "Decrypt")

    return pulumi.Output.all(destination_arn, key).apply(lambda both: statement(*both))


def join_network() -> Statement:
    """Permissions of a function in a VPC to create and delete its network interfaces.

    Lambda requires them on every resource (Lambda: giving functions access to resources in a VPC, November 2026).
    """
    calls = (
        *("CreateNetworkInterface", "DescribeNetworkInterfaces", "DescribeSubnets", "DeleteNetworkInterface"),
        *("AssignPrivateIpAddresses", "UnassignPrivateIpAddresses"),
    )
    return allow([f"ec2:{call}" for call in calls], ["*"])


def trace() -> Statement:
    """Permission to send traces to X-Ray, whose actions support no resources."""
    return allow(["xray:PutTraceSegments", "xray:PutTelemetryRecords"], ["*"])


def _key_of(table: Table) -> list[Statement]:
    return [use_key(table.key_arn, "dynamodb", "Decrypt")] if table.key_arn else []
