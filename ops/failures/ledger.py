"""Reads from the ledger which redriven changes still wait in the holds of their items, and which have failed again."""

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from handler.stream.ledger.holds import DESCRIPTION_KEY, Holds
from handler.stream.ledger.rows import END_OF_PARTS, HoldRow
from handler.stream.ledger.writes import MAX_BATCH_READS, LedgerWrites
from ops.concurrency import in_chunks
from ops.stack import Client

CONCURRENT_READS = 8
"""Batches of rows, or items' change rows, that are read at the same time."""


@dataclass(frozen=True)
class ItemState:
    """A held item: the versions of its waiting redriven changes, and when a change of the item last failed."""

    waiting: frozenset[str]
    failed_at: float


class RedrivenChanges:
    """The redriven changes of one consumer. Every method raises the error of boto3 if a call fails."""

    def __init__(self, client: Client, table: str, consumer: str, sleep: Callable[[float], None] = time.sleep) -> None:
        self._table = LedgerWrites(lambda: client("dynamodb"), table, sleep)
        self._holds, self._partition = Holds(self._table, consumer), f"hold#{consumer}"
        self._pool = ThreadPoolExecutor(CONCURRENT_READS)

    def close(self) -> None:
        """Cancel reads that have not begun."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def held_rows(self, items: Collection[str]) -> dict[str, HoldRow]:
        """Return the rows of those items that are held; every redriven change of another item is settled."""
        rows: dict[str, HoldRow] = {}
        for page in self._pool.map(self._read, in_chunks(items, MAX_BATCH_READS)):
            rows |= page
        return rows

    def _read(self, digests: list[str]) -> Mapping[str, HoldRow]:
        rows = self._holds.parse_rows(self._holds.read_items(digests))
        return {digest: row for digest, row in rows.items() if row.is_held}

    def states(self, digests: Iterable[str]) -> dict[str, ItemState]:
        """Return the state of held items: a redriven change without a row is settled."""
        names = list(digests)
        return dict(zip(names, self._pool.map(self._state, names), strict=True))

    def _state(self, digest: str) -> ItemState:
        partition, failed_at, waiting = f"{self._partition}#{digest}", 0.0, set[str]()
        for item in self._table.query_all(partition, start=DESCRIPTION_KEY, end=f"+{END_OF_PARTS}", keys_only=True):
            sort_key = item["sk"]["S"]
            if sort_key == DESCRIPTION_KEY:
                failed_at = float(item["at"]["N"])
            else:
                waiting.add(sort_key.removeprefix("+").rpartition("#")[0])
        return ItemState(frozenset(waiting), failed_at)

    def error(self, digest: str) -> str:
        """Return the last error of an item, as the engine describes it."""
        description = self._holds.read_descriptions([digest]).get(digest)
        if description is None:
            return "the ledger has no description of the item"
        return f"{description['error_type']['S']}: {description['error_text']['S']}"
