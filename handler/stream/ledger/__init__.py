"""The ledger: the DynamoDB table for state that outlives an invocation; a partition starts with kind and consumer."""

from collections.abc import Callable, Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from handler.stream.ledger.notes import Notes
from handler.stream.ledger.table import LedgerTable

if TYPE_CHECKING:
    from handler.stream.ledger.deliveries import Deliveries
    from handler.stream.ledger.holds import Holds
    from handler.stream.ledger.rows import HoldRow
    from handler.stream.ledger.writes import LedgerWrites

HOLDS_PER_PAGE = 100
"""Hold rows that one read returns: 100 rows of less than 300 bytes cost about 8 read units."""


class Ledger:
    """A consumer's notes, holds and counts of deliveries.

    Holds and counts are imported when first needed: a cold start without failures does not pay for them.

    Parameters
    ----------
    dynamodb : callable
        Returns boto3's client; called when it is first needed.
    table : str
        The name of the ledger table.
    consumer : str
        The consumer's name in the ledger.
    sleep : callable
        Pauses for the given seconds before unprocessed requests are sent again.
    """

    def __init__(self, dynamodb: Callable[[], Any], table: str, consumer: str, sleep: Callable[[float], None]) -> None:
        self._table, self._consumer = LedgerTable(dynamodb, table), consumer
        self._write_arguments = dynamodb, table, sleep
        self.notes = Notes(self._table, consumer)

    @cached_property
    def holds(self) -> "Holds":
        """The held items."""
        from handler.stream.ledger.holds import Holds

        return Holds(self._writes, self._consumer)

    @cached_property
    def deliveries(self) -> "Deliveries":
        """The counted deliveries."""
        from handler.stream.ledger.deliveries import Deliveries

        return Deliveries(self._writes, self._consumer)

    @cached_property
    def _writes(self) -> "LedgerWrites":
        from handler.stream.ledger.writes import LedgerWrites

        return LedgerWrites(*self._write_arguments)

    def read_hold_rows(self, digests: Callable[[], Iterable[str]]) -> "dict[str, HoldRow]":
        """Return the hold rows of a batch's items by digest; one read if at most a page of items is held.

        `digests` returns the digests of the batch's items; it is called only if more than one page of items is held.
        """
        items, last_key = self._table.query_page(f"hold#{self._consumer}", limit=HOLDS_PER_PAGE)
        if not items:
            return {}
        return self.holds.parse_rows(items if last_key is None else self.holds.read_items(digests()))
