"""A change says exactly what its record says, and says so only when it is asked."""

import base64
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from handler.stream.change import Change, ImageNotInStreamError, MalformedChangeError, PermanentError
from handler.stream.codec import encode
from tests.fakes.records import STREAM, record

B64 = base64.b64encode(b"\x00\xff").decode()


def native_value(value: Any) -> Any:
    """The native value of one attribute of a new image."""
    return (Change(record(1, NewImage={"a": value})).new_image or {})["a"]


@pytest.mark.parametrize(
    ("wire", "native"),
    [
        ({"S": ""}, ""),
        ({"S": "é"}, "é"),
        ({"N": "0"}, Decimal(0)),
        ({"N": "-0.10"}, Decimal("-0.10")),
        ({"N": "1" * 38}, Decimal("1" * 38)),
        ({"N": "1" * 60}, Decimal("1" * 60)),
        ({"N": "1" + "0" * 125}, Decimal("1E+125")),
        (
            {"N": "9.9999999999999999999999999999999999999E+125"},
            Decimal("9.9999999999999999999999999999999999999E+125"),
        ),
        ({"N": "1E-130"}, Decimal("1E-130")),
        ({"N": "." + "0" * 129 + "1"}, Decimal("1E-130")),
        ({"B": B64}, b"\x00\xff"),
        ({"B": ""}, b""),
        ({"BOOL": False}, False),
        ({"NULL": True}, None),
        ({"SS": ["a", "b"]}, {"a", "b"}),
        ({"NS": ["1", "1E-130", "1" * 60]}, {Decimal(1), Decimal("1E-130"), Decimal("1" * 60)}),
        ({"BS": [B64, ""]}, {b"\x00\xff", b""}),
        ({"L": []}, []),
        ({"M": {}}, {}),
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
        {"N": "NaN"},
        {"N": "Infinity"},
        {"N": "1_000"},
        {"N": " 1"},
        {"N": ""},
        {"N": "."},
        {"N": "٣"},
        {"N": 1},
        {"S": 1},
        {"B": "***"},
        {"B": "YQ"},
        {"BOOL": "true"},
        {"NULL": 1},
        {"SS": "ab"},
        {"SS": [1]},
        {"NS": ["x"]},
        {"BS": [1]},
        {"L": {}},
        {"L": ["a"]},
        {"M": []},
        {"M": {"x": {"N": "x"}}},
        {"X": "a"},
        {},
        {"S": "a", "N": "1"},
        "a",
        None,
        [],
    ],
)
def test_what_is_no_dynamodb_json_names_the_record_and_the_field(wire: Any) -> None:
    with pytest.raises(MalformedChangeError, match=r"record 'event-1': dynamodb\.NewImage\.a: "):
        native_value(wire)


@pytest.mark.parametrize("image", [None, [], "a"])
def test_an_image_that_is_no_item_is_malformed(image: Any) -> None:
    with pytest.raises(MalformedChangeError, match=r"dynamodb\.NewImage: .* is not an item"):
        _ = Change(record(1, NewImage=image)).new_image


def test_what_cannot_be_decoded_is_permanent_and_only_when_looked_at() -> None:
    change = Change(record(1, NewImage={"a": {"N": "x"}}))
    assert change.keys == {"id": "a"}
    assert change.old_image == {"id": "a", "n": Decimal(1)}
    with pytest.raises(PermanentError):
        _ = change.new_image


def test_an_image_is_decoded_once() -> None:
    change = Change(record(1))
    assert change.new_image is change.new_image


def test_a_change_says_what_its_record_says() -> None:
    raw = record(7, "x", name="INSERT", at=1_800_000_000)
    change = Change(raw)
    assert change.event_id == "event-7"
    assert change.event_name == "INSERT"
    assert type(change.event_name) is str
    assert change.keys == {"id": "x"}
    assert change.new_image == {"id": "x", "n": Decimal(7)}
    assert change.old_image is None
    assert change.sequence_number == "100000000000000000007"
    assert change.version == f"{STREAM}#{'0' * 19}100000000000000000007"
    assert change.created_at == datetime(2027, 1, 15, 8, tzinfo=UTC)
    assert change.table_name == "orders"
    assert change.stream.label == "2026-01-01T00:00:00.000"
    assert change.stream_arn == STREAM
    assert change.origin == "stream"
    assert change.raw == raw
    assert not change.is_expiry


def test_raw_is_a_copy_that_is_made_once() -> None:
    """A handler may do with it as it likes: what is held or parked is the record as it came."""
    change = Change(record(1))
    assert change.raw is change.raw
    change.raw["dynamodb"]["Keys"]["id"].clear()
    change.raw["dynamodb"].pop("NewImage")
    assert change.record == record(1)
    assert (change.keys, change.new_image) == ({"id": "a"}, {"id": "a", "n": Decimal(1)})


