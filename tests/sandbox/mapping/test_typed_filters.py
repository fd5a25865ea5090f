"""The patterns of infra.filters match exactly the records that their tests describe.

test_mapping_filters shows that the sandbox matches patterns as AWS does.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, cast

import pytest
from boto3.dynamodb.types import TypeSerializer  # pyright: ignore[reportMissingTypeStubs] -- boto3 is untyped
from hypothesis import given, settings
from hypothesis import strategies as some

from infra import filters
from infra.filters import EventName, Test
from sandbox.mapping.filters import any_of
from sandbox.mapping.records import lambda_record
from tests.fakes.records import STREAM

serialize = cast("Callable[[Any], Any]", cast("Any", TypeSerializer()).serialize)
MISSING = object()
KINDS = {str: str, int: (int, Decimal), bool: bool, bytes: bytes}


def image(item: Mapping[str, Any]) -> dict[str, Any]:
    return {name: serialize(value) for name, value in item.items()}


def typed_record(name: EventName, *, expired: bool = False, **items: Mapping[str, Any]) -> dict[str, Any]:
    """The record of a change in the shape of a Lambda event; `new` and `old` are its images as Python values."""
    images = {f"{part.title()}Image": image(item) for part, item in items.items()}
    expiry = {"userIdentity": {"PrincipalId": "dynamodb.amazonaws.com", "Type": "Service"}} if expired else {}
    event = {"eventName": name, "dynamodb": {"Keys": image({"id": "1"}), **images}, **expiry}
    return lambda_record(event, STREAM)


def insertion(value: Any) -> dict[str, Any]:
    """The insertion of an item with this value in the attribute `a`, or without the attribute if MISSING."""
    return typed_record("INSERT", new={"id": "1"} if value is MISSING else {"id": "1", "a": value})


def passes(event: dict[str, Any], *events: EventName, expired: bool | None = None, **tests: Mapping[str, Test]) -> bool:
    parts = [tests.get(part, {}) for part in ("keys", "new", "old")]
    return any_of([filters.pattern(events, *parts, expired=expired)])(event)


@dataclass(frozen=True)
class Case:
    """A test and the same condition as a Python function."""

    test: Test
    means: Callable[[Any], bool]


def is_a(kind: type, value: Any) -> bool:
    return isinstance(value, KINDS[kind]) and isinstance(value, bool) == (kind is bool)


def equal(left: object, right: object) -> bool:
    return left == right and isinstance(left, bool) == isinstance(right, bool)


# Few values, so that a test often meets a value that matches.
names = some.sampled_from(["a", "b"])
texts = some.sampled_from(["", "a", "A", "ab", "B"])
numbers = some.sampled_from([0, 1, -2, Decimal("0.5"), Decimal(10**20)])
blobs = some.sampled_from([b"", b"a", b"\xff\xfe\xfd"])
scalars = texts | numbers | some.booleans() | blobs
sets = some.one_of(*(some.sets(each, min_size=1) for each in (texts.filter(bool), numbers, blobs.filter(bool))))
leaves = scalars | some.none() | sets
values = leaves | some.dictionaries(names, leaves, max_size=2) | some.lists(leaves, max_size=2)
attributes = some.just(MISSING) | values


def exclusions(one: some.SearchStrategy[Any], kind: type) -> some.SearchStrategy[Case]:
    return some.lists(one, min_size=1, max_size=2).map(
        lambda several: Case(filters.not_in(*several), lambda v: is_a(kind, v) and v not in several)
    )


def simple() -> some.SearchStrategy[Case]:
    """Tests of one attribute that is not a map."""
    kinds = some.sampled_from(list(KINDS))
    return some.one_of(
        scalars.map(lambda value: Case(value, lambda v: equal(v, value))),
        kinds.map(lambda kind: Case(filters.exists(kind), lambda v: is_a(kind, v))),
        kinds.map(lambda kind: Case(filters.absent(kind), lambda v: not is_a(kind, v))),
        some.just(Case(filters.absent(), lambda v: v is MISSING or isinstance(v, dict | list))),
        some.just(Case(filters.null(), lambda v: v is None)),
        texts.map(lambda text: Case(filters.prefix(text), lambda v: isinstance(v, str) and v.startswith(text))),
        texts.map(lambda text: Case(filters.suffix(text), lambda v: isinstance(v, str) and v.endswith(text))),
        texts.map(
            lambda one: Case(filters.ignoring_case(one), lambda v: is_a(str, v) and v.casefold() == one.casefold())
        ),
        (texts | numbers | blobs).map(
            lambda one: Case(filters.contains(one), lambda v: isinstance(v, set) and one in cast("set[Any]", v))
        ),
        exclusions(texts, str) | exclusions(numbers, int),
    )


def composed(inner: some.SearchStrategy[Case]) -> some.SearchStrategy[Case]:
    """Alternatives, and tests of a map's members."""

    def of_members(members: dict[str, Case]) -> Case:
        def means(value: Any) -> bool:
            of = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
            return all(case.means(of.get(name, MISSING)) for name, case in members.items())

        return Case({name: case.test for name, case in members.items()}, means)

    return some.lists(inner, min_size=1, max_size=3).map(
        lambda cases: Case(filters.any_of(*(case.test for case in cases)), lambda v: any(c.means(v) for c in cases))
    ) | some.dictionaries(names, inner, min_size=1, max_size=2).map(of_members)


