"""Event filters as a mapping applies them to stream records."""

import json
from collections.abc import Callable, Iterable, Mapping
from operator import eq, ge, gt, le, lt
from typing import Any, cast

Predicate = Callable[[Any], bool]

_COMPARE: dict[str, Callable[[float, float], bool]] = {"=": eq, ">": gt, ">=": ge, "<": lt, "<=": le}
_MISSING = object()
REFUSED = "InvalidParameterValueException: Invalid filter pattern definition."
"""What AWS says of a pattern."""


class FilterError(ValueError):
    """A pattern that AWS refuses, or one with an operator that the sandbox does not imitate."""


def any_of(patterns: Iterable[str]) -> Predicate:
    """Whether a record, an event's JSON, passes at least one of `patterns`; everything passes where there is none.

    Raises
    ------
    FilterError
        A pattern is not a JSON object of objects and lists, or uses an operator that is not imitated.
    """
    predicates = [_pattern(_parse(text), "") for text in patterns]
    return lambda record: not predicates or any(predicate(record) for predicate in predicates)


def _parse(text: str) -> dict[str, Any]:
    try:
        parsed = json.loads(text)
    except json.JSONDecodeError as error:
        raise FilterError(f"{REFUSED} {text!r} is not JSON: {error}") from error
    if not isinstance(parsed, dict):
        raise FilterError(f"{REFUSED} {text!r} is no JSON object")
    return cast("dict[str, Any]", parsed)


def _pattern(pattern: Mapping[str, Any], path: str) -> Predicate:
    parts = {key: _node(value, f"{path}.{key}".lstrip(".")) for key, value in pattern.items()}

    def matches(node: object) -> bool:
        fields = cast("dict[str, Any]", node) if isinstance(node, dict) else {}
        return all(part(fields.get(key, _MISSING)) for key, part in parts.items())

    return matches


def _node(value: object, path: str) -> Predicate:
    if isinstance(value, dict):
        return _pattern(cast("dict[str, Any]", value), path)
    if not isinstance(value, list) or not value:
        raise FilterError(f"{REFUSED} {path} must be an object or a list of rules: {value!r}")
    rules = [_rule(rule, path) for rule in cast("list[Any]", value)]
    return lambda node: any(rule(node) for rule in rules)


def _rule(rule: object, path: str) -> Predicate:
    if not isinstance(rule, dict):
        return _on_leaf(lambda leaf: _same(leaf, rule))
    match cast("dict[str, Any]", rule):
        case {"exists": bool(wanted), **rest} if not rest:
            # Only a leaf exists: recorded on AWS, a test on an inner node is as if the node were missing.
            return lambda node: (node is not _MISSING and not isinstance(node, dict)) == wanted
        case {"prefix": str(prefix), **rest} if not rest:
            return _on_leaf(lambda leaf: isinstance(leaf, str) and leaf.startswith(prefix))
        case {"anything-but": barred, **rest} if not rest and not isinstance(barred, dict):
            several = cast("list[Any]", barred) if isinstance(barred, list) else [barred]
            return _on_leaf(lambda leaf: not any(_same(leaf, one) for one in several))
        case {"numeric": [*terms], **rest} if not rest and terms and not len(terms) % 2:
            return _numeric(terms, path)
        case _:
            raise FilterError(
                f"{path}: the sandbox does not imitate {json.dumps(rule)}; it knows literals, exists, prefix, "
                "anything-but with values, and numeric"
            )


def _numeric(terms: list[Any], path: str) -> Predicate:
    pairs = list(zip(terms[::2], terms[1::2], strict=True))
    for operator, bound in pairs:
        if operator not in _COMPARE or not _is_number(bound):
            raise FilterError(f"{REFUSED} {path}: {operator!r} {bound!r} compares no numbers")
    # Attributes are strings on the wire, so this matches none of them: recorded on AWS.
    return _on_leaf(lambda leaf: _is_number(leaf) and all(_COMPARE[name](leaf, bound) for name, bound in pairs))


def _on_leaf(test: Predicate) -> Predicate:
    def matches(node: object) -> bool:
        if node is _MISSING or isinstance(node, dict):
            return False
        return any(test(element) for element in cast("list[Any]", node)) if isinstance(node, list) else test(node)

    return matches


def _same(left: object, right: object) -> bool:
    return left == right and isinstance(left, bool) == isinstance(right, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
