"""What status reads from AWS, and what it makes of errors."""

import time
from typing import Any

import pytest
from botocore.exceptions import (  # pyright: ignore[reportMissingTypeStubs] -- botocore is untyped
    EndpointConnectionError,
    NoCredentialsError,
)

from handler.stream.change import Change
from handler.stream.ledger.notes import Note
from handler.stream.ledger.rows import digest_of
from ops.stack import Stack
from ops.status.facts import MISSING, ConsumerFacts, FunctionFacts, HeldError, HoldFacts, Listing, MappingFacts, Unread
from ops.status.findings import judge
from ops.status.reading.reader import Reader
from ops.streams import oldest_record_at
from tests.fakes.aws import refusal
from tests.fakes.records import record
from tests.ops.status.fakes import ROLE, STACK, STREAM, FakeAws, Streams


@pytest.fixture
def now() -> float:
    return float(int(time.time()))


@pytest.fixture
def aws(now: float) -> FakeAws:
    return FakeAws(now)


def read(aws: FakeAws, stack: Stack = STACK, consumer: str | None = None):
    return Reader(stack, aws, consumer).read()


def consumer_of(aws: FakeAws) -> ConsumerFacts:
    [consumer] = read(aws).consumers
    return consumer


def mapping_of(aws: FakeAws) -> MappingFacts:
    [mapping] = consumer_of(aws).mappings
    return mapping


def hold(aws: FakeAws, consumer: str, item: str, error: Exception, at: float) -> None:
    change = Change(record(1, item), "stream")
    aws.ledger(consumer).holds.hold(digest_of(change), [change], error, now=at, due=at + 60, tries=3)


def test_a_healthy_stack_is_read_whole(aws: FakeAws, now: float):
    aws.cloudwatch.values = {name: [0.0] * 5 for name in ("IteratorAge", "HeldItems", "PolledEventCount")}
    facts = read(aws)
    [consumer] = facts.consumers
    [mapping] = consumer.mappings
    assert facts.unread == ()
    assert isinstance(consumer.function, FunctionFacts)
    assert (consumer.function.namespace, consumer.function.role_arn) == ("shop", ROLE)
    assert (consumer.function.remember_seconds, consumer.function.give_up_after_seconds) == (1_900_800, 604_800)
    assert (mapping.state, mapping.table_name, mapping.latest_stream_arn) == ("Enabled", "orders-1", STREAM)
    assert mapping.oldest_record_at == now - 3600
    assert mapping.destination is not None
    assert (mapping.destination.exists, mapping.destination.is_allowed) == (True, True)
    assert (facts.stores.failure_days, facts.stores.ledger_expires) == (14, True)
    assert len(consumer.recent["IteratorAge"]) == len(mapping.history["PolledEventCount"]) == 5
    assert consumer.recent["IteratorAge"] == tuple(sorted(consumer.recent["IteratorAge"]))
    assert judge(facts) == []


def test_held_items_are_read_from_the_ledger_with_their_causes(aws: FakeAws, now: float):
    for number in range(3):
        hold(aws, "mirror", f"a{number}", TimeoutError(f"no answer in {number} ms"), now - 600 + number)
    hold(aws, "mirror", "b", KeyError("total"), now - 30)
    holds = consumer_of(aws).holds
    assert isinstance(holds, HoldFacts)
    assert (holds.items, holds.waiting, holds.oldest_since, holds.longest_due) == (4, 4, now - 600, now - 540)
    assert holds.errors == (HeldError("TimeoutError: no answer in # ms", 3), HeldError("KeyError: '…'", 1))


def test_parked_and_discarded_objects_are_counted(aws: FakeAws, now: float):
    aws.s3.objects = {
        "engine/mirror/orders-1/2026/1": now - 60,
        "engine/mirror/orders-1/2026/2": now - 30,
        "engine/mirror-2/orders-1/2026/1": now,
        "aws/lambda/uuid-1/shard/1": now - 10,
        "redriven/engine/mirror/orders-1/2026/3": now,
    }
    consumer = consumer_of(aws)
    assert consumer.parked == Listing(2, has_more=False, oldest_at=now - 60, newest_at=now - 30)
    assert consumer.mappings[0].discarded == Listing(1, has_more=False, oldest_at=now - 10, newest_at=now - 10)


def test_more_objects_than_a_page_are_not_counted(aws: FakeAws, now: float):
    aws.s3.objects = {f"engine/mirror/orders-1/2026/{number}": now for number in range(1001)}
    parked = consumer_of(aws).parked
    assert isinstance(parked, Listing)
    assert (parked.count, parked.has_more) == (1000, True)


