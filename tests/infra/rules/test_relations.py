"""Findings that depend on several resources of a program: identities of tables, loops, fenced writes, dependencies."""

import logging
from collections.abc import Callable
from typing import Any

import pulumi
import pulumi_aws as aws
import pytest

from infra.consumer import Environment
from infra.grants import Grant, allow, everywhere, put_if_newer_into, write_to
from infra.stores import Stores
from infra.table import StreamTable, Table
from tests.infra.programs import PROD_USERS, consumer, refusal, table
from tests.program.recording import MAPPING, record, table_arn

USERS = table_arn("users")
THEIRS: dict[str, Any] = {**PROD_USERS, "streamViewType": "NEW_AND_OLD_IMAGES"}


def handle(name: str = "users") -> Table:
    return StreamTable.existing(name, table_name="prod-users", protect=True)


def by_two_handles() -> None:
    consumer(handle().changes(), environment={"TARGET": write_to(handle("again"))})


def by_an_arn(source: Table, arn: pulumi.Input[str]) -> None:
    consumer(source.changes(), environment={"TARGET": Grant("x", [allow(["dynamodb:PutItem"], [arn])])})


def by_an_arn_of_two_parts() -> None:
    by_an_arn(handle(), pulumi.Output.concat("arn:aws:dynamodb:", USERS.removeprefix("arn:aws:dynamodb:")))


def by_an_output_of_one_s_own() -> None:
    users = table(True, "users")
    by_an_arn(users, pulumi.Output.concat(users.arn, ""))


@pytest.mark.parametrize("preview", [True, False])
@pytest.mark.parametrize(
    "program", [by_two_handles, lambda: by_an_arn(handle(), USERS), by_an_arn_of_two_parts, by_an_output_of_one_s_own]
)
def test_a_table_is_one_table_however_it_is_named(program: Callable[[], None], preview: bool) -> None:
    with pytest.raises(pulumi.RunError, match="every write would trigger it again, endlessly"):
        record(program, tables={"prod-users": THEIRS}, preview=preview)


def third_by_another_handle() -> None:
    stores = Stores("stores", retention_in_days=30)
    for name in ("change-log", "mirror", "welcome-email"):
        consumer(handle(f"users-of-{name}").changes(), name=name, stores=stores)


def twice_by_another_handle() -> None:
    consumer(handle().changes(), handle("again").changes())


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (third_by_another_handle, "welcome-email-users-of-welcome-email would be reader 3 of"),
        (
            twice_by_another_handle,
            "mirror-again and mirror-users read .* with one function, mirror-function: AWS refuses",
        ),
    ],
)
def test_readers_of_a_table_are_counted_however_it_is_named(program: Callable[[], None], message: str) -> None:
    with pytest.raises(pulumi.RunError, match=message):
        record(program, tables={"prod-users": THEIRS}, preview=True)


def written(**target: Any) -> Callable[[], None]:
    """Return a program with fenced writes from `orders` to a table of these arguments."""
    own_items = target.pop("own_items", False)
    source = {
        "ttl": target.pop("source_ttl", None),
        "table_args": target.pop("source_args", None),
        "view_type": target.pop("view_type", "NEW_AND_OLD_IMAGES"),
    }

    def program() -> None:
        orders = StreamTable("orders", key="id", protect=True, **source)
        arguments: dict[str, Any] = {"key": "id", "ttl": "expiry", **target}
        copy = StreamTable("copy", **arguments, protect=True)
        consumer(orders.changes(), environment={"COPY": put_if_newer_into(copy, own_items=own_items)})

    return program


OWN_ITEMS = "or write other items, and declare put_if_newer_into(..., own_items=True)"
INDEXED = {
    "attributes": [{"name": "change_version", "type": "N"}],
    "global_secondary_indexes": [{"name": "i", "hash_key": "change_version", "projection_type": "ALL"}],
}
STRONG = {"replicas": [{"region_name": "eu-west-1", "consistency_mode": "STRONG"}]}


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (written(), ""),
        (written(source_ttl="gone_at"), ""),
        (written(key="number", own_items=True), ""),
        (written(source_ttl="expiry", own_items=True), ""),
        (
            written(source_ttl="expiry"),
            "mirror into copy-table, from orders-table: its items have expiry, an attribute of the fence, and "
            f"would be parked; rename it; {OWN_ITEMS}",
        ),
        (
            written(key=("id", int)),
            "mirror into copy-table, from orders-table: the keys differ (id S and id N), and DynamoDB would refuse "
            f"every write; use the same keys; {OWN_ITEMS}",
        ),
        (
            written(view_type="KEYS_ONLY"),
            "mirror into copy-table, from orders-table: its changes have no new image (streamViewType KEYS_ONLY), "
            f"and would be parked; use NEW_AND_OLD_IMAGES; {OWN_ITEMS}",
        ),
        (
            written(source_args=INDEXED),
            "mirror into copy-table, from orders-table: its items have change_version, an attribute of the fence, "
            f"and would be parked; rename it; {OWN_ITEMS}",
        ),
        (
            written(ttl=None),
            "mirror into copy-table: the target has no time to live on expiry, so the tombstones of removed items "
            "never expire; give it ttl='expiry'",
        ),
        (
            written(table_args=STRONG),
            "mirror into copy-table: the target has multi-Region strong consistency, where items do not expire: "
            "the tombstones of removed items would never expire; use a table with eventual consistency",
        ),
    ],
)
def test_a_fenced_write_is_checked_whole(program: Callable[[], None], message: str) -> None:
    assert refusal(program, preview=True) == message


