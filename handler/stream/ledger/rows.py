"""The ledger rows of a held item: the hold row, and the rows that contain its waiting changes."""

import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from handler.stream.change import Change
from handler.stream.codec import from_json, padded, to_json
from handler.stream.ledger.table import FORMAT, Item, NewerFormatError, check_format

MAX_PART_BYTES = 350_000
"""Most bytes of a record in one change row: a DynamoDB item has at most 400 KB with its keys and other attributes."""
RELEASED_ROW_SECONDS = 3_600.0
"""A released hold's row stays for an hour: a late redelivery must find which changes the hold has settled."""
END_OF_PARTS = "~"
"""Sorts after every digit, so it ends the range of a version's parts."""


class HoldBrokenError(Exception):
    """A waiting change is missing from the ledger, or its row cannot be read."""


def digest_of(change: Change) -> str:
    """Return the item's name in the ledger; see `digest_of_key`."""
    return digest_of_key(change.stream_or_unknown.table_arn, change.record["dynamodb"]["Keys"])


def digest_of_key(table_arn: str, keys: Mapping[str, Any]) -> str:
    """Return an item's name in the ledger: 32 hex digits of a hash of its table and its key in DynamoDB's JSON.

    The hash uses the key's text as the stream writes it: a normalised number could be the key of another item.
    """
    identity = json.dumps([table_arn, keys], sort_keys=True)
    return hashlib.sha256(identity.encode()).hexdigest()[:32]


def version_of(change: Change) -> str:
    """Return text that orders an item's changes: the stream's label (its creation time), then the sequence number."""
    return f"{change.stream_or_unknown.label}#{padded(change.sequence_number)}"


@dataclass(frozen=True)
class WaitingChange:
    """A waiting change of a held item."""

    version: str
    change: Change
    parts: int
    is_redriven: bool = False

    def sort_keys(self) -> Iterator[str]:
        """Return the sort keys of the change's rows."""
        prefix = "+" if self.is_redriven else ""
        return (f"{prefix}{self.version}#{part:04}" for part in range(self.parts))


@dataclass(frozen=True)
class HoldRow:
    """The row of an item that is held, or was released within the last hour; times are seconds since 1970."""

    digest: str
    state: Literal["held", "done"]
    next: str | None
    """The version of the first waiting change; None if only redriven changes wait."""
    tail: str
    """The version of the last change that the hold has received from the stream."""
    tail_at: float
    """When DynamoDB recorded that change."""
    since: float = 0.0
    """When the first waiting change began to fail."""
    due: float = 0.0
    lease: float = 0.0
    """When the owner's lease ends."""
    owner: str | None = None
    deaths: int = 0
    """Consecutive crashes or time-outs of the function during the first waiting change."""
    given_up: int = 0
    """Consecutive changes that were given up."""
    waiting: int = 0
    redriven: int = 0
    """Number of redrive requests for this hold."""
    expiry: float = 0.0
    format: int = FORMAT

    @property
    def is_held(self) -> bool:
        """Whether the item is held."""
        return self.state == "held"

    @property
    def deaths_in_a_row(self) -> int:
        """Consecutive crashes, with the one of an owner whose lease has ended; valid only while no lease runs."""
        return self.deaths + (self.owner is not None)

    @property
    def released_at(self) -> float | None:
        """When the item was released; None while the item is held."""
        return None if self.is_held else self.expiry - RELEASED_ROW_SECONDS

    @property
    def is_suspect(self) -> bool:
        """Whether the function may have crashed on the item's first waiting change."""
        return self.deaths_in_a_row > 0

    def has_settled(self, change: Change) -> bool:
        """Return whether the hold contains or has settled a change; valid only for a change at or below the tail."""
        created = change.created_seconds
        same_stream = self.tail.startswith(f"{change.stream_or_unknown.label}#")
        return same_stream and (created is None or created <= self.tail_at)

    @classmethod
    def from_item(cls, item: Mapping[str, Any]) -> "HoldRow":
        """Return the row of an item that DynamoDB returned."""

        def number(name: str) -> float:
            return float(item[name]["N"]) if name in item else 0.0

        def text(name: str) -> str | None:
            return item[name]["S"] if name in item else None

        return cls(
            digest=item["sk"]["S"],
            state="held" if text("state") == "held" else "done",
            next=text("next"),
            tail=text("tail") or "",
            tail_at=number("tail_at"),
            since=number("since"),
            due=number("due"),
            lease=number("lease"),
            owner=text("owner"),
            deaths=int(number("deaths")),
            given_up=int(number("given_up")),
            waiting=int(number("waiting")),
            redriven=int(number("redriven")),
            expiry=number("expiry"),
            format=int(number("v")),
        )


def change_rows(partition: str, change: Change, now: float, *, is_redriven: bool = False) -> Iterator[Item]:
    """Return the rows that contain a whole change."""
    compressed = zlib.compress(to_json(change.record).encode())
    parts = range(0, len(compressed), MAX_PART_BYTES)
    waiting = WaitingChange(version_of(change), change, len(parts), is_redriven)
    for sort_key, start in zip(waiting.sort_keys(), parts, strict=True):
        yield {
            "pk": {"S": partition},
            "sk": {"S": sort_key},
            "record": {"B": compressed[start : start + MAX_PART_BYTES]},
            "v": {"N": str(FORMAT)},
            "parts": {"N": str(len(parts))},
            "at": {"N": str(now)},
        }


def read_changes(items: Iterable[Mapping[str, Any]]) -> list[WaitingChange]:
    """Return the changes that the rows contain, in the order of the rows.

    Raises
    ------
    HoldBrokenError
        A part is missing or cannot be read.
    """
    return [_read_change(key, parts) for key, parts in _by_change(items)]


def _by_change(items: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, list[Mapping[str, Any]]]]:
    changes: dict[str, list[Mapping[str, Any]]] = {}
    for item in items:
        key, _, _ = item["sk"]["S"].rpartition("#")
        changes.setdefault(key, []).append(item)
    return iter(changes.items())


def _read_change(key: str, parts: Sequence[Mapping[str, Any]]) -> WaitingChange:
    try:
        check_format(parts[0])
        expected = int(parts[0]["parts"]["N"])
        if len(parts) != expected:
            raise HoldBrokenError(f"{key}: {len(parts)} of its {expected} parts are there")
        record = from_json(zlib.decompress(b"".join(bytes(part["record"]["B"]) for part in parts)))
    except (NewerFormatError, KeyError, TypeError, ValueError, zlib.error, RecursionError) as error:
        raise HoldBrokenError(f"{key} cannot be read: {type(error).__name__} {error}") from error
    change = Change(record, "redrive" if key.startswith("+") else "stream")
    return WaitingChange(key.removeprefix("+"), change, expected, key.startswith("+"))
