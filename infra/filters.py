"""Typed event filters: they cannot express a filter that AWS would accept and then never match.

The operators are those of Lambda's guide ("Filter rule syntax" in invocation-eventfiltering, read in November 2026):
null, empty, equals, equals ignoring case, or within a field, or between fields (`$or`), not, exists, begins with, ends
with. Lambda follows the rules of EventBridge's event patterns, where an array matches if one of its elements matches.
"""

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, NoReturn, get_args

import pulumi

EventName = Literal["INSERT", "MODIFY", "REMOVE"]
Scalar = str | int | Decimal | bool | bytes
TYPE_KEYS: dict[type, str] = {str: "S", bool: "BOOL", int: "N", Decimal: "N", bytes: "B"}
"""The key of each Python type in a stream record."""
SET_KEYS = {"S": "SS", "N": "NS", "B": "BS"}
"""The type of a set, by the type of its members."""
LEAF_KEYS = (*SET_KEYS, *SET_KEYS.values(), "BOOL", "NULL")
"""Keys of the types that a filter can test. It tests the members of a map (M), but not the map, and no list (L)."""

MAX_DIGITS = 38
"""Significant digits of a number in DynamoDB."""

MAX_PATTERN_LENGTH = 4_096
"""Characters of a filter pattern, Lambda's limit."""

ABSENT = {"exists": False}
EXPIRED = {"type": ["Service"], "principalId": ["dynamodb.amazonaws.com"]}
"""`userIdentity` of a removal by time to live (DynamoDB's guide, time-to-live-ttl-streams, November 2026)."""
NOT_EXPIRED = {"type": [ABSENT]}
"""All other changes have no `userIdentity` (DynamoDB's API reference, streams_Record, November 2026)."""


@dataclass(frozen=True)
class Condition:
    """A test of one attribute: for each type in `rules`, one of the type's rules must match."""

    rules: Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class AnyOf:
    """Tests of one attribute, one of which must match."""

    tests: "tuple[Test, ...]"


Test = Scalar | Condition | AnyOf | Mapping[str, "Test"]
"""A value to equal, a condition, alternatives, or tests of a map's members."""


def exists(kind: type) -> Condition:
    """Match an attribute of the type `str`, `int`, `Decimal`, `bool` or `bytes`, whatever its value."""
    return Condition({_leaf_key("exists", kind): [{"exists": True}]})


def absent(*kinds: type) -> Condition:
    """Match unless the attribute has one of the types `kinds`: `absent(str)` matches a number, and no attribute at all.

    Without kinds, match only if there is no attribute, or if it is a map or a list, which a filter cannot test. A
    REMOVE has no new image and an INSERT no old image; neither matches any test of the missing image.
    """
    keys = dict.fromkeys(_leaf_key("absent", kind) for kind in kinds)
    return Condition({key: [ABSENT] for key in keys or LEAF_KEYS})


def null() -> Condition:
    """Match DynamoDB's null."""
    return Condition({"NULL": [True]})


def prefix(start: str) -> Condition:
    """Match a string that begins with `start`."""
    return Condition({"S": [{"prefix": start}]})


def suffix(end: str) -> Condition:
    """Match a string that ends with `end`."""
    return Condition({"S": [{"suffix": end}]})


def ignoring_case(text: str) -> Condition:
    """Match a string that equals `text`, ignoring case."""
    return Condition({"S": [{"equals-ignore-case": text}]})


def contains(member: str | int | Decimal | bytes) -> Condition:
    """Match a set that has `member`. No filter can test a whole set, the absence of a member, or a list."""
    type_key, rule = _typed_value("contains", member)
    if type_key not in SET_KEYS:
        raise pulumi.RunError(f"contains({member!r}): a set has strings, numbers or bytes as members")
    return Condition({SET_KEYS[type_key]: [rule]})


