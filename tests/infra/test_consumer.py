"""A consumer by itself: what it registers, what it may do, and the wirings that it refuses."""

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pulumi
import pulumi_aws as aws
import pytest

from infra.archive import Package, build
from infra.archive.handler_module import module_of
from infra.archive.sources import ROOT
from infra.consumer import Environment, StreamConsumer
from infra.encryption import EncryptionKey
from infra.filters import exists
from infra.grants import Grant, allow, read_from, secret, write_to
from infra.settings import Tuning
from infra.stores import Stores
from infra.table import Changes, StreamTable
from sandbox.program.values import UNKNOWN
from tests.infra.test_table import FOUND
from tests.program import recording as kinds
from tests.program.lint import complaints
from tests.program.recording import Recorder, arn, physical, record, stream_arn, table_arn


def consumer(
    *reads: Changes,
    name: str = "mirror",
    environment: Environment | None = None,
    stores: Stores | None = None,
    **options: Any,
) -> StreamConsumer:
    options = {"tuning": Tuning(), "package": build("host")} | options
    return StreamConsumer(name, reads=reads, environment=environment or {}, stores=stores, **options)


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
        (kinds.EXCLUSIVE, "mirror-role-policies"),
        (kinds.ATTACHED, "mirror-role-attachments"),
        (kinds.LOG_GROUP, "mirror-logs"),
        (kinds.FUNCTION, "mirror-function"),
        (kinds.INVOCATIONS, "mirror-invocations"),
        (kinds.POLICY, "mirror-helpers"),
        (kinds.ROLE, "mirror-retry-role"),
        (kinds.POLICY, "mirror-retry-policy"),
        (kinds.EXCLUSIVE, "mirror-retry-role-policies"),
        (kinds.ATTACHED, "mirror-retry-role-attachments"),
        (kinds.SCHEDULE, "mirror-retry"),
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
        (
            *("mirror", "mirror-role", "mirror-policy", "mirror-logs", "mirror-function", "mirror-users"),
            *("mirror-role-policies", "mirror-role-attachments"),
            *("mirror-retry-role-policies", "mirror-retry-role-attachments"),
            *("mirror-invocations", "mirror-helpers", "mirror-retry-role", "mirror-retry-policy", "mirror-retry"),
        ),
        True,
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


@pytest.mark.parametrize(("enabled", "state"), [(True, "ENABLED"), (False, "DISABLED")])
def test_with_stores_the_function_is_invoked_every_minute(enabled: bool, state: str) -> None:
    def program() -> None:
        consumer(users().changes(), stores=stores(), tuning=Tuning(enabled=enabled))

    recorder = recorded(program)
    function = arn("lambda", f"function:{physical('mirror-function')}")
    may_invoke = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": ["lambda:InvokeFunction"], "Resource": [function]}],
    }
    schedule = recorder.one(kinds.SCHEDULE, "mirror-retry")
    assert schedule.inputs == {
        "scheduleExpression": "rate(1 minute)",
        "flexibleTimeWindow": {"mode": "OFF"},
        "state": state,
        "target": {
            "arn": function,
            "roleArn": arn("iam", f"role/{physical('mirror-retry-role')}"),
            "input": '{"table-stream": "retry"}',
            "retryPolicy": {"maximumRetryAttempts": 0, "maximumEventAgeInSeconds": 60},
        },
    }
    policy = recorder.one(kinds.POLICY, "mirror-retry-policy")
    assert (policy.inputs["role"], json.loads(policy.inputs["policy"])) == (physical("mirror-retry-role"), may_invoke)
    assert policy.urn in schedule.dependencies  # the first call comes at once
    assert json.loads(recorder.one(kinds.ROLE, "mirror-retry-role").inputs["assumeRolePolicy"]) == {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "scheduler.amazonaws.com"},
                "Action": "sts:AssumeRole",
                "Condition": {"StringEquals": {"aws:SourceAccount": kinds.ACCOUNT}},
            }
        ],
    }
    assert recorder.one(kinds.INVOCATIONS, "mirror-invocations").inputs == {
        "functionName": physical("mirror-function"),
        "maximumRetryAttempts": 0,
        "maximumEventAgeInSeconds": 60,
    }
    helpers = recorder.one(kinds.POLICY, "mirror-helpers").inputs
    assert (helpers["role"], json.loads(helpers["policy"])) == (physical("mirror-role"), may_invoke)


