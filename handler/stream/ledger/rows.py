"""Rows of the ledger that keep a held item: their shape, their keys, and the changes in them."""

import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from handler.stream.change import Change
from handler.stream.codec import from_json, padded, to_json

FORMAT = 1
"""The format of hold rows (`v`) that this code reads and writes. A row with a higher one is left to newer code."""
PART_BYTES = 350_000
"""A change row's largest part: DynamoDB's items have at most 400 KB, keys and other attributes included."""
KEPT_SECONDS = 3_600.0
"""How long a released hold's row stays: a late redelivery must find what the hold has settled."""
LAST = "~"
"""Sorts after every digit: the end of a version's parts."""

Item = dict[str, Any]


class HoldBrokenError(Exception):
    """A change that waits in a hold is missing from the ledger, or its row cannot be read."""


def digest_of(change: Change) -> str:
    """An item's name in the ledger: 32 hex digits over its table and its key as the stream writes it.

    The key's text is taken as it is: a number that is normalised first could be another item's.
    """
    identity = json.dumps([change.stream_or_unknown.table_arn, change.record["dynamodb"]["Keys"]], sort_keys=True)
    return hashlib.sha256(identity.encode()).hexdigest()[:32]


def version_of(change: Change) -> str:
    """A change's place among those of its item: the stream's label (its creation time), then the sequence number."""
    return f"{change.stream_or_unknown.label}#{padded(change.sequence_number)}"


@dataclass(frozen=True)
class Waiting:
    """A change that waits in a hold."""

    version: str
    change: Change
    parts: int
    is_redriven: bool = False

    def sort_keys(self) -> Iterator[str]:
        """The sort keys of its rows."""
        prefix = "+" if self.is_redriven else ""
        return (f"{prefix}{self.version}#{part:04}" for part in range(self.parts))


@dataclass(frozen=True)
class HoldRow:
    """The row of an item that is held, or was until an hour ago; times are seconds since 1970."""

    digest: str
    state: Literal["held", "done"]
    next: str | None
    """The version of the first waiting change; None where only redriven changes wait."""
    tail: str
    """The version of the last change that the hold has taken in."""
    tail_at: float
    """When that change was made."""
    since: float = 0.0
    """Since when the first waiting change fails."""
    due: float = 0.0
    lease: float = 0.0
    """Until when the item is its owner's."""
    owner: str | None = None
    deaths: int = 0
    """How often in a row a function died while it ran the first waiting change."""
    given_up: int = 0
    """How many changes in a row were given up."""
    waiting: int = 0
    redriven: int = 0
    """How often changes were redriven into this hold."""
    expiry: float = 0.0
    format: int = FORMAT

    @property
    def is_held(self) -> bool:
        """Whether the item's changes wait."""
        return self.state == "held"

    @property
    def deaths_in_a_row(self) -> int:
        """How many functions may have died of the item's first waiting change; call it when no lease runs."""
        return self.deaths + (self.owner is not None)

    @property
    def released_at(self) -> float | None:
        """When the item was released; None while it is held."""
        return None if self.is_held else self.expiry - KEPT_SECONDS

    @property
    def is_suspect(self) -> bool:
        """Whether a function may have died of the item's first waiting change."""
        return self.deaths_in_a_row > 0

    def has_settled(self, change: Change) -> bool:
        """Whether the hold took in this change; call it for a change at or below the tail."""
        created = change.created_seconds
        same_stream = self.tail.startswith(f"{change.stream_or_unknown.label}#")
        return same_stream and (created is None or created <= self.tail_at)

    @classmethod
    def read(cls, item: Mapping[str, Any]) -> "HoldRow":
        """The row as DynamoDB returns it."""

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
    """The rows that keep a change whole, written now."""
    packed = zlib.compress(to_json(change.record).encode())
    parts = range(0, len(packed), PART_BYTES)
    waiting = Waiting(version_of(change), change, len(parts), is_redriven)
    for sort_key, start in zip(waiting.sort_keys(), parts, strict=True):
        yield {
            "pk": {"S": partition},
            "sk": {"S": sort_key},
            "record": {"B": packed[start : start + PART_BYTES]},
            "parts": {"N": str(len(parts))},
            "at": {"N": str(now)},
        }


def read_changes(items: Sequence[Mapping[str, Any]]) -> list[Waiting]:
    """The changes that rows keep, in their order.

    Raises
    ------
    HoldBrokenError
        Where a part is missing or cannot be read.
    """
    return [_read_change(key, parts) for key, parts in _by_change(items)]


def _by_change(items: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, list[Mapping[str, Any]]]]:
    changes: dict[str, list[Mapping[str, Any]]] = {}
    for item in items:
        key, _, _ = item["sk"]["S"].rpartition("#")
        changes.setdefault(key, []).append(item)
    return iter(changes.items())


def _read_change(key: str, parts: Sequence[Mapping[str, Any]]) -> Waiting:
    try:
        expected = int(parts[0]["parts"]["N"])
        if len(parts) != expected:
            raise HoldBrokenError(f"{key}: {len(parts)} of its {expected} parts are there")
        record = from_json(zlib.decompress(b"".join(bytes(part["record"]["B"]) for part in parts)))
    except (KeyError, TypeError, ValueError, zlib.error, RecursionError) as error:
        raise HoldBrokenError(f"{key} cannot be read: {type(error).__name__} {error}") from error
    change = Change(record, "redrive" if key.startswith("+") else "stream")
    return Waiting(key.removeprefix("+"), change, expected, key.startswith("+"))
