"""One change of a table: a stream record with types, decoded on first use."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Literal, NamedTuple, cast

from handler.stream.codec import brief, decode_into, padded

Origin = Literal["stream", "redrive"]
EVENT_NAMES = ("INSERT", "MODIFY", "REMOVE")
VIEW_TYPES = {"NewImage": ("NEW_IMAGE", "NEW_AND_OLD_IMAGES"), "OldImage": ("OLD_IMAGE", "NEW_AND_OLD_IMAGES")}
REQUIRED_FOR = {"NewImage": ("INSERT", "MODIFY"), "OldImage": ("MODIFY", "REMOVE")}
STREAM_ARN = re.compile(r"(arn:[^:]+:dynamodb:[^:]*:[^:]*:table/([^/]+))/stream/(.+)")
EXPIRY_IDENTITY = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}
END_OF_TIME_SECONDS = 253_402_300_800
"""The end of the year 9999 in seconds since 1970: the latest time that Python's datetime can hold."""


class PermanentError(Exception):
    """Raise it in a handler for a change that can never succeed: the engine parks the change and does not retry it."""


class MalformedChangeError(PermanentError):
    """A record cannot be decoded; the message names the record and the field."""


class ImageNotInStreamError(Exception):
    """A handler asked for an image that the stream's view type leaves out of every record."""


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _copy(part) for name, part in cast(dict[str, Any], value).items()}
    if isinstance(value, list):
        return [_copy(part) for part in cast(list[Any], value)]
    return value


class StreamName(NamedTuple):
    """The parts of a stream's ARN."""

    table_arn: str
    table_name: str
    label: str


@lru_cache(maxsize=64)
def parse_stream(arn: str) -> StreamName | None:
    """Return the table and the label in a stream's ARN, or None if the text is no such ARN."""
    match = STREAM_ARN.fullmatch(arn)
    return StreamName(match[1], match[2], match[3]) if match else None


