"""The poller against the running emulator, and against streams that only fail.

What the mapping decides is test_mapping's to show; here, that it happens.
"""

import base64
import io
import json
import time
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError  # pyright: ignore[reportMissingTypeStubs] -- boto3 is untyped

from handler.stream.failures import read_failure
from sandbox.emulator import Emulator
from sandbox.mapping.filters import FilterError
from sandbox.mapping.invocation import LOG_TAIL_BYTES, ObservedInvocation
from sandbox.mapping.poller import MappingError, Poller, lambda_record
from tests.fakes.stream import change

PARTIAL: dict[str, Any] = {"FunctionResponseTypes": ["ReportBatchItemFailures"]}

# Reports what is named "bad", raises for "boom", prints every key and pads its log on request. It holds what is named
# "held" until its third retry run. "slow" takes a second.
FUNCTION = """
import json, pathlib, time
runs = pathlib.Path(f"runs-of-{__file__.replace('/', '-')}")
def handler(event, context):
    if "table-stream" in event:
        tried = len(runs.read_text()) if runs.exists() else 0
        runs.write_text("x" * (tried + 1))
        return {"held": 1 if tried < 2 else 0}
    names = {r["dynamodb"]["SequenceNumber"]: r["dynamodb"]["Keys"]["id"]["S"] for r in event["Records"]}
    for name in names.values():
        print(json.dumps({"seen": name}))
    if "slow" in names.values():
        time.sleep(1)
    if "long" in names.values():
        print("x" * 100_000)
    if "held" in names.values():
        print(json.dumps({"message": "item held"}))
    if "boom" in names.values():
        raise ValueError("boom")
    return {"batchItemFailures": [{"itemIdentifier": number} for number, name in names.items() if name == "bad"]}
"""


@pytest.fixture(scope="module")
def aws() -> Iterator[Emulator]:
    with Emulator("eu-central-1") as emulator:
        yield emulator


@pytest.fixture
def seen() -> list[ObservedInvocation]:
    return []


@pytest.fixture
def poller(aws: Emulator, seen: list[ObservedInvocation]) -> Iterator[Poller]:
    poller = Poller(aws.client, seen.append)
    yield poller
    poller.close()


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Source:
    """A table, a function and the request that maps one to the other."""

    def __init__(self, aws: Emulator, name: str, **options: Any) -> None:
        self.aws, self.table, self.function = aws, f"table-{name}", f"function-{name}"
        described = aws.client("dynamodb").create_table(
            TableName=self.table,
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            BillingMode="PAY_PER_REQUEST",
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        )
        self.create_function()
        self.request = {
            "EventSourceArn": described["TableDescription"]["LatestStreamArn"],
            "FunctionName": self.function,
            "StartingPosition": "TRIM_HORIZON",
            **options,
        }

    def create_function(self) -> None:
        code = io.BytesIO()
        with zipfile.ZipFile(code, "w") as archive:
            archive.writestr("f.py", FUNCTION)
        self.aws.client("lambda").create_function(
            FunctionName=self.function,
            Runtime="python3.11",
            Role="arn:aws:iam::000000000000:role/r",
            Handler="f.handler",
            Code={"ZipFile": code.getvalue()},
        )

    def put(self, *names: str) -> None:
        for name in names:
            self.aws.client("dynamodb").put_item(TableName=self.table, Item={"id": {"S": name}, "b": {"B": b"\x00"}})


def names(invocation: ObservedInvocation) -> list[str]:
    return [record["dynamodb"]["Keys"]["id"]["S"] for record in invocation.records]


def test_a_change_reaches_the_function_as_lambda_hands_it_over(
    aws: Emulator, poller: Poller, seen: list[ObservedInvocation]
) -> None:
    source = Source(aws, "plain", **PARTIAL)
    poller.attach("plain", source.request)
    assert poller.last_processing_result("plain") == "No records processed"
    source.put("a")
    wait_for(poller.is_idle)
    [invocation] = seen
    [record] = invocation.records
    assert (invocation.uuid, invocation.function, invocation.attempt) == ("plain", source.function, 1)
    assert (invocation.response, invocation.error) == ({"batchItemFailures": []}, None)
    assert invocation.log == '{"seen": "a"}'
    assert record["eventSource"] == "aws:dynamodb"
    assert record["eventSourceARN"] == invocation.stream_arn == source.request["EventSourceArn"]
    assert record["dynamodb"]["NewImage"] == {"id": {"S": "a"}, "b": {"B": "AA=="}}
    assert isinstance(record["dynamodb"]["ApproximateCreationDateTime"], int)
    assert poller.last_processing_result("plain") == "OK"


