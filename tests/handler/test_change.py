"""Change: its properties have the exact values of the record, and decode them on first use."""

import base64
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from handler.stream.change import Change, ImageNotInStreamError, MalformedChangeError, PermanentError
from handler.stream.codec import encode
from handler.stream.testing import as_recorded
from tests.fakes.records import STREAM, record

B64 = base64.b64encode(b"\x00\xff").decode()


def native_value(value: Any) -> Any:
    """Return the native value of one attribute of a new image."""
    return (Change(record(1, NewImage={"a": value})).new_image or {})["a"]


@pytest.mark.parametrize(
    ("wire", "native"),
    [
        *[({"S": text}, text) for text in ("", "é")],
        *[({"N": text}, Decimal(text)) for text in ("0", "-0.10", "1" * 38, "1" * 60, f"9.{'9' * 37}E+125", "1E-130")],
        *[({"N": "1" + "0" * 125}, Decimal("1E+125")), ({"N": "." + "0" * 129 + "1"}, Decimal("1E-130"))],
        *[({"B": B64}, b"\x00\xff"), ({"B": ""}, b""), ({"BOOL": False}, False), ({"NULL": True}, None)],
        *[({"SS": ["a", "b"]}, {"a", "b"}), ({"BS": [B64, ""]}, {b"\x00\xff", b""}), ({"L": []}, []), ({"M": {}}, {})],
        ({"NS": ["1", "1E-130", "1" * 60]}, {Decimal(1), Decimal("1E-130"), Decimal("1" * 60)}),
        ({"M": {"": {"L": [{"M": {"n": {"NS": ["2"]}}}, {"NULL": True}]}}}, {"": [{"n": {Decimal(2)}}, None]}),
    ],
)
def test_values_are_native_and_exact(wire: Any, native: Any) -> None:
    value = native_value(wire)
    assert value == native
    assert type(value) is type(native)


@pytest.mark.parametrize(
    "wire",
    [
        *[{"N": number} for number in ("NaN", "Infinity", "1_000", " 1", "", ".", "٣", 1)],
        *[{"S": 1}, {"B": "***"}, {"B": "YQ"}, {"BOOL": "true"}, {"NULL": 1}, {"X": "a"}],
        *[{"SS": "ab"}, {"SS": [1]}, {"NS": ["x"]}, {"BS": [1]}, {"L": {}}, {"L": ["a"]}, {"M": []}],
        *[{"M": {"x": {"N": "x"}}}, {}, {"S": "a", "N": "1"}, "a", None, []],
    ],
)
def test_the_error_for_invalid_dynamodb_json_names_the_record_and_the_field(wire: Any) -> None:
    with pytest.raises(MalformedChangeError, match=r"record 'event-1': dynamodb\.NewImage\.a: "):
        native_value(wire)


@pytest.mark.parametrize("image", [None, [], "a"])
def test_an_image_that_is_not_an_item_is_malformed(image: Any) -> None:
    with pytest.raises(MalformedChangeError, match=r"dynamodb\.NewImage: .* is not an item"):
        _ = Change(record(1, NewImage=image)).new_image


def test_an_undecodable_image_is_a_permanent_error_on_first_use() -> None:
    change = Change(record(1, NewImage={"a": {"N": "x"}}))
    assert (change.keys, change.old_image) == ({"id": "a"}, {"id": "a", "n": Decimal(1)})
    with pytest.raises(PermanentError):
        _ = change.new_image


def test_an_image_is_decoded_once() -> None:
    change = Change(record(1))
    assert change.new_image is change.new_image


def test_a_change_has_the_values_of_its_record() -> None:
    raw = record(7, "x", name="INSERT", at=1_800_000_000)
    change = Change(raw)
    assert (change.event_id, change.event_name) == ("event-7", "INSERT")
    assert type(change.event_name) is str
    assert (change.keys, change.new_image) == ({"id": "x"}, {"id": "x", "n": Decimal(7)})
    assert change.old_image is None
    assert change.sequence_number == "100000000000000000007"
    assert change.version == f"{STREAM}#{'0' * 19}100000000000000000007"
    assert change.created_at == datetime(2027, 1, 15, 8, tzinfo=UTC)
    assert change.table_name == "orders"
    assert change.stream.label == "2026-01-01T00:00:00.000"
    assert (change.stream_arn, change.origin, change.raw) == (STREAM, "stream", raw)
    assert not change.is_expiry


def test_raw_is_a_single_copy() -> None:
    """A handler may change the copy: the engine holds or parks the record as Lambda delivered it."""
    change = Change(record(1))
    assert change.raw is change.raw
    change.raw["dynamodb"]["Keys"]["id"].clear()
    change.raw["dynamodb"].pop("NewImage")
    assert change.record == record(1)
    assert (change.keys, change.new_image) == ({"id": "a"}, {"id": "a", "n": Decimal(1)})


