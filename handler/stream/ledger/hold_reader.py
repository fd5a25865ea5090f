"""Reads the held items of one consumer from the ledger."""

from collections.abc import Iterable, Iterator

from handler.stream.ledger.rows import (
    END_OF_PARTS,
    HoldBrokenError,
    HoldRow,
    WaitingChange,
    read_changes,
)
from handler.stream.ledger.table import Item, key_of
from handler.stream.ledger.writes import LedgerWrites

DESCRIPTION_KEY = "!"
"""Sort key of the row that describes an item to operators."""
AFTER_VERSION = "+"
"""Suffix of a version: sorts after that version's rows, for a `next` whose own version is not known yet."""


class HoldReader:
    """Reads the holds of one consumer. Every method raises the error of boto3 if the ledger does not respond."""

    def __init__(self, table: LedgerWrites, consumer: str) -> None:
        self._table, self._partition = table, f"hold#{consumer}"

    def read_items(self, digests: Iterable[str]) -> list[Item]:
        """Return the existing rows of these items, as DynamoDB returns them."""
        return self._table.batch_get([key_of(self._partition, digest) for digest in sorted(digests)])

    def parse_rows(self, items: Iterable[Item]) -> dict[str, HoldRow]:
        """Return the rows of items that DynamoDB returned, by digest."""
        return {row.digest: row for row in map(HoldRow.from_item, items)}

    def read_all(self) -> Iterator[HoldRow]:
        """Read every row, also of released items."""
        return (HoldRow.from_item(item) for item in self._table.query_all(self._partition))

    def read_row(self, digest: str) -> HoldRow | None:
        """Return the row of one item, None if there is none."""
        items, _ = self._table.query_page(self._partition, start=digest, end=digest)
        return HoldRow.from_item(items[0]) if items else None

    def read_descriptions(self, digests: Iterable[str]) -> dict[str, Item]:
        """Return what `hold` and `record_failure` wrote about these items for operators, by digest."""
        keys = [key_of(self._changes_partition(digest), DESCRIPTION_KEY) for digest in digests]
        return {item["pk"]["S"].rpartition("#")[2]: item for item in self._table.batch_get(keys)}

    def read_waiting(self, row: HoldRow, *, has_counted: bool = False) -> list[WaitingChange]:
        """Return the waiting changes in order: all of them, or the first ones if they are more than 1 MB.

        The first ones must not run if a later one is missing, so all of them are counted. `has_counted` says that the
        owner of the hold has read it before: a second count would read all the rest again.

        Raises
        ------
        HoldBrokenError
            A waiting change is missing or cannot be read.
        """
        partition = self._changes_partition(row.digest)
        redriven: list[WaitingChange] = []
        if row.redriven:
            redriven = read_changes(self._table.query_all(partition, start="+", end=f"+{END_OF_PARTS}"))
        if row.next is None or row.next > row.tail:
            return sorted(redriven, key=lambda change: change.version)
        changes, has_more = self._read_whole_changes(partition, row.next, row.tail)
        is_named = not row.next.endswith(AFTER_VERSION)
        if not changes or (is_named and changes[0].version != row.next):
            raise HoldBrokenError(f"{row.digest}: the first waiting change, {row.next}, is missing")
        is_rest_there = has_more and (has_counted or self._count_changes(partition, row) >= row.waiting)
        if len(changes) < row.waiting and not is_rest_there:
            raise HoldBrokenError(f"{row.digest}: of {row.waiting} waiting changes only {len(changes)} are there")
        if not has_more and changes[-1].version != row.tail:
            raise HoldBrokenError(f"{row.digest}: the last waiting change, {row.tail}, is missing")
        if has_more:
            redriven = [change for change in redriven if change.version < changes[-1].version]
        return sorted([*redriven, *changes], key=lambda change: change.version)

    def read_redriven(self, digest: str) -> tuple[frozenset[str], float]:
        """Return the versions of a held item's waiting redriven changes, and when a change of the item failed last.

        The time is in seconds since 1970, and 0 if the item has no description.
        """
        versions, failed_at = set[str](), 0.0
        partition = self._changes_partition(digest)
        for item in self._table.query_all(partition, start=DESCRIPTION_KEY, end=f"+{END_OF_PARTS}", keys_only=True):
            if item["sk"]["S"] == DESCRIPTION_KEY:
                failed_at = float(item["at"]["N"])
            else:
                versions.add(_version_in(item).removeprefix("+"))
        return frozenset(versions), failed_at

    def _read_whole_changes(self, partition: str, start: str, tail: str) -> tuple[list[WaitingChange], bool]:
        items: list[Item] = []
        after: Item | None = None
        while True:
            page, after = self._table.query_page(partition, start=start, end=f"{tail}#{END_OF_PARTS}", after=after)
            items += page
            last = _version_in(items[-1]) if items else ""
            if after is None:
                return read_changes(items), False
            whole = [item for item in items if _version_in(item) != last]
            if whole:
                return read_changes(whole), True

    def _count_changes(self, partition: str, row: HoldRow) -> int:
        items = self._table.query_all(partition, start=row.next, end=f"{row.tail}#{END_OF_PARTS}", keys_only=True)
        return len({_version_in(item) for item in items})

    def _changes_partition(self, digest: str) -> str:
        return f"{self._partition}#{digest}"


def _version_in(change_row: Item) -> str:
    return change_row["sk"]["S"].rpartition("#")[0]


def just_after(version: str) -> str:
    """Return text that sorts after a version's rows and before those of the next version."""
    return f"{version}{AFTER_VERSION}"
