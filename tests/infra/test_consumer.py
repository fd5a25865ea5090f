"""The resources that a consumer registers, and the arguments that it passes on."""

from typing import Any

import pulumi_aws as aws
import pytest

from infra.filters import exists
from infra.settings import Tuning
from infra.stores import Stores
from infra.table import StreamTable
from sandbox.program.values import UNKNOWN
from tests.infra.programs import PROD_USERS, bare_consumer, mapping, refusal, stores, users, variables
from tests.program import recording as kinds
from tests.program.recording import arn, physical, record, stream_arn

WITHOUT_STORES = {
    *("mirror", "mirror-role", "mirror-policy", "mirror-logs", "mirror-function", "mirror-users"),
    *("mirror-role-policies", "mirror-role-attachments"),
}
OF_STORES = {
    *("mirror-invocations", "mirror-helpers", "mirror-retry-role", "mirror-retry-policy", "mirror-retry"),
    *("mirror-retry-role-policies", "mirror-retry-role-attachments"),
}
"""The resources that `mirror` has with stores alone."""


def test_a_consumer_of_one_table_registers_exactly_this() -> None:
    recorder = record(lambda: bare_consumer(users().changes(), stores=stores()))
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
        bare_consumer(table.changes(), stores=stores())

    recorder = record(program, tables={"prod-users": PROD_USERS})
    assert mapping(recorder)["eventSourceArn"] == stream_arn("users")
    own = {name: each.protect for (_, name), each in recorder.registered.items() if name.startswith("mirror")}
    assert own == dict.fromkeys((*WITHOUT_STORES, *OF_STORES), True)


def test_several_changes_of_one_table_are_the_filters_of_one_mapping() -> None:
    def program() -> None:
        table = users()
        bare_consumer(table.changes("INSERT"), table.changes("MODIFY", new={"email": exists(str)}))

    assert mapping(record(program))["filterCriteria"] == {
        "filters": [
            {"pattern": '{"eventName":["INSERT"]}'},
            {"pattern": '{"eventName":["MODIFY"],"dynamodb":{"NewImage":{"email":{"S":[{"exists":true}]}}}}'},
        ]
    }


def test_an_alternative_that_lets_everything_through_leaves_no_filter() -> None:
    def program() -> None:
        table = users()
        bare_consumer(table.changes("INSERT"), table.changes())

    assert "filterCriteria" not in mapping(record(program))


def test_five_filters_are_one_mapping_s_most() -> None:
    def program() -> None:
        table = users()
        bare_consumer(*(table.changes(keys={"id": str(number)}) for number in range(5)))

    assert len(mapping(record(program))["filterCriteria"]["filters"]) == 5


def test_without_stores_there_is_no_resource_right_or_variable_of_theirs() -> None:
    recorder = record(lambda: bare_consumer(users().changes()))
    assert {name for _, name in recorder.registered if name.startswith("mirror")} == WITHOUT_STORES
    actions = [statement["Action"][0] for statement in recorder.statements("mirror")]
    assert actions == ["logs:CreateLogStream", "dynamodb:DescribeStream", "dynamodb:ListStreams"]
    assert "destinationConfig" not in mapping(recorder)
    assert not {"FAILURE_BUCKET", "LEDGER_NAME", "LEDGER_TABLE", "REMEMBER_SECONDS"} & variables(recorder).keys()


def test_what_aws_allows_beyond_goes_to_every_mapping_as_it_is() -> None:
    key = arn("kms", "key/1")

    def program() -> None:
        args = {"maximum_retry_attempts": 5, "kms_key_arn": key, "metrics_config": None, "tags": {"a": "b"}}
        bare_consumer(users().changes(), users("others").changes(), stores=stores(), mapping_args=args)

    recorder = record(program)
    for name in ("mirror-users", "mirror-others"):
        inputs = recorder.one(kinds.MAPPING, name).inputs
        assert {"maximumRetryAttempts": 5, "kmsKeyArn": key, "tags": {"a": "b"}}.items() <= inputs.items()
        assert "metricsConfig" not in inputs
        assert (inputs["bisectBatchOnFunctionError"], inputs["maximumRecordAgeInSeconds"]) == (True, 86_100)