def test_without_stores_there_is_no_resource_right_or_variable_of_theirs() -> None:
    recorder = recorded(lambda: consumer(users().changes()))
    assert {name for _, name in recorder.registered if name.startswith("mirror")} == {
        *("mirror", "mirror-role", "mirror-policy", "mirror-logs", "mirror-function", "mirror-users"),
        *("mirror-role-policies", "mirror-role-attachments"),
    }
    assert [statement["Action"][0] for statement in recorder.statements("mirror")] == [
        "logs:CreateLogStream",
        "dynamodb:DescribeStream",
        "dynamodb:ListStreams",
    ]
    assert "destinationConfig" not in mapping(recorder)
    variables = recorder.one(kinds.FUNCTION, "mirror-function").inputs["environment"]["variables"]
    assert not {"FAILURE_BUCKET", "LEDGER_NAME", "LEDGER_TABLE", "REMEMBER_SECONDS"} & variables.keys()


def test_a_loop_may_be_declared_and_another_table_is_none() -> None:
    def program() -> None:
        table, other = users(), users("others")
        environment = {"TARGET": write_to(table, "UpdateItem"), "OTHER": write_to(other, "PutItem")}
        consumer(table.changes("INSERT"), environment=environment, allow_writes_to=[table])

    assert recorded(program).statements("mirror")[-2:] == [
        {"Effect": "Allow", "Action": ["dynamodb:UpdateItem"], "Resource": [table_arn("users-table")]},
        {"Effect": "Allow", "Action": ["dynamodb:PutItem"], "Resource": [table_arn("others-table")]},
    ]


def test_what_a_consumer_uses_is_a_variable_with_its_rights() -> None:
    key = arn("secretsmanager", "secret:key-Ab1")
    own = Grant("https://queue", [allow(["sqs:SendMessage"], [arn("sqs", "mine")])])

    def program() -> None:
        environment: Environment = {
            "PLAIN": "text",
            "OTHER": read_from(users("others")),
            "KEY": secret(key),
            "OWN": own,
        }
        consumer(users().changes(), environment=environment)

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
    recorder = recorded(lambda: consumer(users().changes(), environment={"TARGET": write_to(users("others"))}))
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
                users().changes(), environment={"WORKERS": "3", "MINE": "", "LEDGER_TABLE": "x"}, stores=stores()
            ),
            "mirror uses LEDGER_TABLE, WORKERS: the engine's own; take another name",
        ),
    ],
)
def test_a_wiring_that_cannot_work_is_refused(program: Callable[[], object], message: str) -> None:
    assert refused(program) == message


