"""Tables of one's own, tables that are there already, and what may be read of them."""

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pulumi
import pytest

from infra.filters import exists, prefix
from infra.table import Changes, Key, StreamTable, Table, ViewType, guard_stream
from tests.program import recording as kinds
from tests.program.recording import record, stream_arn, table_arn

FOUND: dict[str, Any] = {
    "name": "prod-users",
    "arn": table_arn("users"),
    "hashKey": "id",
    "rangeKey": "n",
    "attributes": [{"name": "id", "type": "S"}, {"name": "n", "type": "N"}, {"name": "indexed", "type": "S"}],
    "streamEnabled": True,
    "streamViewType": "KEYS_ONLY",
    "streamArn": stream_arn("users"),
}


def read(program: Callable[[], Changes], tables: dict[str, Any] | None = None) -> Changes:
    """What `program` returns, run as a program of its own."""
    returned: list[Changes] = []
    record(lambda: returned.append(program()), tables=tables)
    return returned[0]


def refused(program: Callable[[], object], tables: dict[str, Any] | None = None) -> str:
    with pytest.raises(pulumi.RunError) as caught:
        record(program, tables=tables)
    return str(caught.value)


@pytest.mark.parametrize("view_type", ["KEYS_ONLY", "NEW_IMAGE", "OLD_IMAGE", "NEW_AND_OLD_IMAGES"])
def test_a_stream_has_the_view_that_was_asked_for(view_type: ViewType) -> None:
    recorder = record(lambda: StreamTable("users", key="id", view_type=view_type))
    assert recorder.counts() == {kinds.STREAM_TABLE: 1, kinds.TABLE: 1}
    inputs = recorder.one(kinds.TABLE, "users-table").inputs
    assert (inputs["streamEnabled"], inputs["streamViewType"]) == (True, view_type)


@pytest.mark.parametrize(
    ("key", "sort", "schema"),
    [
        ("id", None, {"hashKey": "id", "attributes": [{"name": "id", "type": "S"}]}),
        (("n", int), None, {"hashKey": "n", "attributes": [{"name": "n", "type": "N"}]}),
        (
            ("blob", bytes),
            ("at", Decimal),
            {
                "hashKey": "blob",
                "rangeKey": "at",
                "attributes": [{"name": "blob", "type": "B"}, {"name": "at", "type": "N"}],
            },
        ),
    ],
)
def test_keys_are_typed(key: Key, sort: Key | None, schema: dict[str, Any]) -> None:
    recorder = record(lambda: StreamTable("users", key=key, sort=sort))
    inputs = recorder.one(kinds.TABLE, "users-table").inputs
    assert {part: inputs[part] for part in ("hashKey", "rangeKey", "attributes") if part in inputs} == schema


def test_the_component_s_own_options_and_protection_go_together() -> None:
    def program() -> None:
        StreamTable("kept", key="id", opts=pulumi.ResourceOptions(protect=True))
        StreamTable("also-kept", key="id", protect=True)
        StreamTable("loose", key="id")

    recorder = record(program)
    assert {name: bool(each.protect) for (kind, name), each in recorder.registered.items() if kind == kinds.TABLE} == {
        "kept-table": True,
        "also-kept-table": True,
        "loose-table": False,
    }


def test_an_existing_table_is_read_as_it_is_and_nothing_is_made() -> None:
    tables: list[Table] = []
    recorder = record(
        lambda: tables.append(StreamTable.existing("users", table_name="prod-users", protect=True)),
        tables={"prod-users": FOUND},
    )
    assert not recorder.registered
    assert recorder.invoked == ["aws:dynamodb/getTable:getTable"]
    table = tables[0]
    assert (table.name, table.view_type, table.protect) == ("users", "KEYS_ONLY", True)
    assert table.keys == {"id": "S", "n": "N"}


def test_an_existing_table_without_a_stream_says_how_to_switch_it_on() -> None:
    off = FOUND | {"streamEnabled": False, "streamViewType": "", "streamArn": ""}
    assert refused(lambda: StreamTable.existing("users", table_name="prod-users"), {"prod-users": off}) == (
        "users: table prod-users has no stream; switch it on with: aws dynamodb update-table --table-name prod-users "
        "--stream-specification StreamEnabled=true,StreamViewType=NEW_AND_OLD_IMAGES"
    )


