"""Rules about consumers: the tables that they read and write, and their fenced writes."""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from infra.rules.rule import Level, rule, stack_rule
from infra.rules.tables import attribute_types, key_types, ttl_attribute
from infra.rules.view import ResourceView, Tables, Type, as_list, of_type, value_at

VERSION, EXPIRY = "change_version", "expiry"
"""The attributes that a fenced write adds to an item (handler/stream/effects.py)."""


@rule(Level.UNSAFE, Type.CONSUMER, program_only=True)
def consumer_without_stores(consumer: ResourceView) -> Iterator[str]:
    """A consumer has stores for failing changes."""
    if consumer.inputs.get("stores") is False:
        yield (
            "no stores: a failing change is reported and holds up its shard, a partly failed batch is repeated whole, "
            "and nothing is claimed or parked; give it stores=Stores(...)"
        )


@stack_rule(Level.REFUSED, program_only=True)
def poor_view(resources: Sequence[ResourceView]) -> Iterator[tuple[ResourceView, str]]:
    """A stream contains the images that its consumer needs."""
    for consumer, table, _ in _reads(resources):
        view, images = table.inputs.get("streamViewType"), consumer.inputs.get("images")
        if isinstance(view, str) and isinstance(images, str) and not _images(images) <= _images(view):
            yield (
                consumer,
                f"{consumer.name} on {table.name}: streamViewType {view}: each change would lack an image that the "
                "handler needs, and fail; use "
                f"{images}{'' if images == 'NEW_AND_OLD_IMAGES' else ' or NEW_AND_OLD_IMAGES'}",
            )


@stack_rule(Level.UNSAFE, program_only=True)
def fenced_filters(resources: Sequence[ResourceView]) -> Iterator[tuple[ResourceView, str]]:
    """A consumer with fenced writes receives every change of an item: its filters name keys only."""
    for consumer, table, patterns in _reads(resources):
        for pattern in map(json.loads, patterns if consumer.inputs.get("fenced") else ()):
            named = [*pattern.keys() - {"dynamodb"}, *(pattern.get("dynamodb", {}).keys() - {"Keys"})]
            if named:
                yield (
                    consumer,
                    f"{consumer.name} on {table.name}: a filter on {' and '.join(sorted(named))}, and its writes are "
                    "fenced: a change that the filter leaves out, for example a removal, would leave an outdated item "
                    "in the target; filter by keys only, or in the handler",
                )


@stack_rule(Level.REFUSED, program_only=True)
def fenced_items(resources: Sequence[ResourceView]) -> Iterator[tuple[ResourceView, str]]:
    """The items of a table can be written to the target of a fenced write."""
    sources: dict[str, list[ResourceView]] = defaultdict(list)
    for consumer, table, _ in _reads(resources):
        sources[consumer.urn].append(table)
    for consumer, target, own_items in _fenced_writes(resources):
        into = f"{consumer.name} into {target.name}"
        misfits = {source.name: list(_misfits(source, target)) for source in sources[consumer.urn]}
        if not own_items and all(
            misfits.values()
        ):  # one suitable table suffices: the grant does not say which table feeds the target
            for name, reasons in misfits.items():
                yield from (
                    (
                        consumer,
                        f"{into}, from {name}: {misfit}; or write other items, and declare put_if_newer_into(..., "
                        "own_items=True)",
                    )
                    for misfit in reasons
                )
        if "STRONG" in _consistencies(target):
            yield (
                consumer,
                f"{into}: the target has multi-Region strong consistency, where items do not expire: the tombstones of "
                "removed items would never expire; use a table with eventual consistency",
            )


def _misfits(source: ResourceView, target: ResourceView) -> Iterator[str]:
    """Say why fenced writes of the source's images to the target would fail."""
    if taken := sorted({*attribute_types(source), ttl_attribute(source)} & {VERSION, EXPIRY}):
        yield f"its items have {' and '.join(taken)}, an attribute of the fence, and would be parked; rename it"
    if key_types(source) and key_types(target) and key_types(source) != key_types(target):
        keys = f"{_key_description(source)} and {_key_description(target)}"
        yield f"the keys differ ({keys}), and DynamoDB would refuse every write; use the same keys"
    view = source.inputs.get("streamViewType")
    if isinstance(view, str) and "NEW" not in _images(view):
        yield f"its changes have no new image (streamViewType {view}), and would be parked; use NEW_AND_OLD_IMAGES"


@stack_rule(Level.UNSAFE, program_only=True)
def fenced_without_expiry(resources: Sequence[ResourceView]) -> Iterator[tuple[ResourceView, str]]:
    """The target of a fenced write has a time to live, so that tombstones expire."""
    for consumer, target, _ in _fenced_writes(resources):
        known = target.type != Type.EXISTING_TABLE or "ttl" in target.inputs
        if known and "STRONG" not in _consistencies(target) and ttl_attribute(target) != EXPIRY:
            yield (
                consumer,
                f"{consumer.name} into {target.name}: the target has no time to live on {EXPIRY}, so the tombstones of "
                f"removed items never expire; give it ttl={EXPIRY!r}",
            )


@stack_rule(Level.ADVICE, program_only=True)
def strong_consistency(resources: Sequence[ResourceView]) -> Iterator[tuple[ResourceView, str]]:
    """A consumer does not use transactions on a table with multi-Region strong consistency."""
    tables = Tables(resources)
    for consumer in of_type(resources, Type.CONSUMER):
        written = {each for write in as_list(consumer.inputs.get("writes")) for each in tables.identities(write)}
        for table in map(tables.__getitem__, sorted(written)):
            if "STRONG" in _consistencies(table):
                yield (
                    consumer,
                    f"{consumer.name} may write {table.name}, which has multi-Region strong consistency: "
                    "transact() fails there; write single items",
                )


def _reads(resources: Sequence[ResourceView]) -> Iterator[tuple[ResourceView, ResourceView, list[str]]]:
    """Yield each consumer with each table that it reads and the filter patterns."""
    tables = Tables(resources)
    for consumer in of_type(resources, Type.CONSUMER):
        for read in as_list(consumer.inputs.get("reads")):
            for identity in tables.identities(value_at(read, "table")):
                yield consumer, tables[identity], as_list(value_at(read, "patterns"))


def _fenced_writes(resources: Sequence[ResourceView]) -> Iterator[tuple[ResourceView, ResourceView, bool]]:
    """Yield each consumer with each target of its fenced writes, and whether it writes other items than the images."""
    tables = Tables(resources)
    for consumer in of_type(resources, Type.CONSUMER):
        for fenced in as_list(consumer.inputs.get("fenced")):
            for identity in tables.identities(value_at(fenced, "table")):
                yield consumer, tables[identity], value_at(fenced, "ownItems") is True


def _images(view: str) -> set[str]:
    return {image for image in ("NEW", "OLD") if image in view.split("_")}


def _key_description(table: ResourceView) -> str:
    return ", ".join(f"{name} {kind}".strip() for name, kind in key_types(table).items())


def _consistencies(table: ResourceView) -> list[Any]:
    return [value_at(replica, "consistencyMode") for replica in as_list(table.inputs.get("replicas"))]