cases = some.recursive(simple(), composed, max_leaves=4)


NESTED: list[Any] = [{"a": "a"}, {"a": None}, ["a"]]
ATTRIBUTES: list[Any] = [
    MISSING, None, True, False, 0, 1, Decimal("0.5"), "", "a", "A", "ab", b"a", b"\xff\xfe\xfd",
    {"a", "b"}, {0, 1}, {b"a", b"b"}, *NESTED,
]  # fmt: skip


@pytest.mark.parametrize(
    ("test", "matching"),
    [
        ("a", ["a"]),
        ("", [""]),
        (True, [True]),
        (1, [1]),
        (Decimal("0.50"), [Decimal("0.5")]),
        (b"\xff\xfe\xfd", [b"\xff\xfe\xfd"]),
        (filters.null(), [None]),
        (filters.exists(str), ["", "a", "A", "ab"]),
        (filters.exists(bytes), [b"a", b"\xff\xfe\xfd"]),
        (filters.prefix("a"), ["a", "ab"]),
        (filters.suffix("b"), ["ab"]),
        (filters.ignoring_case("A"), ["a", "A"]),
        (filters.contains("a"), [{"a", "b"}]),
        (filters.contains(1), [{0, 1}]),
        (filters.contains(b"a"), [{b"a", b"b"}]),
        (filters.not_in("a", "ab"), ["", "A"]),
        (filters.not_in(1), [0, Decimal("0.5")]),
        (filters.not_in(b"a"), [b"\xff\xfe\xfd"]),
        (filters.any_of("a", 1, filters.null(), {"a": "a"}), [None, 1, "a", {"a": "a"}]),
        (filters.any_of("a", filters.suffix("b")), ["a", "ab"]),
        ({"a": filters.null()}, [{"a": None}]),
        (filters.absent(), [MISSING, *NESTED]),
        (filters.any_of(filters.not_in("a", "ab"), filters.absent()), [MISSING, "", "A", *NESTED]),
        (filters.absent(str), [each for each in ATTRIBUTES if not isinstance(each, str)]),
        (filters.absent(int, str), [each for each in ATTRIBUTES if not is_a(str, each) and not is_a(int, each)]),
    ],
    ids=lambda value: "" if isinstance(value, list) else repr(value),  # the order of a set differs between workers
)
def test_a_test_matches_no_other_attributes(test: Test, matching: list[Any]) -> None:
    matches = [each for each in ATTRIBUTES if passes(insertion(each), new={"a": test})]
    assert [repr(each) for each in matches] == [repr(each) for each in matching]  # True equals 1


@settings(max_examples=1_000)
@given(case=cases, value=attributes)
def test_a_pattern_matches_as_its_test_means(case: Case, value: Any) -> None:
    assert passes(insertion(value), new={"a": case.test}) is case.means(value)


@given(case=cases, other=cases, value=attributes)
def test_all_attributes_must_match(case: Case, other: Case, value: Any) -> None:
    old = {"id": "1"} if value is MISSING else {"id": "1", "a": value}
    passed = passes(typed_record("REMOVE", old=old), old={"a": case.test, "b": other.test})
    assert passed is (case.means(value) and other.means(MISSING))


@given(case=cases)
def test_a_change_without_an_image_matches_no_test_of_the_image(case: Case) -> None:
    assert not passes(typed_record("REMOVE", old={"a": "a"}), new={"a": case.test})
    assert not passes(typed_record("INSERT", new={"a": "a"}), old={"a": case.test})


DELETED, EXPIRED = (typed_record("REMOVE", old={"id": "1"}, expired=expired) for expired in (False, True))
INSERTED = typed_record("INSERT", new={"id": "1"})


@pytest.mark.parametrize(
    ("events", "expired", "matching"),
    [
        (["REMOVE"], None, [DELETED, EXPIRED]),
        (["REMOVE"], True, [EXPIRED]),
        (["REMOVE"], False, [DELETED]),
        ([], True, [EXPIRED]),
        ([], False, [INSERTED, DELETED]),
        (["INSERT", "REMOVE"], False, [INSERTED, DELETED]),
        (["INSERT"], False, [INSERTED]),
    ],
)
def test_expiries(events: list[EventName], expired: bool | None, matching: list[dict[str, Any]]) -> None:
    matches = [each for each in (INSERTED, DELETED, EXPIRED) if passes(each, *events, expired=expired)]
    assert matches == matching


def test_an_expiry_is_tested_with_its_old_image() -> None:
    expired = typed_record("REMOVE", old={"kind": "session"}, expired=True)
    assert passes(expired, "REMOVE", expired=True, old={"kind": filters.any_of("session", "token")})
    assert not passes(expired, "REMOVE", expired=True, old={"kind": "order"})


def test_a_dot_in_a_name_is_not_a_path() -> None:
    assert passes(typed_record("INSERT", new={"a.b": "x"}), new={"a.b": "x"})
    assert not passes(typed_record("INSERT", new={"a": {"b": "x"}}), new={"a.b": "x"})
    assert not passes(typed_record("INSERT", new={"a.b": "x"}), new={"a": {"b": "x"}})
