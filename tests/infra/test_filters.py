"""Filters: the patterns they become, and those that cannot be said because AWS would never match them."""

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pulumi
import pytest

from infra.filters import (
    EventName,
    Test,
    absent,
    any_of,
    contains,
    exists,
    ignoring_case,
    not_in,
    null,
    numeric,
    pattern,
    prefix,
    suffix,
    type_key,
)

ABSENT = [{"exists": False}]
ABSENT_AS_ANY_TYPE = dict.fromkeys(("S", "N", "B", "SS", "NS", "BS", "BOOL", "NULL"), ABSENT)


def new_image(**tests: Test) -> Any:
    return json.loads(pattern(["INSERT"], {}, tests, {}))["dynamodb"]["NewImage"]


@pytest.mark.parametrize(
    ("test", "rule"),
    [
        ("Paris", {"S": ["Paris"]}),
        ("", {"S": [""]}),
        (True, {"BOOL": [True]}),
        (0, {"N": ["0"]}),
        (-100, {"N": ["-100"]}),
        (10**37, {"N": ["1" + 37 * "0"]}),
        (Decimal("1.50"), {"N": ["1.5"]}),
        (Decimal("-0.0"), {"N": ["0"]}),
        (Decimal("1E+3"), {"N": ["1000"]}),
        (Decimal("12345678901234567890123456789012345678"), {"N": ["12345678901234567890123456789012345678"]}),
        (exists(str), {"S": [{"exists": True}]}),
        (exists(int), {"N": [{"exists": True}]}),
        (exists(bool), {"BOOL": [{"exists": True}]}),
        (exists(bytes), {"B": [{"exists": True}]}),
        (prefix("a"), {"S": [{"prefix": "a"}]}),
        (not_in("a", "b"), {"S": [{"anything-but": ["a", "b"]}]}),
        (not_in(1, Decimal("2.0")), {"N": [{"anything-but": ["1", "2"]}]}),
        (
            {"city": "Paris", "geo": {"lat": 48}},
            {"M": {"city": {"S": ["Paris"]}, "geo": {"M": {"lat": {"N": ["48"]}}}}},
        ),
        (b"\xff\xfe\xfd", {"B": ["//79"]}),
        (not_in(b"a"), {"B": [{"anything-but": ["YQ=="]}]}),
        (null(), {"NULL": [True]}),
        (suffix(".png"), {"S": [{"suffix": ".png"}]}),
        (ignoring_case("Paris"), {"S": [{"equals-ignore-case": "Paris"}]}),
        (contains("red"), {"SS": ["red"]}),
        (contains(Decimal("1.0")), {"NS": ["1"]}),
        (contains(b"a"), {"BS": ["YQ=="]}),
        (absent(str), {"S": ABSENT}),
        (absent(int, Decimal, str), {"N": ABSENT, "S": ABSENT}),
        (absent(), ABSENT_AS_ANY_TYPE),
        (any_of("a"), {"S": ["a"]}),
        (any_of("a", prefix("b"), any_of("c", absent(str))), {"S": ["a", {"prefix": "b"}, "c", {"exists": False}]}),
        (any_of("a", 1, "b", null()), {"$or": [{"S": ["a", "b"]}, {"N": ["1"]}, {"NULL": [True]}]}),
        (any_of(not_in("a"), absent()), {"$or": [{"S": [{"anything-but": ["a"]}]}, ABSENT_AS_ANY_TYPE]}),
        (any_of({"a": 1}, {"b": 1}), {"$or": [{"M": {"a": {"N": ["1"]}}}, {"M": {"b": {"N": ["1"]}}}]}),
    ],
    ids=repr,
)
def test_a_test_says_the_type_that_a_stream_record_has(test: Test, rule: dict[str, Any]) -> None:
    assert new_image(a=test) == {"a": rule}


@pytest.mark.parametrize(
    ("events", "keys", "new", "old", "expected"),
    [
        ([], {}, {}, {}, ""),
        (["INSERT"], {}, {}, {}, '{"eventName":["INSERT"]}'),
        (["REMOVE", "INSERT", "INSERT"], {}, {}, {}, '{"eventName":["INSERT","REMOVE"]}'),
        (
            ["MODIFY"],
            {"id": "1"},
            {"n": 1},
            {"n": 2},
            '{"eventName":["MODIFY"],"dynamodb":{"Keys":{"id":{"S":["1"]}},"NewImage":{"n":{"N":["1"]}},'
            '"OldImage":{"n":{"N":["2"]}}}}',
        ),
    ],
)
def test_a_pattern_joins_its_tests(
    events: list[EventName], keys: dict[str, Test], new: dict[str, Test], old: dict[str, Test], expected: str
) -> None:
    assert pattern(events, keys, new, old) == expected


def changes(
    *events: EventName, new: Test | None = None, old: Test | None = None, expired: bool | None = None
) -> dict[str, Any]:
    """The pattern but for the images."""
    images: list[dict[str, Test]] = [{} if test is None else {"a": test} for test in (new, old)]
    return {
        key: value
        for key, value in json.loads(pattern(events, {}, *images, expired=expired)).items()
        if key != "dynamodb"
    }


EXPIRED = {"type": ["Service"], "principalId": ["dynamodb.amazonaws.com"]}


def test_expiries_are_told_by_their_identity() -> None:
    assert changes("REMOVE", expired=True) == {"eventName": ["REMOVE"], "userIdentity": EXPIRED}
    assert changes(expired=True) == {"userIdentity": EXPIRED}
    assert changes("REMOVE", expired=False) == {"eventName": ["REMOVE"], "userIdentity": {"type": ABSENT}}
    assert changes("REMOVE", old="a", expired=True) == {"eventName": ["REMOVE"], "userIdentity": EXPIRED}


