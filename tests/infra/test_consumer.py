"""A consumer by itself: what it registers, what it may do, and the wirings that it refuses."""

from collections.abc import Callable
from typing import Any

import pulumi
import pulumi_aws as aws
import pytest

from infra.archive import module_of
from infra.consumer import StreamConsumer, Uses
from infra.filters import exists
from infra.grants import Grant, allow, read_from, secret, write_to
from infra.settings import Tuning
from infra.stores import Stores
from infra.table import Changes, StreamTable
from tests.infra.test_table import FOUND
from tests.program import recording as kinds
from tests.program.lint import complaints
from tests.program.recording import Recorder, arn, physical, record, stream_arn, table_arn


def consumer(
    *reads: Changes, name: str = "mirror", uses: Uses | None = None, stores: Stores | None = None, **options: Any
) -> StreamConsumer:
    return StreamConsumer(name, reads=reads, uses=uses or {}, stores=stores, tuning=Tuning(), **options)


def users(name: str = "users", **options: Any) -> StreamTable:
    return StreamTable(name, key="id", **options)


def stores() -> Stores:
    return Stores("stores", retention_in_days=30)


def refused(program: Callable[[], object], config: dict[str, str] | None = None) -> str:
    with pytest.raises(pulumi.RunError) as caught:
        record(program, config)
    return str(caught.value)


def recorded(program: Callable[[], object], tables: dict[str, Any] | None = None) -> Recorder:
    return record(program, tables=tables)


def mapping(recorder: Recorder) -> dict[str, Any]:
    return recorder.one(kinds.MAPPING, "mirror-users").inputs


def test_a_consumer_of_one_table_registers_exactly_this() -> None:
    recorder = recorded(lambda: consumer(users().changes(), stores=stores()))
    assert set(recorder.registered) == {
        (kinds.STREAM_TABLE, "users"),
        (kinds.TABLE, "users-table"),
        (kinds.STORES, "stores"),
        (kinds.BUCKET, "stores-failures"),
        (kinds.BUCKET_PRIVATE, "stores-failures-private"),
        (kinds.BUCKET_EXPIRY, "stores-failures-expiry"),
        (kinds.BUCKET_POLICY, "stores-failures-policy"),
        (kinds.TABLE, "stores-ledger"),
        (kinds.STREAM_CONSUMER, "mirror"),
        (kinds.ROLE, "mirror-role"),
        (kinds.POLICY, "mirror-policy"),
        (kinds.LOG_GROUP, "mirror-logs"),
        (kinds.FUNCTION, "mirror-function"),
        (kinds.MAPPING, "mirror-users"),
    }


def test_an_existing_table_is_consumed_like_one_s_own_and_protects_its_consumer() -> None:
    def program() -> None:
        table = StreamTable.existing("users", table_name="prod-users", protect=True)
        consumer(table.changes(), stores=stores())

    recorder = recorded(program, {"prod-users": FOUND})
    assert mapping(recorder)["eventSourceArn"] == stream_arn("users")
    own = {name: each.protect for (_, name), each in recorder.registered.items() if name.startswith("mirror")}
    assert own == dict.fromkeys(
        ("mirror", "mirror-role", "mirror-policy", "mirror-logs", "mirror-function", "mirror-users"), True
    )


def test_several_changes_of_one_table_are_the_filters_of_one_mapping() -> None:
    def program() -> None:
        table = users()
        consumer(table.changes("INSERT"), table.changes("MODIFY", new={"email": exists(str)}))

    assert mapping(recorded(program))["filterCriteria"] == {
        "filters": [
            {"pattern": '{"eventName":["INSERT"]}'},
            {"pattern": '{"eventName":["MODIFY"],"dynamodb":{"NewImage":{"email":{"S":[{"exists":true}]}}}}'},
        ]
    }


def test_an_alternative_that_lets_everything_through_leaves_no_filter() -> None:
    def program() -> None:
        table = users()
        consumer(table.changes("INSERT"), table.changes())

    assert "filterCriteria" not in mapping(recorded(program))


def test_five_filters_are_one_mapping_s_most() -> None:
    def program(count: int) -> None:
        table = users()
        consumer(*(table.changes(keys={"id": str(number)}) for number in range(count)))

    assert len(mapping(recorded(lambda: program(5)))["filterCriteria"]["filters"]) == 5


@pytest.mark.parametrize(
    ("destination", "service", "action"), [("queue", "sqs", "SendMessage"), ("topic", "sns", "Publish")]
)
def test_a_queue_or_a_topic_stands_in_for_the_bucket(destination: str, service: str, action: str) -> None:
    def program() -> None:
        target = aws.sqs.Queue("lost") if destination == "queue" else aws.sns.Topic("lost")
        consumer(users().changes(), stores=stores(), on_failure=target)

    recorder = recorded(program)
    lost = arn(service, physical("lost"))
    assert mapping(recorder)["destinationConfig"] == {"onFailure": {"destinationArn": lost}}
    rights = recorder.statements("mirror")
    assert {"Effect": "Allow", "Action": [f"{service}:{action}"], "Resource": [lost]} in rights
    assert [statement for statement in rights if "s3:ListBucket" in statement["Action"]] == []
    assert [statement["Resource"] for statement in rights if "s3:PutObject" in statement["Action"]] == [
        [f"arn:aws:s3:::{physical('stores-failures')}/engine/mirror/*"]
    ]