def test_removed_and_inserted_items_lack_one_image() -> None:
    assert Change(record(1, name="REMOVE")).new_image is None
    assert Change(record(1, name="INSERT")).old_image is None


@pytest.mark.parametrize(
    ("view", "has"),
    [
        ("KEYS_ONLY", set[str]()),
        ("NEW_IMAGE", {"new_image"}),
        ("OLD_IMAGE", {"old_image"}),
        ("NEW_AND_OLD_IMAGES", {"new_image", "old_image"}),
    ],
)
@pytest.mark.parametrize("name", ["INSERT", "MODIFY", "REMOVE"])
def test_an_image_that_the_view_type_leaves_out_raises(view: str, has: set[str], name: str) -> None:
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
def test_an_image_that_must_be_there_and_is_not_is_malformed(name: str, image: str, field: str) -> None:
    """None would say that the item was removed, and a mirror would remove it."""
    raw = record(1, name=name)
    del raw["dynamodb"][field]
    with pytest.raises(MalformedChangeError, match=f"dynamodb.{field}: missing in a record of {name}"):
        getattr(Change(raw), image)


def test_an_expiry_is_told_from_a_removal() -> None:
    identity = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}
    assert Change({**record(1, name="REMOVE"), "userIdentity": identity}).is_expiry
    assert not Change({**record(1, name="REMOVE"), "userIdentity": identity | {"type": "User"}}).is_expiry
    assert not Change({**record(1, name="REMOVE"), "userIdentity": identity | {"principalId": "x"}}).is_expiry
    assert not Change({**record(1, name="REMOVE"), "userIdentity": None}).is_expiry


def test_versions_order_as_the_changes_do_from_one_stream_to_the_next() -> None:
    later = STREAM.replace("2026-01-01", "2026-01-02")
    versions = [
        Change(record(1, SequenceNumber="9" * 21)).version,
        Change(record(1, SequenceNumber="1" + "0" * 21)).version,
        Change(record(1, SequenceNumber="9" * 40)).version,
        Change(record(1, SequenceNumber="1" * 21, stream=later)).version,
    ]
    assert versions == sorted(versions)
    assert len({len(version) for version in versions}) == 1


@pytest.mark.parametrize(
    ("change", "attribute", "message"),
    [
        ({"eventID": None}, "event_id", "eventID: None is not a non-empty string"),
        ({"eventName": "TRUNCATE"}, "event_name", "eventName: 'TRUNCATE' is none of INSERT, MODIFY, REMOVE"),
        (
            {"eventSourceARN": "arn:aws:sqs:x:1:q"},
            "table_name",
            "eventSourceARN: 'arn:aws:sqs:x:1:q' is not the ARN of a",
        ),
        ({"dynamodb": None}, "keys", "dynamodb: missing, or not an object"),
        ({"dynamodb": {}}, "keys", "dynamodb.Keys: missing"),
        ({"dynamodb": {}}, "sequence_number", "dynamodb.SequenceNumber: None is not a non-empty string"),
        ({"dynamodb": {"ApproximateCreationDateTime": "x"}}, "created_at", "dynamodb.ApproximateCreationDateTime: "),
    ],
)
def test_a_field_that_is_missing_or_wrong_is_named(change: dict[str, Any], attribute: str, message: str) -> None:
    with pytest.raises(MalformedChangeError, match=message.replace(".", r"\.")):
        getattr(Change({**record(1), **change}), attribute)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        "",
        "é",
        Decimal("1" * 60),
        Decimal("1E-130"),
        7,
        b"\x00",
        [],
        {},
        {"a", "b"},
        {Decimal(1)},
        {b"\x00"},
        [{"a": [None, {b"x"}]}],
    ],
)
def test_what_is_decoded_can_be_written_again(value: Any) -> None:
    def as_in_a_stream(wire: Any) -> Any:
        """boto3 takes bytes, and a stream's record has them in base64."""
        match wire:
            case bytes():
                return base64.b64encode(wire).decode()
            case dict():
                return {name: as_in_a_stream(part) for name, part in wire.items()}  # pyright: ignore[reportUnknownVariableType] # JSON
            case list():
                return [as_in_a_stream(part) for part in wire]  # pyright: ignore[reportUnknownVariableType] # JSON
            case _:
                return wire

    assert native_value(as_in_a_stream(encode(value))) == value


@pytest.mark.parametrize(
    "value", [1.5, Decimal("NaN"), Decimal("Infinity"), set[str](), {"a", Decimal(1)}, {True}, object(), [{"a": 1.5}]]
)
def test_what_dynamodb_cannot_hold_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="DynamoDB cannot hold"):
        encode(value)
