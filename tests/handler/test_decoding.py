"""Decoding against boto3's TypeDeserializer, for any value; and what is refused, wherever it stands."""

import base64
import decimal
import re
from decimal import Decimal
from typing import Any, cast

import pytest
from boto3.dynamodb.types import Binary, TypeDeserializer  # pyright: ignore[reportMissingTypeStubs]
from hypothesis import given
from hypothesis import strategies as st

from handler.stream.change import Change, MalformedChangeError
from handler.stream.codec import decode
from tests.fakes.records import record

PEER = cast(Any, TypeDeserializer())
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
"""What a number of DynamoDB's JSON looks like; `Decimal(text)` takes more."""
MALFORMED: list[Any] = [
    *[
        {"N": text}
        for text in ("NaN", "sNaN1", "-Infinity", "1_0", " 1", "1 ", "1\n", "", ".", "1e", "٣", "1٣", "x", 1)
    ],
    *[
        {"N": None},
        {"N": 1.5},
        {"N": True},
        {"N": ["1"]},
        {"N": "1e99999999999999999999"},
        {"N": "0e-99999999999999999999"},
    ],
    *[{"S": 1}, {"S": None}, {"S": ["a"]}, {"B": "***"}, {"B": "YQ"}, {"B": "YQ==\n"}, {"B": "é"}, {"B": 1}],
    *[{"BOOL": "true"}, {"BOOL": 1}, {"NULL": 1}, {"NULL": None}, {"X": "a"}, {"s": "a"}, {"": "a"}],
    *[{"SS": "ab"}, {"SS": [1]}, {"SS": [["a"]]}, {"SS": {"a": 1}}, {"NS": ["x"]}, {"NS": [1]}, {"NS": "1"}],
    *[{"BS": [1]}, {"BS": ["***"]}, {"L": {}}, {"L": "a"}, {"L": ["S"]}, {"L": [None]}, {"M": []}, {"M": {"a": "S"}}],
    *[{}, {"S": "a", "N": "1"}, "a", "S", "", "SS", None, [], ["S"], [["S"]], [{"S": "a"}], 0, 1, True],
]

numbers = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**30), max_value=10**30, places=5)
number_texts = st.one_of(numbers.map(str), st.integers(-(10**38) + 1, 10**38 - 1).map(str), st.just("1E-130"))
binaries = st.binary(max_size=8).map(lambda data: base64.b64encode(data).decode())
leaves = st.one_of(
    *(st.fixed_dictionaries({"S": st.text()}), st.fixed_dictionaries({"N": number_texts})),
    *(st.fixed_dictionaries({"B": binaries}), st.fixed_dictionaries({"BOOL": st.booleans()}), st.just({"NULL": True})),
    *(
        st.fixed_dictionaries({kind: st.lists(texts, unique=True, max_size=4)})
        for kind, texts in (("SS", st.text()), ("NS", number_texts), ("BS", binaries))
    ),
)


def nested_in(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return lists and maps of values."""
    return st.one_of(
        st.fixed_dictionaries({"L": st.lists(values, max_size=4)}),
        st.fixed_dictionaries({"M": st.dictionaries(st.text(max_size=3), values, max_size=4)}),
    )


items = st.dictionaries(st.text(max_size=3), st.recursive(leaves, nested_in, max_leaves=10), max_size=5)


def in_bytes(value: Any) -> Any:
    """Return a value as boto3's client answers it: binary as bytes, where a stream record has base64."""
    [(kind, content)] = value.items()
    match kind:
        case "B":
            return {"B": base64.b64decode(content)}
        case "BS":
            return {"BS": [base64.b64decode(each) for each in content]}
        case "L":
            return {"L": [in_bytes(each) for each in content]}
        case "M":
            return {"M": {name: in_bytes(each) for name, each in content.items()}}
        case _:
            return value


def plain(value: Any) -> Any:
    """Return a value of the TypeDeserializer with bytes for its own class Binary."""
    match value:
        case Binary():
            return cast(Any, value).value
        case set():
            return {plain(each) for each in cast(set[Any], value)}
        case list():
            return [plain(each) for each in cast(list[Any], value)]
        case dict():
            return {name: plain(each) for name, each in cast(dict[str, Any], value).items()}
        case _:
            return value


def spelled(value: Any) -> Any:
    """Return a value in which numbers that are equal and written differently differ: 1 and 1.0."""
    match value:
        case set():
            return sorted(map(repr, cast(set[Any], value)))
        case list():
            return [spelled(each) for each in cast(list[Any], value)]
        case dict():
            return [(name, spelled(each)) for name, each in cast(dict[str, Any], value).items()]
        case _:
            return repr(value)


@given(items)
def test_an_item_is_decoded_as_boto3_decodes_it(item: dict[str, Any]):
    """Types, digits and the order of names included; longer numbers have their own test, since boto3 refuses them."""
    image = Change(record(1, NewImage=item)).new_image
    assert spelled(image) == spelled({name: plain(PEER.deserialize(in_bytes(value))) for name, value in item.items()})


@given(st.one_of(st.from_regex(NUMBER, fullmatch=True), st.text(alphabet="0123456789.+-eE_ \n٣naifNAIF")))
def test_a_number_is_exact_or_refused(text: str):
    try:
        expected = Decimal(text) if NUMBER.fullmatch(text) else None
    except decimal.InvalidOperation:  # an exponent of more than 18 digits
        expected = None
    if expected is None:
        with pytest.raises(ValueError, match="is not a number"):
            decode({"N": text})
    else:
        assert repr(decode({"N": text})) == repr(expected)


def test_a_handlers_own_decimal_context_changes_no_number():
    with decimal.localcontext(decimal.Context(prec=2, traps=[])) as context:
        assert decode({"N": "1" * 60}) == Decimal("1" * 60)
        with pytest.raises(ValueError, match="is not a number"):
            decode({"N": "1e"})
        assert not any(context.flags.values())


@pytest.mark.parametrize("malformed", MALFORMED, ids=repr)
def test_what_dynamodb_does_not_write_is_refused(malformed: Any):
    with pytest.raises(ValueError, match=r"is not|holds"):
        decode(malformed)


@given(items, st.sampled_from(MALFORMED), st.lists(st.sampled_from("LM"), max_size=3))
def test_a_malformed_value_is_refused_wherever_it_stands(item: dict[str, Any], malformed: Any, path: list[str]):
    """The error names the attribute, also if valid ones stand before and after it, and hides no other."""
    value: Any = malformed
    for kind in path:
        value = {"L": [{"S": ""}, value]} if kind == "L" else {"M": {"a": {"S": ""}, "b": value}}
    image: dict[str, Any] = {**item, "malformed": value, "after": {"N": "1"}}
    with pytest.raises(MalformedChangeError, match=r"record 'event-1': dynamodb\.NewImage\.malformed: "):
        _ = Change(record(1, NewImage=image)).new_image
