"""Event filters, as a mapping applies them to stream records.

Lambda's filters are EventBridge's event patterns. Pattern and record are flattened: dots join the names on the path to
a value, and each element of an array counts. So `a` exists only if it contains a value, and `{"a.b": ...}` equals
`{"a": {"b": ...}}` (recorded on AWS by calls of TestEventPattern). Rules for several members of one object in an array
must pass on the same element (AWS's event-ruler, the library that matches the patterns).
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import eq, ge, gt, le, lt
from typing import Any, cast

Predicate = Callable[[Any], bool]

_COMPARE: dict[str, Callable[[float, float], bool]] = {"=": eq, ">": gt, ">=": ge, "<": lt, "<=": le}
_OPERATORS = ("anything-but", "cidr", "equals-ignore-case", "exists", "numeric", "prefix", "suffix", "wildcard")
REFUSED = "InvalidParameterValueException: Invalid filter pattern definition."
"""AWS's error for an invalid pattern."""


class FilterError(ValueError):
    """AWS refuses the pattern, or the sandbox does not imitate one of its operators."""


@dataclass(frozen=True)
class _Field:
    """A pattern's rules for one field: a value must pass one of the predicates, or the field may be absent."""

    predicates: Sequence[Predicate]
    may_be_absent: bool


@dataclass(frozen=True)
class _Leaf:
    """A value in a record, with the index of its element in each array that contains it, by the array's id."""

    value: Any
    elements: Mapping[int, int]


_Fields = Mapping[str, _Field]


def any_of(patterns: Iterable[str]) -> Predicate:
    """Return a predicate that passes a record, as parsed JSON, if it matches a pattern, or if there are no patterns.

    Raises
    ------
    FilterError
        A pattern is not a JSON object of objects and lists, or uses an operator that is not imitated.
    """
    alternatives = [list(_alternatives(_parse(text), "")) for text in patterns]

    def passes(record: object) -> bool:
        leaves: dict[str, list[_Leaf]] = {}
        for path, leaf in _leaves(record, "", {}):
            leaves.setdefault(path, []).append(leaf)
        return not alternatives or any(
            _passes(list(fields.items()), leaves, {}) for pattern in alternatives for fields in pattern
        )

    return passes


def _parse(text: str) -> dict[str, Any]:
    try:
        parsed = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise FilterError(f"{REFUSED} {text!r} is not JSON: {error}") from error
    if not isinstance(parsed, dict):
        raise FilterError(f"{REFUSED} {text!r} is not a JSON object")
    return cast("dict[str, Any]", parsed)


def _alternatives(pattern: Mapping[str, Any], path: str) -> Iterator[_Fields]:
    """Yield the alternatives of a pattern, without `$or`: a record must match the fields of one of them."""
    options: list[_Fields] = [{}]
    for key, value in pattern.items():
        branches = list(_branches(key, value, path))
        if repeated := {name for fields in options for branch in branches for name in fields.keys() & branch.keys()}:
            raise FilterError(f"the sandbox does not imitate two rules for one field: {', '.join(sorted(repeated))}")
        options = [{**fields, **branch} for fields in options for branch in branches]
    yield from options


def _branches(key: str, value: object, path: str) -> Iterator[_Fields]:
    if key == "$or" and (patterns := _patterns(value)):
        for each in patterns:
            yield from _alternatives(each, path)
        return
    inner = f"{path}.{key}".lstrip(".")
    if isinstance(value, dict):
        yield from _alternatives(cast("dict[str, Any]", value), inner)
        return
    if not isinstance(value, list) or not value:
        raise FilterError(f"{REFUSED} {inner} must be an object or a list of rules: {value!r}")
    rules = cast("list[Any]", value)
    present = [rule for rule in rules if not _asks_for_absence(rule)]
    yield {inner: _Field([_predicate(rule, inner) for rule in present], len(present) < len(rules))}


def _patterns(value: object) -> Sequence[dict[str, Any]]:
    """Return the patterns under `$or`; none if AWS reads `$or` as the name of a field."""
    members = cast("list[Any]", value) if isinstance(value, list) else []
    patterns = [cast("dict[str, Any]", each) for each in members if isinstance(each, dict)]
    is_name = len(patterns) < 2 or len(patterns) < len(members)
    return [] if is_name or any(each.keys() & {*_OPERATORS, *_COMPARE} for each in patterns) else patterns


