"""One change of a table: a stream record, typed, and decoded when it is looked at."""

import base64
import binascii
import json
import re
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, Literal, NamedTuple, cast

Origin = Literal["stream", "redrive", "backfill"]
EVENT_NAMES = ("INSERT", "MODIFY", "REMOVE")
VIEWS = {"NewImage": ("NEW_IMAGE", "NEW_AND_OLD_IMAGES"), "OldImage": ("OLD_IMAGE", "NEW_AND_OLD_IMAGES")}
ALWAYS = {"NewImage": ("INSERT", "MODIFY"), "OldImage": ("MODIFY", "REMOVE")}
STREAM_ARN = re.compile(r"(arn:[^:]+:dynamodb:[^:]*:[^:]*:table/([^/]+))/stream/(.+)")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
LAST_SECOND = 253_402_300_800
"""The end of the year 9999, the last that Python's dates can tell."""
MOST_NESTING = 10_000
"""Levels of JSON that are written: many times DynamoDB's 32 levels, and within a thread's stack of 8 MB."""
SEQUENCE_DIGITS = 40
"""A sequence number has 21 to 40 digits (DynamoDB Streams API): padded to the most, its text orders as it does."""


class PermanentError(Exception):
    """Raised by a consumer for a change that can never succeed: it is parked, whole, and not tried again."""


class MalformedChangeError(PermanentError):
    """A record that cannot be decoded: the message names the record and the field."""


class ImageNotInStreamError(Exception):
    """An image was asked for that the stream's view type leaves out of every record."""


def text_of(error: BaseException) -> str:
    """An error's text, or why there is none: the __str__ of a handler's own error may raise anything."""
    try:
        return str(error)
    except BaseException as failed:
        return f"(no text: its __str__ raised {type(failed).__name__})"


def to_json(value: Any) -> str:
    """The value as JSON, however deep it is nested."""
    try:
        return json.dumps(value)
    except RecursionError:
        with _deep_recursion():
            return json.dumps(value)


def from_json(text: str | bytes) -> Any:
    """The value that JSON holds, however deep it is nested; raises ValueError."""
    try:
        return json.loads(text)
    except RecursionError:
        with _deep_recursion():
            return json.loads(text)


@contextmanager
def _deep_recursion() -> Generator[None]:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, MOST_NESTING))
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _copied(part) for name, part in cast(dict[str, Any], value).items()}
    if isinstance(value, list):
        return [_copied(part) for part in cast(list[Any], value)]
    return value


class StreamName(NamedTuple):
    """What a stream's ARN says."""

    table_arn: str
    table_name: str
    label: str


@lru_cache(maxsize=64)
def parse_stream(arn: str) -> StreamName | None:
    """Table and label of a stream's ARN; None where it is not one."""
    match = STREAM_ARN.fullmatch(arn)
    return StreamName(match[1], match[2], match[3]) if match else None


def padded(sequence: str | int) -> str:
    """A sequence number as text of fixed width, which orders as the number does."""
    return str(sequence).rjust(SEQUENCE_DIGITS, "0")


