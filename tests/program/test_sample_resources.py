"""The resources of the sample program: how many, with which inputs and options."""

import json
import logging
from collections import Counter
from pathlib import Path

import pytest

from sandbox.program.values import Archive
from tests.consumers.project import SAMPLE
from tests.program import recording as kinds
from tests.program.recording import RecordingBackend, arn, physical, record_program, stacks, stream_arn, table_arn

FAILURES = f"arn:aws:s3:::{physical('stores-failures')}"
LEDGER = table_arn("stores-ledger")
OF_TABLES = Counter({kinds.STREAM_TABLE: 3, kinds.TABLE: 3})
OF_STORES = Counter(
    (kinds.STORES, kinds.TABLE, kinds.BUCKET, kinds.BUCKET_PRIVATE, kinds.BUCKET_EXPIRY, kinds.BUCKET_POLICY)
)
OF_CONSUMER = Counter({kinds.ROLE: 2, kinds.POLICY: 3, kinds.EXCLUSIVE: 2, kinds.ATTACHED: 2}) + Counter(
    (kinds.STREAM_CONSUMER, kinds.LOG_GROUP, kinds.FUNCTION, kinds.INVOCATIONS, kinds.SCHEDULE)
)
OF_KEY = Counter((kinds.ENCRYPTION_KEY, kinds.KEY, kinds.ALIAS, kinds.BUCKET_ENCRYPTION))
OF_ALARMS = Counter((kinds.ALARMS, kinds.DASHBOARD)) + Counter({kinds.ALARM: 6})
"""Whatever consumers there are: two alarms for each of the two tables that they read, and for the ledger."""
OF_A_CONSUMERS_ALARMS = Counter({kinds.ALARM: 12, kinds.COMPOSITE: 2})
"""Besides one alarm for each mapping."""
OF_NOTIFYING = Counter((kinds.TOPIC, kinds.SUBSCRIPTION))
READS = {"local": 4, "prod": 3}
"""How many mappings a stack has; only `local` has a sender, and with it the consumer welcome-email."""


@pytest.fixture(scope="module")
def sample() -> RecordingBackend:
    return record_program(SAMPLE, "local")


@pytest.mark.parametrize("encryption", ["aws", "customer"])
@pytest.mark.parametrize("stack", stacks(SAMPLE))
def test_each_stack_registers_exactly_what_it_should(stack: str, encryption: str) -> None:
    consumers = 3 if stack == "local" else 2
    of_consumers = OF_CONSUMER + OF_A_CONSUMERS_ALARMS
    counts = Counter({each: number * consumers for each, number in of_consumers.items()})
    counts += OF_TABLES + OF_STORES + OF_ALARMS + Counter({kinds.MAPPING: READS[stack], kinds.ALARM: READS[stack]})
    if stack == "prod":
        counts += OF_NOTIFYING
    if encryption == "customer":
        counts += OF_KEY + Counter({kinds.POLICY: consumers})
    assert record_program(SAMPLE, stack, encryption=encryption).counts() == counts


@pytest.mark.parametrize("stack", stacks(SAMPLE))
def test_only_a_protected_stack_keeps_its_resources(stack: str) -> None:
    """Pulumi retains no resource, and only prod has resources that refuse to be deleted: all but its alarms."""
    recording = record_program(SAMPLE, stack, mailFrom="shop@example.com")
    protect = stack == "prod"
    registered = recording.registered.values()
    [alarms] = recording.of_type(kinds.ALARMS)
    others = [each for each in registered if alarms.urn not in (each.urn, each.parent)]
    assert {(bool(each.protect), each.retain_on_delete) for each in others} == {(protect, False)}
    kept = [each.name for each in registered if each not in others and (each.protect or each.retain_on_delete)]
    assert kept == []
    tables = [each.inputs for each in recording.of_type(kinds.TABLE)]
    assert [inputs["deletionProtectionEnabled"] for inputs in tables] == 4 * [protect]
    assert [inputs["pointInTimeRecovery"] for inputs in tables] == 4 * [{"enabled": True}]
    assert [each.inputs["forceDestroy"] for each in recording.of_type(kinds.BUCKET)] == [not protect]
    days = [each.inputs["retentionInDays"] for each in recording.of_type(kinds.LOG_GROUP)]
    assert days == 3 * [90 if protect else 30]


def test_protection_reaches_the_key() -> None:
    recording = record_program(SAMPLE, "prod", encryption="customer")
    assert {each.name for each in recording.registered.values() if each.protect} >= {"encryption", "encryption-key"}