def test_transactions_are_advised_against_where_they_fail(caplog: pytest.LogCaptureFixture) -> None:
    def program() -> None:
        target = StreamTable("target", key="id", table_args=STRONG)
        consumer(table(False).changes(), environment={"TARGET": write_to(target)})

    caplog.set_level(logging.WARNING, "pulumi")
    record(program, preview=True)
    assert [each.message for each in caplog.records] == [
        "mirror may write target-table, which has multi-Region strong consistency: transact() fails there; write "
        "single items"
    ]


def test_a_right_on_every_resource_is_accepted_beside_its_grant() -> None:
    """A protected stack can contain permissions for text messages, translations and text recognition."""

    def program() -> None:
        rights = [everywhere("sns:Publish", "translate:TranslateText"), allow(["textract:DetectDocumentText"], ["*"])]
        consumer(table(True).changes(), environment={"SMS": Grant("x", rights)})

    recorder = record(program)
    assert recorder.statements("mirror")[-2] == {
        "Sid": "OnAllSnsPublishTranslateTranslateText",
        "Effect": "Allow",
        "Action": ["sns:Publish", "translate:TranslateText"],
        "Resource": ["*"],
    }
    record(program, preview=True)


@pytest.mark.parametrize("preview", [True, False])
def test_what_depends_on_a_consumer_may_be_declared_after_it(preview: bool) -> None:
    """The check does not wait for resources that wait for a mapping."""

    def program() -> None:
        stores = Stores("stores", retention_in_days=30)
        first = consumer(table(False).changes(), stores=stores)
        after = pulumi.ResourceOptions(depends_on=[first])
        other = StreamTable("other", key="id", opts=after)
        environment: Environment = {"MAPPING": first.mappings["orders"].uuid}
        consumer(other.changes(), name="change-log", environment=environment, stores=stores, opts=after)

    assert len([kind for kind, _ in record(program, preview=preview).registered if kind == MAPPING]) == 2


def declaring(mirror: bool, change_log: bool) -> Callable[[], None]:
    """Mirror reads a and writes a and b; change-log reads b and writes a."""

    def program() -> None:
        stores = Stores("stores", retention_in_days=30)
        a, b = table(True, "aaa"), table(True, "bbb")
        environment: Environment = {"AA": write_to(a), "BB": write_to(b)}
        consumer(a.changes(), environment=environment, stores=stores, allow_writes_to=[a] if mirror else [])
        options: dict[str, Any] = {"stores": stores, "allow_writes_to": [b] if change_log else []}
        consumer(b.changes(), name="change-log", environment={"AA": write_to(a)}, **options)

    return program


@pytest.mark.parametrize(
    ("program", "messages"),
    [
        (declaring(True, True), 0),
        (declaring(True, False), 1),
        (declaring(False, True), 2),
        (declaring(False, False), 2),
    ],
)
def test_a_declared_loop_hides_no_longer_one(program: Callable[[], None], messages: int) -> None:
    message = refusal(program, preview=True)
    assert len(message.splitlines()) == messages
    declared = "allow_writes_to=[aaa-table] for mirror-function and allow_writes_to=[bbb-table] for change-log-function"
    assert f"declare {declared}" in message or not messages


@pytest.mark.parametrize(
    "args",
    [
        {"maximum_record_age_in_seconds": "60"},
        {"maximum_record_age_in_seconds": 60.0},
        {"maximum_retry_attempts": "3"},
        {"bisect_batch_on_function_error": "false"},
    ],
)
def test_a_value_is_judged_however_it_is_written(args: dict[str, Any]) -> None:
    assert refusal(lambda: consumer(table(True).changes(), mapping_args=args), preview=True)


def test_a_table_that_is_protected_by_its_options_is() -> None:
    opts = pulumi.ResourceOptions(protect=True)
    args = {"point_in_time_recovery": {"enabled": False}}
    with pytest.raises(pulumi.RunError, match="no pointInTimeRecovery"):
        record(lambda: StreamTable("orders", key="id", table_args=args, opts=opts), preview=True)


def test_a_destination_is_judged_by_what_aws_calls_it() -> None:
    def program() -> None:
        consumer(table(True).changes(), on_failure=aws.sqs.Queue("orders.failures", name="orders-failures"))

    record(program, preview=True)


def test_a_fenced_write_into_another_account_s_table_is_not_asked_for_what_is_not_known() -> None:
    theirs = "arn:aws:dynamodb:eu-central-1:999999999999:table/orders/stream/2026-01-01T00:00:00.000"

    def program() -> None:
        target = StreamTable.of_another_account("theirs", stream_arn=theirs, key="id", view_type="NEW_IMAGE")
        consumer(table(True).changes(), environment={"COPY": put_if_newer_into(target)})

    record(program, preview=True)


def test_of_several_sources_one_fits_each_target() -> None:
    def program() -> None:
        sources = [StreamTable(f"from-{key}", key=key, protect=True) for key in ("aa", "bb")]
        targets = [StreamTable(f"into-{key}", key=key, ttl="expiry", protect=True) for key in ("aa", "bb")]
        environment = {f"T{number}": put_if_newer_into(target) for number, target in enumerate(targets)}
        consumer(*(source.changes() for source in sources), environment=environment)

    record(program, preview=True)


def test_components_can_be_created_again_in_one_run() -> None:
    """Users' unit tests set Pulumi's mocks once, and make their program in each test."""

    def program() -> None:
        for _ in range(2):
            StreamTable("orders", key="id")
        with pytest.raises(pulumi.RunError, match="no handler/mirorr"):
            consumer(table(False, "other").changes(), name="mirorr")
        StreamTable("more", key="id")

    with pytest.raises(AssertionError, match="registered twice"):  # which the recorder forbids, and mocks do not
        record(program)
