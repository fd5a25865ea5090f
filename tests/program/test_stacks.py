"""The whole program, for every stack file: what it registers, with which inputs and options."""

import json
import logging
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from sandbox.program.in_process import run, stack_config
from sandbox.program.values import Archive
from tests.program import recording as kinds
from tests.program.recording import Recorder, arn, physical, stream_arn, table_arn

ROOT = Path(__file__).parents[2]
STACKS = sorted(path.name.split(".")[1] for path in ROOT.glob("Pulumi.*.yaml"))
FAILURES = f"arn:aws:s3:::{physical('stores-failures')}"
LEDGER = table_arn("stores-ledger")
OWN = {"StringEquals": {"s3:ResourceAccount": kinds.ACCOUNT}}

WITHOUT_SENDER = Counter(
    {
        kinds.STREAM_TABLE: 3,
        kinds.STORES: 1,
        kinds.STREAM_CONSUMER: 2,
        kinds.TABLE: 4,
        kinds.BUCKET: 1,
        kinds.BUCKET_PRIVATE: 1,
        kinds.BUCKET_EXPIRY: 1,
        kinds.BUCKET_POLICY: 1,
        kinds.ROLE: 4,
        kinds.POLICY: 6,
        kinds.EXCLUSIVE: 4,
        kinds.ATTACHED: 4,
        kinds.LOG_GROUP: 2,
        kinds.FUNCTION: 2,
        kinds.INVOCATIONS: 2,
        kinds.SCHEDULE: 2,
        kinds.MAPPING: 3,
    }
)
WELCOME_EMAIL = Counter(
    {
        kinds.STREAM_CONSUMER: 1,
        kinds.ROLE: 2,
        kinds.POLICY: 3,
        kinds.EXCLUSIVE: 2,
        kinds.ATTACHED: 2,
        kinds.LOG_GROUP: 1,
        kinds.FUNCTION: 1,
        kinds.INVOCATIONS: 1,
        kinds.SCHEDULE: 1,
        kinds.MAPPING: 1,
    }
)
COUNTS = {"local": WITHOUT_SENDER + WELCOME_EMAIL} | dict.fromkeys(("dev", "staging", "prod"), WITHOUT_SENDER)
LOG_DAYS = {"local": 30, "dev": 7, "staging": 30, "prod": 90}
WITH_A_KEY = Counter((kinds.ENCRYPTION_KEY, kinds.KEY, kinds.ALIAS, kinds.BUCKET_ENCRYPTION))


def deployed(stack: str, **changes: str) -> tuple[Recorder, dict[str, Any]]:
    recorder = Recorder()
    config = stack_config(stack) | changes
    return recorder, run(ROOT, stack=stack, config=config, backend=recorder)


@pytest.fixture(scope="module")
def local() -> tuple[Recorder, dict[str, Any]]:
    return deployed("local")


@pytest.mark.parametrize("encryption", ["aws", "customer"])
@pytest.mark.parametrize("stack", STACKS)
def test_each_stack_registers_exactly_what_it_should(stack: str, encryption: str) -> None:
    recorder, outputs = deployed(stack, encryption=encryption)
    of_variables = Counter({kinds.POLICY: COUNTS[stack][kinds.FUNCTION]})
    more = WITH_A_KEY + of_variables if encryption == "customer" else Counter[str]()
    assert recorder.counts() == COUNTS[stack] + more
    assert set(outputs["consumers"]) == {name for kind, name in recorder.registered if kind == kinds.STREAM_CONSUMER}


@pytest.mark.parametrize("stack", STACKS)
def test_prod_is_protected_and_every_other_stack_goes_without_a_trace(stack: str) -> None:
    """Nothing is retained, and what could refuse to be deleted does so in prod alone."""
    recorder, _ = deployed(stack, mailFrom="shop@example.com")
    protect = stack == "prod"
    registered = recorder.registered.values()
    assert {(bool(each.protect), each.retain_on_delete) for each in registered} == {(protect, None)}
    tables = [each.inputs for each in registered if each.type == kinds.TABLE]
    assert [inputs["deletionProtectionEnabled"] for inputs in tables] == 4 * [protect]
    assert [inputs["pointInTimeRecovery"] for inputs in tables] == 4 * [{"enabled": True}]
    assert [each.inputs["forceDestroy"] for each in registered if each.type == kinds.BUCKET] == [not protect]
    groups = [each.inputs for each in registered if each.type == kinds.LOG_GROUP]
    assert groups == 3 * [{"retentionInDays": LOG_DAYS[stack]}]


@pytest.mark.parametrize("stack", sorted(set(STACKS) - {"local"}))
def test_a_stack_in_aws_is_tagged_with_its_own_name(stack: str) -> None:
    tags = json.loads(stack_config(stack)["aws:defaultTags"])["tags"]
    assert tags == {"project": "table-stream", "stack": stack}