def test_without_stores_there_is_no_right_or_variable_of_theirs() -> None:
    recorder = recorded(lambda: consumer(users().changes()))
    assert [statement["Action"][0] for statement in recorder.statements("mirror")] == [
        "logs:CreateLogStream",
        "dynamodb:DescribeStream",
        "dynamodb:ListStreams",
    ]
    assert "destinationConfig" not in mapping(recorder)
    variables = recorder.one(kinds.FUNCTION, "mirror-function").inputs["environment"]["variables"]
    assert not {"FAILURE_BUCKET", "LEDGER_TABLE", "REMEMBER_SECONDS"} & variables.keys()


def test_a_loop_may_be_declared_and_another_table_is_none() -> None:
    def program() -> None:
        table, other = users(), users("others")
        uses = {"TARGET": write_to(table, "UpdateItem"), "OTHER": write_to(other, "PutItem")}
        consumer(table.changes("INSERT"), uses=uses, loops=[table])

    assert recorded(program).statements("mirror")[-2:] == [
        {"Effect": "Allow", "Action": ["dynamodb:UpdateItem"], "Resource": [table_arn("users-table")]},
        {"Effect": "Allow", "Action": ["dynamodb:PutItem"], "Resource": [table_arn("others-table")]},
    ]


def test_what_a_consumer_uses_is_a_variable_with_its_rights() -> None:
    key = arn("secretsmanager", "secret:key-Ab1")
    own = Grant("https://queue", [allow(["sqs:SendMessage"], [arn("sqs", "mine")])])

    def program() -> None:
        uses: Uses = {"PLAIN": "text", "OTHER": read_from(users("others")), "KEY": secret(key), "OWN": own}
        consumer(users().changes(), uses=uses)

    recorder = recorded(program)
    variables = recorder.one(kinds.FUNCTION, "mirror-function").inputs["environment"]["variables"]
    assert {name: variables[name] for name in ("PLAIN", "OTHER", "KEY", "OWN")} == {
        "PLAIN": "text",
        "OTHER": physical("others-table"),
        "KEY": key,
        "OWN": "https://queue",
    }
    granted = recorder.statements("mirror")[-3:]
    assert granted == [
        {
            "Effect": "Allow",
            "Action": ["dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Query"],
            "Resource": [table_arn("others-table")],
        },
        {"Effect": "Allow", "Action": ["secretsmanager:GetSecretValue"], "Resource": [key]},
        {"Effect": "Allow", "Action": ["sqs:SendMessage"], "Resource": [arn("sqs", "mine")]},
    ]
    assert [complaint for statement in granted for complaint in complaints(statement)] == []


def test_writing_means_three_calls_unless_they_are_named() -> None:
    recorder = recorded(lambda: consumer(users().changes(), uses={"TARGET": write_to(users("others"))}))
    assert recorder.statements("mirror")[-1]["Action"] == [
        "dynamodb:PutItem",
        "dynamodb:UpdateItem",
        "dynamodb:DeleteItem",
    ]


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (consumer, "mirror reads nothing: name changes, as in reads=[users.changes()]"),
        (
            lambda: consumer(users().changes(), name="mirorr"),
            "no handler/mirorr.py; did you mean mirror?",
        ),
        (
            lambda: consumer(users().changes(), name="change_log"),
            "a consumer is written with dashes: change-log",
        ),
        (
            lambda: consumer(
                users().changes(), uses={"WORKERS": "3", "MINE": "", "LEDGER_TABLE": "x"}, stores=stores()
            ),
            "mirror uses LEDGER_TABLE, WORKERS: the engine's own; take another name",
        ),
    ],
)
def test_a_wiring_that_cannot_work_is_refused(program: Callable[[], object], message: str) -> None:
    assert refused(program) == message


def test_every_module_of_a_consumer_is_found() -> None:
    assert [module_of(name) for name in ("change-log", "mirror", "welcome-email")] == [
        "change_log",
        "mirror",
        "welcome_email",
    ]


@pytest.mark.parametrize(
    ("aliases", "names"),
    [
        ([], []),
        ([pulumi.Alias("people")], ["mirror-people"]),
        (["urn:pulumi:test::table-stream::table-stream:index:StreamTable::people"], ["mirror-people"]),
        ([pulumi.Alias("people"), pulumi.Alias("clients")], ["mirror-people", "mirror-clients"]),
        ([pulumi.Alias(parent=pulumi.ROOT_STACK_RESOURCE)], []),
    ],
)
def test_a_mapping_was_called_after_every_name_of_its_table(
    aliases: list[str | pulumi.Alias], names: list[str]
) -> None:
    recorder = recorded(lambda: consumer(users(opts=pulumi.ResourceOptions(aliases=aliases)).changes()))
    assert recorder.one(kinds.MAPPING, "mirror-users").aliases == tuple({"name": name} for name in names)
