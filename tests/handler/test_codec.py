"""Errors about values: they name what is wrong, and show no whole item."""

from decimal import Decimal
from typing import Any

import pytest

from handler.stream.change import Change, MalformedChangeError
from handler.stream.codec import brief, encode_item
from tests.fakes.records import record

LONG = "secret" * 100


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((None, "None"), (True, "True"), (7, "7"), (1.5, "1.5"), (Decimal(2), "Decimal('2')"), ("abc", "'abc'")),
        ("x" * 41, f"'{'x' * 40}'… of 41 characters"),
        (b"x" * 41, f"b'{'x' * 40}'… of 41 characters"),
        ({}, "an empty object"),
        ({"a": LONG, "b": LONG}, "an object with a, b"),
        (dict.fromkeys("abcdefghijk", LONG), "an object with a, b, c, d, e, f, g, h, i, j, …"),
        *(([LONG], "a list of 1 values"), ({LONG, ""}, "a set of 2 values"), (object(), "a object")),
    ],
)
def test_an_error_shows_short_values_and_names_the_kind_of_the_others(value: Any, text: str) -> None:
    assert brief(value) == text


@pytest.mark.parametrize(
    "value",
    [
        *({"S": [LONG]}, {"N": LONG}, {"B": f"{LONG}é"}, {"SS": LONG}, {"SS": [{"S": LONG}]}, {"NS": [LONG]}),
        *({"L": {"S": LONG}}, {"M": [{"S": LONG}]}, {"S": LONG, "N": LONG}, {LONG: ""}, [LONG], LONG),
    ],
)
def test_an_error_about_an_image_does_not_show_its_values(value: Any) -> None:
    for image in ({"a": value}, [{"a": value}]):
        with pytest.raises(MalformedChangeError, match=r"dynamodb\.NewImage") as caught:
            _ = Change(record(1, NewImage=image)).new_image
        assert LONG not in str(caught.value)


@pytest.mark.parametrize("value", [{LONG, 1}, {1.5: LONG}, object(), [{LONG, 1}]])
def test_an_error_about_an_item_does_not_show_its_values(value: Any) -> None:
    with pytest.raises(TypeError) as caught:
        encode_item({"a": value} if not isinstance(value, dict) else {"a": {"b": {LONG, 1}}})
    assert LONG not in str(caught.value)