class Change:
    """One change of one item, as its stream recorded it.

    Values are native: numbers are `Decimal`, exact whatever their digits, binary is `bytes`, sets are `set`. Nothing is
    decoded before it is looked at; what cannot be decoded raises `MalformedChangeError`, naming record and field.
    `origin` says how the change came: from the stream, redriven from a failure store, or backfilled.
    """

    __slots__ = ("_images", "_raw", "origin", "record")

    def __init__(self, record: Mapping[str, Any], origin: Origin = "stream") -> None:
        self.record = record  # the engine's: what is held or parked, so nobody may change it
        self.origin: Origin = origin
        self._images: dict[str, dict[str, Any] | None] = {}
        self._raw: dict[str, Any] | None = None

    def __repr__(self) -> str:
        record = self.record
        return f"<Change {record.get('eventName')} {record.get('eventID')} of {record.get('eventSourceARN')}>"

    @property
    def raw(self) -> dict[str, Any]:
        """The record as the stream delivered it; a copy, made when first looked at."""
        if self._raw is None:
            try:
                self._raw = cast(dict[str, Any], _copied(self.record))
            except RecursionError as error:
                raise self._malformed("dynamodb", "nested too deep") from error
        return self._raw

    @property
    def event_id(self) -> str:
        """Unique to this change, the same at each delivery of it."""
        return self._text(self.record, "eventID", "eventID")

    @property
    def event_name(self) -> Literal["INSERT", "MODIFY", "REMOVE"]:
        """What happened to the item."""
        self.check_name()
        return self.record["eventName"]

    def check_name(self) -> None:
        """Raise where the record has no event name, or an unknown one: nobody can tell what happened to the item."""
        if self.record.get("eventName") not in EVENT_NAMES:
            raise self._malformed("eventName", f"{self.record.get('eventName')!r} is none of {', '.join(EVENT_NAMES)}")

    @property
    def keys(self) -> dict[str, Any]:
        """The item's full primary key."""
        return self._image("Keys") or {}

    @property
    def new_image(self) -> dict[str, Any] | None:
        """The item after the change; None where it was removed. Raises ImageNotInStreamError."""
        return self._image("NewImage")

    @property
    def old_image(self) -> dict[str, Any] | None:
        """The item before the change; None where there was none. Raises ImageNotInStreamError."""
        return self._image("OldImage")

    @property
    def sequence_number(self) -> str:
        """The change's place in its stream, as the stream writes it; compare as integers."""
        return self._text(self._body, "SequenceNumber", "dynamodb.SequenceNumber")

    @property
    def version(self) -> str:
        """Text that grows with each change of an item, also from a stream to the one that replaces it.

        It holds the source table, the stream's label (its creation time) and the sequence number. That sequence numbers
        grow from a parent shard to its child is written nowhere; DynamoDB's order within an item relies on it too.
        """
        return f"{self.stream_arn}#{padded(self.sequence_number)}"

    @property
    def created_at(self) -> datetime:
        """When DynamoDB recorded the change, to the second, in UTC."""
        seconds = self.created_seconds
        if seconds is None:
            raise self._malformed("dynamodb.ApproximateCreationDateTime", "missing, or not a number of seconds")
        return datetime.fromtimestamp(seconds, UTC)

    @property
    def created_seconds(self) -> float | None:
        """`created_at` in seconds since 1970; None where the record does not say."""
        seconds = self._body.get("ApproximateCreationDateTime")
        told = isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 <= seconds < LAST_SECOND
        return seconds if told else None

    @property
    def stream_arn(self) -> str:
        """The stream that recorded the change."""
        return self._text(self.record, "eventSourceARN", "eventSourceARN")

    @property
    def stream(self) -> StreamName:
        """Table and label of the stream."""
        name = parse_stream(self.stream_arn)
        if name is None:
            raise self._malformed("eventSourceARN", f"{self.stream_arn!r} is not the ARN of a table's stream")
        return name

    @property
    def place(self) -> StreamName:
        """`stream`, or the text that stands in its place: for logs and object names, which must not fail."""
        return parse_stream(self.stream_arn) or StreamName(self.stream_arn, self.stream_arn, "unknown")

    @property
    def table_name(self) -> str:
        """The table whose item changed."""
        return self.stream.table_name

    @property
    def is_expiry(self) -> bool:
        """Whether DynamoDB removed the item because its time to live was over."""
        identity: Any = self.record.get("userIdentity")
        return (
            isinstance(identity, dict)
            and cast(dict[str, Any], identity).get("type") == "Service"
            and cast(dict[str, Any], identity).get("principalId") == "dynamodb.amazonaws.com"
        )

    @property
    def _body(self) -> Mapping[str, Any]:
        body: Any = self.record.get("dynamodb")
        if not isinstance(body, dict):
            raise self._malformed("dynamodb", "missing, or not an object")
        return cast(dict[str, Any], body)

    def _malformed(self, field: str, why: str) -> MalformedChangeError:
        return MalformedChangeError(f"record {self.record.get('eventID')!r}: {field}: {why}")

    def _text(self, record: Mapping[str, Any], name: str, field: str) -> str:
        value = record.get(name)
        if not isinstance(value, str) or not value:
            raise self._malformed(field, f"{value!r} is not a text")
        return value

    def _image(self, name: str) -> dict[str, Any] | None:
        if name not in self._images:
            self._images[name] = self._decoded(name)
        return self._images[name]

    def _decoded(self, name: str) -> dict[str, Any] | None:
        body = self._body
        view = body.get("StreamViewType")
        if name in VIEWS and view is not None and view not in VIEWS[name]:
            raise ImageNotInStreamError(
                f"{name} of {self.table_name}: its stream's view type is {view}; use one of {' or '.join(VIEWS[name])}"
            )
        if name not in body:
            if name == "Keys" or self.event_name in ALWAYS[name]:
                raise self._malformed(f"dynamodb.{name}", f"missing in a record of {self.event_name}")
            return None
        image: Any = body[name]
        if not isinstance(image, dict):
            raise self._malformed(f"dynamodb.{name}", f"{image!r} is not an item in DynamoDB's JSON")
        found: dict[str, Any] = {}
        for attribute, value in cast(dict[str, Any], image).items():
            try:
                found[attribute] = decode(value)
            except ValueError as error:
                raise self._malformed(f"dynamodb.{name}.{attribute}", str(error)) from error
            except RecursionError as error:
                raise self._malformed(f"dynamodb.{name}.{attribute}", "nested too deep") from error
        return found


