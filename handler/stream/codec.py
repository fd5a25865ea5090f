"""Conversion between DynamoDB's JSON and native values, without loss; also JSON that is nested deeply."""

import base64
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from decimal import (
    MAX_EMAX,
    MAX_PREC,
    MIN_EMIN,
    Clamped,
    Context,
    Decimal,
    Inexact,
    InvalidOperation,
    Overflow,
    Rounded,
)
from typing import Any, cast

exact_decimal = Context(
    prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[Clamped, Inexact, InvalidOperation, Overflow, Rounded]
).create_decimal
"""It keeps every digit, or raises an error; unlike `Decimal(text)`, it refuses spaces and underscores."""
NAN = Decimal("NaN")
MOST_NESTING = 10_000
"""Nesting levels of JSON: far more than DynamoDB's 32, and few enough for a thread's stack of 8 MB."""
LONGEST_SHOWN = 40
"""Characters of a text that an error shows: enough to recognize a value, and too few to show a document."""
LISTED_NAMES = 10
"""Attributes of an object that an error names."""
SEQUENCE_DIGITS = 40
"""The most digits of a sequence number (DynamoDB Streams API): padded to 40, the text sorts like the number."""


def text_of(error: BaseException) -> str:
    """Return an error's text, or a note if there is none: the `__str__` of a handler's own error may raise."""
    try:
        return str(error)
    except BaseException as failed:
        return f"(no text: its __str__ raised {type(failed).__name__})"


def brief(value: Any) -> str:
    """Return a value for an error's text, without its content if it is long or an object: logs keep such texts."""
    match value:
        case dict():
            names = [str(name) for name in cast(dict[Any, Any], value)]
            listed = ", ".join(names[:LISTED_NAMES]) + (", …" if len(names) > LISTED_NAMES else "")
            return f"an object with {listed}" if names else "an empty object"
        case list() | tuple() | set() | frozenset():
            return f"a {type(cast(Any, value)).__name__} of {len(cast(list[Any], value))} values"
        case str() | bytes() | bytearray() if len(value) > LONGEST_SHOWN:
            return f"{value[:LONGEST_SHOWN]!r}… of {len(value)} characters"
        case str() | bytes() | bytearray() | int() | float() | Decimal() | None:
            return repr(value)
        case _:
            return f"a {type(value).__name__}"


def to_json(value: Any) -> str:
    """Return the value as JSON, however deeply it is nested."""
    return _convert(json.dumps, value)


def from_json(text: str | bytes) -> Any:
    """Return the value of a JSON text. Raises ValueError, also if it has more than 10,000 levels."""
    try:
        return _convert(json.loads, text)
    except RecursionError as error:
        raise ValueError(f"nested too deeply: more than about {MOST_NESTING:,} levels") from error


def _convert(convert: Callable[[Any], Any], value: Any) -> Any:
    try:
        return convert(value)
    except RecursionError:
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(max(limit, MOST_NESTING))
        try:
            return convert(value)
        finally:
            sys.setrecursionlimit(limit)


def padded(sequence: str | int) -> str:
    """Return a sequence number as text of 40 digits, which sorts like the number."""
    return str(sequence).rjust(SEQUENCE_DIGITS, "0")


def decode(value: Any) -> Any:
    """Return the native value of a value in DynamoDB's JSON, as a stream record has it. Raises ValueError."""
    return decode_into({}, [("", value)])[""]


def decode_into(native: dict[Any, Any], values: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
    """Add names and native values to a dict, in order, and return the dict.

    Raises ValueError at the first invalid value; the dict then has the values before it. The engine spends most of its
    own time in this loop.
    """
    for name, value in values:
        try:
            [kind] = value
            content = value[kind]
            expected, read = DECODERS[kind]
        except (KeyError, TypeError, ValueError):
            raise _not_a_value(value) from None
        if not isinstance(content, expected):
            raise ValueError(f"{kind} holds {brief(content)}")  # noqa: TRY004 - the same error for every invalid value
        native[name] = read(content) if read else content
    return native


def _not_a_value(value: Any) -> ValueError:
    if isinstance(value, dict) and len(cast(dict[Any, Any], value)) == 1:
        return ValueError(f"{brief(next(iter(cast(dict[Any, Any], value))))} is not a DynamoDB type")
    return ValueError(f"{brief(value)} is not an object with one type")


def _number(text: str) -> Decimal:
    try:
        number = exact_decimal(text)
    except ArithmeticError:
        number = NAN
    if number.is_finite() and text.isascii():
        return number
    raise ValueError(f"{brief(text)} is not a number")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{brief(value)} is not a string")  # noqa: TRY004 - as in decode_into
    return value


def _binary(text: Any) -> bytes:
    content = _text(text)
    try:
        return base64.b64decode(content, validate=True)
    except ValueError as error:
        raise ValueError(f"{brief(text)} is not base64: {error}") from error


DECODERS: dict[str, tuple[type, Callable[[Any], Any] | None]] = {
    "S": (str, None),
    "N": (str, _number),
    "B": (str, _binary),
    "BOOL": (bool, None),
    "NULL": (bool, lambda _: None),
    "SS": (list, lambda texts: set(map(_text, texts))),
    "NS": (list, lambda texts: {_number(_text(text)) for text in texts}),
    "BS": (list, lambda texts: set(map(_binary, texts))),
    "L": (list, lambda values: [decode(value) for value in values]),
    "M": (dict, lambda attributes: decode_into({}, attributes.items())),
}
"""For each type: the type of its content in JSON, and what converts the content, if anything does."""


def encode(value: Any) -> dict[str, Any]:
    """Return the value as boto3's DynamoDB client takes it; every value that `decode` returns keeps all its digits.

    boto3's own serializer refuses numbers of more than 38 digits, even if all but 38 are zeros. Raises TypeError for a
    value that DynamoDB cannot hold, such as a float, an empty set, or a set of several types.
    """
    for types, kind, write in ENCODERS:
        if isinstance(value, types):
            return {kind: write(value)}
    if isinstance(value, set | frozenset):
        kinds = {kind for element in cast(set[Any], value) for kind in encode(element)}
        if len(kinds) == 1 and kinds <= {"S", "N", "B"}:
            kind = kinds.pop()
            return {f"{kind}S": [encode(element)[kind] for element in cast(set[Any], value)]}
    raise TypeError(f"DynamoDB cannot hold {brief(value)} ({type(cast(Any, value)).__name__})")


def _finite(number: int | Decimal) -> str:
    if isinstance(number, Decimal) and not number.is_finite():
        raise TypeError(f"DynamoDB cannot hold {number!r}")
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
    """Return an item as boto3's DynamoDB client takes it."""
    return {name: encode(value) for name, value in item.items()}
