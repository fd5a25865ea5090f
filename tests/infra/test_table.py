"""Tables of the program, tables that exist already, and the changes to read."""

import json
import logging
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pulumi
import pulumi_aws as aws
import pytest

from infra.filters import exists, prefix
from infra.internal.updates import guard_updates
from infra.table import Changes, Key, StreamTable, Table, ViewType
from tests.infra.programs import PROD_USERS, refusal
from tests.program import recording as kinds
from tests.program.recording import record, stream_arn, table_arn


def read(program: Callable[[], Changes], tables: dict[str, Any] | None = None) -> Changes:
    """Run a program, and return its result."""
    returned: list[Changes] = []
    record(lambda: returned.append(program()), tables=tables)
    return returned[0]


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
    assert {name: each.protect for (kind, name), each in recorder.registered.items() if kind == kinds.TABLE} == {
        "kept-table": True,
        "also-kept-table": True,
        "loose-table": False,
    }


def test_an_existing_table_is_read_as_it_is_and_registers_nothing() -> None:
    tables: list[Table] = []
    recorder = record(
        lambda: tables.append(StreamTable.existing("users", table_name="prod-users", protect=True)),
        tables={"prod-users": PROD_USERS},
    )
    assert not recorder.registered
    assert recorder.invoked == ["aws:dynamodb/getTable:getTable"]
    table = tables[0]
    assert (table.name, table.view_type, table.protect) == ("users", "KEYS_ONLY", True)
    assert table.keys == {"id": "S", "n": "N"}


def test_an_existing_table_without_a_stream_says_how_to_switch_it_on() -> None:
    off = PROD_USERS | {"streamEnabled": False, "streamViewType": "", "streamArn": ""}
    assert refusal(lambda: StreamTable.existing("users", table_name="prod-users"), {"prod-users": off}) == (
        "users: table prod-users has no stream; switch it on with: aws dynamodb update-table --table-name prod-users "
        "--stream-specification StreamEnabled=true,StreamViewType=NEW_AND_OLD_IMAGES"
    )


def test_a_table_that_does_not_exist_is_named() -> None:
    assert refusal(lambda: StreamTable.existing("users", table_name="prod-usres")) == (
        "users: table prod-usres cannot be read: invoke of aws:dynamodb/getTable:getTable failed: "
        "reading DynamoDB Table (prod-usres): couldn't find resource"
    )


def test_changes_of_an_existing_table_are_filtered_as_of_one_s_own() -> None:
    def program() -> Changes:
        return StreamTable.existing("users", table_name="prod-users").changes("REMOVE", keys={"n": 5})

    changes = read(program, {"prod-users": PROD_USERS})
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
            "users: key id: a key is a str, int, Decimal or bytes, not bool",
        ),
    ],
)
def test_what_could_never_match_is_refused(program: Callable[[], object], message: str) -> None:
    assert refusal(program) == message


def test_what_the_time_to_live_removes_can_be_chosen() -> None:
    changes = read(lambda: StreamTable("users", key="id").changes("REMOVE", expired=True))
    assert json.loads(changes.pattern) == {
        "eventName": ["REMOVE"],
        "userIdentity": {"type": ["Service"], "principalId": ["dynamodb.amazonaws.com"]},
    }


def test_all_changes_take_no_filter() -> None:
    assert read(lambda: StreamTable("users", key="id").changes()).pattern == ""


ANOTHER_VIEW = (
    "orders: view type KEYS_ONLY in place of NEW_IMAGE ends the stream and starts another: no consumer reads the "
    "records that remain in the old stream, and no stream contains the writes in between. Stop the writers, wait until "
    "every reader's "
    "IteratorAge is 0, and confirm with: pulumi config set --path 'table-stream:confirmedDrained.orders' "
    f"{stream_arn('orders')}"
)


def updated(old: dict[str, Any], new: dict[str, Any], drained: str | None = None) -> str:
    """Return the message that refuses an update of `orders`, if any; tests/engine shows that the hook runs."""
    names = ("urn", "id", "orders-table", kinds.TABLE)
    outputs = {"streamArn": stream_arn("orders")}
    hook = pulumi.ResourceHookArgs(*names, old_inputs=old, new_inputs=new, old_outputs=outputs)
    return refusal(lambda: guard_updates("orders", drained)(hook))


@pytest.mark.parametrize(
    ("view_type", "drained", "message"),
    [
        ("NEW_IMAGE", None, ""),
        ("KEYS_ONLY", None, ANOTHER_VIEW),
        ("KEYS_ONLY", stream_arn("users"), ANOTHER_VIEW),
        ("KEYS_ONLY", stream_arn("orders"), ""),
    ],
)
def test_another_view_type_is_refused_unless_its_stream_is_drained(
    view_type: str, drained: str | None, message: str
) -> None:
    assert updated({"streamViewType": "NEW_IMAGE"}, {"streamViewType": view_type}, drained) == message


OFF, ON = {"enabled": False}, {"enabled": True, "attributeName": "expiry"}