def test_no_stack_causes_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "pulumi")
    for stack in stacks(SAMPLE):
        record_program(SAMPLE, stack, mailFrom="shop@example.com")
    assert [each.message for each in caplog.records] == []


def test_every_table_has_its_arguments(sample: RecordingBackend) -> None:
    common = {
        "billingMode": "PAY_PER_REQUEST",
        "pointInTimeRecovery": {"enabled": True},
        "deletionProtectionEnabled": False,
        "serverSideEncryption": {"enabled": False},
        "ttl": {"enabled": False},
    }
    streaming = {"streamEnabled": True, "streamViewType": "NEW_AND_OLD_IMAGES"}
    orders = {
        "hashKey": "customer_id",
        "rangeKey": "order_id",
        "attributes": [{"name": "customer_id", "type": "S"}, {"name": "order_id", "type": "S"}],
    }
    expiring = {"ttl": {"attributeName": "expiry", "enabled": True}}
    expected = {
        "users-table": common | streaming | {"hashKey": "id", "attributes": [{"name": "id", "type": "S"}]},
        "orders-table": common | streaming | orders,
        "orders-mirror-table": common | streaming | orders | expiring,
        "stores-ledger": common
        | expiring
        | {"hashKey": "pk", "rangeKey": "sk", "attributes": [{"name": "pk", "type": "S"}, {"name": "sk", "type": "S"}]},
    }
    assert {name: sample.one(kinds.TABLE, name).inputs for name in expected} == expected


def test_the_function_gets_its_code_its_log_group_and_its_variables(sample: RecordingBackend) -> None:
    function = sample.one(kinds.FUNCTION, "mirror-function")
    assert not function.delete_before_replace
    inputs = dict(function.inputs)
    code, digest = inputs.pop("code"), inputs.pop("codeSha256")
    assert isinstance(code, Archive)
    assert Path(code.path).is_file()
    assert digest
    assert inputs.pop("runtime").startswith("python3.")
    assert inputs.pop("architectures") in (["arm64"], ["x86_64"])
    assert inputs == {
        "role": arn("iam", f"role/{physical('mirror-role')}"),
        "handler": "handler.mirror.handler",
        "memorySize": 512,
        "timeout": 60,
        "loggingConfig": {"logFormat": "JSON", "logGroup": physical("mirror-logs")},
        "tracingConfig": {"mode": "PassThrough"},
        "environment": {
            "variables": {
                "POWERTOOLS_SERVICE_NAME": "mirror",
                "POWERTOOLS_METRICS_NAMESPACE": "table-stream",
                "FAILURE_BUCKET": physical("stores-failures"),
                "LEDGER_TABLE": physical("stores-ledger"),
                "LEDGER_NAME": "mirror",
                "REMEMBER_SECONDS": str((30 + 7 + 1) * 86_400),
                "GIVE_UP_AFTER_SECONDS": str(7 * 86_400),
                "BATCHING_WINDOW_SECONDS": "0",
                "HANDLER_TIMEOUT_SECONDS": "10",
                "WORKERS": "10",
                "MIRROR_TABLE": physical("orders-mirror-table"),
            }
        },
    }


def test_the_mapping_gets_every_option_and_its_destination(sample: RecordingBackend) -> None:
    mapping = sample.one(kinds.MAPPING, "welcome-email-users")
    assert mapping.inputs == {
        "eventSourceArn": stream_arn("users-table"),
        "functionName": physical("welcome-email-function"),
        "filterCriteria": {
            "filters": [
                {"pattern": '{"eventName":["INSERT"],"dynamodb":{"NewImage":{"email":{"S":[{"exists":true}]}}}}'}
            ]
        },
        "functionResponseTypes": ["ReportBatchItemFailures"],
        "destinationConfig": {"onFailure": {"destinationArn": FAILURES}},
        "metricsConfig": {"metrics": ["EventCount"]},
        "enabled": True,
        "startingPosition": "TRIM_HORIZON",
        "batchSize": 100,
        "maximumBatchingWindowInSeconds": 0,
        "parallelizationFactor": 1,
        "bisectBatchOnFunctionError": True,
        "maximumRetryAttempts": -1,
        "maximumRecordAgeInSeconds": 86_100,
    }
    assert mapping.delete_before_replace is True
    assert mapping.replacement_trigger == "NEW_AND_OLD_IMAGES"
    assert sample.one(kinds.POLICY, "welcome-email-policy").urn in mapping.dependencies


