"""The rules by themselves, without an engine: what they say of resources as anybody may write them."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from infra import rules
from infra.rules import RULES, STACK_RULES
from infra.rules.functions import runtime_near_its_end
from infra.rules.view import (
    ALIAS,
    ATTACHMENT,
    BUCKET,
    BUCKET_POLICY,
    BUCKET_PRIVATE,
    CONSUMER,
    FUNCTION,
    LOG_GROUP,
    MAPPING,
    POLICY,
    QUEUE,
    QUEUE_POLICY,
    ROLE,
    ROLE_ATTACHMENT,
    ROLE_POLICY,
    SCHEDULE,
    TABLE,
    TABLE_POLICY,
    TOPIC,
    TOPIC_POLICY,
    UNKNOWN,
    ResourceView,
    Unknown,
)

STREAM = "arn:aws:dynamodb:eu-central-1:1:table/items/stream/2026-01-01T00:00:00.000"
TABLE_ARN = "arn:aws:dynamodb:eu-central-1:1:table/items"
SOUND: Mapping[str, Any] = {
    "eventSourceArn": UNKNOWN,
    "startingPosition": "TRIM_HORIZON",
    "maximumRecordAgeInSeconds": 86_100,
    "bisectBatchOnFunctionError": True,
    "destinationConfig": {"onFailure": {"destinationArn": UNKNOWN}},
    "functionResponseTypes": ["ReportBatchItemFailures"],
}
"""A mapping that breaks no rule."""

SAFE_TABLE = {"pointInTimeRecovery": {"enabled": True}, "deletionProtectionEnabled": True}
BLOCKED: dict[str, Any] = dict.fromkeys(
    ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets"), True
)


def urn(kind: str, name: str) -> str:
    return f"urn:pulumi:dev::shop::shop:index:Shop${kind}::{name}"


def made(kind: str, name: str, inputs: Mapping[str, Any], **origins: str) -> ResourceView:
    """A resource whose properties are made of others, by URN."""
    return ResourceView(kind, name, inputs, urn(kind, name), {name: [of] for name, of in origins.items()})


def mapping(name: str = "late", origins: Mapping[str, str] | None = None, **changes: Any) -> ResourceView:
    return made(MAPPING, name, {**SOUND, **changes}, **(origins or {}))


def policy(kind: str, *statements: Mapping[str, Any], text: bool = True) -> ResourceView:
    document = {"Version": "2012-10-17", "Statement": list(statements)}
    return made(kind, "policy", {"policy": json.dumps(document) if text else document})


def allow(action: Any, resource: Any, **rest: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **rest}


def said(*resources: ResourceView) -> list[str]:
    return [message for _, _, message in rules.findings(resources)]


def begins(*resources: ResourceView) -> list[str]:
    """How each message begins: the resource, and what is wrong with it."""
    return [": ".join(message.split(": ")[:2]) for message in said(*resources)]


@pytest.mark.parametrize(
    ("resource", "findings"),
    [
        (mapping(), []),
        (mapping(destinationConfig=None), ["late: no destinationConfig.onFailure"]),
        (mapping(destinationConfig={}), ["late: no destinationConfig.onFailure"]),
        (mapping(maximumRecordAgeInSeconds=None), ["late: maximumRecordAgeInSeconds -1"]),
        (mapping(maximumRecordAgeInSeconds=-1), ["late: maximumRecordAgeInSeconds -1"]),
        (mapping(maximumRecordAgeInSeconds=86_399, eventSourceArn=STREAM), []),
        (
            mapping(maximumRecordAgeInSeconds=86_400, eventSourceArn=STREAM),
            ["late: maximumRecordAgeInSeconds 86400"],
        ),
        (mapping(maximumRecordAgeInSeconds=604_800, eventSourceArn="arn:aws:kinesis:eu-central-1:1:stream/s"), []),
        (mapping(startingPosition="LATEST"), ["late: startingPosition LATEST"]),
        (mapping(maximumRetryAttempts=0), ["late: maximumRetryAttempts 0"]),
        (mapping(maximumRetryAttempts=UNKNOWN, bisectBatchOnFunctionError=UNKNOWN), []),
        (mapping(bisectBatchOnFunctionError=False), ["late: no bisectBatchOnFunctionError"]),
        (mapping(bisectBatchOnFunctionError=None), ["late: no bisectBatchOnFunctionError"]),
        (
            mapping(functionResponseTypes=[]),
            ["late: functionResponseTypes without ReportBatchItemFailures"],
        ),
        (made(MAPPING, "of-a-queue", {"eventSourceArn": "arn:aws:sqs:eu-central-1:1:q"}), []),
        (mapping(topics=["t"], destinationConfig=None, startingPosition="LATEST"), []),
        (made(TABLE, "items", SAFE_TABLE), []),
        (made(TABLE, "items", {}), ["items: no pointInTimeRecovery", "items: no deletionProtectionEnabled"]),
        (made(LOG_GROUP, "logs", {"retentionInDays": 1}), []),
        (made(LOG_GROUP, "logs", {"retentionInDays": 0}), ["logs: no retentionInDays"]),
        (made(LOG_GROUP, "logs", {}), ["logs: no retentionInDays"]),
        (made(FUNCTION, "f" * 56, {}), []),
        (made(FUNCTION, "f" * 57, {}), [f"{'f' * 57}: a name of 65 characters with the 8 that Pulumi adds"]),
        (made(FUNCTION, "f" * 57, {"name": "short"}), []),
        (made(FUNCTION, "f" * 57, {"namePrefix": "short-"}), []),
        (made(BUCKET_PRIVATE, "p" * 99, {}), []),
        (made(QUEUE, "q", {"name": "q" * 81}), ["q: a name of 81 characters"]),
        (made(SCHEDULE, "s" * 57, {}), [f"{'s' * 57}: a name of 65 characters with the 8 that Pulumi adds"]),
    ],
    ids=lambda value: value.name if isinstance(value, ResourceView) else "",
)
def test_one_resource(resource: ResourceView, findings: list[str]) -> None:
    assert begins(resource) == findings


@pytest.mark.parametrize(
    ("resource", "findings"),
    [
        (policy(ROLE_POLICY, allow("dynamodb:PutItem", TABLE_ARN)), []),
        (policy(ROLE_POLICY, allow("dynamodb:GetRecords", "*"), text=False), ["policy: dynamodb:GetRecords on *"]),
        (policy(POLICY, allow("DynamoDB:getrecords", "*")), ["policy: DynamoDB:getrecords on *"]),
        (
            made(ROLE, "role", {"inlinePolicies": [{"policy": json.dumps({"Statement": allow("s3:Get*", "*")})}]}),
            ["role: Action s3:Get*", "role: s3:Get* on *"],
        ),
        (
            made(ROLE, "role", {"managedPolicyArns": ["arn:aws:iam::aws:policy/AmazonS3FullAccess"]}),
            ["role: AmazonS3FullAccess"],
        ),
        (made(ROLE_ATTACHMENT, "all", {"policyArn": "arn:aws:iam::aws:policy/IAMFullAccess"}), ["all: IAMFullAccess"]),
        (made(ATTACHMENT, "all", {"policyArn": "arn:aws:iam::aws:policy/IAMFullAccess"}), ["all: IAMFullAccess"]),
        (made(ROLE_ATTACHMENT, "one", {"policyArn": UNKNOWN}), []),
        (policy(ROLE_POLICY, {"Sid": "OnAllSms", **allow("sns:Publish", "*")}), []),
    ],
    ids=lambda value: value.name if isinstance(value, ResourceView) else "",
)
def test_rights_wherever_a_role_has_them(resource: ResourceView, findings: list[str]) -> None:
    """What is too wide, and what is open, test_rights shows."""
    assert begins(resource) == findings


@pytest.mark.parametrize("kind", [BUCKET_POLICY, QUEUE_POLICY, TOPIC_POLICY, TABLE_POLICY, QUEUE, TOPIC])
def test_a_policy_of_a_resource_that_is_open(kind: str) -> None:
    to_everybody = allow("sqs:SendMessage", "arn:aws:sqs:eu-central-1:1:q", Principal="*")
    assert begins(policy(kind, to_everybody)) == ["policy: sqs:SendMessage allowed to everybody"]
    assert begins(policy(kind, to_everybody | {"Principal": {"AWS": "arn:aws:iam::1:root"}})) == []


@pytest.mark.parametrize(
    ("runtime", "today", "findings"),
    [
        ("python3.13", date(2029, 1, 1), []),
        (
            "python3.13",
            date(2029, 1, 2),
            [
                "runtime python3.13: Lambda deprecates it on 2029-06-30, and refuses updates of its functions some "
                "weeks later; take python3.14"
            ],
        ),
        ("nodejs24.x", date(2040, 1, 1), []),
        (None, date(2040, 1, 1), []),
        (UNKNOWN, date(2040, 1, 1), []),
    ],
)
def test_a_run_time_near_its_end(runtime: Any, today: date, findings: list[str]) -> None:
    assert list(runtime_near_its_end(made(FUNCTION, "f", {"runtime": runtime}), today)) == findings


def of_table(name: str, **inputs: Any) -> ResourceView:
    return made(TABLE, name, {**SAFE_TABLE, "hashKey": "id", **inputs})


def test_readers_are_counted_by_table_however_it_is_named() -> None:
    items = of_table("items", arn=TABLE_ARN)
    origins = {"eventSourceArn": items.urn}
    first, second = mapping("first", origins), mapping("second", eventSourceArn=STREAM)
    off = mapping("off", origins, enabled=False)
    others = mapping("other", {"eventSourceArn": urn(TABLE, "others")})
    assert said(items, of_table("others"), first, second, off, others) == []
    assert said(items, first, second, mapping("third", origins), mapping("fourth", eventSourceArn=STREAM)) == [
        f"{name} would be reader {number} of items, after first and second: a stream serves two before all are "
        "throttled; do its work in one of these, or let one hand its changes on"
        for number, name in ((3, "third"), (4, "fourth"))
    ]
    assert said(of_table("items", arn=TABLE_ARN, replicas=[{"regionName": "eu-west-1"}]), first, second) == [
        "second would be reader 2 of items, after first: a stream serves one where the table has replicas before all "
        "are throttled; do its work in one of these, or let one hand its changes on"
    ]
    assert len(said(*(mapping(name, eventSourceArn=STREAM) for name in ("a", "b", "c")))) == 1  # of a table elsewhere


def test_a_function_reads_a_stream_once() -> None:
    function, items = made(FUNCTION, "copier", {}), of_table("items", arn=TABLE_ARN)
    by_urn = mapping("one", {"eventSourceArn": items.urn, "functionName": function.urn})
    by_arn = mapping("two", {"functionName": function.urn}, eventSourceArn=STREAM)
    assert said(function, items, by_urn, by_arn) == [
        "two and one read items with one function, copier: AWS refuses the second; take one, with the filters of both"
    ]


ROLE_URN = urn(ROLE, "role")
COPIER = made(FUNCTION, "copier", {}, role=ROLE_URN)
LOOP = (
    "copier reads items and may write it ({}): every write would trigger it again, endlessly. Write to another table, "
    "or filter out its own writes and declare allow_writes_to=[...]"
)


def granting(statement: Mapping[str, Any]) -> list[tuple[str, list[ResourceView]]]:
    """A role with this right in every way that it can have it, with the name of the resource that gives it."""
    document = {"Statement": statement}
    role = made(ROLE, "role", {"name": "role-1"})
    managed = made(POLICY, "managed", {"policy": json.dumps(document)})
    return [
        ("rights", [role, made(ROLE_POLICY, "rights", {"policy": json.dumps(document)}, role=ROLE_URN)]),
        ("rights", [role, made(ROLE_POLICY, "rights", {"policy": document, "role": "role-1"})]),
        ("role", [made(ROLE, "role", {"inlinePolicies": [{"policy": json.dumps(document)}]})]),
        ("managed", [role, managed, made(ROLE_ATTACHMENT, "a", {}, role=ROLE_URN, policyArn=managed.urn)]),
        ("managed", [role, managed, made(ATTACHMENT, "a", {}, roles=ROLE_URN, policyArn=managed.urn)]),
    ]


ITEMS = of_table("items", arn=TABLE_ARN)
READER = mapping("late", {"eventSourceArn": ITEMS.urn, "functionName": COPIER.urn})


@pytest.mark.parametrize("way", range(5))
@pytest.mark.parametrize(
    "statement",
    [
        allow("dynamodb:UpdateItem", TABLE_ARN),
        allow("dynamodb:partiqlinsert", [TABLE_ARN]),
        allow("dynamodb:*", "*"),
        {"Effect": "Allow", "NotAction": "s3:*", "Resource": TABLE_ARN.replace("items", "it*")},
    ],
)
def test_a_function_does_not_write_what_it_reads(statement: Mapping[str, Any], way: int) -> None:
    name, rights = granting(statement)[way]
    assert LOOP.format(name) in said(ITEMS, COPIER, READER, *rights)


def test_what_is_no_loop() -> None:
    def loops(statement: Mapping[str, Any], reader: ResourceView = READER) -> list[str]:
        return [each for each in said(ITEMS, COPIER, reader, *granting(statement)[0][1]) if "trigger" in each]

    assert loops(allow("dynamodb:GetItem", TABLE_ARN)) == []
    assert loops(allow("dynamodb:PutItem", f"{TABLE_ARN}-2")) == []
    writing = allow("dynamodb:PutItem", TABLE_ARN)
    assert len(loops(writing)) == 1
    assert loops(writing, replace(READER, inputs={**READER.inputs, "enabled": False})) == []
    filtered = {"filterCriteria": {"filters": [{"pattern": "{}"}]}}
    assert loops(writing, replace(READER, inputs={**READER.inputs, **filtered})) == []


def test_a_loop_over_several_functions() -> None:
    """A to B, B to C, C to A; and nothing where one of the three is missing."""
    tables = [of_table(name, arn=f"{TABLE_ARN}-{name}") for name in ("a-1", "b-1", "c-1")]
    hops: list[list[ResourceView]] = []
    for source, target in zip(tables, [*tables[1:], tables[0]], strict=True):
        role = made(ROLE, f"role-{source.name}", {})
        function = made(FUNCTION, f"from-{source.name}", {}, role=role.urn)
        document = {"Statement": allow("dynamodb:PutItem", Unknown(frozenset({target.urn})))}
        links = {"eventSourceArn": source.urn, "functionName": function.urn}
        rights = made(ROLE_POLICY, f"rights-{source.name}", {"policy": document}, role=role.urn)
        hops.append([role, function, rights, mapping(f"m-{source.name}", links)])
    assert said(*tables, *hops[0], *hops[1]) == []
    assert said(*tables, *hops[0], *hops[1], *hops[2]) == [
        "from-a-1 reads a-1 and may write b-1 (rights-a-1), and from-b-1 reads b-1 and may write c-1 (rights-b-1), and "
        "from-c-1 reads c-1 and may write a-1 (rights-c-1): each write would trigger the next, endlessly. Write to "
        "another table, or filter out what the other writes and declare allow_writes_to=[a-1] for from-a-1 "
        "and allow_writes_to=[b-1] for from-b-1 and allow_writes_to=[c-1] for from-c-1"
    ]


def test_an_age_that_one_try_uses_up() -> None:
    def tried(age: Any, timeout: Any) -> list[str]:
        late = mapping("late", {"functionName": urn(FUNCTION, "slow")}, maximumRecordAgeInSeconds=age)
        return begins(made(FUNCTION, "slow", {"timeout": timeout}), late)

    assert tried(60, 59) == []
    assert tried(60, 60) == ["late: maximumRecordAgeInSeconds 60"]
    assert tried(UNKNOWN, 900) == tried(60, UNKNOWN) == tried(0, 900) == []  # 0 is what a queue's mapping has


@pytest.mark.parametrize(
    ("age", "is_short"), [(60, True), (86_099, True), (86_100, False), (-1, False), (None, False), (UNKNOWN, False)]
)
def test_an_age_that_discards_what_a_consumer_has_not_run(age: Any, is_short: bool) -> None:
    consumer = ResourceView(CONSUMER, "mirror", urn="consumer")
    late = mapping("late", maximumRecordAgeInSeconds=age)
    told = [message for message in said(consumer, replace(late, parent="consumer")) if "discarded" in message]
    assert len(told) == is_short
    assert [message for message in said(consumer, late) if "discarded" in message] == []


@pytest.mark.parametrize(
    ("batch", "memory", "timeout", "is_told"),
    [(100, 512, 60, False), (10_000, 128, 60, True), (10_000, 128, UNKNOWN, False), (UNKNOWN, 128, 60, False)],
)
def test_a_batch_that_a_function_cannot_do_in_its_time(batch: Any, memory: Any, timeout: Any, is_told: bool) -> None:
    variables = {"WORKERS": "10"}
    function = made(FUNCTION, "f", {"memorySize": memory, "timeout": timeout, "environment": {"variables": variables}})
    consumer = ResourceView(CONSUMER, "mirror", urn="consumer")
    read = replace(mapping("late", {"functionName": function.urn}, batchSize=batch), parent="consumer")
    told = [message for message in said(consumer, function, read) if "batchSize" in message]
    assert told == is_told * [
        "late: batchSize 10000: with memorySize 128 a batch of changes that write takes about 456 s, and timeout is "
        "60, so most of it is delivered again; lower batchSize, or raise memorySize or timeout"
    ]


def test_no_concurrency_is_no_pause() -> None:
    function = made(FUNCTION, "f", {"reservedConcurrentExecutions": 0})
    assert said(function, mapping("late", {"functionName": function.urn})) == [
        "f: reservedConcurrentExecutions 0: every invocation is throttled until the stream forgets its records, which "
        "are lost; to pause, disable the mapping, which keeps its position for 24 h"
    ]
    assert said(function) == []


@pytest.mark.parametrize(
    ("variables", "findings"),
    [
        ({"A1": "x", "MAIL_FROM": UNKNOWN}, []),
        ({"AWS_REGION": "x"}, ["f: the variable AWS_REGION: Lambda sets it itself; take another name"]),
        (
            {"my-var": "", "A": "", "1A": ""},
            [
                f"f: the variable {name}: Lambda takes letters, digits and _, at least two, and a letter first"
                for name in ("my-var", "A", "1A")
            ],
        ),
        (
            {"TEXT": "x" * 4_093},
            ["f: variables of 4097 bytes: Lambda takes 4096; keep large values in Parameter Store or S3"],
        ),
        ({"POWERTOOLS_IDEMPOTENCY_DISABLED": "false", "POWERTOOLS_DEV": "On"}, []),
        (
            {"POWERTOOLS_TRACE_DISABLED": "perhaps"},
            ["f: POWERTOOLS_TRACE_DISABLED=perhaps: Powertools raises an error at this value; take true or false"],
        ),
        (
            {"POWERTOOLS_IDEMPOTENCY_DISABLED": "True"},
            [
                "f: POWERTOOLS_IDEMPOTENCY_DISABLED=True: claimed effects would be repeated; leave the variable out",
            ],
        ),
    ],
)
def test_variables_of_a_function(variables: dict[str, Any], findings: list[str]) -> None:
    assert sorted(said(made(FUNCTION, "f", {"environment": {"variables": variables}}))) == sorted(findings)


@pytest.mark.parametrize(
    ("kind", "name", "inputs"),
    [
        (TABLE, "ünï", SAFE_TABLE),
        (TABLE, "items", {**SAFE_TABLE, "name": "it"}),
        (ALIAS, "a", {"name": "alias/shop-dev.eu"}),
        (BUCKET, "my_bucket", {}),
        (FUNCTION, "my.function", {}),
        (ROLE, "my role", {}),
        (QUEUE, "my.queue", {}),
        (LOG_GROUP, "my logs", {"retentionInDays": 1}),
        (SCHEDULE, "my/schedule", {}),
    ],
)
def test_a_name_that_aws_refuses(kind: str, name: str, inputs: Mapping[str, Any]) -> None:
    assert [each for each in said(made(kind, name, inputs)) if "AWS takes" in each]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"hashKey": ""}, "items: the key '': DynamoDB takes a name of 1 to 255 bytes"),
        (
            {"rangeKey": "id"},
            "items: id is partition and sort key: DynamoDB takes two attributes; leave the sort key out",
        ),
        (
            {"ttl": {"enabled": True, "attributeName": "id"}},
            "items: id is a key and the attribute of the time to live: DynamoDB takes no key; name another one",
        ),
    ],
)
def test_keys_that_dynamodb_refuses(inputs: dict[str, Any], message: str) -> None:
    assert said(of_table("items", **inputs)) == [message]
    assert said(of_table("items", rangeKey="at", ttl={"enabled": False, "attributeName": "id"})) == []


def test_a_queue_that_shows_a_message_while_it_is_worked_on() -> None:
    def shown(hidden: Any, timeout: Any) -> list[str]:
        links = {"eventSourceArn": urn(QUEUE, "jobs"), "functionName": urn(FUNCTION, "slow")}
        queue = made(QUEUE, "jobs", {"visibilityTimeoutSeconds": hidden})
        return said(queue, made(FUNCTION, "slow", {"timeout": timeout}), made(MAPPING, "worker", {}, **links))

    assert shown(360, 60) == shown(UNKNOWN, 60) == shown(30, UNKNOWN) == []
    assert shown(359, 60) == [
        "jobs: visibilityTimeoutSeconds 359: a message comes back while slow may still be at it (60 s); make it 360, "
        "six times that (AWS's advice)"
    ]


@pytest.mark.parametrize(("kind", "fifo"), [(QUEUE, "fifoQueue"), (TOPIC, "fifoTopic")])
def test_a_destination_that_is_fifo(kind: str, fifo: str) -> None:
    late = mapping("late", {"destinationConfig": urn(kind, "lost")})
    assert said(late, made(kind, "lost", {fifo: False})) == said(late, made(kind, "lost", {fifo: UNKNOWN})) == []
    assert said(late, made(kind, "lost", {fifo: True})) == [
        "late cannot deliver to lost, which is FIFO: take a standard one"
    ]


def test_a_bucket_that_could_become_public() -> None:
    bucket = made(BUCKET, "lost", {})
    assert said(bucket, made(BUCKET_PRIVATE, "private", BLOCKED, bucket=bucket.urn)) == []
    half = made(BUCKET_PRIVATE, "private", BLOCKED | {"ignorePublicAcls": False}, bucket=bucket.urn)
    lacks = (
        "lost is not kept from being public: where AWS's default is off, one policy would show the items in it to "
        "everybody; give it a BucketPublicAccessBlock with "
    )
    assert said(bucket, half) == [f"{lacks}ignorePublicAcls"]
    assert said(bucket) == said(bucket, made(BUCKET_PRIVATE, "of-another", BLOCKED)) == [lacks + ", ".join(BLOCKED)]


def test_a_policy_that_cannot_be_read_is_left_to_aws() -> None:
    for document in ("", "no JSON", "[]", {"Statement": UNKNOWN}, {"Statement": [UNKNOWN]}, UNKNOWN, None):
        assert said(made(ROLE_POLICY, "policy", {"policy": document})) == []


def test_rules_have_names_of_their_own_and_say_what_they_are_about() -> None:
    names = [rule.name for rule in (*RULES, *STACK_RULES)]
    assert len(set(names)) == len(names)
    assert [rule.name for rule in (*RULES, *STACK_RULES) if not rule.about.endswith(".")] == []