def decode(value: Any) -> Any:
    """The native value of one value in DynamoDB's JSON, as a stream's record has it; raises ValueError."""
    if not isinstance(value, dict) or len(cast(dict[str, Any], value)) != 1:
        raise ValueError(f"{value!r} is not an object of one type")
    [(kind, content)] = cast(dict[str, Any], value).items()
    if kind not in DECODERS:
        raise ValueError(f"{kind!r} is not a type of DynamoDB")
    expected, read = DECODERS[kind]
    if not isinstance(content, expected):
        raise ValueError(f"{kind} holds {content!r}")  # noqa: TRY004 - one error for whatever is no DynamoDB value
    return read(content)


def _number(text: Any) -> Decimal:
    if not isinstance(text, str) or not NUMBER.fullmatch(text):
        raise ValueError(f"{text!r} is not a number")
    return Decimal(text)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a text")  # noqa: TRY004 - as in decode
    return value


def _binary(text: Any) -> bytes:
    try:
        return base64.b64decode(_text(text), validate=True)
    except binascii.Error as error:
        raise ValueError(f"{text!r} is not base64: {error}") from error


DECODERS: dict[str, tuple[type, Callable[[Any], Any]]] = {
    "S": (str, str),
    "N": (str, _number),
    "B": (str, _binary),
    "BOOL": (bool, bool),
    "NULL": (bool, lambda _: None),
    "SS": (list, lambda values: {_text(value) for value in values}),
    "NS": (list, lambda values: {_number(value) for value in values}),
    "BS": (list, lambda values: {_binary(value) for value in values}),
    "L": (list, lambda values: [decode(value) for value in values]),
    "M": (dict, lambda values: {name: decode(value) for name, value in values.items()}),
}


def encode(value: Any) -> dict[str, Any]:
    """The value as boto3's DynamoDB client takes it: what `decode` gives, exactly, whatever its digits.

    boto3's own serializer refuses numbers of more than 38 digits, also where all but 38 are zeros. Raises TypeError for
    what DynamoDB cannot hold: a float, an empty set or one of mixed types, an object.
    """
    given = type(value).__name__
    for types, kind, write in ENCODERS:
        if isinstance(value, types):
            return {kind: write(value)}
    if isinstance(value, set | frozenset):
        kinds = {kind for element in cast(set[Any], value) for kind in encode(element)}
        if len(kinds) == 1 and kinds <= {"S", "N", "B"}:
            kind = kinds.pop()
            return {f"{kind}S": [encode(element)[kind] for element in cast(set[Any], value)]}
    raise TypeError(f"{value!r} ({given}) is nothing that DynamoDB can hold")


def _finite(number: int | Decimal) -> str:
    if isinstance(number, Decimal) and not number.is_finite():
        raise TypeError(f"{number!r} is nothing that DynamoDB can hold")
    return str(number)


ENCODERS: list[tuple[type | tuple[type, ...], str, Callable[[Any], Any]]] = [
    (type(None), "NULL", lambda _: True),
    (bool, "BOOL", bool),
    (str, "S", str),
    ((int, Decimal), "N", _finite),
    ((bytes, bytearray), "B", bytes),
    ((list, tuple), "L", lambda values: [encode(value) for value in values]),
    (dict, "M", lambda item: encode_item(item)),
]


def encode_item(item: Mapping[str, Any]) -> dict[str, Any]:
    """Each attribute as boto3's DynamoDB client takes it."""
    return {name: encode(value) for name, value in item.items()}