class Change:
    """One change of one item, as the stream recorded it.

    Values are native: a number is a `Decimal` with all its digits, binary is `bytes`, and a set is a `set`. Each
    property decodes its part of the record on first use and raises `MalformedChangeError` if that fails. `origin` is
    "redrive" if an operator redrove the change, else "stream".
    """

    __slots__ = ("_images", "_raw", "origin", "record")

    def __init__(self, record: Mapping[str, Any], origin: Origin = "stream") -> None:
        self.record = record  # the engine holds and parks this object: do not change it
        self.origin: Origin = origin
        self._images: dict[str, dict[str, Any] | None] = {}
        self._raw: dict[str, Any] | None = None

    def __repr__(self) -> str:
        record = self.record
        return f"<Change {record.get('eventName')} {record.get('eventID')} of {record.get('eventSourceARN')}>"

    @property
    def raw(self) -> dict[str, Any]:
        """A copy of the record as the stream delivered it."""
        if self._raw is None:
            try:
                self._raw = cast(dict[str, Any], _copy(self.record))
            except RecursionError as error:
                raise self._malformed("dynamodb", "nested too deeply") from error
        return self._raw

    @property
    def event_id(self) -> str:
        """Unique to this change, and the same in every delivery."""
        return self._text(self.record, "eventID", "eventID")

    @property
    def event_name(self) -> Literal["INSERT", "MODIFY", "REMOVE"]:
        """The kind of change: the item is new, changed or removed."""
        self.check_event_name()
        return self.record["eventName"]

    def check_event_name(self) -> None:
        """Raise MalformedChangeError if the event name is missing or unknown: the kind of change is then unknown."""
        name = self.record.get("eventName")
        if name not in EVENT_NAMES:
            raise self._malformed("eventName", f"{brief(name)} is none of {', '.join(EVENT_NAMES)}")

    @property
    def keys(self) -> dict[str, Any]:
        """The item's full primary key."""
        return self._image("Keys") or {}

    @property
    def new_image(self) -> dict[str, Any] | None:
        """The item after the change, or None if it was removed. Raises ImageNotInStreamError."""
        return self._image("NewImage")

    @property
    def old_image(self) -> dict[str, Any] | None:
        """The item before the change, or None if it was inserted. Raises ImageNotInStreamError."""
        return self._image("OldImage")

    @property
    def sequence_number(self) -> str:
        """The change's position in the stream, as the stream writes it; compare sequence numbers as integers."""
        return self._text(self._body, "SequenceNumber", "dynamodb.SequenceNumber")

    @property
    def version(self) -> str:
        """Text that sorts after the versions of the item's earlier changes, also after those of a former stream.

        The version has the stream's ARN, whose label is the creation time, and the sequence number. AWS does not
        document that sequence numbers grow from a parent shard to its child; the order within an item relies on it.
        """
        return f"{self.stream_arn}#{padded(self.sequence_number)}"

    @property
    def created_at(self) -> datetime:
        """When DynamoDB recorded the change, in UTC and to the second."""
        seconds = self.created_seconds
        if seconds is None:
            raise self._malformed("dynamodb.ApproximateCreationDateTime", "missing, or not a number of seconds")
        return datetime.fromtimestamp(seconds, UTC)

    @property
    def created_seconds(self) -> float | None:
        """`created_at` in seconds since 1970, or None if the record has no valid time."""
        seconds = self._body.get("ApproximateCreationDateTime")
        is_time = (
            isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 <= seconds < END_OF_TIME_SECONDS
        )
        return seconds if is_time else None

    @property
    def stream_arn(self) -> str:
        """The ARN of the stream that recorded the change."""
        return self._text(self.record, "eventSourceARN", "eventSourceARN")

    @property
    def stream(self) -> StreamName:
        """The table and the label of the stream."""
        name = parse_stream(self.stream_arn)
        if name is None:
            raise self._malformed("eventSourceARN", f"{self.stream_arn!r} is not the ARN of a table's stream")
        return name

    @property
    def stream_or_unknown(self) -> StreamName:
        """Like `stream`, but without an error if the ARN is invalid: for log lines and object names."""
        return parse_stream(self.stream_arn) or StreamName(self.stream_arn, self.stream_arn, "unknown")

    @property
    def table_name(self) -> str:
        """The table whose item changed."""
        return self.stream.table_name

    @property
    def is_expiry(self) -> bool:
        """Whether DynamoDB removed the item because its time to live (TTL) expired."""
        identity: Any = self.record.get("userIdentity")
        return isinstance(identity, dict) and EXPIRY_IDENTITY.items() <= cast(dict[str, Any], identity).items()

    @property
    def _body(self) -> Mapping[str, Any]:
        body: Any = self.record.get("dynamodb")
        if not isinstance(body, dict):
            raise self._malformed("dynamodb", "missing, or not an object")
        return cast(dict[str, Any], body)

    def _malformed(self, field: str, why: str) -> MalformedChangeError:
        return MalformedChangeError(f"record {brief(self.record.get('eventID'))}: {field}: {why}")

    def _text(self, record: Mapping[str, Any], name: str, field: str) -> str:
        value = record.get(name)
        if not isinstance(value, str) or not value:
            raise self._malformed(field, f"{brief(value)} is not a non-empty string")
        return value

    def _image(self, name: str) -> dict[str, Any] | None:
        if name not in self._images:
            self._images[name] = self._decode_image(name)
        return self._images[name]

    def _decode_image(self, name: str) -> dict[str, Any] | None:
        body = self._body
        view = body.get("StreamViewType")
        if name in VIEW_TYPES and view is not None and view not in VIEW_TYPES[name]:
            raise ImageNotInStreamError(
                f"{name} of {self.table_name}: the stream's view type is {view}; use {' or '.join(VIEW_TYPES[name])}"
            )
        if name not in body:
            if name == "Keys" or self.event_name in REQUIRED_FOR[name]:
                raise self._malformed(f"dynamodb.{name}", f"missing in a record of {self.event_name}")
            return None
        image: Any = body[name]
        if not isinstance(image, dict):
            raise self._malformed(f"dynamodb.{name}", f"{brief(image)} is not an item in DynamoDB's JSON")
        native: dict[str, Any] = {}
        try:
            return decode_into(native, cast(dict[str, Any], image).items())
        except (ValueError, RecursionError) as error:
            attribute = list(cast(dict[str, Any], image))[len(native)]
            why = "nested too deeply" if isinstance(error, RecursionError) else str(error)
            raise self._malformed(f"dynamodb.{name}.{attribute}", why) from error
