"""What a waiting change changed: each attribute on one short line."""

from typing import Any

import pytest

from handler.stream.change import Change
from ops.text.images import image_lines
from ops.text.lines import printable
from tests.fakes.records import record

WIDTH = 60


def change(name: str = "MODIFY", *, old: Any = None, new: Any = None, **body: Any) -> Change:
    """Return a change of item a with these attributes before and after."""
    made = record(1, "a", name=name, **body)
    for image, attributes in (("OldImage", old), ("NewImage", new)):
        made["dynamodb"].pop(image, None)
        if attributes is not None:
            made["dynamodb"][image] = {**made["dynamodb"]["Keys"], **attributes}
    return Change(made)


def lines(of: Change, earlier: Change | None = None) -> list[str]:
    shown = list(image_lines(of, earlier, WIDTH))
    assert all(len(line) <= WIDTH for line in shown)
    return shown


def test_changed_added_and_removed_attributes_are_shown_and_the_same_ones_counted():
    old = {"total": {"N": "1"}, "gone": {"BOOL": True}, "same": {"S": "x"}}
    new = {"total": {"N": "2.50"}, "added": {"NULL": True}, "same": {"S": "x"}}
    assert lines(change(old=old, new=new)) == [
        "added: — → null",
        "gone: true → —",
        "total: 1 → 2.50",
        "1 other attribute unchanged",
    ]


def test_of_long_values_the_first_difference_is_shown():
    [line] = lines(
        change(old={"s": {"S": "x" * 200 + "old" + "y" * 99}}, new={"s": {"S": "x" * 200 + "new" + "y" * 99}})
    )
    assert "old" in line
    assert "new" in line


def test_an_inserted_and_a_removed_item_are_shown_whole():
    image = {"b": {"B": "AAE="}, "l": {"L": [{"S": "ü"}, {"M": {"n": {"N": "1"}}}]}, "s": {"NS": ["2", "1"]}}
    expected = ["b: <2 bytes>", 'l: ["ü", {n: 1}]', "s: {1, 2}"]
    assert lines(change("INSERT", new=image)) == expected
    assert lines(change("REMOVE", old=image)) == expected


def test_with_new_images_only_a_change_is_compared_with_the_one_before():
    view = {"StreamViewType": "NEW_IMAGE"}
    first, second = (change(new={"n": {"N": str(number)}}, **view) for number in (1, 2))
    assert lines(first) == ["n: 1"]
    assert lines(second, first) == ["n: 1 → 2"]


def test_a_stream_of_keys_and_a_record_that_cannot_be_decoded_are_said():
    assert lines(change(StreamViewType="KEYS_ONLY")) == ["the stream's records have no images"]
    [line] = lines(change(old={"n": {"N": "x"}}, new={}))
    assert line.startswith("cannot be decoded: record 'event-1'")


@pytest.mark.parametrize(("text", "shown"), [("plain ü", "plain ü"), ("a\x1b[2J\nb", "a\\x1b[2J\\nb")])
def test_nothing_controls_the_terminal(text: str, shown: str):
    assert printable(text) == shown