@pytest.mark.parametrize("absent_test", [absent(), absent(str), any_of("a", absent(str)), {"b": absent()}], ids=repr)
def test_an_image_that_is_not_there_passes_no_test_of_absence(absent_test: Test) -> None:
    assert changes(new=absent_test) == {"eventName": ["INSERT", "MODIFY"]}
    assert changes(old=absent_test) == {"eventName": ["MODIFY", "REMOVE"]}
    assert changes("INSERT", "REMOVE", new=absent_test) == {"eventName": ["INSERT"]}
    assert changes(new=absent_test, old=absent_test) == {"eventName": ["MODIFY"]}
    assert changes(old=absent_test, expired=True) == {"eventName": ["REMOVE"], "userIdentity": EXPIRED}


@pytest.mark.parametrize("present", ["a", exists(str), not_in("a"), null(), {"b": absent(), "c": 1}], ids=repr)
def test_where_an_attribute_must_be_there_the_events_need_not_be_named(present: Test) -> None:
    assert changes(new=present) == changes(old=present) == {}


@pytest.mark.parametrize(
    ("test", "key"),
    [("a", "S"), (1, "N"), (b"a", "B"), (prefix("a"), "S"), (any_of("a", suffix("b")), "S"), ({"a": 1}, "M")],
    ids=repr,
)
def test_the_type_that_a_test_asks_for(test: Test, key: str) -> None:
    assert type_key("id", test) == key


UNEQUALLED = "no attribute can equal this value; use a str, int, bool, bytes or a Decimal of up to 38 digits"
TYPES = "a filter can test only str, bool, int, Decimal, bytes; test one member of a map, or of a set with contains"
NUMBERS = (
    "AWS accepts a comparison of numbers but never matches it, because a stream record has numbers as text; list the "
    "numbers with any_of(...), store a string or a bool to filter on, or compare in the handler"
)
ONE_TYPE = "pass one or more strings, numbers or bytes, all of one type"
NO_CHANGE = "no change matches this filter: a REMOVE has no new image, and an INSERT has no old image"


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: exists(list), f"exists(list): {TYPES}(...)"),
        (lambda: absent(str, dict), f"absent(dict): {TYPES}(...)"),
        (lambda: not_in(), f"not_in(): {ONE_TYPE}"),
        (lambda: not_in("a", 1), f"not_in('a', 1): {ONE_TYPE}"),
        (lambda: not_in(True), f"not_in(True): {ONE_TYPE}"),
        (
            lambda: not_in("a", prefix("b")),  # pyright: ignore[reportArgumentType] -- that is the mistake
            "not_in takes values, not conditions, like Lambda's anything-but; filter in the handler",
        ),
        (lambda: any_of(), "any_of() never matches: pass a value or a test"),
        (lambda: contains(True), "contains(True): a set has strings, numbers or bytes as members"),
        (lambda: numeric(">", 5), f"numeric('>', 5): {NUMBERS}"),
        (lambda: new_image(n=range(1, 5)), f"n = range(1, 5): {NUMBERS}"),  # pyright: ignore[reportArgumentType] -- as above
        (
            lambda: new_image(a={"b"}),  # pyright: ignore[reportArgumentType] -- as above
            "a = {'b'}: no attribute can equal this value; use contains(...) for one member of a set",
        ),
        (
            lambda: new_image(a=["b"]),  # pyright: ignore[reportArgumentType] -- as above
            "a = ['b']: no attribute can equal this value; use any_of(...) for one of several values; only the "
            "handler can test a list",
        ),
        (lambda: new_image(n=any_of("a", 1.5)), f"n = 1.5: {UNEQUALLED}"),  # pyright: ignore[reportArgumentType] -- as above
        (
            lambda: pattern([], {"id": any_of("1", absent(str))}, {}, {}),
            "id: a key always exists; test its value, or remove the test",
        ),
        (lambda: type_key("id", any_of("1", 1)), "id: the test requires several types, N, S, but a key has one"),
        (lambda: changes(new="a", expired=True), NO_CHANGE),
        (lambda: changes("INSERT", "REMOVE", new="a", old="b"), NO_CHANGE),
        (
            lambda: changes("MODIFY", "REMOVE", expired=True),
            'expired=True with MODIFY: only a REMOVE can be an expiry; use changes("REMOVE", expired=True), and '
            "separate changes(...) for the other events",
        ),
        (lambda: new_image(n=1.5), f"n = 1.5: {UNEQUALLED}"),  # pyright: ignore[reportArgumentType] -- that is the mistake
        (lambda: new_image(n=10**38 + 1), f"n = {10**38 + 1}: {UNEQUALLED}"),
        (lambda: new_image(n=Decimal("NaN")), f"n = Decimal('NaN'): {UNEQUALLED}"),
        (
            lambda: new_image(m={"n": None}),  # pyright: ignore[reportArgumentType] -- as above
            "m.n = None: no attribute can equal this value; use null() for DynamoDB's null, and absent() for a "
            "missing attribute",
        ),
        (lambda: new_image(m={}), "m: the map names no member to test"),
        (
            lambda: new_image(a="x" * 4_096),
            "the filter has 4,161 characters, but Lambda allows 4,096; filter in the handler",
        ),
    ],
)
def test_what_could_never_match_cannot_be_said(build: Callable[[], object], message: str) -> None:
    with pytest.raises(pulumi.RunError) as caught:
        build()
    assert str(caught.value) == message