def test_a_log_longer_than_an_answer_carries_is_whole(
    aws: Emulator, poller: Poller, seen: list[ObservedInvocation]
) -> None:
    source = Source(aws, "logs")
    poller.attach("logs", source.request)
    source.put("a", "long", "b")
    wait_for(poller.is_idle)
    [log] = [invocation.log for invocation in seen if "long" in names(invocation)]
    assert len(log) > 100_000 > LOG_TAIL_BYTES
    assert '{"seen": "long"}' in log


def test_what_fails_for_good_is_in_the_bucket_whole(
    aws: Emulator, poller: Poller, seen: list[ObservedInvocation]
) -> None:
    aws.client("s3").create_bucket(Bucket="failures", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    destination = {"OnFailure": {"Destination": "arn:aws:s3:::failures"}}
    source = Source(aws, "kept", MaximumRetryAttempts=1, DestinationConfig=destination, **PARTIAL)
    source.put("a", "bad")
    poller.attach("kept", source.request)
    wait_for(poller.is_idle)
    assert [(names(invocation), invocation.attempt) for invocation in seen] == [
        (["a", "bad"], 1),
        (["bad"], 2),
        (["bad"], 3),
    ]
    [found] = aws.client("s3").list_objects_v2(Bucket="failures", Prefix="aws/lambda/kept/")["Contents"]
    failure = read_failure(aws.client("s3").get_object(Bucket="failures", Key=found["Key"])["Body"].read())
    assert failure.records == seen[-1].records
    assert poller.lost_records == 0


def test_an_exception_says_what_it_was(aws: Emulator, poller: Poller, seen: list[ObservedInvocation]) -> None:
    source = Source(aws, "raises", MaximumRetryAttempts=0)
    source.put("boom")
    poller.attach("raises", source.request)
    wait_for(poller.is_idle)
    assert [invocation.error for invocation in seen] == ["Runtime.HandlerError: boom"]
    assert "ValueError: boom" in seen[0].log
    assert poller.last_processing_result("raises") == "PROBLEM: Function call failed"


def test_a_queue_gets_a_pointer(aws: Emulator, poller: Poller) -> None:
    url = aws.client("sqs").create_queue(QueueName="failures")["QueueUrl"]
    destination = {"OnFailure": {"Destination": "arn:aws:sqs:eu-central-1:000000000000:failures"}}
    source = Source(aws, "queued", MaximumRetryAttempts=0, DestinationConfig=destination)
    source.put("boom")
    poller.attach("queued", source.request)
    wait_for(poller.is_idle)
    [message] = aws.client("sqs").receive_message(QueueUrl=url)["Messages"]
    assert json.loads(message["Body"])["DDBStreamBatchInfo"]["batchSize"] == 1


def test_a_topic_gets_a_pointer(aws: Emulator, poller: Poller) -> None:
    topic = aws.client("sns").create_topic(Name="failures")["TopicArn"]
    url = aws.client("sqs").create_queue(QueueName="subscribed")["QueueUrl"]
    queue = "arn:aws:sqs:eu-central-1:000000000000:subscribed"
    aws.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue)
    source = Source(aws, "published", MaximumRetryAttempts=0, DestinationConfig={"OnFailure": {"Destination": topic}})
    source.put("boom")
    poller.attach("published", source.request)
    wait_for(poller.is_idle)
    [message] = aws.client("sqs").receive_message(QueueUrl=url, WaitTimeSeconds=5)["Messages"]
    pointer = json.loads(json.loads(message["Body"])["Message"])
    assert pointer["DDBStreamBatchInfo"]["batchSize"] == 1


@pytest.mark.parametrize("destination", [None, "arn:aws:s3:::nowhere"])
def test_what_no_destination_takes_is_lost_and_said_so(
    aws: Emulator, poller: Poller, caplog: pytest.LogCaptureFixture, destination: str | None
) -> None:
    """Lambda counts such records as dropped; no retry is documented."""
    options = {"DestinationConfig": {"OnFailure": {"Destination": destination}}} if destination else {}
    name = "refused" if destination else "dropped"
    source = Source(aws, name, MaximumRetryAttempts=0, **options)
    source.put("boom")
    poller.attach(name, source.request)
    wait_for(poller.is_idle)
    assert poller.lost_records == 1
    [line] = [line for line in caplog.messages if "lost" in line]
    assert f"mapping {name} lost 1 records" in line
    assert ("nowhere refused them" in line) is (destination is not None)


