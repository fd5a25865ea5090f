"""Filters: the patterns they become, and those that cannot be said because AWS would never match them."""

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pulumi
import pytest

from infra.filters import EventName, Test, exists, not_in, pattern, prefix


def new_image(**tests: Test) -> Any:
    return json.loads(pattern([], {}, tests, {}))["dynamodb"]["NewImage"]


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


UNEQUALLED = "no attribute equals that; take a str, int, bool or a Decimal of up to 38 digits"


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (lambda: exists(list), "exists(list): a filter sees leaves only: str, bool, int, Decimal, bytes"),
        (lambda: not_in(), "not_in(): name strings or numbers, at least one, and not both"),
        (lambda: not_in("a", 1), "not_in('a', 1): name strings or numbers, at least one, and not both"),
        (lambda: new_image(n=1.5), f"n = 1.5: {UNEQUALLED}"),  # pyright: ignore[reportArgumentType] -- that is the mistake
        (lambda: new_image(n=10**38 + 1), f"n = {10**38 + 1}: {UNEQUALLED}"),
        (lambda: new_image(n=Decimal("NaN")), f"n = Decimal('NaN'): {UNEQUALLED}"),
        (lambda: new_image(m={"n": None}), f"m.n = None: {UNEQUALLED}"),  # pyright: ignore[reportArgumentType] -- as above
        (lambda: new_image(m={}), "m: a map with no member to test"),
        (lambda: new_image(a="x" * 4_096), "a filter of 4138 characters: Lambda takes 4,096; filter in the handler"),
    ],
)
def test_what_could_never_match_cannot_be_said(said: Callable[[], object], message: str) -> None:
    with pytest.raises(pulumi.RunError) as caught:
        said()
    assert str(caught.value) == message
