"""Rules about tables, log groups and buckets."""

from collections.abc import Iterator, Sequence
from typing import Any

from infra.rules.rule import Level, rule, stack_rule
from infra.rules.view import (
    BUCKET,
    BUCKET_PRIVATE,
    LOG_GROUP,
    TABLE,
    ResourceView,
    as_list,
    as_strings,
    links,
    of_type,
    value_at,
)

MAX_KEY_BYTES = 255
"""Bytes of a key attribute's name (DynamoDB's limit)."""


@rule(Level.UNSAFE, TABLE)
def table_without_recovery(table: ResourceView) -> Iterator[str]:
    """A table can be restored to a point in time."""
    if not value_at(table.inputs, "pointInTimeRecovery", "enabled"):
        yield (
            "no pointInTimeRecovery: what a mistake overwrites is gone, and what is derived from it cannot be made "
            "again; enable it"
        )


@rule(Level.ADVICE, TABLE)
def table_without_protection(table: ResourceView) -> Iterator[str]:
    """A table is not deleted by mistake."""
    if table.inputs.get("deletionProtectionEnabled") is None:
        yield (
            "no deletionProtectionEnabled: one mistake deletes it, its stream and its days to restore; enable it, or "
            "say false"
        )


@rule(Level.REFUSED, TABLE)
def refused_keys(table: ResourceView) -> Iterator[str]:
    """A table's keys are ones that DynamoDB takes."""
    keys = as_strings([table.inputs.get("hashKey"), table.inputs.get("rangeKey")])
    expires = ttl_attribute(table)
    for key in keys:
        if not 0 < len(key.encode()) <= MAX_KEY_BYTES:
            yield f"the key {key!r}: DynamoDB takes a name of 1 to {MAX_KEY_BYTES} bytes"
    if len(set(keys)) < len(keys):
        yield f"{keys[0]} is partition and sort key: DynamoDB takes two attributes; leave the sort key out"
    if expires == "":
        yield "a time to live without an attribute: name it, or leave ttl out"
    elif expires in keys:
        yield f"{expires} is a key and the attribute of the time to live: DynamoDB takes no key; name another one"


@rule(Level.ADVICE, TABLE)
def imported_without_stream(table: ResourceView) -> Iterator[str]:
    """An imported table has its stream before it has consumers.

    The provider (5.100, tried in November 2026) makes it by ImportTable alone, and plans the rest in the next update.
    """
    if table.inputs.get("importTable") and table.inputs.get("streamEnabled"):
        yield (
            "importTable: the first update makes the table without its stream, tags and class, the second adds them; "
            "add its consumers after the second"
        )


def ttl_attribute(table: ResourceView) -> Any:
    """The attribute of a table's time to live; None where that is off."""
    return value_at(table.inputs, "ttl", "attributeName") if value_at(table.inputs, "ttl", "enabled") else None


def attribute_types(table: ResourceView) -> dict[Any, Any]:
    """The attributes that a table declares, its keys and those of its indexes, to their types."""
    return {value_at(each, "name"): value_at(each, "type") for each in as_list(table.inputs.get("attributes"))}


def key_types(table: ResourceView) -> dict[str, str]:
    """Key attributes to their types (S, N or B), as far as they are known."""
    types = attribute_types(table)
    keys = (table.inputs.get("hashKey"), table.inputs.get("rangeKey"))
    return {key: types.get(key, "") for key in keys if isinstance(key, str) and key}


@rule(Level.ADVICE, LOG_GROUP)
def log_without_retention(group: ResourceView) -> Iterator[str]:
    """A log group deletes old events."""
    if not group.inputs.get("retentionInDays"):
        yield "no retentionInDays: what is logged, items too, is kept and paid for without end; name the days"


@stack_rule(Level.UNSAFE)
def open_bucket(resources: Sequence[ResourceView]) -> Iterator[tuple[ResourceView, str]]:
    """A bucket's public access is blocked."""
    flags = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
    blocks = {bucket.urn: block for block, bucket in links(resources, BUCKET_PRIVATE, "bucket", BUCKET)}
    for bucket in of_type(resources, BUCKET):
        block = blocks.get(bucket.urn)
        lacking = [flag for flag in flags if not (block and block.inputs.get(flag))]
        if lacking:
            yield (
                bucket,
                f"{bucket.name} is not kept from being public: where AWS's default is off, one policy would show the "
                f"items in it to everybody; give it a BucketPublicAccessBlock with {', '.join(lacking)}",
            )