@pytest.mark.parametrize(
    ("old", "new", "move"),
    [
        (OFF, ON, None),
        (ON, ON, None),
        (ON, OFF | {"attributeName": "expiry"}, None),
        (OFF | {"attributeName": "expiry"}, OFF, None),
        (OFF | {"attributeName": "expiry"}, ON | {"attributeName": "gone_at"}, None),
        (ON, OFF, ""),
        (ON, OFF | {"attributeName": "gone_at"}, ""),
        (ON, ON | {"attributeName": "gone_at"}, ", and an hour later update with ttl='gone_at'"),
    ],
)
def test_a_time_to_live_is_switched_off_by_its_name_and_moves_in_two_updates(
    old: dict[str, Any], new: dict[str, Any], move: str | None
) -> None:
    message = (
        "orders: the time to live uses the attribute expiry, and AWS needs this name to switch it off. Update with "
        "former_ttl='expiry' in place of ttl"
    )
    assert updated({"ttl": old}, {"ttl": new}) == ("" if move is None else message + move)


@pytest.mark.parametrize(
    ("options", "ttl"),
    [({}, OFF), ({"ttl": "expiry"}, ON), ({"former_ttl": "expiry"}, OFF | {"attributeName": "expiry"})],
)
def test_what_the_provider_would_keep_is_always_set(options: dict[str, Any], ttl: dict[str, Any]) -> None:
    recorder = record(lambda: StreamTable("users", key=("id", int), **options))
    registered = recorder.one(kinds.TABLE, "users-table")
    assert registered.inputs["ttl"] == ttl
    assert registered.inputs["serverSideEncryption"] == {"enabled": False}
    assert registered.replacement_trigger == '{"id": "N"}'  # AWS gives no key another type


def test_what_pulumi_aws_takes_beyond_is_passed_on() -> None:
    index = {"name": "by-email", "hash_key": "email", "projection_type": "ALL"}
    args: dict[str, Any] = {
        "attributes": [{"name": "email", "type": "S"}],
        "global_secondary_indexes": [index],
        "replicas": [{"region_name": "eu-west-1"}],
        "on_demand_throughput": {"max_read_request_units": 10},
        "point_in_time_recovery": {"enabled": True, "recovery_period_in_days": 7},
        "table_class": "STANDARD_INFREQUENT_ACCESS",
        "tags": {"team_name": "orders"},
    }
    tables: list[Table] = []
    recorder = record(lambda: tables.append(StreamTable("users", key="id", table_args=args)))
    inputs = recorder.one(kinds.TABLE, "users-table").inputs
    assert inputs["attributes"] == [{"name": "id", "type": "S"}, {"name": "email", "type": "S"}]
    assert inputs["globalSecondaryIndexes"] == [{"name": "by-email", "hashKey": "email", "projectionType": "ALL"}]
    assert inputs["replicas"] == [{"regionName": "eu-west-1"}]
    assert inputs["onDemandThroughput"] == {"maxReadRequestUnits": 10}
    assert inputs["pointInTimeRecovery"] == {"enabled": True, "recoveryPeriodInDays": 7}
    assert (inputs["tableClass"], inputs["tags"]) == ("STANDARD_INFREQUENT_ACCESS", {"team_name": "orders"})
    assert tables[0].has_indexes


def test_what_the_component_sets_itself_is_refused_by_name() -> None:
    names = ("hash_key", "stream_enabled", "ttl", "server_side_encryption", "table_clas")
    args: dict[str, Any] = dict.fromkeys(names, "x")
    assert refusal(lambda: StreamTable("users", key="id", table_args=args)).splitlines() == [
        "users: table_args may not set hash_key: key= names it",
        "users: table_args may not set stream_enabled: a StreamTable's stream is always on",
        "users: table_args may not set ttl: ttl= names its attribute",
        "users: table_args may not set server_side_encryption: encryption_key= sets it",
        "users: table_args sets table_clas, which is no argument of Table; did you mean table_class?",
    ]


def test_a_stream_of_another_account_is_read_by_its_arn(caplog: pytest.LogCaptureFixture) -> None:
    theirs = "arn:aws:dynamodb:eu-central-1:999999999999:table/orders/stream/2026-01-01T00:00:00.000"
    options: dict[str, Any] = {"stream_arn": theirs, "key": "id", "sort": ("n", int), "view_type": "NEW_IMAGE"}
    tables: list[Table] = []

    def program() -> None:
        tables.append(StreamTable.of_another_account("orders", **options))

    caplog.set_level(logging.INFO, "pulumi")
    recorder = record(program)
    assert (recorder.registered, recorder.invoked) == ({}, [])
    [table] = tables
    assert table.table_name == table.arn == "arn:aws:dynamodb:eu-central-1:999999999999:table/orders"
    assert (table.keys, table.view_type, table.stream_arn) == ({"id": "S", "n": "N"}, "NEW_IMAGE", theirs)
    assert [each.message for each in caplog.records] == [
        f"orders: the owner of {theirs} must allow the role of each consumer dynamodb:DescribeStream, "
        "dynamodb:GetRecords and dynamodb:GetShardIterator by a resource policy of the stream"
    ]


def test_what_is_no_stream_is_refused() -> None:
    def program() -> None:
        StreamTable.of_another_account("orders", stream_arn=table_arn("orders"), key="id", view_type="NEW_IMAGE")

    assert refusal(program).startswith(f"orders: {table_arn('orders')} is no stream of a table, as in arn:aws:dynamodb")


def test_a_table_is_read_in_the_region_of_its_provider() -> None:
    def program() -> None:
        opts = pulumi.InvokeOptions(provider=aws.Provider("west", region="eu-west-1"))
        StreamTable.existing("users", table_name="prod-users", opts=opts)

    recorder = record(program, tables={"prod-users": PROD_USERS})
    assert recorder.providers == ["west"]
