"""The findings of the rules that compare resources, for any resources, without an engine."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from infra.rules.view import UNKNOWN, ResourceView, Type, Unknown
from tests.infra.rules.views import STREAM, TABLE_ARN, allow, beginnings, mapping, messages, table_view, urn, view

BLOCKED: dict[str, Any] = dict.fromkeys(
    ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets"), True
)


def test_readers_are_counted_by_table_however_it_is_named() -> None:
    items = table_view("items", arn=TABLE_ARN)
    origins = {"eventSourceArn": items.urn}
    first, second = mapping("first", origins), mapping("second", eventSourceArn=STREAM)
    off = mapping("off", origins, enabled=False)
    others = mapping("other", {"eventSourceArn": urn(Type.TABLE, "others")})
    assert messages(items, table_view("others"), first, second, off, others) == []
    assert messages(items, first, second, mapping("third", origins), mapping("fourth", eventSourceArn=STREAM)) == [
        f"{name} would be reader {number} of items, after first and second: a stream serves two readers without "
        "throttling; do the work in one of these consumers, or let one of them pass the changes on"
        for number, name in ((3, "third"), (4, "fourth"))
    ]
    assert messages(table_view("items", arn=TABLE_ARN, replicas=[{"regionName": "eu-west-1"}]), first, second) == [
        "second would be reader 2 of items, after first: a stream serves one reader of a table with replicas without "
        "throttling; do the work in one of these consumers, or let one of them pass the changes on"
    ]
    assert (
        len(messages(*(mapping(name, eventSourceArn=STREAM) for name in ("a", "b", "c")))) == 1
    )  # of a table elsewhere


def test_a_function_reads_a_stream_once() -> None:
    function, items = view(Type.FUNCTION, "copier", {}), table_view("items", arn=TABLE_ARN)
    by_urn = mapping("one", {"eventSourceArn": items.urn, "functionName": function.urn})
    by_arn = mapping("two", {"functionName": function.urn}, eventSourceArn=STREAM)
    assert messages(function, items, by_urn, by_arn) == [
        "two and one read items with one function, copier: AWS refuses the second mapping; use one mapping with the "
        "filters of both"
    ]


ROLE_URN = urn(Type.ROLE, "role")
COPIER = view(Type.FUNCTION, "copier", {}, role=ROLE_URN)
LOOP = (
    "copier reads items and may write it ({}): every write would trigger it again, endlessly. Write to another table, "
    "or filter out its own writes and declare allow_writes_to=[...]"
)


def granting(statement: Mapping[str, Any]) -> list[tuple[str, list[ResourceView]]]:
    """Return each way to give a role this permission: the name of the resource with the policy, and the resources."""
    document = {"Statement": statement}
    role = view(Type.ROLE, "role", {"name": "role-1"})
    managed = view(Type.POLICY, "managed", {"policy": json.dumps(document)})
    return [
        ("rights", [role, view(Type.ROLE_POLICY, "rights", {"policy": json.dumps(document)}, role=ROLE_URN)]),
        ("rights", [role, view(Type.ROLE_POLICY, "rights", {"policy": document, "role": "role-1"})]),
        ("role", [view(Type.ROLE, "role", {"inlinePolicies": [{"policy": json.dumps(document)}]})]),
        ("managed", [role, managed, view(Type.ROLE_ATTACHMENT, "a", {}, role=ROLE_URN, policyArn=managed.urn)]),
        ("managed", [role, managed, view(Type.ATTACHMENT, "a", {}, roles=ROLE_URN, policyArn=managed.urn)]),
    ]


ITEMS = table_view("items", arn=TABLE_ARN)
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
    assert LOOP.format(name) in messages(ITEMS, COPIER, READER, *rights)


def test_what_is_no_loop() -> None:
    def loops(statement: Mapping[str, Any], reader: ResourceView = READER) -> list[str]:
        return [each for each in messages(ITEMS, COPIER, reader, *granting(statement)[0][1]) if "trigger" in each]

    assert loops(allow("dynamodb:GetItem", TABLE_ARN)) == []
    assert loops(allow("dynamodb:PutItem", f"{TABLE_ARN}-2")) == []
    writing = allow("dynamodb:PutItem", TABLE_ARN)
    assert len(loops(writing)) == 1
    assert loops(writing, replace(READER, inputs={**READER.inputs, "enabled": False})) == []
    filtered = {"filterCriteria": {"filters": [{"pattern": "{}"}]}}
    assert loops(writing, replace(READER, inputs={**READER.inputs, **filtered})) == []


def test_a_loop_over_several_functions() -> None:
    """The cycle leads from A to B, C and A. There is no finding while one of the functions is missing."""
    tables = [table_view(name, arn=f"{TABLE_ARN}-{name}") for name in ("a-1", "b-1", "c-1")]
    hops: list[list[ResourceView]] = []
    for source, target in zip(tables, [*tables[1:], tables[0]], strict=True):
        role = view(Type.ROLE, f"role-{source.name}", {})
        function = view(Type.FUNCTION, f"from-{source.name}", {}, role=role.urn)
        document = {"Statement": allow("dynamodb:PutItem", Unknown(frozenset({target.urn})))}
        links = {"eventSourceArn": source.urn, "functionName": function.urn}
        rights = view(Type.ROLE_POLICY, f"rights-{source.name}", {"policy": document}, role=role.urn)
        hops.append([role, function, rights, mapping(f"m-{source.name}", links)])
    assert messages(*tables, *hops[0], *hops[1]) == []
    assert messages(*tables, *hops[0], *hops[1], *hops[2]) == [
        "from-a-1 reads a-1 and may write b-1 (rights-a-1), and from-b-1 reads b-1 and may write c-1 (rights-b-1), and "
        "from-c-1 reads c-1 and may write a-1 (rights-c-1): each write would trigger the next, endlessly. Write to "
        "another table, or filter out what the other writes and declare allow_writes_to=[a-1] for from-a-1 "
        "and allow_writes_to=[b-1] for from-b-1 and allow_writes_to=[c-1] for from-c-1"
    ]


def test_an_age_that_one_try_uses_up() -> None:
    def tried(age: Any, timeout: Any) -> list[str]:
        late = mapping("late", {"functionName": urn(Type.FUNCTION, "slow")}, maximumRecordAgeInSeconds=age)
        return beginnings(view(Type.FUNCTION, "slow", {"timeout": timeout}), late)

    assert tried(60, 59) == []
    assert tried(60, 60) == ["late: maximumRecordAgeInSeconds 60"]
    assert tried(UNKNOWN, 900) == tried(60, UNKNOWN) == tried(0, 900) == []  # 0 is what a queue's mapping has


@pytest.mark.parametrize(
    ("age", "is_short"), [(60, True), (86_099, True), (86_100, False), (-1, False), (None, False), (UNKNOWN, False)]
)
def test_an_age_that_discards_what_a_consumer_has_not_run(age: Any, is_short: bool) -> None:
    consumer = ResourceView(Type.CONSUMER, "mirror", urn="consumer")
    late = mapping("late", maximumRecordAgeInSeconds=age)
    errors = [message for message in messages(consumer, replace(late, parent="consumer")) if "discarded" in message]
    assert len(errors) == is_short
    assert [message for message in messages(consumer, late) if "discarded" in message] == []


@pytest.mark.parametrize(
    ("batch", "memory", "timeout", "is_late"),
    [(100, 512, 60, False), (10_000, 128, 60, True), (10_000, 128, UNKNOWN, False), (UNKNOWN, 128, 60, False)],
)
def test_a_batch_that_a_function_cannot_do_in_its_time(batch: Any, memory: Any, timeout: Any, is_late: bool) -> None:
    variables = {"WORKERS": "10"}
    function = view(
        Type.FUNCTION, "f", {"memorySize": memory, "timeout": timeout, "environment": {"variables": variables}}
    )
    consumer = ResourceView(Type.CONSUMER, "mirror", urn="consumer")
    read = replace(mapping("late", {"functionName": function.urn}, batchSize=batch), parent="consumer")
    errors = [message for message in messages(consumer, function, read) if "batchSize" in message]
    assert errors == is_late * [
        "late: batchSize 10000: with memorySize 128 a batch of changes that write takes about 456 s, and timeout is "
        "60, so most of it is delivered again; lower batchSize, or raise memorySize or timeout"
    ]


def test_no_concurrency_is_no_pause() -> None:
    function = view(Type.FUNCTION, "f", {"reservedConcurrentExecutions": 0})
    assert messages(function, mapping("late", {"functionName": function.urn})) == [
        "f: reservedConcurrentExecutions 0: Lambda throttles every invocation until the stream deletes its records; to "
        "pause, disable the mapping, which keeps its position for 24 h"
    ]
    assert messages(function) == []


def test_a_queue_that_shows_a_message_while_it_is_worked_on() -> None:
    def shown(hidden: Any, timeout: Any) -> list[str]:
        links = {"eventSourceArn": urn(Type.QUEUE, "jobs"), "functionName": urn(Type.FUNCTION, "slow")}
        queue = view(Type.QUEUE, "jobs", {"visibilityTimeoutSeconds": hidden})
        return messages(
            queue, view(Type.FUNCTION, "slow", {"timeout": timeout}), view(Type.MAPPING, "worker", {}, **links)
        )

    assert shown(360, 60) == shown(UNKNOWN, 60) == shown(30, UNKNOWN) == []
    assert shown(359, 60) == [
        "jobs: visibilityTimeoutSeconds 359: SQS delivers a message again while slow may still process it (60 s); set "
        "360, six times the timeout (AWS's recommendation)"
    ]


@pytest.mark.parametrize(("kind", "fifo"), [(Type.QUEUE, "fifoQueue"), (Type.TOPIC, "fifoTopic")])
def test_a_destination_that_is_fifo(kind: str, fifo: str) -> None:
    late = mapping("late", {"destinationConfig": urn(kind, "lost")})
    assert (
        messages(late, view(kind, "lost", {fifo: False})) == messages(late, view(kind, "lost", {fifo: UNKNOWN})) == []
    )
    assert messages(late, view(kind, "lost", {fifo: True})) == [
        "late cannot deliver to lost, which is FIFO: use a standard queue or topic"
    ]


def test_a_bucket_that_could_become_public() -> None:
    bucket = view(Type.BUCKET, "lost", {})
    assert messages(bucket, view(Type.BUCKET_PRIVATE, "private", BLOCKED, bucket=bucket.urn)) == []
    half = view(Type.BUCKET_PRIVATE, "private", BLOCKED | {"ignorePublicAcls": False}, bucket=bucket.urn)
    lacks = (
        "lost is not protected from public access: one policy would open the items in it to everybody, where AWS's "
        "default is switched off; add a BucketPublicAccessBlock with "
    )
    assert messages(bucket, half) == [f"{lacks}ignorePublicAcls"]
    assert (
        messages(bucket)
        == messages(bucket, view(Type.BUCKET_PRIVATE, "of-another", BLOCKED))
        == [lacks + ", ".join(BLOCKED)]
    )