def not_in(*values: str | int | Decimal | bytes) -> Condition:
    """Match a string, number or bytes that equals none of `values`.

    It does not match a missing attribute; `any_of(not_in("a"), absent())` does.
    """
    if any(isinstance(value, Condition | AnyOf) for value in values):
        raise pulumi.RunError("not_in takes values, not conditions, like Lambda's anything-but; filter in the handler")
    values_and_types = [_typed_value("not_in", value) for value in values]
    kinds = {type_key for type_key, _ in values_and_types}
    if len(kinds) != 1 or not kinds <= SET_KEYS.keys():
        raise pulumi.RunError(
            f"{_call_text('not_in', values)}: pass one or more strings, numbers or bytes, all of one type"
        )
    return Condition({kinds.pop(): [{"anything-but": [rule for _, rule in values_and_types]}]})


def any_of(*tests: Test) -> AnyOf:
    """Match if one of the tests matches; a test may be a value: `any_of("a", "b", prefix("c"), null())`."""
    if not tests:
        raise pulumi.RunError("any_of() never matches: pass a value or a test")
    return AnyOf(tests)


def numeric(*comparison: object) -> NoReturn:
    """Refuse AWS's comparison of numbers.

    Raises
    ------
    pulumi.RunError
        Always: AWS accepts such a filter, and then no record matches it (recorded on AWS).
    """
    raise pulumi.RunError(_numeric_refusal(_call_text("numeric", comparison)))


def pattern(
    events: Sequence[EventName],
    keys: Mapping[str, Test],
    new: Mapping[str, Test],
    old: Mapping[str, Test],
    *,
    expired: bool | None = None,
) -> str:
    """Return the filter pattern for AWS, or an empty string if every change would match.

    Parameters
    ----------
    events
        Event names to match; all if empty.
    keys, new, old
        Tests of the item's keys, and of its attributes after and before the change.
    expired
        True matches only removals by time to live; False matches all other changes. In a global table, only the Region
        that expires the item marks the removal; in other Regions it looks like any other REMOVE (DynamoDB's guide,
        time-to-live-ttl-streams, November 2026).

    Raises
    ------
    pulumi.RunError
        No attribute can equal a value, no change can match the tests, or the pattern exceeds 4,096 characters.
    """
    parts = {"Keys": keys, "NewImage": new, "OldImage": old}
    images = {part: {name: _node(name, test) for name, test in tests.items()} for part, tests in parts.items() if tests}
    for name, node in images.get("Keys", {}).items():
        if _passes_absence(node):
            raise pulumi.RunError(f"{name}: a key always exists; test its value, or remove the test")
    event_names = _events(events, images, expired=expired)
    document: dict[str, Any] = {"eventName": sorted(event_names)} if event_names else {}
    if expired is not None:
        document["userIdentity"] = EXPIRED if expired else NOT_EXPIRED
    if images:
        document["dynamodb"] = images
    text = json.dumps(document, separators=(",", ":")) if document else ""
    if len(text) > MAX_PATTERN_LENGTH:
        raise pulumi.RunError(
            f"the filter has {len(text):,} characters, but Lambda allows {MAX_PATTERN_LENGTH:,}; filter in the handler"
        )
    return text


def type_key(name: str, test: Test) -> str:
    """Return the key of the type that a test of attribute `name` requires.

    Raises
    ------
    pulumi.RunError
        The test requires several types.
    """
    types = sorted({key for rules in _alternatives(name, test) for key in rules})
    if len(types) > 1:
        raise pulumi.RunError(f"{name}: the test requires several types, {', '.join(types)}, but a key has one")
    return types[0]


