"""Event filters, typed: a filter that AWS would accept and then never match cannot be said.

The operators are those that Lambda's guide lists ("Filter rule syntax" of invocation-eventfiltering, read in November
2026): null, empty, equals, equals ignoring case, or within a field, or between fields (`$or`), not, exists, begins
with, ends with. Lambda takes them by the rules of EventBridge's event patterns, in which an array matches if one of its
elements does.
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
"""How a stream record names an attribute's type."""
SET_KEYS = {"S": "SS", "N": "NS", "B": "BS"}
"""The type of a set, by the type of its members."""
LEAF_KEYS = (*SET_KEYS, *SET_KEYS.values(), "BOOL", "NULL")
"""Every type that a filter sees. It sees no map (M) and no list (L), only what is in them."""

MAX_DIGITS = 38
"""Significant digits of a number (DynamoDB's limit)."""

MAX_PATTERN_LENGTH = 4_096
"""Characters of a pattern (Lambda's limit)."""

ABSENT = {"exists": False}
EXPIRED = {"type": ["Service"], "principalId": ["dynamodb.amazonaws.com"]}
"""Who removes an item whose time to live has passed (DynamoDB's guide, time-to-live-ttl-streams, November 2026)."""
NOT_EXPIRED = {"type": [ABSENT]}
"""The records of all other changes have no identity (DynamoDB's API reference, streams_Record, November 2026)."""


@dataclass(frozen=True)
class Condition:
    """A test of one attribute: for each type in `rules`, one of the type's rules must pass."""

    rules: Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class AnyOf:
    """Tests of one attribute, of which one must pass."""

    tests: "tuple[Test, ...]"


Test = Scalar | Condition | AnyOf | Mapping[str, "Test"]
"""A value to equal, a condition, alternatives, or tests of a map's members."""


def exists(kind: type) -> Condition:
    """The attribute is there, as a `str`, `int`, `Decimal`, `bool` or `bytes`."""
    return Condition({_leaf_key("exists", kind): [{"exists": True}]})


def absent(*kinds: type) -> Condition:
    """The attribute is not there as any of `kinds`: `absent(str)` passes a number, and passes no attribute at all.

    Without kinds, the attribute is not there at all, unless it is a map or a list, which a filter does not see. A
    removal has no new image and an insertion no old one; neither passes a test of the image that it lacks.
    """
    keys = dict.fromkeys(_leaf_key("absent", kind) for kind in kinds)
    return Condition({key: [ABSENT] for key in keys or LEAF_KEYS})


def null() -> Condition:
    """The attribute is there, and is DynamoDB's null."""
    return Condition({"NULL": [True]})


def prefix(start: str) -> Condition:
    """The attribute is a string that starts so."""
    return Condition({"S": [{"prefix": start}]})


def suffix(end: str) -> Condition:
    """The attribute is a string that ends so."""
    return Condition({"S": [{"suffix": end}]})


def ignoring_case(text: str) -> Condition:
    """The attribute is a string that equals `text` but for upper and lower case."""
    return Condition({"S": [{"equals-ignore-case": text}]})


def contains(member: str | int | Decimal | bytes) -> Condition:
    """The attribute is a set with this member. No filter tests a whole set, the absence of a member, or a list."""
    type_key, rule = _typed_value("contains", member)
    if type_key not in SET_KEYS:
        raise pulumi.RunError(f"contains({member!r}): a set has strings, numbers or bytes as members")
    return Condition({SET_KEYS[type_key]: [rule]})


def not_in(*values: str | int | Decimal | bytes) -> Condition:
    """The attribute is a string, a number or bytes, and none of these.

    It must be there: `any_of(not_in("a"), absent())` passes where there is no such attribute, too.
    """
    if any(isinstance(value, Condition | AnyOf) for value in values):
        raise pulumi.RunError(
            "not_in takes values and no conditions, as Lambda's anything-but does; filter in the handler"
        )
    values_and_types = [_typed_value("not_in", value) for value in values]
    kinds = {type_key for type_key, _ in values_and_types}
    if len(kinds) != 1 or not kinds <= SET_KEYS.keys():
        raise pulumi.RunError(
            f"{_call_text('not_in', values)}: name strings, numbers or bytes, at least one, and all of one type"
        )
    return Condition({kinds.pop(): [{"anything-but": [rule for _, rule in values_and_types]}]})


def any_of(*tests: Test) -> AnyOf:
    """One of the tests passes, values among them: `any_of("a", "b", prefix("c"), null())`."""
    if not tests:
        raise pulumi.RunError("any_of() never matches: name a value or a test")
    return AnyOf(tests)


