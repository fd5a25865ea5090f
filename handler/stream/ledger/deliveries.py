"""Counts of deliveries of old one-record batches: the function may crash on a record that gets no response."""

from handler.stream.codec import padded
from handler.stream.ledger.table import FORMAT, key_of
from handler.stream.ledger.writes import LedgerWrites

COUNT_LIFETIME_SECONDS = 48 * 3600
"""A count outlives its record, which the stream keeps for 24 hours."""


class Deliveries:
    """Counts of one consumer: partition `alone#<consumer>#<stream ARN>`, sort key the record's number."""

    def __init__(self, table: LedgerWrites, consumer: str) -> None:
        self._table, self._consumer = table, consumer

    def count(self, stream: str, sequence: int, now: float) -> int:
        """Count a delivery before it runs; return the number of deliveries without a response, with this one."""
        return int(
            self._table.update(
                self._key(stream, sequence),
                "SET #v = :v, #expiry = :expiry ADD #count :one",
                "attribute_not_exists(#v) OR #v = :v",
                v=FORMAT,
                expiry=int(now) + COUNT_LIFETIME_SECONDS,
                one=1,
            )["count"]["N"]
        )

    def delete(self, stream: str, sequence: int) -> None:
        """Delete the count of a delivery that ends with a response."""
        self._table.delete(self._key(stream, sequence))

    def _key(self, stream: str, sequence: int) -> dict[str, dict[str, str]]:
        return key_of(f"alone#{self._consumer}#{stream}", padded(sequence))