@pytest.mark.parametrize(
    ("service", "call", "code", "kinds"),
    [
        ("functions", "get_function_configuration", "ResourceNotFoundException", ["function-missing"]),
        ("functions", "get_event_source_mapping", "ResourceNotFoundException", ["mapping-missing"]),
        ("scheduler", "get_schedule", "ResourceNotFoundException", ["schedule-missing"]),
        ("dynamodb", "describe_table", "ResourceNotFoundException", ["no-stream"]),
        ("s3", "head_bucket", "404", ["destination-missing"]),
        ("s3", "get_bucket_lifecycle_configuration", "NoSuchLifecycleConfiguration", []),
        ("streams", "describe_stream", "ResourceNotFoundException", []),  # the table's finding says it
    ],
)
def test_what_does_not_exist_is_found(aws: FakeAws, service: str, call: str, code: str, kinds: list[str]):
    aws.services()[service].fail(call, code)
    facts = read(aws)
    assert [finding.kind for finding in judge(facts)] == kinds
    assert facts.unread == ()


@pytest.mark.parametrize(
    ("service", "call", "unread"),
    [
        ("functions", "get_function_configuration", {"the function"}),
        ("functions", "get_event_source_mapping", {"the mapping of orders"}),
        ("scheduler", "get_schedule", {"the retry schedule"}),
        ("dynamodb", "query", {"the held items"}),
        ("dynamodb", "describe_table", {"the table orders"}),
        ("dynamodb", "describe_time_to_live", {"the ledger's time to live"}),
        (
            *("s3", "list_objects_v2"),
            {"the parked changes", "the discarded batches of orders", "the failure bucket"},
        ),
        ("s3", "head_bucket", {"the failure destination"}),
        ("s3", "get_bucket_lifecycle_configuration", {"the failure bucket's lifecycle"}),
        ("streams", "describe_stream", {"the stream of orders"}),
        ("cloudwatch", "get_metric_data", {"the metrics"}),
        ("cloudwatch", "list_metrics", {"the list of metrics"}),
    ],
)
def test_what_cannot_be_read_is_named_and_accuses_nobody(aws: FakeAws, service: str, call: str, unread: set[str]):
    aws.services()[service].fail(call, "AccessDeniedException")
    facts = read(aws)
    assert {(each.what, each.reason) for each in facts.unread} == {(what, "access denied") for what in unread}
    assert judge(facts) == []


def test_a_busy_ledger_is_named(aws: FakeAws, now: float):
    hold(aws, "mirror", "a", ValueError("x"), now - 60)
    aws.dynamodb.batch_get_item = lambda **request: {"Responses": {}, "UnprocessedKeys": request["RequestItems"]}
    assert read(aws).unread == (Unread("mirror", "the held items", "DynamoDB throttles the ledger"),)


def test_throttled_calls_are_named_with_aws_s_word(aws: FakeAws):
    aws.cloudwatch.fail("get_metric_data", "ThrottlingException")
    assert read(aws).unread == (Unread(None, "the metrics", "ThrottlingException"),)


def test_an_operator_may_lack_the_permission_to_simulate(aws: FakeAws):
    aws.iam.fail("simulate_principal_policy", "AccessDenied")
    facts = read(aws)
    assert facts.unread == ()
    assert judge(facts) == []


@pytest.mark.parametrize(("missing", "allowed"), [([], False), (["a"], None)])
def test_the_role_s_permission_to_write_failures(aws: FakeAws, missing: list[str], allowed: bool | None):
    aws.iam.decision, aws.iam.missing = "implicitDeny", missing
    destination = mapping_of(aws).destination
    assert destination is not None
    assert destination.is_allowed is allowed
    [request] = aws.iam.requests
    assert (request["PolicySourceArn"], request["ActionNames"]) == (ROLE, ["s3:PutObject"])
    assert request["ResourceArns"] == ["arn:aws:s3:::failures-1/aws/lambda/x"]


@pytest.mark.parametrize(
    ("arn", "service", "call", "code"),
    [
        ("arn:aws:sqs:eu-west-1:111122223333:q", "queues", "get_queue_url", "AWS.SimpleQueueService.NonExistentQueue"),
        ("arn:aws:sns:eu-west-1:111122223333:t", "topics", "get_topic_attributes", "NotFound"),
    ],
)
def test_queues_and_topics_as_destinations(aws: FakeAws, arn: str, service: str, call: str, code: str):
    aws.functions.mapping["DestinationConfig"] = {"OnFailure": {"Destination": arn}}
    mapping = mapping_of(aws)
    assert mapping.destination is not None
    assert (mapping.destination.exists, mapping.discarded) == (True, None)
    aws.services()[service].fail(call, code)
    assert [finding.kind for finding in judge(read(aws))] == ["destination-missing"]


