"""Progress notes: the settled records of a partly reported batch, which the next delivery does not repeat."""

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from handler.stream.codec import padded
from handler.stream.ledger.table import FORMAT, LedgerTable, attribute_value, check_format, key_of

UNDONE, DONE, HELD = ".", "+", "x"
"""A record's state in a note. HELD also means a parked change: neither is delivered again."""
NOTE_LIFETIME_SECONDS = 48 * 3600
"""A note outlives its records, which the stream keeps for 24 hours."""
RECORD = re.compile(r"(\d+)([.+x])(?:-?\d*)")
"""Distance to the previous record, state, and a time that older versions wrote and this one ignores."""


@dataclass(frozen=True)
class Note:
    """The states of some records, by sequence number, ascending."""

    states: Mapping[int, str] = field(default_factory=dict[int, str])

    def after(self, sequence: int) -> "Note":
        """Return the part of the note about records after this one."""
        return Note({other: state for other, state in self.states.items() if other > sequence})

    def pack(self) -> bytes:
        """Return the records as compressed text: distance to the previous record, and state."""
        before, parts = 0, list[str]()
        for sequence, state in self.states.items():
            parts.append(f"{sequence - before}{state}")
            before = sequence
        return zlib.compress(",".join(parts).encode())

    @classmethod
    def unpack(cls, compressed: bytes) -> "Note":
        """Return the note that `pack` compressed."""
        states, sequence = dict[int, str](), 0
        for distance, state in RECORD.findall(zlib.decompress(compressed).decode()):
            sequence += int(distance)
            states[sequence] = state
        return cls(states)


class Notes:
    """The notes of one consumer: partition `note#<consumer>#<stream ARN>`, sort key the first record's number."""

    def __init__(self, table: LedgerTable, consumer: str) -> None:
        self._table, self._consumer = table, consumer

    def read(self, stream: str, first: int) -> Note:
        """Return the nearest note at or below the first record of a batch, empty if it does not contain the record.

        A note without this record was written by another concurrent batch of the shard (parallelizationFactor > 1);
        ignore it. Raises NewerFormatError.
        """
        items, _ = self._table.query_page(self._partition(stream), end=padded(first), forward=False, limit=1)
        for item in items:
            check_format(item)
            note = Note.unpack(bytes(item["records"]["B"]))
            if first in note.states:
                return note
        return Note()

    def write(self, stream: str, under: int, note: Note, now: float) -> None:
        """Write the note under a record; replace an earlier note."""
        key = key_of(self._partition(stream), padded(under))
        fields = {"v": attribute_value(FORMAT), "expiry": attribute_value(int(now) + NOTE_LIFETIME_SECONDS)}
        self._table.put({**key, **fields, "records": {"B": note.pack()}})

    def _partition(self, stream: str) -> str:
        return f"note#{self._consumer}#{stream}"