def test_the_outputs_carry_what_a_tool_needs(sample: RecordingBackend) -> None:
    outputs = sample.outputs
    assert outputs["tables"] == {
        name: {"name": physical(table), "arn": table_arn(table), "streamArn": stream_arn(table)}
        for name, table in ((name, f"{name}-table") for name in ("users", "orders", "orders-mirror"))
    }
    assert outputs["stores"] == {
        "failures": {"bucket": physical("stores-failures"), "arn": FAILURES},
        "ledger": {"name": physical("stores-ledger"), "arn": LEDGER},
    }
    *alarms, page, ticket = outputs["consumers"]["change-log"].pop("alarms")
    of_consumer = [each.name for each in sample.of_type(kinds.ALARM) if each.name.startswith("alarms-change-log-")]
    assert sorted(alarms) == sorted(map(physical, of_consumer))
    assert [page, ticket] == [f"table-stream-local-change-log-{level}" for level in ("page", "ticket")]
    assert outputs["consumers"]["change-log"] == {
        "function": physical("change-log-function"),
        "functionArn": arn("lambda", f"function:{physical('change-log-function')}"),
        "role": physical("change-log-role"),
        "logGroup": physical("change-log-logs"),
        "mappings": {"users": "uuid-of-change-log-users", "orders": "uuid-of-change-log-orders"},
        "ledgerName": "change-log",
        "schedule": physical("change-log-retry"),
        "fenced": False,
        "claimed": False,
    }
    assert {name: (each["fenced"], each["claimed"]) for name, each in outputs["consumers"].items()} == {
        "change-log": (False, False),
        "mirror": (True, False),
        "welcome-email": (False, True),
    }


def test_every_resource_is_the_child_of_its_component_under_its_name(sample: RecordingBackend) -> None:
    stack = "urn:pulumi:local::table-stream::pulumi:pulumi:Stack::table-stream-local"
    components = {each.urn: each for each in sample.registered.values() if not each.custom}
    children = [each for each in sample.registered.values() if each.custom]
    assert [each.name for each in children if not each.name.startswith(f"{components[each.parent].name}-")] == []
    assert [each.name for each in children if each.provider or each.ignore_changes] == []
    assert [each.name for each in components.values() if each.aliases or each.parent != stack] == []


def test_the_tuning_of_one_consumer_reaches_its_resources_alone() -> None:
    of_mapping = {
        "enabled": False,
        "startingPosition": "LATEST",
        "batchSize": 1_000,
        "maximumBatchingWindowInSeconds": 5,
        "parallelizationFactor": 10,
    }
    tuning = of_mapping | {
        "memorySize": 512,
        "timeout": 120,
        "retentionInDays": 90,
        "tracing": True,
        "giveUpAfter": 60,
        "handlerTimeout": 20,
        "workers": 4,
    }
    sample = record_program(SAMPLE, "local", tuning=json.dumps({"mirror": tuning}))
    assert of_mapping.items() <= sample.one(kinds.MAPPING, "mirror-orders").inputs.items()
    function = sample.one(kinds.FUNCTION, "mirror-function").inputs
    variables = function["environment"]["variables"]
    assert sample.one(kinds.SCHEDULE, "mirror-retry").inputs["state"] == "DISABLED"
    assert (function["memorySize"], function["timeout"]) == (512, 120)
    assert function["tracingConfig"] == {"mode": "Active"}
    assert {name: variables[name] for name in variables if name.endswith(("SECONDS", "WORKERS", "TRACING"))} == {
        "REMEMBER_SECONDS": "2678460",
        "GIVE_UP_AFTER_SECONDS": "60",
        "BATCHING_WINDOW_SECONDS": "5",
        "HANDLER_TIMEOUT_SECONDS": "20",
        "WORKERS": "4",
        "TRACING": "true",
    }
    assert sample.one(kinds.LOG_GROUP, "mirror-logs").inputs == {"retentionInDays": 90}
    traced = {"Effect": "Allow", "Action": ["xray:PutTraceSegments", "xray:PutTelemetryRecords"], "Resource": ["*"]}
    assert traced in sample.statements("mirror")

    assert traced not in sample.statements("change-log")
    other = sample.one(kinds.FUNCTION, "change-log-function").inputs
    assert other["tracingConfig"] == {"mode": "PassThrough"}
    assert "TRACING" not in other["environment"]["variables"]
    assert sample.one(kinds.MAPPING, "change-log-orders").inputs["batchSize"] == 100
    assert sample.one(kinds.SCHEDULE, "change-log-retry").inputs["state"] == "ENABLED"