def test_what_is_known_after_the_update_breaks_no_rule() -> None:
    def program() -> None:
        later = aws.sqs.Queue("later").visibility_timeout_seconds
        args = {"maximum_retry_attempts": later, "maximum_record_age_in_seconds": later}
        bare_consumer(users(protect=True).changes(), stores=stores(), mapping_args=args)

    assert mapping(record(program, preview=True))["maximumRetryAttempts"] == UNKNOWN


@pytest.mark.parametrize(
    ("days", "give_up_after", "remembered"), [(30, 604_800, 3_283_200), (1, 60, 172_860), (7, 2_592_000, 3_283_200)]
)
def test_claims_outlast_what_is_held_and_what_is_kept_after_that(
    days: int, give_up_after: int, remembered: int
) -> None:
    """Sum up the retention of failures, the time until a change is parked, and a day."""

    def program() -> None:
        kept = Stores("stores", retention_in_days=days)
        bare_consumer(users().changes(), stores=kept, tuning=Tuning(give_up_after=give_up_after))

    seconds = {"REMEMBER_SECONDS": str(remembered), "GIVE_UP_AFTER_SECONDS": str(give_up_after)}
    assert seconds.items() <= variables(record(program)).items()


NETWORK = {"subnet_ids": ["subnet-1"], "security_group_ids": ["sg-1"]}


def test_what_a_function_needs_beyond_is_passed_on_with_its_rights() -> None:
    args: dict[str, Any] = {
        "vpc_config": NETWORK,
        "layers": [arn("lambda", "layer:tools:1")],
        "reserved_concurrent_executions": 5,
        "ephemeral_storage": {"size": 1024},
        "logging_config": {"application_log_level": "WARN", "system_log_level": "WARN"},
    }
    recorder = record(lambda: bare_consumer(users().changes(), function_args=args))
    inputs = recorder.one(kinds.FUNCTION, "mirror-function").inputs
    assert inputs["vpcConfig"] == {"subnetIds": ["subnet-1"], "securityGroupIds": ["sg-1"]}
    assert inputs["layers"] == args["layers"]
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
            *("ec2:CreateNetworkInterface", "ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets"),
            *("ec2:DeleteNetworkInterface", "ec2:AssignPrivateIpAddresses", "ec2:UnassignPrivateIpAddresses"),
        ],
        "Resource": ["*"],
    }


def test_a_function_in_a_network_passes_a_protected_preview() -> None:
    def program() -> None:
        bare_consumer(users(protect=True).changes(), stores=stores(), function_args={"vpc_config": NETWORK})

    record(program, preview=True)


def test_with_snap_start_the_mapping_invokes_a_published_version() -> None:
    args = {"snap_start": {"apply_on": "PublishedVersions"}}
    recorder = record(lambda: bare_consumer(users().changes(), stores=stores(), function_args=args))
    assert recorder.one(kinds.FUNCTION, "mirror-function").inputs["publish"] is True
    assert mapping(recorder)["functionName"] == arn("lambda", f"function:{physical('mirror-function')}:7")


def test_what_the_component_sets_itself_is_refused_by_name() -> None:
    args = {"handler": "x", "memory_size": 1, "source_code_hash": "x", "logging_config": {"log_group": "x"}, "vpc": {}}
    assert refusal(lambda: bare_consumer(users().changes(), function_args=args)).splitlines() == [
        "mirror: function_args may not set handler: the consumer's name names its module",
        "mirror: function_args may not set memory_size: set memorySize in the consumer's tuning",
        "mirror: function_args may not set source_code_hash: package= contains it",
        "mirror: function_args sets vpc, which is no argument of Function",
        "mirror: function_args may not set log_group of logging_config: the engine logs JSON to its own group",
    ]


def test_no_concurrency_is_refused() -> None:
    args = {"reserved_concurrent_executions": 0}
    assert refusal(lambda: bare_consumer(users().changes(), function_args=args)).startswith(
        "mirror-function: reservedConcurrentExecutions 0: Lambda throttles every invocation"
    )
