"""The ledger: what outlives an invocation, in one table whose partitions start with a kind and the consumer's name."""

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
"""Hold rows that one read shows: at less than 300 bytes each, about 8 read units where so many items are held."""


class Ledger:
    """A consumer's notes, holds and counts of deliveries.

    Holds and counts are loaded when they are first needed: a cold environment in which all is well never pays for them.

    Parameters
    ----------
    dynamodb : callable
        Gives boto3's client when it is first needed.
    table : str
        The ledger's table.
    consumer : str
        The consumer's name in it.
    sleep : callable
        Waits so many seconds before DynamoDB is asked again for what it left unprocessed.
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
        """The hold rows of a batch's items by digest: one read where nothing or little is held.

        `digests` are the batch's; they are asked for only where more rows are there than a page shows.
        """
        items, last_key = self._table.query_page(f"hold#{self._consumer}", limit=HOLDS_PER_PAGE)
        if not items:
            return {}
        return self.holds.parse_rows(items if last_key is None else self.holds.read_items(digests()))