def test_every_module_of_a_consumer_is_found() -> None:
    assert [module_of(name, ROOT) for name in ("change-log", "mirror", "welcome-email")] == [
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


def test_what_aws_allows_beyond_goes_to_every_mapping_as_it_is() -> None:
    key = arn("kms", "key/1")

    def program() -> None:
        given = {"maximum_retry_attempts": 5, "kms_key_arn": key, "metrics_config": None, "tags": {"a": "b"}}
        consumer(users().changes(), users("others").changes(), stores=stores(), mapping_args=given)

    recorder = recorded(program)
    for name in ("mirror-users", "mirror-others"):
        inputs = recorder.one(kinds.MAPPING, name).inputs
        assert {each: inputs[each] for each in ("maximumRetryAttempts", "kmsKeyArn", "tags")} == {
            "maximumRetryAttempts": 5,
            "kmsKeyArn": key,
            "tags": {"a": "b"},
        }
        assert "metricsConfig" not in inputs
        assert (inputs["bisectBatchOnFunctionError"], inputs["maximumRecordAgeInSeconds"]) == (True, 86_100)


def test_what_is_known_after_the_update_breaks_no_rule() -> None:
    def program() -> None:
        later = aws.sqs.Queue("later").visibility_timeout_seconds
        given = {"maximum_retry_attempts": later, "maximum_record_age_in_seconds": later}
        consumer(users(protect=True).changes(), stores=stores(), mapping_args=given)

    assert mapping(record(program, preview=True))["maximumRetryAttempts"] == UNKNOWN


@pytest.mark.parametrize(
    ("days", "give_up_after", "remembered"), [(30, 604_800, 3_283_200), (1, 60, 172_860), (7, 2_592_000, 3_283_200)]
)
def test_claims_outlast_what_is_held_and_what_is_kept_after_that(
    days: int, give_up_after: int, remembered: int
) -> None:
    """The retention of failures, the time until a change is parked, and a day."""

    def program() -> None:
        kept = Stores("stores", retention_in_days=days)
        consumer(users().changes(), stores=kept, tuning=Tuning(give_up_after=give_up_after))

    variables = recorded(program).one(kinds.FUNCTION, "mirror-function").inputs["environment"]["variables"]
    assert variables["REMEMBER_SECONDS"] == str(remembered)
    assert variables["GIVE_UP_AFTER_SECONDS"] == str(give_up_after)


def test_a_renamed_consumer_keeps_its_name_in_ledger_and_failure_bucket_and_its_resources() -> None:
    """That the engine takes the alias to the children, the mappings too, is tests/engine's to show."""
    plain = recorded(lambda: consumer(users().changes(), stores=stores()))
    renamed = recorded(lambda: consumer(users().changes(), stores=stores(), former_name="order-mirror"))
    assert renamed.registered.keys() == plain.registered.keys()
    assert renamed.one(kinds.STREAM_CONSUMER, "mirror").aliases == ({"name": "order-mirror"},)
    assert plain.one(kinds.STREAM_CONSUMER, "mirror").aliases == ()
    assert [json.dumps(each) for each in renamed.statements("mirror")] == [
        json.dumps(each).replace("#mirror", "#order-mirror").replace("engine/mirror/", "engine/order-mirror/")
        for each in plain.statements("mirror")
    ]
    before, after = (
        each.one(kinds.FUNCTION, "mirror-function").inputs["environment"]["variables"] for each in (plain, renamed)
    )
    assert before | {"LEDGER_NAME": "order-mirror"} == after
    assert (before["LEDGER_NAME"], after["POWERTOOLS_SERVICE_NAME"]) == ("mirror", "mirror")


def test_after_a_second_rename_the_name_in_between_is_an_alias() -> None:
    opts = pulumi.ResourceOptions(aliases=[pulumi.Alias("copy")])
    recorder = recorded(lambda: consumer(users().changes(), stores=stores(), former_name="order-mirror", opts=opts))
    assert recorder.one(kinds.STREAM_CONSUMER, "mirror").aliases == ({"name": "copy"}, {"name": "order-mirror"})
    variables = recorder.one(kinds.FUNCTION, "mirror-function").inputs["environment"]["variables"]
    assert variables["LEDGER_NAME"] == "order-mirror"


def test_without_stores_a_former_name_is_an_alias_alone() -> None:
    recorder = recorded(lambda: consumer(users().changes(), former_name="order-mirror"))
    assert recorder.one(kinds.STREAM_CONSUMER, "mirror").aliases == ({"name": "order-mirror"},)


@pytest.mark.parametrize("former_name", ["mirror", "", "Mirror", "*", "a#b", "a/b", "a-", "order_mirror"])
def test_a_former_name_is_that_of_another_consumer(former_name: str) -> None:
    assert refused(lambda: consumer(users().changes(), former_name=former_name)) == (
        f"mirror was formerly {former_name!r}: not the name of another consumer, as in former_name='order-mirror'"
    )


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            [("mirror", "change-log"), ("change-log", None)],
            "change-log and mirror would both be change-log in the ledger, and each would run what the other holds: "
            "once nothing is held there, take former_name= from the one that has it",
        ),
        (
            [("mirror", "old"), ("change-log", "old")],
            "change-log and mirror would both be old in the ledger, and each would run what the other holds: once "
            "nothing is held there, take former_name= from the one that has it",
        ),
    ],
)
def test_two_consumers_do_not_share_what_they_hold(names: Sequence[tuple[str, str | None]], message: str) -> None:
    def program() -> None:
        kept = stores()
        for name, former_name in names:
            consumer(users(f"{name}-source").changes(), name=name, stores=kept, former_name=former_name)

    assert refused(program) == message