def test_a_table_that_does_not_exist_is_named() -> None:
    assert refused(lambda: StreamTable.existing("users", table_name="prod-usres")) == (
        "users: table prod-usres cannot be read: invoke of aws:dynamodb/getTable:getTable failed: "
        "reading DynamoDB Table (prod-usres): couldn't find resource"
    )


def test_changes_of_an_existing_table_are_filtered_as_of_one_s_own() -> None:
    def program() -> Changes:
        return StreamTable.existing("users", table_name="prod-users").changes("REMOVE", keys={"n": 5})

    changes = read(program, {"prod-users": FOUND})
    assert changes.pattern == '{"eventName":["REMOVE"],"dynamodb":{"Keys":{"n":{"N":["5"]}}}}'


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (
            lambda: StreamTable("users", key="id", view_type="OLD_IMAGE").changes(new={"a": exists(str)}),
            "users: a filter on the new image never matches: its stream's view type is OLD_IMAGE; "
            "take NEW_IMAGE or NEW_AND_OLD_IMAGES",
        ),
        (
            lambda: StreamTable("users", key="id", view_type="KEYS_ONLY").changes(old={"a": 1}),
            "users: a filter on the old image never matches: its stream's view type is KEYS_ONLY; "
            "take OLD_IMAGE or NEW_AND_OLD_IMAGES",
        ),
        (
            lambda: StreamTable("users", key="id").changes("REMOVE", new={"a": 1}),
            "users: a filter on the new image never matches: REMOVE has none",
        ),
        (
            lambda: StreamTable("users", key="id").changes("INSERT", old={"a": 1}),
            "users: a filter on the old image never matches: INSERT has none",
        ),
        (
            lambda: StreamTable("users", key="id", sort="at").changes(keys={"email": "a"}),
            "users: email is no key; its keys are id, at",
        ),
        (
            lambda: StreamTable("users", key=("id", int)).changes(keys={"id": prefix("a")}),
            "users: a test of id never matches: the key's type is N",
        ),
        (
            lambda: StreamTable("users", key=("id", bool)),
            "key id: a key is a str, int, Decimal or bytes, not bool",
        ),
    ],
)
def test_what_could_never_match_is_refused(program: Callable[[], object], message: str) -> None:
    assert refused(program) == message


def test_all_changes_take_no_filter() -> None:
    assert read(lambda: StreamTable("users", key="id").changes()).pattern == ""


ANOTHER_VIEW = (
    "orders: view type KEYS_ONLY in place of NEW_IMAGE ends the stream and begins another: nobody reads what the old "
    "one still holds, and no stream has what is written in between. Stop the writers, wait until every reader's "
    f"IteratorAge is 0, and confirm with: pulumi config set --path 'table-stream:drained.orders' {stream_arn('orders')}"
)


@pytest.mark.parametrize(
    ("view_type", "drained", "message"),
    [
        ("NEW_IMAGE", {}, None),
        ("KEYS_ONLY", {}, ANOTHER_VIEW),
        ("KEYS_ONLY", {"users": stream_arn("orders")}, ANOTHER_VIEW),
        ("KEYS_ONLY", {"orders": stream_arn("users")}, ANOTHER_VIEW),
        ("KEYS_ONLY", {"users": stream_arn("users"), "orders": stream_arn("orders")}, None),
    ],
)
def test_another_view_type_is_refused_unless_its_stream_is_drained(
    view_type: str, drained: dict[str, str], message: str | None
) -> None:
    """The rule alone: that an engine asks it, and at preview, tests/engine/ shows."""
    asked = pulumi.ResourceHookArgs(
        *("urn", "id", "orders-table", kinds.TABLE),
        old_inputs={"streamViewType": "NEW_IMAGE"},
        new_inputs={"streamViewType": view_type},
        old_outputs={"streamArn": stream_arn("orders")},
    )

    def program() -> None:
        guard_stream("orders")(asked)

    config = {"table-stream:drained": json.dumps(drained)}
    if message is None:
        record(program, config)
    else:
        with pytest.raises(pulumi.RunError) as caught:
            record(program, config)
        assert str(caught.value) == message