def test_throttling_costs_no_retry(
    aws: Emulator, poller: Poller, seen: list[ObservedInvocation], caplog: pytest.LogCaptureFixture
) -> None:
    source = Source(aws, "throttled", MaximumRetryAttempts=0)
    limit = aws.client("lambda").put_function_concurrency
    limit(FunctionName=source.function, ReservedConcurrentExecutions=0)
    poller.attach("throttled", source.request)
    source.put("a")
    wait_for(lambda: len(seen) >= 2)
    assert all("TooManyRequests" in str(invocation.error) for invocation in seen)
    limit(FunctionName=source.function, ReservedConcurrentExecutions=1)
    wait_for(poller.is_idle)
    assert seen[-1].error is None
    assert poller.lost_records == 0
    assert caplog.messages == []


def test_a_disabled_mapping_keeps_its_position(aws: Emulator, poller: Poller, seen: list[ObservedInvocation]) -> None:
    source = Source(aws, "paused")
    poller.attach("paused", {**source.request, "Enabled": False})
    source.put("a")
    assert poller.is_idle()
    assert seen == []
    poller.update("paused", source.request)
    wait_for(lambda: seen and poller.is_idle())
    poller.update("paused", {**source.request, "Enabled": False})
    source.put("b")
    poller.update("paused", source.request)
    wait_for(lambda: len(seen) > 1 and poller.is_idle())
    assert [names(invocation) for invocation in seen] == [["a"], ["b"]]


def test_latest_takes_what_comes_after(aws: Emulator, poller: Poller, seen: list[ObservedInvocation]) -> None:
    source = Source(aws, "latest")
    source.put("a")
    poller.attach("latest", {**source.request, "StartingPosition": "LATEST"})
    wait_for(poller.is_idle)
    source.put("b")
    wait_for(poller.is_idle)
    assert [names(invocation) for invocation in seen] == [["b"]]


def test_a_detached_mapping_does_nothing_and_a_new_one_starts_afresh(
    aws: Emulator, poller: Poller, seen: list[ObservedInvocation]
) -> None:
    source = Source(aws, "replaced")
    source.put("a")
    poller.attach("first", source.request)
    wait_for(poller.is_idle)
    poller.detach("first")
    poller.attach("second", source.request)
    wait_for(poller.is_idle)
    assert [(invocation.uuid, names(invocation)) for invocation in seen] == [("first", ["a"]), ("second", ["a"])]


def test_a_second_mapping_of_the_same_stream_and_function_names_the_first(aws: Emulator, poller: Poller) -> None:
    source = Source(aws, "twice")
    poller.attach("first", source.request)
    with pytest.raises(MappingError) as refused:
        poller.attach("second", source.request)
    assert str(refused.value) == (
        f'ResourceConflictException: The event source arn (" {source.request["EventSourceArn"]} ") and function '
        f'(" {source.function} ") provided mapping already exists. Please update or delete the existing mapping with '
        "UUID first"
    )


def test_a_stream_or_function_that_does_not_exist_is_refused(aws: Emulator, poller: Poller) -> None:
    source = Source(aws, "missing")
    with pytest.raises(MappingError, match=r"^InvalidParameterValueException: Stream not found: .*1999"):
        poller.attach("m", {**source.request, "EventSourceArn": f"{source.request['EventSourceArn'][:-23]}1999"})
    with pytest.raises(MappingError, match=r"^ResourceNotFoundException: Function does not exist: nobody"):
        poller.attach("m", {**source.request, "FunctionName": "nobody"})
    with pytest.raises(FilterError):
        poller.attach("m", {**source.request, "FilterCriteria": {"Filters": [{"Pattern": "{"}]}})
    assert poller.is_idle()


