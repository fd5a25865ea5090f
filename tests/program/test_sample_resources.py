"""The resources of the sample program: how many, with which inputs and options."""

import json
import logging
from collections import Counter
from pathlib import Path

import pytest

from sandbox.program.values import Archive
from tests.consumers.project import SAMPLE
from tests.program.recording import (
    ALIAS,
    ATTACHED,
    BUCKET,
    BUCKET_ENCRYPTION,
    BUCKET_EXPIRY,
    BUCKET_POLICY,
    BUCKET_PRIVATE,
    ENCRYPTION_KEY,
    EXCLUSIVE,
    FUNCTION,
    INVOCATIONS,
    KEY,
    LOG_GROUP,
    MAPPING,
    POLICY,
    ROLE,
    SCHEDULE,
    STORES,
    STREAM_CONSUMER,
    STREAM_TABLE,
    TABLE,
    RecordingBackend,
    arn,
    physical,
    record_program,
    stacks,
    stream_arn,
    table_arn,
)

FAILURES = f"arn:aws:s3:::{physical('stores-failures')}"
LEDGER = table_arn("stores-ledger")
OF_TABLES = Counter({STREAM_TABLE: 3, TABLE: 3})
OF_STORES = Counter((STORES, TABLE, BUCKET, BUCKET_PRIVATE, BUCKET_EXPIRY, BUCKET_POLICY))
OF_CONSUMER = Counter(
    {
        STREAM_CONSUMER: 1,
        ROLE: 2,
        POLICY: 3,
        EXCLUSIVE: 2,
        ATTACHED: 2,
        LOG_GROUP: 1,
        FUNCTION: 1,
        INVOCATIONS: 1,
        SCHEDULE: 1,
    }
)
OF_KEY = Counter((ENCRYPTION_KEY, KEY, ALIAS, BUCKET_ENCRYPTION))
READS = {"local": 4, "prod": 3}
"""How many mappings a stack has; only `local` has a sender, and with it the consumer welcome-email."""


@pytest.fixture(scope="module")
def sample() -> RecordingBackend:
    return record_program(SAMPLE, "local")


@pytest.mark.parametrize("encryption", ["aws", "customer"])
@pytest.mark.parametrize("stack", stacks(SAMPLE))
def test_each_stack_registers_exactly_what_it_should(stack: str, encryption: str) -> None:
    consumers = 3 if stack == "local" else 2
    counts = Counter({each: number * consumers for each, number in OF_CONSUMER.items()})
    counts += OF_TABLES + OF_STORES + Counter({MAPPING: READS[stack]})
    if encryption == "customer":
        counts += OF_KEY + Counter({POLICY: consumers})
    assert record_program(SAMPLE, stack, encryption=encryption).counts() == counts


@pytest.mark.parametrize("stack", stacks(SAMPLE))
def test_only_a_protected_stack_keeps_its_resources(stack: str) -> None:
    """Pulumi retains no resource, and only prod has resources that refuse to be deleted."""
    recording = record_program(SAMPLE, stack, mailFrom="shop@example.com")
    protect = stack == "prod"
    registered = recording.registered.values()
    assert {(bool(each.protect), each.retain_on_delete) for each in registered} == {(protect, False)}
    tables = [each.inputs for each in recording.of_type(TABLE)]
    assert [inputs["deletionProtectionEnabled"] for inputs in tables] == 4 * [protect]
    assert [inputs["pointInTimeRecovery"] for inputs in tables] == 4 * [{"enabled": True}]
    assert [each.inputs["forceDestroy"] for each in recording.of_type(BUCKET)] == [not protect]
    days = [each.inputs["retentionInDays"] for each in recording.of_type(LOG_GROUP)]
    assert days == 3 * [90 if protect else 30]


def test_protection_reaches_the_key() -> None:
    recording = record_program(SAMPLE, "prod", encryption="customer")
    assert {each.protect for each in recording.registered.values()} == {True}