NETWORK = {"subnet_ids": ["subnet-1"], "security_group_ids": ["sg-1"]}


def test_what_a_function_needs_beyond_is_passed_on_with_its_rights() -> None:
    given: dict[str, Any] = {
        "vpc_config": NETWORK,
        "layers": [arn("lambda", "layer:tools:1")],
        "reserved_concurrent_executions": 5,
        "ephemeral_storage": {"size": 1024},
        "logging_config": {"application_log_level": "WARN", "system_log_level": "WARN"},
    }
    recorder = recorded(lambda: consumer(users().changes(), function_args=given))
    inputs = recorder.one(kinds.FUNCTION, "mirror-function").inputs
    assert inputs["vpcConfig"] == {"subnetIds": ["subnet-1"], "securityGroupIds": ["sg-1"]}
    assert inputs["layers"] == given["layers"]
    assert (inputs["reservedConcurrentExecutions"], inputs["ephemeralStorage"]) == (5, {"size": 1024})
    assert inputs["loggingConfig"] == {
        "logFormat": "JSON",
        "logGroup": physical("mirror-logs"),
        "applicationLogLevel": "WARN",
        "systemLogLevel": "WARN",
    }
    [joining] = [each for each in recorder.statements("mirror") if each["Action"][0].startswith("ec2:")]
    assert joining == {
        "Effect": "Allow",
        "Action": [
            "ec2:CreateNetworkInterface",
            "ec2:DescribeNetworkInterfaces",
            "ec2:DescribeSubnets",
            "ec2:DeleteNetworkInterface",
            "ec2:AssignPrivateIpAddresses",
            "ec2:UnassignPrivateIpAddresses",
        ],
        "Resource": ["*"],
    }


def test_a_function_in_a_network_passes_a_protected_preview() -> None:
    def program() -> None:
        consumer(users(protect=True).changes(), stores=stores(), function_args={"vpc_config": NETWORK})

    record(program, preview=True)


def test_with_snap_start_the_mapping_invokes_a_published_version() -> None:
    given = {"snap_start": {"apply_on": "PublishedVersions"}}
    recorder = recorded(lambda: consumer(users().changes(), stores=stores(), function_args=given))
    assert recorder.one(kinds.FUNCTION, "mirror-function").inputs["publish"] is True
    assert mapping(recorder)["functionName"] == arn("lambda", f"function:{physical('mirror-function')}:7")


def test_what_the_component_sets_itself_is_refused_by_name() -> None:
    given = {"handler": "x", "memory_size": 1, "source_code_hash": "x", "logging_config": {"log_group": "x"}, "vpc": {}}
    assert refused(lambda: consumer(users().changes(), function_args=given)).splitlines() == [
        "mirror: function_args may not set handler: the consumer's name names its module",
        "mirror: function_args may not set memory_size: set memorySize in the consumer's tuning",
        "mirror: function_args may not set source_code_hash: package= holds it",
        "mirror: function_args sets vpc, which is no argument of Function",
        "mirror: function_args may not set log_group of logging_config: the engine logs JSON to its own group",
    ]


def test_no_concurrency_is_refused() -> None:
    given = {"reserved_concurrent_executions": 0}
    assert refused(lambda: consumer(users().changes(), function_args=given)).startswith(
        "mirror-function: reservedConcurrentExecutions 0: every invocation is throttled"
    )


def test_no_stream_is_read_before_the_function_has_all_its_rights() -> None:
    def program() -> None:
        key = EncryptionKey("encryption")
        kept = Stores("stores", retention_in_days=30, encryption_key=key)
        consumer(users(encryption_key=key).changes("INSERT"), stores=kept)

    recorder = recorded(program)
    needed = {recorder.one(kinds.POLICY, f"mirror-{name}").urn for name in ("policy", "variables", "helpers")}
    assert needed <= recorder.one(kinds.MAPPING, "mirror-users").dependencies
    assert needed <= recorder.one(kinds.SCHEDULE, "mirror-retry").dependencies
    assert mapping(recorder)["kmsKeyArn"] == kinds.key_arn("encryption-key")  # its filter holds values of items