def test_a_function_deleted_under_its_mapping_is_a_problem_until_it_is_back(
    aws: Emulator, poller: Poller, seen: list[ObservedInvocation], caplog: pytest.LogCaptureFixture
) -> None:
    source = Source(aws, "gone", MaximumRetryAttempts=0)
    poller.attach("gone", source.request)
    aws.client("lambda").delete_function(FunctionName=source.function)
    source.put("a")
    wait_for(lambda: len(seen) >= 2)
    assert poller.last_processing_result("gone").startswith("PROBLEM: function-gone cannot be invoked")
    assert "mapping gone: PROBLEM" in caplog.text
    source.create_function()
    wait_for(poller.is_idle)
    assert poller.last_processing_result("gone") == "OK"
    assert poller.lost_records == 0


def test_a_schedule_invokes_its_function_until_nothing_is_held(
    aws: Emulator, poller: Poller, seen: list[ObservedInvocation]
) -> None:
    source = Source(aws, "scheduled")
    arn = aws.client("lambda").get_function_configuration(FunctionName=source.function)["FunctionArn"]
    poller.attach("scheduled", source.request)
    poller.schedule(arn, '{"table-stream": "retry"}', enabled=True)
    source.put("a")
    wait_for(poller.is_idle)
    assert [each.scheduled for each in seen] == [None]
    source.put("held")
    wait_for(lambda: list(poller.held()) == [source.function])
    wait_for(lambda: poller.is_idle(released=False))
    wait_for(poller.is_idle)
    runs = [each for each in seen if each.scheduled is not None]
    assert [(each.scheduled, each.function, each.stream_arn, each.records) for each in runs] == [
        ({"table-stream": "retry"}, source.function, "", ())
    ] * 3
    assert [each.response for each in runs] == [{"held": 1}, {"held": 1}, {"held": 0}]
    assert poller.held() == {}

    poller.make_all_due()
    wait_for(poller.is_idle)
    assert seen[-1].scheduled == {"table-stream": "retry", "now": True}
    poller.unschedule(arn)
    source.put("b")
    wait_for(poller.is_idle)
    poller.make_all_due()
    assert poller.is_idle()
    assert seen[-1].scheduled is None


def test_an_update_waits_for_what_runs_and_what_comes_waits_for_the_update(
    aws: Emulator, poller: Poller, seen: list[ObservedInvocation]
) -> None:
    """The emulator ends the invocations of a function that is updated; AWS lets them go on."""
    source = Source(aws, "updated", BatchSize=1)
    poller.attach("updated", source.request)
    source.put("a")
    wait_for(poller.is_idle)
    source.put("slow", "b")
    wait_for(lambda: not poller.is_idle())
    time.sleep(0.4)  # most likely it runs by now
    with poller.pause(source.function):
        aws.client("lambda").update_function_configuration(FunctionName=source.function, Timeout=7)
    wait_for(poller.is_idle)
    assert [(names(each), each.error) for each in seen] == [(["a"], None), (["slow"], None), (["b"], None)]


def test_a_schedule_needs_its_function(poller: Poller) -> None:
    with pytest.raises(MappingError, match=r"^ResourceNotFoundException: Function does not exist: .*nobody"):
        poller.schedule("arn:aws:lambda:eu-central-1:000000000000:function:nobody", "{}", enabled=True)


EMPTY: dict[str, Any] = {"Records": [], "NextShardIterator": "next"}
ONE: dict[str, Any] = {"Records": [change(1)], "NextShardIterator": "next"}


class Streams:
    """A stream of one shard whose reads answer in turn, with a page or an error's code, the last one for ever."""

    def __init__(self, *answers: dict[str, Any] | str) -> None:
        self.answers, self.reads, self.positions = answers, 0, list[str]()

    def describe_stream(self, StreamArn: str) -> dict[str, Any]:  # noqa: N803 -- AWS's name
        return {"StreamDescription": {"Shards": [{"ShardId": "shard-0"}]}}

    def get_shard_iterator(self, ShardIteratorType: str, **_: str) -> dict[str, str]:  # noqa: N803 -- AWS's name
        self.positions.append(ShardIteratorType)
        return {"ShardIterator": "iterator"}

    def get_records(self, **_: str) -> dict[str, Any]:
        answer = self.answers[min(self.reads, len(self.answers) - 1)]
        self.reads += 1
        if isinstance(answer, dict):
            return answer
        error: Any = {"Error": {"Code": answer, "Message": "as the test wants it"}}
        raise ClientError(error, "GetRecords")


