"""The rules by themselves, without an engine: what they say of resources as anybody may write them."""

import json
from collections.abc import Mapping
from datetime import date
from typing import Any

import pytest

from infra import rules
from infra.resource import (
    ATTACHMENT,
    BUCKET,
    BUCKET_POLICY,
    BUCKET_PRIVATE,
    FUNCTION,
    LOG_GROUP,
    MAPPING,
    POLICY,
    QUEUE,
    QUEUE_POLICY,
    ROLE_POLICY,
    SCHEDULE,
    TABLE,
    TOPIC,
    TOPIC_POLICY,
    UNKNOWN,
    Resource,
)
from infra.rules import RULES, STACK_RULES, runtime_near_its_end, short_age

STREAM = "arn:aws:dynamodb:eu-central-1:1:table/items/stream/2026-01-01T00:00:00.000"
TABLE_ARN = "arn:aws:dynamodb:eu-central-1:1:table/items"
SOUND: Mapping[str, Any] = {
    "eventSourceArn": UNKNOWN,
    "startingPosition": "TRIM_HORIZON",
    "maximumRecordAgeInSeconds": 21_600,
    "bisectBatchOnFunctionError": True,
    "destinationConfig": {"onFailure": {"destinationArn": UNKNOWN}},
    "functionResponseTypes": ["ReportBatchItemFailures"],
}
"""A mapping that breaks no rule."""

SAFE_TABLE = {"pointInTimeRecovery": {"enabled": True}, "deletionProtectionEnabled": True}
BLOCKED: dict[str, Any] = dict.fromkeys(
    ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets"), True
)
NARROW = "name the calls and their resources"


def urn(kind: str, name: str) -> str:
    return f"urn:pulumi:dev::shop::shop:index:Shop${kind}::{name}"


def made(kind: str, name: str, inputs: Mapping[str, Any], **made_of: str) -> Resource:
    """A resource whose properties are made of others, by URN."""
    return Resource(kind, name, inputs, urn(kind, name), {name: [of] for name, of in made_of.items()})


def mapping(name: str = "late", made_of: Mapping[str, str] | None = None, **changes: Any) -> Resource:
    return made(MAPPING, name, {**SOUND, **changes}, **(made_of or {}))


def policy(kind: str, *statements: Mapping[str, Any], text: bool = True) -> Resource:
    document = {"Version": "2012-10-17", "Statement": list(statements)}
    return made(kind, "policy", {"policy": json.dumps(document) if text else document})


def allow(action: Any, resource: Any, **rest: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **rest}


def said(*resources: Resource) -> list[str]:
    return [message for _, message in rules.findings(resources)]


def begins(*resources: Resource) -> list[str]:
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
    ids=lambda value: value.name if isinstance(value, Resource) else "",
)
def test_one_resource(resource: Resource, findings: list[str]) -> None:
    assert begins(resource) == findings


@pytest.mark.parametrize("kind", [ROLE_POLICY, POLICY])
@pytest.mark.parametrize("text", [True, False])
@pytest.mark.parametrize(
    ("statement", "findings"),
    [
        (allow(["dynamodb:PutItem"], TABLE_ARN), []),
        (allow("dynamodb:PutItem", [TABLE_ARN, f"{TABLE_ARN}/index/*"]), []),
        (allow("dynamodb:ListStreams", f"{TABLE_ARN}/stream/*"), []),
        (allow("s3:PutObject", "arn:aws:s3:::mine/*"), []),
        (allow("logs:PutLogEvents", "arn:aws:logs:eu-central-1:1:log-group:mine:*"), []),
        (allow(["xray:PutTraceSegments", "xray:PutTelemetryRecords", "xray:GetSamplingRules"], "*"), []),
        (allow(["ec2:CreateNetworkInterface", "ec2:DescribeSubnets", "ec2:AssignPrivateIpAddresses"], "*"), []),
        (allow(["ecr:GetAuthorizationToken", "s3:ListAllMyBuckets"], "*"), []),
        (allow("execute-api:Invoke", "arn:aws:execute-api:eu-central-1:1:abc123/*/GET/pets"), []),
        (allow("ses:SendEmail", "*", Condition={"StringEquals": {"ses:FromAddress": "a@b.org"}}), []),
        ({"Effect": "Deny", "Action": "*", "Resource": "*"}, []),
        (
            allow("dynamodb:*", TABLE_ARN),
            [f"dynamodb:*: rights that nothing calls, and those that AWS will add; {NARROW}"],
        ),
        (
            allow(["s3:Get*", "s3:PutObject"], "arn:aws:s3:::*"),
            [
                f"s3:Get*: rights that nothing calls, and those that AWS will add; {NARROW}",
                f"s3:Get*, s3:PutObject on arn:aws:s3:::*: on all that others have in the account, too; {NARROW}",
            ],
        ),
        (
            allow("dynamodb:PutItem", "arn:aws:dynamodb:eu-central-1:1:table/*"),
            [
                "dynamodb:PutItem on arn:aws:dynamodb:eu-central-1:1:table/*: on all that others have in the account, "
                f"too; {NARROW}"
            ],
        ),
        (
            allow("dynamodb:GetRecords", "*"),
            [f"dynamodb:GetRecords on *: on all that others have in the account, too; {NARROW}"],
        ),
        (
            {"Effect": "Allow", "NotAction": ["iam:*"], "Resource": TABLE_ARN},
            [f"an Allow by NotAction or NotResource: all that is not thought of is allowed; {NARROW}"],
        ),
    ],
)
def test_rights_of_a_role(kind: str, statement: dict[str, Any], text: bool, findings: list[str]) -> None:
    assert said(policy(kind, statement, text=text)) == [f"policy: {each}" for each in findings]