def test_nothing_else_stays_in_a_role() -> None:
    recorder = recorded(lambda: consumer(users().changes(), stores=stores()))
    for role, policies in (("role", ["policy", "helpers"]), ("retry-role", ["retry-policy"])):
        named = {"roleName": physical(f"mirror-{role}")}
        assert recorder.one(kinds.EXCLUSIVE, f"mirror-{role}-policies").inputs == named | {
            "policyNames": [physical(f"mirror-{policy}") for policy in policies]
        }
        assert recorder.one(kinds.ATTACHED, f"mirror-{role}-attachments").inputs == named | {"policyArns": []}


def test_rights_to_read_cover_the_indexes() -> None:
    indexes = [{"name": "by-email", "hash_key": "email", "projection_type": "ALL"}]
    args: dict[str, Any] = {"attributes": [{"name": "email", "type": "S"}], "global_secondary_indexes": indexes}

    def program() -> None:
        environment: Environment = {
            "OWN": read_from(users("own", table_args=args)),
            "THEIRS": read_from(StreamTable.existing("theirs", table_name="prod-users")),
            "PLAIN": read_from(users("plain")),
            "ONE": read_from(users("one", table_args=args), "GetItem"),
        }
        consumer(users().changes(), environment=environment)

    found = FOUND | {"localSecondaryIndexes": [{"name": "by-n", "rangeKey": "n"}]}
    granted = recorded(program, {"prod-users": found}).statements("mirror")[3:]
    read = ["dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Query"]
    assert [(each["Action"], each["Resource"]) for each in granted] == [
        (read, [table_arn("own-table")]),
        (["dynamodb:Query"], [f"{table_arn('own-table')}/index/*"]),
        (read, [table_arn("users")]),
        (["dynamodb:Query"], [f"{table_arn('users')}/index/*"]),
        (read, [table_arn("plain-table")]),
        (["dynamodb:GetItem"], [table_arn("one-table")]),
    ]


def test_a_secret_with_a_key_of_its_own_brings_the_right_to_it() -> None:
    def program() -> None:
        key = secret(arn("secretsmanager", "secret:a"), key_arn=arn("kms", "key/1"))
        consumer(users().changes(), environment={"KEY": key})

    recorder = recorded(program)
    assert recorder.statements("mirror")[-1] == {
        "Effect": "Allow",
        "Action": ["kms:Decrypt"],
        "Resource": [arn("kms", "key/1")],
        "Condition": {"StringEquals": {"kms:ViaService": f"secretsmanager.{kinds.REGION}.amazonaws.com"}},
    }


def test_names_of_children_do_not_collide() -> None:
    def program() -> None:
        kept = stores()
        consumer(users("orders-archive").changes(), name="mirror", stores=kept, package=packaged("mirror"))
        consumer(users("archive").changes(), name="mirror-orders", stores=kept, package=packaged("mirror_orders"))

    assert refused(program) == "mirror-orders and mirror would both make mirror-orders-archive: rename one of them"


def packaged(*modules: str) -> Package:
    """A package of a project with these modules."""
    root = Path(tempfile.mkdtemp())
    (root / "handler").mkdir()
    for module in modules:
        (root / "handler" / f"{module}.py").write_text("def handler(event, context): ...")
    return replace(build("host"), root=root)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("def handle(change): ...", "handler/mirror.py has no handler, which is what Lambda calls"),
        ("def handler(change:", "handler/mirror.py:1 is not Python"),
    ],
)
def test_a_module_that_lambda_could_not_call_is_refused(module: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "handler").mkdir()
    (tmp_path / "handler" / "mirror.py").write_text(module)
    package = replace(build("host"), root=tmp_path)
    assert refused(lambda: consumer(users().changes(), package=package)).startswith(message)
