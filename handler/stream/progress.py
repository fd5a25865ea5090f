"""Progress notes: what of a partly failed batch is already done, so that the next delivery repeats none of it."""

import math
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from handler.stream.change import padded

UNDONE, DONE, PARKED = ".", "+", "x"
NOTE_SECONDS = 48 * 3600
"""A note outlives its records: a stream keeps them for 24 hours."""
RECORD = re.compile(r"(\d+)([.+x])(-?\d*)")


@dataclass(frozen=True)
class Note:
    """What is known of some records, by sequence number, ascending; times are seconds since 1970."""

    states: Mapping[int, str] = field(default_factory=dict[int, str])
    """UNDONE, DONE or PARKED; parked is as good as done, but no sign of health."""
    clocks: Mapping[int, float] = field(default_factory=dict[int, float])
    """Since when an item's clock runs; it stands at the item's first undone change."""
    alone: float | None = None
    """Since when the first undone change fails, whatever else does."""

    def after(self, sequence: int) -> "Note":
        """The part of it about records that come after this one."""
        return Note(
            {other: state for other, state in self.states.items() if other > sequence},
            {other: since for other, since in self.clocks.items() if other > sequence},
            self.alone if (self.first_undone() or 0) > sequence else None,
        )

    def first_undone(self) -> int | None:
        """The first record that is to come again."""
        return next((sequence for sequence, state in self.states.items() if state == UNDONE), None)

    def packed(self) -> bytes:
        """The records as compressed text: distance to the record before, state, the clock's start where one runs."""
        start, before, parts = 0, 0, list[str]()
        for sequence, state in self.states.items():
            part = f"{sequence - before}{state}"
            if sequence in self.clocks:
                clock = math.ceil(self.clocks[sequence])
                part += str(clock - start)
                start = clock
            parts.append(part)
            before = sequence
        return zlib.compress(",".join(parts).encode())

    @classmethod
    def unpacked(cls, packed: bytes, alone: float | None) -> "Note":
        """What `packed` made."""
        states, clocks = dict[int, str](), dict[int, float]()
        start = sequence = 0
        for distance, state, clock in RECORD.findall(zlib.decompress(packed).decode()):
            sequence += int(distance)
            states[sequence] = state
            if clock:
                start += int(clock)
                clocks[sequence] = start
        return cls(states, clocks, alone)


class Notes:
    """The notes of one consumer in its ledger.

    `dynamodb` gives boto3's client when it is first needed. Two calls: `query` (one partition, sort key at or below,
    descending, one item, strongly consistent) and `put_item` without a condition.
    """

    def __init__(self, dynamodb: Callable[[], Any], table: str, consumer: str) -> None:
        self._dynamodb, self._table, self._consumer = dynamodb, table, consumer

    def read(self, stream: str, first: int) -> Note:
        """What is known of a batch that begins with this record: the nearest note at or below it, if it names it.

        Read strongly consistent, or a note that was just written might not be found. A note that does not name the
        record is another lane's.
        """
        note = self.nearest(stream, first)
        return note if note is not None and first in note.states else Note()

    def nearest(self, stream: str, first: int) -> Note | None:
        """The note with the highest key at or below a record."""
        found = self._dynamodb().query(
            TableName=self._table,
            KeyConditionExpression="pk = :pk AND sk <= :first",
            ExpressionAttributeValues={":pk": {"S": self._partition(stream)}, ":first": {"S": padded(first)}},
            ScanIndexForward=False,
            Limit=1,
            ConsistentRead=True,
        )["Items"]
        if not found:
            return None
        item = found[0]
        return Note.unpacked(item["records"]["B"], float(item["alone"]["N"]) if "alone" in item else None)

    def carried(self, note: Note, last: int) -> Note:
        """The part of a note that a batch which ends with this record has left unused."""
        return note.after(last)

    def write(self, stream: str, under: int, note: Note, now: float) -> None:
        """Keep the note under a record, in place of what was there."""
        item = {
            "pk": {"S": self._partition(stream)},
            "sk": {"S": padded(under)},
            "records": {"B": note.packed()},
            "expiry": {"N": str(int(now) + NOTE_SECONDS)},
        }
        if note.alone is not None:
            item["alone"] = {"N": str(math.ceil(note.alone))}
        self._dynamodb().put_item(TableName=self._table, Item=item)

    def _partition(self, stream: str) -> str:
        return f"note#{self._consumer}#{stream}"
