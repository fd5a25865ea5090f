"""Event filters, typed: what AWS would accept and then never match cannot be said."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

import pulumi

EventName = Literal["INSERT", "MODIFY", "REMOVE"]
Scalar = str | int | Decimal | bool
TYPE_KEYS: dict[type, str] = {str: "S", bool: "BOOL", int: "N", Decimal: "N", bytes: "B"}
"""How a stream record names an attribute's type; only these are leaves, which alone a filter can test."""

DIGITS = 38
"""Significant digits of a number (DynamoDB's limit)."""

LONGEST = 4_096
"""Characters of a pattern (Lambda's limit)."""


@dataclass(frozen=True)
class Condition:
    """A test of one attribute: the key of its type, and the rule that AWS applies to it."""

    type_key: str
    rule: Any


Test = Scalar | Condition | Mapping[str, "Test"]
"""A value to equal, a condition, or tests of a map's members."""


def exists(kind: type) -> Condition:
    """The attribute is there, as a `str`, `int`, `Decimal`, `bool` or `bytes`."""
    if kind not in TYPE_KEYS:
        raise pulumi.RunError(
            f"exists({kind.__name__}): a filter sees leaves only: {', '.join(of.__name__ for of in TYPE_KEYS)}"
        )
    return Condition(TYPE_KEYS[kind], {"exists": True})


def prefix(start: str) -> Condition:
    """The attribute is a string that starts so."""
    return Condition("S", {"prefix": start})


def not_in(*values: str | int | Decimal) -> Condition:
    """The attribute is a string, or a number, and none of these."""
    tested = [_equals(value) for value in values]
    kinds = {condition.type_key for condition in tested}
    if kinds not in ({"S"}, {"N"}):
        raise pulumi.RunError(f"not_in{values!r}: name strings or numbers, at least one, and not both")
    return Condition(kinds.pop(), {"anything-but": [condition.rule for condition in tested]})


def pattern(
    events: Sequence[EventName], keys: Mapping[str, Test], new: Mapping[str, Test], old: Mapping[str, Test]
) -> str:
    """The filter pattern as AWS takes it; empty where it would let everything through.

    Raises
    ------
    pulumi.RunError
        A value that no attribute can equal, or a pattern over 4,096 characters.
    """
    parts = {"Keys": keys, "NewImage": new, "OldImage": old}
    images = {part: {name: _rule(name, test) for name, test in tests.items()} for part, tests in parts.items() if tests}
    if not events and not images:
        return ""
    said = {"eventName": sorted(set(events))} if events else {}
    text = json.dumps(said | ({"dynamodb": images} if images else {}), separators=(",", ":"))
    if len(text) > LONGEST:
        raise pulumi.RunError(f"a filter of {len(text)} characters: Lambda takes {LONGEST:,}; filter in the handler")
    return text


def type_key(name: str, test: Test) -> str:
    """Key of the type that a test on attribute `name` asks for."""
    return next(iter(_rule(name, test)))


def _rule(name: str, test: Test) -> dict[str, Any]:
    if isinstance(test, Mapping):
        if not test:
            raise pulumi.RunError(f"{name}: a map with no member to test")
        return {"M": {member: _rule(f"{name}.{member}", inner) for member, inner in test.items()}}
    condition = test if isinstance(test, Condition) else _equals(test, name)
    return {condition.type_key: [condition.rule]}


def _equals(value: Scalar, name: str = "value") -> Condition:
    match value:
        case bool():
            return Condition("BOOL", value)
        case str():
            return Condition("S", value)
        case int() | Decimal() if text := _plain(Decimal(value)):
            return Condition("N", text)
        case _:
            raise pulumi.RunError(
                f"{name} = {value!r}: no attribute equals that; take a str, int, bool or a Decimal of up to 38 digits"
            )


def _plain(number: Decimal) -> str:
    """The number as a stream record writes it, without exponent or idle zeros; empty if DynamoDB cannot hold it."""
    if not number.is_finite():
        return ""
    text = format(number, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    digits = text.lstrip("-").replace(".", "").strip("0")
    return "" if len(digits) > DIGITS else text if digits else "0"
