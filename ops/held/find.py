"""Finds the held items that an operator names."""

from collections.abc import Iterable

from ops import OpsError
from ops.held.ledger import HeldItem, HeldItems
from ops.items import item_digests
from ops.stack import Stack


def find_items(stack: Stack, readers: Iterable[HeldItems], text: str) -> list[tuple[HeldItems, HeldItem]]:
    """Return the held items of an item's name, with the reader of their consumer.

    Raises
    ------
    OpsError
        No consumer reads a table with such a key.
    """
    by_name = {reader.name: reader for reader in readers}
    digests = item_digests(text, stack, by_name)
    return [(reader, item) for reader in by_name.values() for item in reader.find(digests)]


def find_one(stack: Stack, reader: HeldItems, text: str) -> HeldItem | None:
    """Return the held item of an item's name; None if none is held.

    Raises
    ------
    OpsError
        The consumer reads no table with such a key, or items of several tables with this key are held.
    """
    items = [item for _, item in find_items(stack, [reader], text)]
    if len(items) > 1:
        names = " or ".join(f"{item.digest} ({item.table_name})" for item in items)
        raise OpsError(f"{text} is held in {len(items)} tables: name the item by its digest, {names}")
    return items[0] if items else None
