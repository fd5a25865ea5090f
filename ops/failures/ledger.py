"""Reads from the ledger which redriven changes still wait in the holds of their items, and which have failed again."""

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from handler.stream.ledger import Ledger
from handler.stream.ledger.rows import HoldRow
from handler.stream.ledger.writes import MAX_BATCH_READS
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
        self._holds = Ledger(lambda: client("dynamodb"), table, consumer, sleep).holds
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
        return ItemState(*self._holds.read_redriven(digest))

    def error(self, digest: str) -> str:
        """Return the last error of an item, as the engine describes it."""
        description = self._holds.read_descriptions([digest]).get(digest)
        if description is None:
            return "the ledger has no description of the item"
        return f"{description['error_type']['S']}: {description['error_text']['S']}"