def test_removals_and_insertions_lack_one_image() -> None:
    assert Change(record(1, name="REMOVE")).new_image is None
    assert Change(record(1, name="INSERT")).old_image is None


@pytest.mark.parametrize(
    ("view", "has"),
    [
        *[("KEYS_ONLY", ()), ("NEW_IMAGE", ("new_image",)), ("OLD_IMAGE", ("old_image",))],
        ("NEW_AND_OLD_IMAGES", ("new_image", "old_image")),
    ],
)
@pytest.mark.parametrize("name", ["INSERT", "MODIFY", "REMOVE"])
def test_an_image_that_the_view_type_leaves_out_raises(view: str, has: tuple[str, ...], name: str) -> None:
    raw = record(1, name=name, StreamViewType=view)
    for image, field in (("new_image", "NewImage"), ("old_image", "OldImage")):
        if image in has:
            assert getattr(Change(raw), image) == getattr(Change(record(1, name=name)), image)
        else:
            raw["dynamodb"].pop(field, None)
            with pytest.raises(ImageNotInStreamError, match=f"{field} of orders: the stream's view type is {view}"):
                getattr(Change(raw), image)


@pytest.mark.parametrize(
    ("name", "image", "field"), [("INSERT", "new_image", "NewImage"), ("REMOVE", "old_image", "OldImage")]
)
def test_a_missing_image_is_malformed(name: str, image: str, field: str) -> None:
    """With None, a mirror would remove the item."""
    raw = record(1, name=name)
    del raw["dynamodb"][field]
    with pytest.raises(MalformedChangeError, match=f"dynamodb.{field}: missing in a record of {name}"):
        getattr(Change(raw), image)


@pytest.mark.parametrize(
    ("difference", "is_expiry"), [({}, True), ({"type": "User"}, False), ({"principalId": "x"}, False), (None, False)]
)
def test_an_expiry_differs_from_a_removal(difference: dict[str, str] | None, is_expiry: bool) -> None:
    identity = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}
    user = None if difference is None else identity | difference
    assert Change({**record(1, name="REMOVE"), "userIdentity": user}).is_expiry is is_expiry


def test_versions_sort_in_stream_order_and_a_later_streams_versions_sort_after_them() -> None:
    later = STREAM.replace("2026-01-01", "2026-01-02")
    numbers = [("9" * 21, STREAM), ("1" + "0" * 21, STREAM), ("9" * 40, STREAM), ("1" * 21, later)]
    versions = [Change(record(1, SequenceNumber=number, stream=stream)).version for number, stream in numbers]
    assert versions == sorted(versions)
    assert len({len(version) for version in versions}) == 1


@pytest.mark.parametrize(
    ("change", "attribute", "message"),
    [
        ({"eventID": None}, "event_id", "eventID: None is not a non-empty string"),
        ({"eventName": "TRUNCATE"}, "event_name", "eventName: 'TRUNCATE' is none of INSERT, MODIFY, REMOVE"),
        ({"eventSourceARN": "arn:aws:sqs:x:1:q"}, "table_name", "eventSourceARN: 'arn:aws:sqs:x:1:q' is not the ARN"),
        ({"dynamodb": None}, "keys", "dynamodb: missing, or not an object"),
        ({"dynamodb": {}}, "keys", "dynamodb.Keys: missing"),
        ({"dynamodb": {}}, "sequence_number", "dynamodb.SequenceNumber: None is not a non-empty string"),
        ({"dynamodb": {"ApproximateCreationDateTime": "x"}}, "created_at", "dynamodb.ApproximateCreationDateTime: "),
    ],
)
def test_the_error_names_a_missing_or_invalid_field(change: dict[str, Any], attribute: str, message: str) -> None:
    with pytest.raises(MalformedChangeError, match=message.replace(".", r"\.")):
        getattr(Change({**record(1), **change}), attribute)


@pytest.mark.parametrize(
    "value",
    [
        *[None, True, "", "é", Decimal("1" * 60), Decimal("1E-130"), 7, b"\x00", [], {}],
        *[{"a", "b"}, {Decimal(1)}, {b"\x00"}, [{"a": [None, {b"x"}]}]],
    ],
)
def test_a_decoded_value_can_be_encoded_again(value: Any) -> None:
    assert native_value(as_recorded(encode(value))) == value


@pytest.mark.parametrize(
    "value", [1.5, Decimal("NaN"), Decimal("Infinity"), set[str](), {"a", Decimal(1)}, {True}, object(), [{"a": 1.5}]]
)
def test_a_value_that_dynamodb_cannot_hold_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="DynamoDB cannot hold"):
        encode(value)