def _events(
    events: Sequence[EventName], images: Mapping[str, Mapping[str, Any]], *, expired: bool | None
) -> set[EventName]:
    """Return the event names that the pattern needs: those that can match, or none if the other tests imply them."""
    if expired and (others := set(events) - {"REMOVE"}):
        raise pulumi.RunError(
            f"expired=True with {', '.join(sorted(others))}: only a REMOVE can be an expiry; use "
            'changes("REMOVE", expired=True), and separate changes(...) for the other events'
        )
    event_without_image: dict[str, EventName] = {"NewImage": "REMOVE", "OldImage": "INSERT"}
    every: set[EventName] = {"REMOVE"} if expired else set(get_args(EventName))
    possible = set(events or every) - {event for image, event in event_without_image.items() if image in images}
    if not possible:
        raise pulumi.RunError(
            "no change matches this filter: a REMOVE has no new image, and an INSERT has no old image"
        )
    passes_missing_image = any(
        all(map(_passes_absence, images[image].values())) for image in event_without_image if image in images
    )
    return possible if events or passes_missing_image else set()


def _passes_absence(node: Mapping[str, Any]) -> bool:
    """Return whether a missing attribute matches its test."""
    match node:
        case {"$or": alternatives}:
            return any(map(_passes_absence, alternatives))
        case {"M": members}:
            return all(map(_passes_absence, members.values()))
        case _:
            return all(ABSENT in rules for rules in node.values())


def _node(name: str, test: Test) -> dict[str, Any]:
    """Return the part of the pattern under the attribute's name."""
    by_type: dict[str, list[Any]] = {}
    separate: list[dict[str, Any]] = []
    for rules in _alternatives(name, test):
        [(key, first), *others] = rules.items()
        if others or key == "M":
            separate.append(rules)
        else:
            by_type.setdefault(key, []).extend(first)
    alternatives = [{key: rules} for key, rules in by_type.items()] + separate
    return alternatives[0] if len(alternatives) == 1 else {"$or": alternatives}


def _alternatives(name: str, test: Test) -> Iterator[dict[str, Any]]:
    match test:
        case AnyOf(tests):
            for each in tests:
                yield from _alternatives(name, each)
        case Condition(rules):
            yield dict(rules)
        case Mapping():
            if not test:
                raise pulumi.RunError(f"{name}: the map names no member to test")
            yield {"M": {member: _node(f"{name}.{member}", inner) for member, inner in test.items()}}
        case _:
            key, rule = _typed_value(name, test)
            yield {key: [rule]}


def _typed_value(name: str, value: object) -> tuple[str, Any]:
    """Return the type key and the text of a value in a stream record."""
    match value:
        case bool():
            return "BOOL", value
        case str():
            return "S", value
        case bytes():
            return "B", base64.b64encode(value).decode()
        case int() | Decimal() if text := _number_text(Decimal(value)):
            return "N", text
        case range():
            raise pulumi.RunError(_numeric_refusal(f"{name} = {value!r}"))
        case None:
            hint = "use null() for DynamoDB's null, and absent() for a missing attribute"
        case set() | frozenset():
            hint = "use contains(...) for one member of a set"
        case list() | tuple():
            hint = "use any_of(...) for one of several values; only the handler can test a list"
        case _:
            hint = "use a str, int, bool, bytes or a Decimal of up to 38 digits"
    raise pulumi.RunError(f"{name} = {value!r}: no attribute can equal this value; {hint}")


def _leaf_key(test: str, kind: type) -> str:
    if kind not in TYPE_KEYS:
        raise pulumi.RunError(
            f"{test}({kind.__name__}): a filter can test only {', '.join(each.__name__ for each in TYPE_KEYS)}; test "
            "one member of a map, or of a set with contains(...)"
        )
    return TYPE_KEYS[kind]


def _call_text(name: str, arguments: Sequence[object]) -> str:
    return f"{name}({', '.join(map(repr, arguments))})"


def _numeric_refusal(call: str) -> str:
    return (
        f"{call}: AWS accepts a comparison of numbers but never matches it, because a stream record has numbers as "
        "text; list the numbers with any_of(...), store a string or a bool to filter on, or compare in the handler"
    )


def _number_text(number: Decimal) -> str:
    """Return a number as stream records write it, without exponent or trailing zeros; empty if it is too long."""
    if not number.is_finite():
        return ""
    text = format(number, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    digits = text.lstrip("-").replace(".", "").strip("0")
    return "" if len(digits) > MAX_DIGITS else text if digits else "0"
