"""DynamoDB's JSON and native values: each into the other, exactly."""

import base64
import binascii
import json
import re
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from typing import Any, cast

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
MOST_NESTING = 10_000
"""Levels of JSON that are written: many times DynamoDB's 32 levels, and within a thread's stack of 8 MB."""
SEQUENCE_DIGITS = 40
"""A sequence number has 21 to 40 digits (DynamoDB Streams API): padded to the most, its text orders as it does."""


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


def padded(sequence: str | int) -> str:
    """A sequence number as text of fixed width, which orders as the number does."""
    return str(sequence).rjust(SEQUENCE_DIGITS, "0")


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