@pytest.mark.parametrize(
    ("arn", "findings"),
    [
        ("arn:aws:iam::aws:policy/service-role/AWSLambdaDynamoDBExecutionRole", []),
        (UNKNOWN, []),
        (
            "arn:aws:iam::aws:policy/AmazonDynamoDBFullAccess",
            [f"all: AmazonDynamoDBFullAccess: whatever runs as this role may do all of that; {NARROW}"],
        ),
    ],
)
def test_a_managed_policy(arn: Any, findings: list[str]) -> None:
    assert said(made(ATTACHMENT, "all", {"policyArn": arn})) == findings


@pytest.mark.parametrize("kind", [BUCKET_POLICY, QUEUE_POLICY, TOPIC_POLICY, QUEUE, TOPIC])
@pytest.mark.parametrize(
    ("rest", "is_open"),
    [
        ({"Principal": "*"}, True),
        ({"Principal": {"AWS": "*"}}, True),
        ({"Principal": {"AWS": ["arn:aws:iam::1:root", "*"]}}, True),
        ({"Principal": "*", "Condition": {"Bool": {"aws:SecureTransport": "true"}}}, True),
        ({"Principal": "*", "Condition": {"StringEquals": {"AWS:SourceAccount": "1"}}}, False),
        ({"Principal": "*", "Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-1"}}}, False),
        ({"NotPrincipal": {"AWS": "arn:aws:iam::1:root"}}, True),
        ({"Principal": "*", "Effect": "Deny"}, False),
        ({"Principal": {"AWS": "arn:aws:iam::1:root"}}, False),
        ({"Principal": {"Service": "s3.amazonaws.com"}}, False),
    ],
)
def test_a_policy_of_a_resource(kind: str, rest: dict[str, Any], is_open: bool) -> None:
    found = said(policy(kind, allow("sqs:SendMessage", "arn:aws:sqs:eu-central-1:1:q") | rest))
    assert found == is_open * [
        "policy: sqs:SendMessage allowed to everybody: the items in it can be read, or forged ones put there; name the "
        "principals, or bind it by aws:SourceAccount"
    ]


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


def test_a_third_reader_is_seen_by_what_mappings_are_made_of_and_by_arn() -> None:
    items = {"eventSourceArn": urn(TABLE, "items")}
    first, second = mapping("first", items), mapping("second", items)
    assert said(first, second, mapping("other", {"eventSourceArn": urn(TABLE, "others")})) == []
    assert said(first, second, mapping("third", items), mapping("fourth", items)) == [
        f"{name} would be the third reader of items, after first and second: a stream serves two before all are "
        "throttled; do its work in one of these, or let one hand its changes on"
        for name in ("third", "fourth")
    ]
    by_arn = [mapping(name, eventSourceArn=STREAM) for name in ("first", "second", "third")]
    assert begins(*by_arn) == [
        "third would be the third reader of items, after first and second: a stream serves two "
        "before all are throttled; do its work in one of these, or let one hand its changes on"
    ]


def looping(actions: list[str], **changes: Any) -> list[Resource]:
    role = urn("aws:iam/role:Role", "role")
    return [
        made(TABLE, "items", {**SAFE_TABLE, "arn": TABLE_ARN}),
        made(FUNCTION, "copier", {}, role=role),
        made(
            ROLE_POLICY,
            "rights",
            {"policy": json.dumps({"Statement": allow(actions, TABLE_ARN)})} | changes.pop("rights", {}),
            role=role,
        ),
        mapping("late", {"eventSourceArn": urn(TABLE, "items"), "functionName": urn(FUNCTION, "copier")}, **changes),
    ]


def test_a_function_that_may_write_what_it_reads() -> None:
    loop = (
        "copier reads items and may write it (rights): each write would come back to it as a change, for ever; write "
        "another table, or filter its own writes out and declare loops=[...]"
    )
    assert said(*looping(["dynamodb:UpdateItem"])) == [loop]
    assert said(*looping(["dynamodb:GetItem"])) == []
    assert said(*looping(["dynamodb:PutItem"], filterCriteria={"filters": [{"pattern": "{}"}]})) == []
    assert said(*looping(["dynamodb:PutItem"], rights={"policy": UNKNOWN})) == []
    assert said(*looping(["dynamodb:*"]))[-1] == loop


def test_an_age_that_one_try_uses_up() -> None:
    def tried(age: Any, timeout: Any) -> list[str]:
        late = mapping("late", {"functionName": urn(FUNCTION, "slow")}, maximumRecordAgeInSeconds=age)
        return begins(made(FUNCTION, "slow", {"timeout": timeout}), late)

    assert tried(60, 59) == []
    assert tried(60, 60) == ["late: maximumRecordAgeInSeconds 60"]
    assert tried(UNKNOWN, 900) == tried(60, UNKNOWN) == tried(0, 900) == []  # 0 is what a queue's mapping has


@pytest.mark.parametrize(
    ("age", "is_short"), [(60, True), (82_799, True), (82_800, False), (-1, False), (None, False), (UNKNOWN, False)]
)
def test_an_age_that_the_engine_does_not_count_on(age: Any, is_short: bool) -> None:
    assert [message.partition(":")[0] for message in short_age(mapping(maximumRecordAgeInSeconds=age))] == is_short * [
        f"maximumRecordAgeInSeconds {age}"
    ]


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