def _leaves(node: object, path: str, elements: Mapping[int, int]) -> Iterator[tuple[str, _Leaf]]:
    """Yield every value that is neither an object nor an array, with the path to it."""
    match node:
        case dict():
            for key, inner in cast("dict[str, Any]", node).items():
                yield from _leaves(inner, f"{path}.{key}".lstrip("."), elements)
        case list():
            array = cast("list[Any]", node)
            for index, inner in enumerate(array):
                yield from _leaves(inner, path, {**elements, id(array): index})
        case _:
            yield path, _Leaf(node, elements)


def _passes(
    fields: Sequence[tuple[str, _Field]], leaves: Mapping[str, Sequence[_Leaf]], elements: Mapping[int, int]
) -> bool:
    """Return whether all fields pass, with values in the same elements of the arrays that they share."""
    if not fields:
        return True
    (path, field), *others = fields
    if path not in leaves:
        return field.may_be_absent and _passes(others, leaves, elements)
    return any(
        any(predicate(leaf.value) for predicate in field.predicates)
        and all(elements.get(array, index) == index for array, index in leaf.elements.items())
        and _passes(others, leaves, {**elements, **leaf.elements})
        for leaf in leaves[path]
    )


def _asks_for_absence(rule: object) -> bool:
    return rule == {"exists": False} and cast("dict[str, Any]", rule)["exists"] is False  # 0 equals False


def _predicate(rule: object, path: str) -> Predicate:
    if not isinstance(rule, dict):
        return partial(_same, rule)
    match cast("dict[str, Any]", rule):
        case {"exists": True, **rest} if not rest:
            return lambda _: True
        case {"prefix": str(start), **rest} if not rest:
            return lambda leaf: isinstance(leaf, str) and leaf.startswith(start)
        case {"suffix": str(end), **rest} if not rest:
            return lambda leaf: isinstance(leaf, str) and leaf.endswith(end)
        case {"equals-ignore-case": str(text), **rest} if not rest:
            return _ignoring_case(text)
        case {"anything-but": barred, **rest} if not rest and not isinstance(barred, dict):
            return _anything_but(cast("list[Any]", barred) if isinstance(barred, list) else [barred], path)
        case {"numeric": [*terms], **rest} if not rest and terms and not len(terms) % 2:
            return _numeric(terms, path)
        case _:
            raise FilterError(
                f"{path}: the sandbox does not imitate {json.dumps(rule)}; it imitates values, exists, prefix, suffix, "
                "equals-ignore-case, anything-but with values, and numeric"
            )


def _ignoring_case(text: str) -> Predicate:
    # Compares by character, as the event-ruler does; outside ASCII, casefold() would match differently.
    cases = "".join(f"(?:{re.escape(each.lower())}|{re.escape(each.upper())})" for each in text)
    return lambda leaf: isinstance(leaf, str) and re.fullmatch(cases, leaf) is not None


def _anything_but(barred: list[Any], path: str) -> Predicate:
    if not barred or not (all(isinstance(each, str) for each in barred) or all(map(_is_number, barred))):
        raise FilterError(f"{REFUSED} {path}: anything-but takes strings or numbers, not {barred!r}")
    return lambda leaf: not any(_same(each, leaf) for each in barred)


def _numeric(terms: list[Any], path: str) -> Predicate:
    pairs = list(zip(terms[::2], terms[1::2], strict=True))
    for operator, bound in pairs:
        if operator not in _COMPARE or not _is_number(bound):
            raise FilterError(f"{REFUSED} {path}: {operator!r} {bound!r} does not compare numbers")
    # Recorded on AWS: no attribute matches, since numbers of items are strings in events.
    return lambda leaf: _is_number(leaf) and all(_COMPARE[name](leaf, bound) for name, bound in pairs)


def _same(left: object, right: object) -> bool:
    return left == right and isinstance(left, bool) == isinstance(right, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
