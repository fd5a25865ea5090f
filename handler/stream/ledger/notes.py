"""Progress notes: which records of a partly reported batch are settled, so that the next delivery repeats none."""

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from handler.stream.codec import padded
from handler.stream.ledger.table import LedgerTable, key_of, typed

UNDONE, DONE, HELD = ".", "+", "x"
"""A record's state in a note. HELD is also what a note says of a parked change: neither comes again."""
NOTE_SECONDS = 48 * 3600
"""A note outlives its records: a stream keeps them for 24 hours."""
RECORD = re.compile(r"(\d+)([.+x])(?:-?\d*)")
"""Distance to the record before, state, and a number that older versions wrote there: when a clock began."""


@dataclass(frozen=True)
class Note:
    """The states of some records, by sequence number, ascending."""

    states: Mapping[int, str] = field(default_factory=dict[int, str])

    def after(self, sequence: int) -> "Note":
        """The part of it about records that come after this one."""
        return Note({other: state for other, state in self.states.items() if other > sequence})

    def packed(self) -> bytes:
        """The records as compressed text: distance to the record before, and state."""
        before, parts = 0, list[str]()
        for sequence, state in self.states.items():
            parts.append(f"{sequence - before}{state}")
            before = sequence
        return zlib.compress(",".join(parts).encode())

    @classmethod
    def unpacked(cls, packed: bytes) -> "Note":
        """The note that was packed."""
        states, sequence = dict[int, str](), 0
        for distance, state in RECORD.findall(zlib.decompress(packed).decode()):
            sequence += int(distance)
            states[sequence] = state
        return cls(states)


class Notes:
    """The notes of one consumer: partition `note#<consumer>#<stream ARN>`, sort key the first record's number."""

    def __init__(self, table: LedgerTable, consumer: str) -> None:
        self._table, self._consumer = table, consumer

    def read(self, stream: str, first: int) -> Note:
        """The states of a batch that begins with this record: the nearest note at or below it, if it names the record.

        A note without this record was written by another concurrent batch of the shard (parallelizationFactor > 1).
        """
        note = self.nearest(stream, first)
        return note if note is not None and first in note.states else Note()

    def nearest(self, stream: str, first: int) -> Note | None:
        """The note with the highest key at or below a record."""
        items, _ = self._table.page(self._partition(stream), end=padded(first), forward=False, limit=1)
        return Note.unpacked(bytes(items[0]["records"]["B"])) if items else None

    def carried(self, note: Note, last: int) -> Note:
        """The part of a note that a batch which ends with this record leaves unused."""
        return note.after(last)

    def write(self, stream: str, under: int, note: Note, now: float) -> None:
        """Keep the note under a record, in place of one that was there."""
        key = key_of(self._partition(stream), padded(under))
        self._table.put({**key, "records": {"B": note.packed()}, "expiry": typed(int(now) + NOTE_SECONDS)})

    def _partition(self, stream: str) -> str:
        return f"note#{self._consumer}#{stream}"