def test_no_stack_causes_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "pulumi")
    for stack in stacks(SAMPLE):
        record_program(SAMPLE, stack, mailFrom="shop@example.com")
    assert [each.message for each in caplog.records] == []


def test_every_table_is_made_as_promised(sample: RecordingBackend) -> None:
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
    assert {name: sample.one(TABLE, name).inputs for name in expected} == expected


def test_the_function_gets_its_code_its_log_group_and_its_variables(sample: RecordingBackend) -> None:
    function = sample.one(FUNCTION, "mirror-function")
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
    mapping = sample.one(MAPPING, "welcome-email-users")
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
    assert sample.one(POLICY, "welcome-email-policy").urn in mapping.dependencies


def test_the_outputs_carry_what_a_tool_needs(sample: RecordingBackend) -> None:
    outputs = sample.outputs
    assert outputs["tables"] == {
        name: {
            "name": physical(f"{name}-table"),
            "arn": table_arn(f"{name}-table"),
            "streamArn": stream_arn(f"{name}-table"),
        }
        for name in ("users", "orders", "orders-mirror")
    }
    assert outputs["stores"] == {
        "failures": {"bucket": physical("stores-failures"), "arn": FAILURES},
        "ledger": {"name": physical("stores-ledger"), "arn": LEDGER},
    }
    assert outputs["consumers"]["change-log"] == {
        "function": physical("change-log-function"),
        "functionArn": arn("lambda", f"function:{physical('change-log-function')}"),
        "role": physical("change-log-role"),
        "logGroup": physical("change-log-logs"),
        "mappings": {"users": "uuid-of-change-log-users", "orders": "uuid-of-change-log-orders"},
        "ledgerName": "change-log",
    }


def test_every_resource_is_the_child_of_its_component_under_its_name(sample: RecordingBackend) -> None:
    stack = "urn:pulumi:local::table-stream::pulumi:pulumi:Stack::table-stream-local"
    components = {each.urn: each for each in sample.registered.values() if not each.custom}
    children = [each for each in sample.registered.values() if each.custom]
    assert [each.name for each in children if not each.name.startswith(f"{components[each.parent].name}-")] == []
    assert [each.name for each in children if each.provider or each.ignore_changes] == []
    assert [each.name for each in components.values() if each.aliases or each.parent != stack] == []


def test_the_tuning_of_one_consumer_reaches_its_resources_alone() -> None:
    tuning = {
        "memorySize": 512,
        "timeout": 120,
        "retentionInDays": 90,
        "tracing": True,
        "enabled": False,
        "startingPosition": "LATEST",
        "batchSize": 1_000,
        "maximumBatchingWindowInSeconds": 5,
        "parallelizationFactor": 10,
        "giveUpAfter": 60,
        "handlerTimeout": 20,
        "workers": 4,
    }
    sample = record_program(SAMPLE, "local", tuning=json.dumps({"mirror": tuning}))
    mapping = sample.one(MAPPING, "mirror-orders").inputs
    function = sample.one(FUNCTION, "mirror-function").inputs
    variables = function["environment"]["variables"]
    for name in ("enabled", "startingPosition", "batchSize", "maximumBatchingWindowInSeconds", "parallelizationFactor"):
        assert mapping[name] == tuning[name]
    assert sample.one(SCHEDULE, "mirror-retry").inputs["state"] == "DISABLED"
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
    assert sample.one(LOG_GROUP, "mirror-logs").inputs == {"retentionInDays": 90}
    traced = {"Effect": "Allow", "Action": ["xray:PutTraceSegments", "xray:PutTelemetryRecords"], "Resource": ["*"]}
    assert traced in sample.statements("mirror")

    assert traced not in sample.statements("change-log")
    other = sample.one(FUNCTION, "change-log-function").inputs
    assert other["tracingConfig"] == {"mode": "PassThrough"}
    assert "TRACING" not in other["environment"]["variables"]
    assert sample.one(MAPPING, "change-log-orders").inputs["batchSize"] == 100
    assert sample.one(SCHEDULE, "change-log-retry").inputs["state"] == "ENABLED"
