"""A stream with shards, in memory: what a mapping reads in tests, and what it does not imitate.

Not imitated: iterators that expire, pages of 1 MB, throttled reads, records that appear late in an open shard.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sandbox.mapping.machine import RETENTION_SECONDS
from sandbox.mapping.protocol import Position

ARN = "arn:aws:dynamodb:eu-central-1:000000000000:table/orders/stream/2026-01-01T00:00:00.000"
PAGE = 1000


class TrimmedError(Exception):
    """Retention has passed the position that was to be read."""


def sequence(number: int) -> str:
    """A sequence number as long as AWS's."""
    return f"{10**20 + number}"


def change(
    number: int, item: str = "a", at: float = 0, *, name: str = "MODIFY", image: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """A stream record as Lambda's event has it; `number` is its place in the stream, `at` its epoch seconds.

    The item's key is a text; an item such as `n=1.0` has the number that it tells as its key.
    """
    is_number, _, digits = item.partition("=")
    keys = {"id": {"N": digits} if digits else {"S": is_number}}
    images = {} if name == "REMOVE" else {"NewImage": {**keys, **(image or {"v": {"N": str(number)}})}}
    return {
        "eventID": f"event-{number}",
        "eventName": name,
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": "eu-central-1",
        "dynamodb": {
            "ApproximateCreationDateTime": at,
            "Keys": keys,
            **images,
            "SequenceNumber": sequence(number),
            "SizeBytes": 30,
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        },
        "eventSourceARN": ARN,
    }


def number(event: Mapping[str, Any]) -> int:
    """The place of a record in the stream."""
    return int(event["dynamodb"]["SequenceNumber"]) - 10**20


def created(event: Mapping[str, Any]) -> float:
    """When the change was made, in epoch seconds."""
    return event["dynamodb"]["ApproximateCreationDateTime"]


@dataclass
class Shard:
    parent: str | None = None
    records: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    closed: bool = False
    trimmed: int = 0  # records that retention took from the front

    def find(self, wanted: str) -> int:
        """Index of a sequence number that is still here."""
        for index, record in enumerate(self.records):
            if record["dynamodb"]["SequenceNumber"] == wanted:
                return index
        raise TrimmedError(wanted)


class Stream:
    """Shards by name, in the order in which they were opened."""

    def __init__(self) -> None:
        self.shards = {"shard-0": Shard()}

    def put(self, *changes: dict[str, Any], shard: str | None = None) -> None:
        """Append to a shard; to the newest one unless said."""
        self.shards[shard or list(self.shards)[-1]].records.extend(changes)

    def split(self, parent: str, *children: str) -> None:
        """Close a shard and open its children."""
        self.shards[parent].closed = True
        self.shards |= {child: Shard(parent) for child in children}

    def lineage(self) -> list[tuple[str, str | None]]:
        return [(name, shard.parent) for name, shard in self.shards.items()]

    def trim(self, now: float) -> Iterator[dict[str, Any]]:
        """Take away, and yield, what retention has passed."""
        for shard in self.shards.values():
            while (
                shard.records and now - shard.records[0]["dynamodb"]["ApproximateCreationDateTime"] > RETENTION_SECONDS
            ):
                shard.trimmed += 1
                yield shard.records.pop(0)

    def resolve(self, name: str, position: Position) -> int:
        """A position as GetShardIterator takes it, as a count of records since the shard was opened."""
        shard = self.shards[name]
        if position.kind == "LATEST":
            return shard.trimmed + len(shard.records)
        if position.kind == "TRIM_HORIZON" or position.sequence is None:
            return shard.trimmed
        return shard.trimmed + shard.find(position.sequence) + (position.kind == "AFTER_SEQUENCE_NUMBER")

    def read(self, name: str, place: int, limit: int = PAGE) -> tuple[list[dict[str, Any]], bool]:
        """Records from a place on, and whether the shard has ended with them."""
        shard = self.shards[name]
        if place < shard.trimmed:
            raise TrimmedError(str(place))
        page = shard.records[place - shard.trimmed :][:limit]
        return page, shard.closed and place + len(page) == shard.trimmed + len(shard.records)
