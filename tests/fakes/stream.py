"""A stream in memory, its reader, and the part of a mapping's driver that reads.

Not imitated: iterators that expire, pages of 1 MB, throttled reads, records that appear late in an open shard.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from sandbox.mapping.machine import RETENTION_SECONDS, MappingMachine
from sandbox.mapping.protocol import Describe, Discard, Invoke, Position, Read
from tests.fakes.records import number_of, record, sequence

PAGE = 1000
"""Records that one GetRecords returns at most."""

Event = Mapping[str, Any]
Lineage = list[tuple[str, str | None]]
"""The shards of a stream by name, each with its parent's name."""


class TrimmedError(Exception):
    """Retention has passed the position to read."""


def change(
    number: int, item: str = "a", at: float = 0, *, name: str = "MODIFY", image: Event | None = None
) -> dict[str, Any]:
    """Return the record of a change at `at`, in epoch seconds; `image` sets the new image beside the key."""
    images: dict[str, Any] = {} if image is None else {"NewImage": {"id": {"S": item}, **image}}
    return record(number, item, name=name, at=at, **images)


@dataclass
class Shard:
    """One shard of a stream."""

    parent: str | None = None
    records: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    closed: bool = False
    trimmed: int = 0  # records that retention took from the front

    def find(self, wanted: str) -> int:
        """Return the index of a sequence number, or raise TrimmedError."""
        for index, each in enumerate(self.records):
            if each["dynamodb"]["SequenceNumber"] == wanted:
                return index
        raise TrimmedError(wanted)


class Stream:
    """Shards by name, in the order in which they opened."""

    def __init__(self) -> None:
        self.shards = {"shard-0": Shard()}

    def put(self, *changes: dict[str, Any], shard: str | None = None) -> None:
        """Append records to a shard, by default to the newest one."""
        self.shards[shard or list(self.shards)[-1]].records.extend(changes)

    def split(self, parent: str, *children: str) -> None:
        """Close a shard and open its children."""
        self.shards[parent].closed = True
        self.shards |= {child: Shard(parent) for child in children}

    def lineage(self) -> Lineage:
        """Return every shard with its parent."""
        return [(name, shard.parent) for name, shard in self.shards.items()]

    def trim(self, now: float) -> Iterator[dict[str, Any]]:
        """Remove, and yield, each record that is older than the retention period."""
        for shard in self.shards.values():
            oldest = now - RETENTION_SECONDS
            while shard.records and shard.records[0]["dynamodb"]["ApproximateCreationDateTime"] < oldest:
                shard.trimmed += 1
                yield shard.records.pop(0)

    def resolve(self, name: str, position: Position) -> int:
        """Return a GetShardIterator position as a count of records since the shard opened."""
        shard = self.shards[name]
        if position.kind == "LATEST":
            return shard.trimmed + len(shard.records)
        if position.kind == "TRIM_HORIZON" or position.sequence is None:
            return shard.trimmed
        return shard.trimmed + shard.find(position.sequence) + (position.kind == "AFTER_SEQUENCE_NUMBER")

    def read(self, name: str, offset: int) -> tuple[list[dict[str, Any]], bool]:
        """Return records from an offset on, and whether the shard ends with these records."""
        shard = self.shards[name]
        if offset < shard.trimmed:
            raise TrimmedError(str(offset))
        page = shard.records[offset - shard.trimmed :][:PAGE]
        return page, shard.closed and offset + len(page) == shard.trimmed + len(shard.records)


class Source(Protocol):
    """What a mapping reads."""

    def lineage(self) -> Lineage:
        """Return every shard with its parent."""
        ...

    def page(self, read: Read, now: float) -> tuple[Sequence[Event], bool]:
        """Return the next records, and whether the shard ends with these records; raise TrimmedError."""
        ...


class StreamReader:
    """Reads a stream for one mapping, with one iterator a shard; `expire` receives each record that is trimmed."""

    def __init__(self, stream: Stream, expire: Callable[[Event], None] = lambda event: None) -> None:
        self._stream, self._expire = stream, expire
        self._iterators: dict[str, tuple[Position, int]] = {}
        self.lineage = stream.lineage

    def page(self, read: Read, now: float) -> tuple[list[dict[str, Any]], bool]:
        """Return the next records, and whether the shard ends with these records; raise TrimmedError."""
        for event in self._stream.trim(now):
            self._expire(event)
        position, offset = self._iterators.pop(read.shard, (None, 0))
        if position != read.position:
            offset = self._stream.resolve(read.shard, read.position)
        page, ended = self._stream.read(read.shard, offset)
        after = Position("AFTER_SEQUENCE_NUMBER", sequence(number_of(page[-1]))) if page else read.position
        self._iterators[read.shard] = (after, offset + len(page))
        return page, ended


def drive(mapping: MappingMachine, source: Source, now: float) -> Iterator[Invoke | Discard]:
    """Do every read that is due; yield each invocation and discard, for the caller to do."""
    while actions := mapping.advance(now):
        for action in actions:
            match action:
                case Describe():
                    mapping.discover(source.lineage())
                case Read():
                    try:
                        page, ended = source.page(action, now)
                    except TrimmedError:
                        mapping.skip_trimmed(action)
                    else:
                        mapping.receive(action, page, now, ended=ended)
                case _:
                    yield action
