"""Rules about a consumer: a function of this project's engine, with what it reads and writes."""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from infra.rules.rule import Level, rule, stack_rule
from infra.rules.tables import attribute_types, key_types, ttl_attribute
from infra.rules.view import CONSUMER, EXISTING_TABLE, ResourceView, Tables, as_list, of_type, value_at

VERSION, EXPIRY = "change_version", "expiry"
"""The attributes of a fenced item (handler/stream/effects.py)."""


@rule(Level.UNSAFE, CONSUMER, program_only=True)
def consumer_without_stores(consumer: ResourceView) -> Iterator[str]:
    """A consumer keeps what fails."""
    if consumer.inputs.get("stores") is False:
        yield (
            "no stores: a failing change is reported and holds up its shard, a partly failed batch is repeated whole, "
            "and nothing is claimed or parked; give it stores=Stores(...)"
        )


@stack_rule(Level.REFUSED, program_only=True)
def poor_view(resources: Sequence[ResourceView]) -> Iterator[tuple[ResourceView, str]]:
    """A stream carries the images that its reader needs."""
    for consumer, table, _ in _reads(resources):
        view, images = table.inputs.get("streamViewType"), consumer.inputs.get("images")
        if isinstance(view, str) and isinstance(images, str) and not _images(images) <= _images(view):
            yield (
                consumer,
                f"{consumer.name} on {table.name}: streamViewType {view}: each change would lack an image that is "
                f"needed, and fail; take {images}{'' if images == 'NEW_AND_OLD_IMAGES' else ' or NEW_AND_OLD_IMAGES'}",
            )


@stack_rule(Level.UNSAFE, program_only=True)
def fenced_filters(resources: Sequence[ResourceView]) -> Iterator[tuple[ResourceView, str]]:
    """A consumer whose writes are fenced sees every change of an item: its filters name keys only."""
    for consumer, table, patterns in _reads(resources):
        for pattern in map(json.loads, patterns if consumer.inputs.get("fenced") else ()):
            named = [*pattern.keys() - {"dynamodb"}, *(pattern.get("dynamodb", {}).keys() - {"Keys"})]
            if named:
                yield (
                    consumer,
                    f"{consumer.name} on {table.name}: a filter on {' and '.join(sorted(named))}, and its writes are "
                    "fenced: a change that the filter leaves out, a removal too, would leave an older item in place "
                    "for good; filter by keys only, or in the handler",
                )


@stack_rule(Level.REFUSED, program_only=True)
def fenced_items(resources: Sequence[ResourceView]) -> Iterator[tuple[ResourceView, str]]:
    """The items of a source can be written, fenced, into each target."""
    sources: dict[str, list[ResourceView]] = defaultdict(list)
    for consumer, table, _ in _reads(resources):
        sources[consumer.urn].append(table)
    for consumer, target, own_items in _fenced_writes(resources):
        into = f"{consumer.name} into {target.name}"
        faults = {source.name: list(_misfits(source, target)) for source in sources[consumer.urn]}
        if not own_items and all(faults.values()):  # of several sources one is enough: which one is meant is not said
            for name, faulty in faults.items():
                yield from (
                    (
                        consumer,
                        f"{into}, from {name}: {fault}; or write items of the handler's own, and say so: "
                        "put_if_newer_into(..., own_items=True)",
                    )
                    for fault in faulty
                )
        if "STRONG" in _consistencies(target):
            yield (
                consumer,
                f"{into}: the target has multi-Region strong consistency, where items do not expire: the tombstones of "
                "removed items would stay for good; take a table with eventual consistency",
            )


def _misfits(source: ResourceView, target: ResourceView) -> Iterator[str]:
    """Why a source's images cannot be written, fenced, into a target."""
    if taken := sorted({*attribute_types(source), ttl_attribute(source)} & {VERSION, EXPIRY}):
        yield f"its items have {' and '.join(taken)}, an attribute of the fence, and would be parked; rename it"
    if key_types(source) and key_types(target) and key_types(source) != key_types(target):
        keys = f"{_key_description(source)} and {_key_description(target)}"
        yield f"the keys differ ({keys}), and every write would be refused; take the same"
    view = source.inputs.get("streamViewType")
    if isinstance(view, str) and "NEW" not in _images(view):
        yield f"its changes have no new image (streamViewType {view}), and would be parked; take NEW_AND_OLD_IMAGES"


@stack_rule(Level.UNSAFE, program_only=True)
def fenced_without_expiry(resources: Sequence[ResourceView]) -> Iterator[tuple[ResourceView, str]]:
    """The tombstones of fenced writes expire."""
    for consumer, target, _ in _fenced_writes(resources):
        known = target.type != EXISTING_TABLE or "ttl" in target.inputs
        if known and "STRONG" not in _consistencies(target) and ttl_attribute(target) != EXPIRY:
            yield (
                consumer,
                f"{consumer.name} into {target.name}: the target has no time to live on {EXPIRY}, so the tombstones of "
                f"removed items stay for good; give it ttl={EXPIRY!r}",
            )


@stack_rule(Level.ADVICE, program_only=True)
def strong_consistency(resources: Sequence[ResourceView]) -> Iterator[tuple[ResourceView, str]]:
    """A table with multi-Region strong consistency takes no transaction."""
    tables = Tables(resources)
    for consumer in of_type(resources, CONSUMER):
        written = {each for write in as_list(consumer.inputs.get("writes")) for each in tables.identities(write)}
        for table in map(tables.__getitem__, sorted(written)):
            if "STRONG" in _consistencies(table):
                yield (
                    consumer,
                    f"{consumer.name} may write {table.name}, which has multi-Region strong consistency: "
                    "transact() fails there; write single items",
                )


def _reads(resources: Sequence[ResourceView]) -> Iterator[tuple[ResourceView, ResourceView, list[str]]]:
    """Each consumer with each table that it reads, and the filter patterns."""
    tables = Tables(resources)
    for consumer in of_type(resources, CONSUMER):
        for read in as_list(consumer.inputs.get("reads")):
            for identity in tables.identities(value_at(read, "table")):
                yield consumer, tables[identity], as_list(value_at(read, "patterns"))


def _fenced_writes(resources: Sequence[ResourceView]) -> Iterator[tuple[ResourceView, ResourceView, bool]]:
    """Each consumer with each target of its fenced writes, and whether these are items of the handler's own."""
    tables = Tables(resources)
    for consumer in of_type(resources, CONSUMER):
        for fenced in as_list(consumer.inputs.get("fenced")):
            for identity in tables.identities(value_at(fenced, "table")):
                yield consumer, tables[identity], value_at(fenced, "ownItems") is True


def _images(view: str) -> set[str]:
    return {image for image in ("NEW", "OLD") if image in view.split("_")}


def _key_description(table: ResourceView) -> str:
    return ", ".join(f"{name} {kind}".strip() for name, kind in key_types(table).items())


def _consistencies(table: ResourceView) -> list[Any]:
    return [value_at(replica, "consistencyMode") for replica in as_list(table.inputs.get("replicas"))]
