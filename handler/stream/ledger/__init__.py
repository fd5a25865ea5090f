"""The ledger: what outlives an invocation, in one table whose partitions start with a kind and the consumer's name."""

from collections.abc import Callable
from typing import Any, NamedTuple, Self

from handler.stream.ledger.deliveries import Deliveries
from handler.stream.ledger.holds import Holds
from handler.stream.ledger.notes import Notes
from handler.stream.ledger.table import LedgerTable


class Ledger(NamedTuple):
    """A consumer's notes, holds and counts of deliveries."""

    notes: Notes
    holds: Holds
    deliveries: Deliveries

    @classmethod
    def of(cls, dynamodb: Callable[[], Any], table: str, consumer: str, sleep: Callable[[float], None]) -> Self:
        """The ledger in a table; `dynamodb` gives boto3's client when it is first needed."""
        rows = LedgerTable(dynamodb, table, sleep)
        return cls(Notes(rows, consumer), Holds(rows, consumer), Deliveries(rows, consumer))