@pytest.mark.parametrize("stack", STACKS)
def test_no_stack_is_warned_of(stack: str, caplog: pytest.LogCaptureFixture) -> None:
    """Lambda's end of support for the run-time would be: the stacks are built for this interpreter here."""
    caplog.set_level(logging.WARNING, "pulumi")
    deployed(stack, mailFrom="shop@example.com", target="host")
    assert [each.message for each in caplog.records] == []


def test_every_table_is_made_as_promised(local: tuple[Recorder, dict[str, Any]]) -> None:
    recorder, _ = local
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
        | {
            "hashKey": "pk",
            "rangeKey": "sk",
            "attributes": [{"name": "pk", "type": "S"}, {"name": "sk", "type": "S"}],
        },
    }
    assert {name: recorder.one(kinds.TABLE, name).inputs for name in expected} == expected


def test_the_function_gets_its_code_its_log_group_and_its_variables(local: tuple[Recorder, dict[str, Any]]) -> None:
    recorder, _ = local
    function = recorder.one(kinds.FUNCTION, "mirror-function")
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


def test_the_mapping_gets_every_option_and_its_destination(local: tuple[Recorder, dict[str, Any]]) -> None:
    recorder, _ = local
    mapping = recorder.one(kinds.MAPPING, "welcome-email-users")
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
    assert recorder.one(kinds.POLICY, "welcome-email-policy").urn in mapping.dependencies


