"""Deliveries of old batches of one record: a record whose delivery ends without an answer may kill the function."""

from handler.stream.codec import padded
from handler.stream.ledger.table import key_of
from handler.stream.ledger.writes import LedgerWrites

KEPT_SECONDS = 48 * 3600
"""A count outlives its record: a stream keeps it for 24 hours."""


class Deliveries:
    """Counts of one consumer: partition `alone#<consumer>#<stream ARN>`, sort key the record's number."""

    def __init__(self, table: LedgerWrites, consumer: str) -> None:
        self._table, self._consumer = table, consumer

    def count(self, stream: str, sequence: int, now: float) -> int:
        """Count a delivery before it runs; how many have begun without an end, this one included."""
        return int(
            self._table.update(
                self._key(stream, sequence),
                "SET #expiry = :expiry ADD #count :one",
                expiry=int(now) + KEPT_SECONDS,
                one=1,
            )["count"]["N"]
        )

    def forget(self, stream: str, sequence: int) -> None:
        """The delivery ends with an answer: no function died of the record."""
        self._table.delete(self._key(stream, sequence))

    def _key(self, stream: str, sequence: int) -> dict[str, dict[str, str]]:
        return key_of(f"alone#{self._consumer}#{stream}", padded(sequence))
