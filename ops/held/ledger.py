"""The held items of a consumer, read from the ledger: the function may be broken."""

import json
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from handler.stream.ledger import Ledger
from handler.stream.ledger.rows import HoldRow, WaitingChange
from handler.stream.ledger.table import FORMAT
from handler.stream.ledger.writes import MAX_BATCH_READS
from ops import OpsError
from ops.concurrency import in_chunks
from ops.function import FunctionState
from ops.items import item_text
from ops.stack import Client, Stack
from ops.text.causes import cause_of, one_line

CONCURRENT_READS = 8
"""Batches of descriptions that are read at the same time: 800 descriptions of at most 2.5 KB."""


@dataclass(frozen=True)
class HeldItem:
    """A held item: its row, and what the engine wrote about it for operators. Times are seconds since 1970."""

    row: HoldRow
    table: str = ""
    """The table's ARN; empty if the description is missing."""
    keys: dict[str, Any] = field(default_factory=dict[str, Any])
    """The item's key in DynamoDB's JSON."""
    error_type: str = "Unknown"
    error_text: str = "the ledger has no description of the item"
    tries: int = 0
    tried_at: float | None = None

    @property
    def digest(self) -> str:
        """The item's name in the ledger."""
        return self.row.digest

    @property
    def name(self) -> str:
        """The item's key as the operator types it, or the digest if the key is unknown."""
        return item_text(self.keys) if self.keys else self.digest

    @property
    def table_name(self) -> str:
        """The table's name in AWS."""
        return self.table.rpartition("/")[2]

    @property
    def cause(self) -> str:
        """The last error, without what differs from item to item."""
        return cause_of(self.error_type, self.error_text)

    @property
    def error(self) -> str:
        """The last error on one line."""
        return one_line(self.error_type, self.error_text)

    @property
    def changes(self) -> int:
        """How many changes wait, without the redriven ones, which the ledger does not count."""
        return self.row.waiting

    @property
    def is_newer(self) -> bool:
        """Whether a newer version of the engine holds the item."""
        return self.row.format > FORMAT

    def deaths(self, now: float) -> int:
        """Return how often the function died while the first waiting change ran, without the run at work."""
        return self.row.deaths if self.row.lease > now else self.row.deaths_in_a_row

    def as_json(self, now: float) -> dict[str, Any]:
        """Return the item for --json."""
        return {
            "item": self.digest,
            "table": self.table_name,
            "keys": self.keys,
            "error": {"type": self.error_type, "text": self.error_text},
            "tries": self.tries,
            "tried": self.tried_at,
            "changes": self.changes,
            "since": self.row.since,
            "next_try": self.row.due,
            "is_being_tried": self.row.lease > now,
            "deaths": self.deaths(now),
        }

    @classmethod
    def from_rows(cls, row: HoldRow, description: dict[str, Any] | None) -> "HeldItem":
        """Return the item of a hold row and its description, which is None if the ledger has none."""
        if description is None:
            return cls(row)
        plain = {name: next(iter(value.values())) for name, value in description.items()}
        return cls(
            row,
            plain["table"],
            json.loads(plain["keys"]),
            plain["error_type"],
            plain["error_text"],
            int(plain["tries"]),
            float(plain["at"]),
        )


class HeldItems:
    """Reads the held items of one consumer. Every method raises the error of boto3 if a call fails.

    Raises
    ------
    OpsError
        The stack has no such consumer, or the consumer has no stores, so it can hold nothing.
    """

    def __init__(self, stack: Stack, name: str, client: Client, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self.name, self.consumer = name, stack.consumer(name)
        if self.consumer.ledger_name is None:
            raise OpsError(f"{name} has no stores: it holds no items, and Lambda retries its failing batches")
        self._client = client
        ledger = Ledger(lambda: client("dynamodb"), stack.stores.ledger.name, self.consumer.ledger_name, sleep)
        self._holds = ledger.holds

    def rows(self) -> list[HoldRow]:
        """Return the rows of all held items."""
        return [row for row in self._holds.read_all() if row.is_held]

    def row(self, digest: str) -> HoldRow | None:
        """Return the row of an item if the item is held."""
        row = self._holds.read_row(digest)
        return row if row and row.is_held else None

    def find(self, digests: Iterable[str]) -> list[HeldItem]:
        """Return those of the items that are held."""
        rows = [row for row in map(self.row, digests) if row]
        return self.describe(rows)

    def describe(self, rows: Sequence[HoldRow], on_read: Callable[[int], object] = int) -> list[HeldItem]:
        """Return the items with their descriptions; `on_read` is called with the number of each batch read.

        Raises
        ------
        LedgerBusyError
            DynamoDB throttles the ledger.
        """
        groups = in_chunks((row.digest for row in rows), MAX_BATCH_READS)
        descriptions: dict[str, dict[str, Any]] = {}
        with ThreadPoolExecutor(CONCURRENT_READS) as executor:
            try:
                for read in executor.map(self._holds.read_descriptions, groups):
                    descriptions |= read
                    on_read(len(read))
            finally:
                executor.shutdown(cancel_futures=True)
        return [HeldItem.from_rows(row, descriptions.get(row.digest)) for row in rows]

    def waiting(self, item: HeldItem) -> list[WaitingChange]:
        """Return the item's waiting changes in order, or the first 1 MB of them. Raises HoldBrokenError."""
        return self._holds.read_waiting(item.row)

    def give_up_after_seconds(self) -> float | None:
        """Return how long the first waiting change of an item may fail; None if the function is gone."""
        function = FunctionState.read(self._client, self.consumer)
        return function and function.settings.give_up_after_seconds