def test_the_mirror_may_do_its_work_and_nothing_else(local: tuple[Recorder, dict[str, Any]]) -> None:
    recorder, _ = local

    def items(keys: str) -> dict[str, Any]:
        return {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": [keys]}}

    def calls(names: str) -> list[str]:
        return [f"dynamodb:{name}" for name in names.split()]

    expected: list[tuple[list[str], str, dict[str, Any]]] = [
        (
            ["logs:CreateLogStream", "logs:PutLogEvents"],
            arn("logs", f"log-group:{physical('mirror-logs')}:*"),
            {},
        ),
        (
            ["dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator"],
            stream_arn("orders-table"),
            {},
        ),
        (["dynamodb:ListStreams"], f"{table_arn('orders-table')}/stream/*", {}),
        (["s3:PutObject"], f"{FAILURES}/aws/lambda/*", OWN),
        (["s3:ListBucket"], FAILURES, OWN),
        (calls("Query PutItem"), LEDGER, items("note#mirror#*")),
        (calls("PutItem UpdateItem DeleteItem"), LEDGER, items("claim#mirror#*")),
        (calls("Query BatchGetItem UpdateItem DeleteItem"), LEDGER, items("hold#mirror")),
        (calls("Query BatchWriteItem UpdateItem DeleteItem"), LEDGER, items("hold#mirror#*")),
        (calls("UpdateItem DeleteItem"), LEDGER, items("alone#mirror#*")),
        (["s3:PutObject"], f"{FAILURES}/engine/mirror/*", {}),
        (["dynamodb:PutItem"], table_arn("orders-mirror-table"), {}),
    ]
    assert [
        (statement["Action"], statement["Resource"], statement.get("Condition", {}))
        for statement in recorder.statements("mirror")
    ] == [(actions, [resource], condition) for actions, resource, condition in expected]


def test_the_welcome_email_may_send_from_one_address(local: tuple[Recorder, dict[str, Any]]) -> None:
    recorder, _ = local
    assert recorder.statements("welcome-email")[-1] == {
        "Effect": "Allow",
        "Action": ["ses:SendEmail"],
        "Resource": [arn("ses", "identity/hello@example.com"), arn("ses", "identity/example.com")],
        "Condition": {"StringEquals": {"ses:FromAddress": "hello@example.com"}},
    }


def test_a_role_is_assumed_by_one_service_alone(local: tuple[Recorder, dict[str, Any]]) -> None:
    recorder, _ = local
    roles = {name: each.inputs for (kind, name), each in recorder.registered.items() if kind == kinds.ROLE}
    by_lambda = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    by_scheduler = by_lambda | {
        "Principal": {"Service": "scheduler.amazonaws.com"},
        "Condition": {"StringEquals": {"aws:SourceAccount": kinds.ACCOUNT}},
    }
    assert {name for inputs in roles.values() for name in inputs} == {"assumeRolePolicy"}
    assert {name: json.loads(inputs["assumeRolePolicy"])["Statement"] for name, inputs in roles.items()} == {
        f"{consumer}-{role}": [statement]
        for consumer in ("change-log", "mirror", "welcome-email")
        for role, statement in (("role", by_lambda), ("retry-role", by_scheduler))
    }


def test_every_consumer_s_rights_fit_into_its_role(local: tuple[Recorder, dict[str, Any]]) -> None:
    """All policies within a role together, white space not counted (IAM's quota)."""
    recorder, _ = deployed("local", encryption="customer", tuning='{"mirror": {"tracing": true}}')
    sizes: Counter[str] = Counter()
    for (kind, _), each in recorder.registered.items():
        if kind == kinds.POLICY:
            sizes[each.inputs["role"]] += len(re.sub(r"\s", "", each.inputs["policy"]))
    assert len(sizes) == 6
    assert max(sizes.values()) < 10_240 // 2


def test_the_outputs_carry_what_a_tool_needs(local: tuple[Recorder, dict[str, Any]]) -> None:
    _, outputs = local
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


def test_with_a_key_of_one_s_own_nothing_else_changes(local: tuple[Recorder, dict[str, Any]]) -> None:
    """Each resource that can be encrypted is, and each role may use the key for its stores."""
    recorder, _ = deployed("local", encryption="customer")
    key = kinds.key_arn("encryption-key")
    encrypted = {
        kinds.TABLE: {"serverSideEncryption": {"enabled": True, "kmsKeyArn": key}},
        kinds.LOG_GROUP: {"kmsKeyId": key},
        kinds.FUNCTION: {"kmsKeyArn": key},
    }
    for (kind, name), plain in local[0].registered.items():
        inputs = dict(recorder.one(kind, name).inputs)
        if kind == kinds.POLICY and name.endswith(("-helpers", "-retry-policy")):
            assert inputs == plain.inputs
        elif kind == kinds.EXCLUSIVE:
            of_key = set(inputs["policyNames"]) - set(plain.inputs["policyNames"])
            variables = physical(f"{name.removesuffix('-role-policies')}-variables")
            assert of_key == (set[str]() if "retry" in name else {variables})
        elif kind == kinds.POLICY:
            statements = json.loads(inputs.pop("policy"))["Statement"]
            of_key = [each for each in statements if each["Resource"] == [key]]
            assert [each["Action"] for each in of_key] == [["kms:Decrypt"], ["kms:GenerateDataKey"]]
            rest = [each for each in statements if each not in of_key]
            assert rest == local[0].statements(name.removesuffix("-policy"))
            assert inputs.items() < plain.inputs.items()
        else:
            of_filters = {"kmsKeyArn": key} if kind == kinds.MAPPING and "filterCriteria" in inputs else {}
            assert inputs == plain.inputs | encrypted.get(kind, {}) | of_filters


def test_protection_reaches_the_key() -> None:
    recorder, _ = deployed("prod", encryption="customer")
    assert {each.protect for each in recorder.registered.values()} == {True}


def test_every_resource_is_the_child_of_its_component_under_its_name(local: tuple[Recorder, dict[str, Any]]) -> None:
    recorder, _ = local
    stack = "urn:pulumi:local::table-stream::pulumi:pulumi:Stack::table-stream-local"
    components = {each.urn: each for each in recorder.registered.values() if not each.custom}
    children = [each for each in recorder.registered.values() if each.custom]
    assert [each.name for each in children if not each.name.startswith(f"{components[each.parent].name}-")] == []
    assert [each.name for each in children if each.provider or each.ignore_changes] == []
    assert [each.name for each in components.values() if each.aliases or each.parent != stack] == []


def test_sizes_of_one_consumer_reach_its_resources_and_no_other_s() -> None:
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
    recorder, _ = deployed("local", tuning=json.dumps({"mirror": tuning}))
    mapping = recorder.one(kinds.MAPPING, "mirror-orders").inputs
    function = recorder.one(kinds.FUNCTION, "mirror-function").inputs
    variables = function["environment"]["variables"]
    for name in ("enabled", "startingPosition", "batchSize", "maximumBatchingWindowInSeconds", "parallelizationFactor"):
        assert mapping[name] == tuning[name]
    assert recorder.one(kinds.SCHEDULE, "mirror-retry").inputs["state"] == "DISABLED"
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
    assert recorder.one(kinds.LOG_GROUP, "mirror-logs").inputs == {"retentionInDays": 90}
    traced = {"Effect": "Allow", "Action": ["xray:PutTraceSegments", "xray:PutTelemetryRecords"], "Resource": ["*"]}
    assert traced in recorder.statements("mirror")

    assert traced not in recorder.statements("change-log")
    other = recorder.one(kinds.FUNCTION, "change-log-function").inputs
    assert other["tracingConfig"] == {"mode": "PassThrough"}
    assert "TRACING" not in other["environment"]["variables"]
    assert recorder.one(kinds.MAPPING, "change-log-orders").inputs["batchSize"] == 100
    assert recorder.one(kinds.SCHEDULE, "change-log-retry").inputs["state"] == "ENABLED"