class Invoker:
    """Lambda with a function that does nothing."""

    def get_function_configuration(self, FunctionName: str) -> dict[str, str]:  # noqa: N803 -- AWS's name
        return {"FunctionName": FunctionName, "FunctionArn": f"arn:aws:lambda:eu-central-1:0:function:{FunctionName}"}

    def invoke(self, **_: str) -> dict[str, Any]:
        return {"Payload": io.BytesIO(b"null"), "LogResult": base64.b64encode(b"x" * LOG_TAIL_BYTES).decode()}


class NoLogs:
    """CloudWatch Logs that has no group."""

    def get_paginator(self, _: str) -> "NoLogs":
        return self

    def paginate(self, **_: Any) -> Iterator[dict[str, Any]]:
        error: Any = {"Error": {"Code": "ResourceNotFoundException", "Message": "as the test wants it"}}
        raise ClientError(error, "FilterLogEvents")


@pytest.fixture
def reading() -> Iterator[Callable[[Streams], Poller]]:
    pollers: list[Poller] = []

    def attached(streams: Streams) -> Poller:
        clients: dict[str, Any] = {"dynamodbstreams": streams, "lambda": Invoker(), "logs": NoLogs()}
        pollers.append(Poller(clients.__getitem__, lambda invocation: None))
        pollers[-1].attach("m", {"EventSourceArn": "arn:s", "FunctionName": "f", "StartingPosition": "TRIM_HORIZON"})
        return pollers[-1]

    yield attached
    for poller in pollers:
        poller.close()


def test_a_stream_that_vanished_is_a_problem_and_nothing_to_wait_for(
    reading: Callable[[Streams], Poller], caplog: pytest.LogCaptureFixture
) -> None:
    streams = Streams("ResourceNotFoundException")
    poller = reading(streams)
    wait_for(poller.is_idle)
    assert streams.reads == 1
    assert poller.last_processing_result("m").startswith("PROBLEM: arn:s cannot be read")
    assert "mapping m: PROBLEM: arn:s cannot be read" in caplog.text


def test_a_log_that_cannot_be_read_stops_no_mapping(
    reading: Callable[[Streams], Poller], caplog: pytest.LogCaptureFixture
) -> None:
    poller = reading(Streams({"Records": [change(1, at=int(time.time()))], "NextShardIterator": "iterator"}, EMPTY))
    wait_for(poller.is_idle)
    assert poller.last_processing_result("m") == "OK"
    assert "only the end of a log is there" in caplog.text


def test_a_read_that_fails_is_tried_again(reading: Callable[[Streams], Poller]) -> None:
    poller = reading(Streams("InternalServerError", EMPTY))
    wait_for(poller.is_idle)
    assert poller.last_processing_result("m") == "No records processed"


@pytest.mark.parametrize(
    ("code", "position"),
    [("TrimmedDataAccessException", "TRIM_HORIZON"), ("ExpiredIteratorException", "AFTER_SEQUENCE_NUMBER")],
)
def test_where_reading_goes_on(reading: Callable[[Streams], Poller], code: str, position: str) -> None:
    """After retention has passed the position, and after a pause that an iterator does not outlive."""
    streams = Streams(ONE, code, EMPTY)
    poller = reading(streams)
    wait_for(lambda: streams.reads > 2 and poller.is_idle())
    assert streams.positions == ["TRIM_HORIZON", position]


def test_a_record_that_expired_says_so_in_lambda_s_names() -> None:
    """The emulator's streams complete no expiry from a deletion."""
    record = {
        "eventID": "1",
        "eventName": "REMOVE",
        "userIdentity": {"PrincipalId": "dynamodb.amazonaws.com", "Type": "Service"},
        "dynamodb": {
            "ApproximateCreationDateTime": datetime(2026, 1, 1, tzinfo=UTC),
            "OldImage": {"l": {"L": [{"B": b"foobar"}, {"BS": [b"f"]}]}},
        },
    }
    assert lambda_record(record, "arn:s") == {
        "eventID": "1",
        "eventName": "REMOVE",
        "userIdentity": {"principalId": "dynamodb.amazonaws.com", "type": "Service"},
        "dynamodb": {
            "ApproximateCreationDateTime": 1767225600,
            "OldImage": {"l": {"L": [{"B": "Zm9vYmFy"}, {"BS": ["Zg=="]}]}},
        },
        "eventSource": "aws:dynamodb",
        "eventSourceARN": "arn:s",
    }
