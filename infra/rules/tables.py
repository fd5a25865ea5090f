"""Rules about tables, log groups and buckets."""

from collections.abc import Iterator, Sequence
from typing import Any

from infra.rules.rule import Level, rule, stack_rule
from infra.rules.view import ResourceView, Type, as_list, as_strings, links, of_type, value_at

MAX_KEY_BYTES = 255
"""Maximum bytes of a key attribute's name (DynamoDB's limit)."""


@rule(Level.UNSAFE, Type.TABLE)
def table_without_recovery(table: ResourceView) -> Iterator[str]:
    """A table has point-in-time recovery."""
    if not value_at(table.inputs, "pointInTimeRecovery", "enabled"):
        yield (
            "no pointInTimeRecovery: items that a mistake overwrites are lost, and data derived from these items "
            "cannot be rebuilt; enable it"
        )


@rule(Level.ADVICE, Type.TABLE)
def table_without_protection(table: ResourceView) -> Iterator[str]:
    """A table says whether deletion protection is on."""
    if table.inputs.get("deletionProtectionEnabled") is None:
        yield (
            "no deletionProtectionEnabled: one mistake deletes the table, its stream and its continuous backups; "
            "enable it, or set it to false"
        )


@rule(Level.REFUSED, Type.TABLE)
def refused_keys(table: ResourceView) -> Iterator[str]:
    """DynamoDB accepts the keys of a table."""
    keys = as_strings([table.inputs.get("hashKey"), table.inputs.get("rangeKey")])
    expires = ttl_attribute(table)
    for key in keys:
        if not 0 < len(key.encode()) <= MAX_KEY_BYTES:
            yield f"the key {key!r}: DynamoDB takes a name of 1 to {MAX_KEY_BYTES} bytes"
    if len(set(keys)) < len(keys):
        yield f"{keys[0]} is partition and sort key: DynamoDB needs two different attributes; remove the sort key"
    if expires == "":
        yield "a time to live without an attribute: name the attribute, or remove ttl"
    elif expires in keys:
        yield f"{expires} is a key and the attribute of the time to live: DynamoDB refuses a key; use another attribute"


@rule(Level.ADVICE, Type.TABLE)
def imported_without_stream(table: ResourceView) -> Iterator[str]:
    """An imported table has its stream before it has consumers.

    The provider (5.100, tried in November 2026) creates the table by ImportTable alone, and adds the stream in the next
    update.
    """
    if table.inputs.get("importTable") and table.inputs.get("streamEnabled"):
        yield (
            "importTable: the first update makes the table without its stream, tags and class, the second adds them; "
            "add its consumers after the second"
        )


def ttl_attribute(table: ResourceView) -> Any:
    """Return the attribute of the table's time to live, or None if it is off."""
    return value_at(table.inputs, "ttl", "attributeName") if value_at(table.inputs, "ttl", "enabled") else None


def attribute_types(table: ResourceView) -> dict[Any, Any]:
    """Return the types of the attributes that a table declares, by name: its keys and those of its indexes."""
    return {value_at(each, "name"): value_at(each, "type") for each in as_list(table.inputs.get("attributes"))}


def key_types(table: ResourceView) -> dict[str, str]:
    """Return the types (S, N or B) of the key attributes by name, as far as they are known."""
    types = attribute_types(table)
    keys = (table.inputs.get("hashKey"), table.inputs.get("rangeKey"))
    return {key: types.get(key, "") for key in keys if isinstance(key, str) and key}


@rule(Level.ADVICE, Type.LOG_GROUP)
def log_without_retention(group: ResourceView) -> Iterator[str]:
    """A log group has a retention period."""
    if not group.inputs.get("retentionInDays"):
        yield (
            "no retentionInDays: CloudWatch keeps and bills log events, which may contain items, without limit; set "
            "the days"
        )


@stack_rule(Level.UNSAFE)
def open_bucket(resources: Sequence[ResourceView]) -> Iterator[tuple[ResourceView, str]]:
    """A bucket blocks public access."""
    flags = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
    blocks = {bucket.urn: block for block, bucket in links(resources, Type.BUCKET_PRIVATE, "bucket", Type.BUCKET)}
    for bucket in of_type(resources, Type.BUCKET):
        block = blocks.get(bucket.urn)
        lacking = [flag for flag in flags if not (block and block.inputs.get(flag))]
        if lacking:
            yield (
                bucket,
                f"{bucket.name} is not protected from public access: one policy would open the items in it to "
                "everybody, where AWS's default is switched off; add a BucketPublicAccessBlock with "
                f"{', '.join(lacking)}",
            )