def numeric(*comparison: object) -> NoReturn:
    """AWS's comparison of numbers, which is no use here.

    Raises
    ------
    pulumi.RunError
        Always: AWS takes such a filter and then lets nothing through (recorded on AWS).
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
    """The filter pattern as AWS takes it; empty where it would let everything through.

    Parameters
    ----------
    events
        Kinds of changes; all of them where none is named.
    keys, new, old
        Tests of the item's keys, and of its attributes after and before the change.
    expired
        True for the removals that DynamoDB makes when an item's time to live has passed, and nothing else. False for
        all other changes. In a global table only the Region that removes the item tells so; in every other Region the
        removal looks like anybody's (DynamoDB's guide, time-to-live-ttl-streams, November 2026).

    Raises
    ------
    pulumi.RunError
        A value that no attribute can equal, tests that no change passes, or a pattern over 4,096 characters.
    """
    parts = {"Keys": keys, "NewImage": new, "OldImage": old}
    images = {part: {name: _node(name, test) for name, test in tests.items()} for part, tests in parts.items() if tests}
    for name, node in images.get("Keys", {}).items():
        if _passes_absence(node):
            raise pulumi.RunError(f"{name}: a key is always there; test its value, or leave the test out")
    event_names = _events(events, images, expired=expired)
    document: dict[str, Any] = {"eventName": sorted(event_names)} if event_names else {}
    if expired is not None:
        document["userIdentity"] = EXPIRED if expired else NOT_EXPIRED
    if images:
        document["dynamodb"] = images
    text = json.dumps(document, separators=(",", ":")) if document else ""
    if len(text) > MAX_PATTERN_LENGTH:
        raise pulumi.RunError(
            f"a filter of {len(text)} characters: Lambda takes {MAX_PATTERN_LENGTH:,}; filter in the handler"
        )
    return text


def type_key(name: str, test: Test) -> str:
    """Key of the type that a test on attribute `name` asks for.

    Raises
    ------
    pulumi.RunError
        It asks for several.
    """
    types = sorted({key for rules in _alternatives(name, test) for key in rules})
    if len(types) > 1:
        raise pulumi.RunError(f"{name}: a test of several types, {', '.join(types)}; an attribute here has one")
    return types[0]


def _events(
    events: Sequence[EventName], images: Mapping[str, Mapping[str, Any]], *, expired: bool | None
) -> set[EventName]:
    """The events to name in the pattern: those that can pass, or none where the other tests see to that."""
    if expired and (others := set(events) - {"REMOVE"}):
        raise pulumi.RunError(
            f"expired=True with {', '.join(sorted(others))}: only a REMOVE is an expiry; take "
            'changes("REMOVE", expired=True), and changes of the other events beside it'
        )
    event_without_image: dict[str, EventName] = {"NewImage": "REMOVE", "OldImage": "INSERT"}
    every: set[EventName] = {"REMOVE"} if expired else set(get_args(EventName))
    possible = set(events or every) - {event for image, event in event_without_image.items() if image in images}
    if not possible:
        raise pulumi.RunError("a filter that no change passes: a REMOVE has no new image, an INSERT no old one")
    passes_missing_image = any(
        all(map(_passes_absence, images[image].values())) for image in event_without_image if image in images
    )
    return possible if events or passes_missing_image else set()


def _passes_absence(node: Mapping[str, Any]) -> bool:
    """Whether an attribute that is not there passes its test."""
    match node:
        case {"$or": alternatives}:
            return any(map(_passes_absence, alternatives))
        case {"M": members}:
            return all(map(_passes_absence, members.values()))
        case _:
            return all(ABSENT in rules for rules in node.values())


def _node(name: str, test: Test) -> dict[str, Any]:
    """The part of the pattern under the attribute's name."""
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
                raise pulumi.RunError(f"{name}: a map with no member to test")
            yield {"M": {member: _node(f"{name}.{member}", inner) for member, inner in test.items()}}
        case _:
            key, rule = _typed_value(name, test)
            yield {key: [rule]}


def _typed_value(name: str, value: object) -> tuple[str, Any]:
    """The type and the text of a value in a stream record."""
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
            hint = "take null() for DynamoDB's null, and absent() for no attribute"
        case set() | frozenset():
            hint = "take contains(...) for one member of a set"
        case list() | tuple():
            hint = "take any_of(...) for one of several values; what is in a list only the handler sees"
        case _:
            hint = "take a str, int, bool, bytes or a Decimal of up to 38 digits"
    raise pulumi.RunError(f"{name} = {value!r}: no attribute equals that; {hint}")


def _leaf_key(test: str, kind: type) -> str:
    if kind not in TYPE_KEYS:
        raise pulumi.RunError(
            f"{test}({kind.__name__}): a filter sees leaves only: {', '.join(each.__name__ for each in TYPE_KEYS)}; "
            "test one member of a map, or of a set with contains(...)"
        )
    return TYPE_KEYS[kind]


def _call_text(name: str, arguments: Sequence[object]) -> str:
    return f"{name}({', '.join(map(repr, arguments))})"


def _numeric_refusal(call: str) -> str:
    return (
        f"{call}: AWS takes a comparison of numbers and then never matches it, since a stream record has numbers as "
        "text; name the numbers with any_of(...), store what the filter needs as a text or a bool, or compare in the "
        "handler"
    )


def _number_text(number: Decimal) -> str:
    """The number as a stream record writes it, without exponent or idle zeros; empty if DynamoDB cannot hold it."""
    if not number.is_finite():
        return ""
    text = format(number, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    digits = text.lstrip("-").replace(".", "").strip("0")
    return "" if len(digits) > MAX_DIGITS else text if digits else "0"