@pytest.mark.parametrize("error", [NoCredentialsError(), EndpointConnectionError(endpoint_url="http://nowhere")])
def test_an_error_of_every_call_ends_the_command(aws: FakeAws, error: Exception):
    aws.functions.fail("get_function_configuration", error)
    with pytest.raises(type(error)):
        read(aws)


def test_expired_credentials_end_the_command(aws: FakeAws):
    aws.s3.fail("list_objects_v2", refusal("ExpiredToken"))
    with pytest.raises(Exception, match="ExpiredToken"):
        read(aws)


def test_the_clock_is_aws_s(now: float):
    facts = read(FakeAws(now + 90))
    assert 85 < facts.clock_skew <= 90.5
    assert abs(facts.now - now - 90) < 5


def test_a_consumer_without_stores_needs_no_store(aws: FakeAws):
    bare = STACK.consumers["mirror"].model_copy(update={"ledger_name": None, "schedule": None})
    del aws.functions.mapping["DestinationConfig"]
    aws.functions.configuration["Environment"] = {"Variables": {}}
    facts = read(aws, STACK.model_copy(update={"consumers": {"mirror": bare}}), "mirror")
    [consumer] = facts.consumers
    assert (consumer.holds, consumer.parked, consumer.schedule) == (None, None, None)
    assert (consumer.mappings[0].destination, facts.unread, judge(facts)) == (None, (), [])


def test_a_table_of_another_account_is_not_described(aws: FakeAws):
    aws.functions.mapping["EventSourceArn"] = STREAM.replace("111122223333", "444455556666")
    aws.dynamodb.fail("describe_table", "AccessDeniedException")
    facts = read(aws)
    assert facts.unread == ()
    assert set(facts.tables) == {"ledger-1"}
    assert judge(facts) == []


def test_traces_of_consumers_that_are_gone(aws: FakeAws, now: float):
    """They are found by their failures and by their metrics; a former name of a consumer in the stack is not gone."""
    hold(aws, "journal", "a", ValueError("x"), now - 600)
    aws.ledger("audit").notes.write(STREAM, 10**20, Note({10**20: "+"}), now)
    aws.s3.objects = {"engine/journal/orders-1/2026/1": now, "engine/mirror/orders-1/2026/1": now}
    aws.cloudwatch.services = ["mirror", "audit"]
    gone = read(aws).gone
    assert [(each.name, each.holds.items, each.noted_streams, each.has_failures) for each in gone] == [
        ("audit", 0, (STREAM,), False),
        ("journal", 1, (), True),
    ]
    assert read(aws, consumer="mirror").gone == ()


@pytest.mark.parametrize(
    ("rules", "days"),
    [
        ([{"Status": "Enabled", "Filter": {}, "Expiration": {"Days": 30}}], 30),
        ([{"Status": "Enabled", "Prefix": "", "Expiration": {"Days": 7}}], 7),
        ([{"Status": "Disabled", "Filter": {}, "Expiration": {"Days": 30}}], MISSING),
        ([{"Status": "Enabled", "Filter": {"Prefix": "redriven/"}, "Expiration": {"Days": 1}}], MISSING),
        ([{"Status": "Enabled", "Filter": {"Tag": {"Key": "a", "Value": "b"}}, "Expiration": {"Days": 1}}], MISSING),
        ([{"Status": "Enabled", "Filter": {}, "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1}}], MISSING),
    ],
)
def test_the_lifetime_of_failures(aws: FakeAws, rules: list[dict[str, Any]], days: int | str):
    aws.s3.rules = rules
    assert read(aws).stores.failure_days == days


def shards(**contents: tuple[str | None, list[float]]) -> Streams:
    streams = Streams(0)
    streams.shards = contents
    return streams


def test_the_oldest_record_is_in_a_shard_without_a_parent():
    streams = shards(a=("trimmed", [7.0]), b=("trimmed", [5.0]), c=("a", [1.0]))
    assert oldest_record_at(streams, STREAM) == 5.0


def test_a_stream_with_many_shards_takes_few_reads():
    streams = shards(**{f"s{number}": (None, list[float]()) for number in range(1000)})
    assert oldest_record_at(streams, STREAM) is None
    assert streams.reads == 12


def test_missing_facts_of_a_mapping_are_not_those_of_another(aws: FakeAws):
    """The table's stream belongs to the table, however many mappings read it."""
    two = STACK.consumers["mirror"].model_copy(update={"mappings": {"orders": "uuid-1", "orders-again": "uuid-2"}})
    aws.dynamodb.latest_stream = None
    [consumer] = read(aws, STACK.model_copy(update={"consumers": {"mirror": two}})).consumers
    assert [each.latest_stream_arn for each in consumer.mappings] == [MISSING, MISSING]
