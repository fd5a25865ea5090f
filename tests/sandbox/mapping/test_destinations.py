"""Failure records have the shape recorded on AWS. The poller sends them to a destination, or counts lost records."""

import json
import re
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from handler.stream.failures import read_failure
from sandbox.mapping.destinations import failure_record, send
from sandbox.mapping.protocol import AGE_EXCEEDED, RETRIES_EXHAUSTED, Discard, Record
from tests.fakes.records import STREAM, sequence
from tests.fakes.stream import change
from tests.local import REGION
from tests.sandbox.mapping.mapping_driver import PARTIAL
from tests.sandbox.mapping.source import Source

Sources = Callable[..., Source]

FUNCTION = "arn:aws:lambda:eu-central-1:000000000000:function:f"
NOW = 1657720081.25  # 2022-07-13T13:48:01.250Z
RECORDS = tuple(Record(change(number, at=1657720060 + number)) for number in (6, 7))


class Recorder:
    """Replaces every boto3 client, and accepts every call without checking its parameters."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, dict[str, Any]]] = []

    def __call__(self, service: str) -> Any:
        recorder = self

        class Client:
            def __getattr__(self, name: str) -> Any:
                def call(**parameters: Any) -> dict[str, str]:
                    recorder.calls.append((service, name, parameters))
                    return {"QueueUrl": "http://queue"}

                return call

        return Client()


def discard(condition: str = RETRIES_EXHAUSTED, error: str | None = "Unhandled") -> Discard:
    return Discard("shard-0", RECORDS, condition, 4, error)


def record(action: Discard) -> dict[str, Any]:
    return failure_record(action, function_arn=FUNCTION, stream_arn=STREAM, now=NOW)


def sent(destination: str) -> list[tuple[str, str, dict[str, Any]]]:
    recorder = Recorder()
    send(recorder, destination, "mapping-1", discard(), record(discard()))
    return recorder.calls


def test_a_failure_record_has_the_shape_recorded_on_aws() -> None:
    failure = record(discard())
    UUID(failure["requestContext"].pop("requestId"))
    assert failure == {
        "requestContext": {"functionArn": FUNCTION, "condition": "RetryAttemptsExhausted", "approximateInvokeCount": 4},
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
        "version": "1.0",
        "timestamp": "2022-07-13T13:48:01.250Z",
        "DDBStreamBatchInfo": {
            "shardId": "shard-0",
            "startSequenceNumber": sequence(6),
            "endSequenceNumber": sequence(7),
            "approximateArrivalOfFirstRecord": "2022-07-13T13:47:46Z",
            "approximateArrivalOfLastRecord": "2022-07-13T13:47:47Z",
            "batchSize": 2,
            "streamArn": STREAM,
        },
    }


def test_a_failure_that_the_response_reported_is_not_a_function_error() -> None:
    assert record(discard(error=None))["responseContext"]["functionError"] is None


def test_a_failure_record_of_overdue_records_has_no_response() -> None:
    failure = record(discard(AGE_EXCEEDED))
    assert "responseContext" not in failure
    assert failure["requestContext"]["condition"] == "RecordAgeExceeded"


def test_a_bucket_receives_the_whole_event_with_the_time_in_its_key() -> None:
    [(service, call, parameters)] = sent("arn:aws:s3:::failures")
    assert (service, call, parameters["Bucket"]) == ("s3", "put_object", "failures")
    key = r"aws/lambda/mapping-1/shard-0/2022/07/13/2022-07-13T13\.48\.01-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    assert re.fullmatch(key, parameters["Key"])
    body = json.loads(parameters["Body"])
    assert json.loads(body["payload"]) == {"Records": [each.event for each in RECORDS]}
    assert body["DDBStreamBatchInfo"]["batchSize"] == 2


def test_the_tools_read_the_object_of_a_bucket() -> None:
    [(_, _, parameters)] = sent("arn:aws:s3:::failures")
    failure = read_failure(parameters["Body"])
    assert (failure.condition, failure.stream_arn) == (RETRIES_EXHAUSTED, STREAM)
    assert failure.records == tuple(each.event for each in RECORDS)


@pytest.mark.parametrize(
    ("destination", "call", "field"),
    [
        ("arn:aws:sqs:eu-central-1:000000000000:failures", "send_message", "MessageBody"),
        ("arn:aws:sns:eu-central-1:000000000000:failures", "publish", "Message"),
    ],
)
def test_a_queue_or_topic_receives_only_a_pointer(destination: str, call: str, field: str) -> None:
    [*_, (_, name, parameters)] = sent(destination)
    body = json.loads(parameters[field])
    assert name == call
    assert body["DDBStreamBatchInfo"]["startSequenceNumber"] == sequence(6)
    assert "payload" not in body


def destination(arn: str) -> dict[str, Any]:
    return {"DestinationConfig": {"OnFailure": {"Destination": arn}}}


def test_the_poller_writes_whole_records_to_a_bucket(source: Sources) -> None:
    kept = source("kept", MaximumRetryAttempts=1, **destination("arn:aws:s3:::kept"), **PARTIAL)
    s3 = kept.client("s3")
    s3.create_bucket(Bucket="kept", CreateBucketConfiguration={"LocationConstraint": REGION})
    kept.put("a", "bad")
    kept.deliver()
    assert kept.batches == [["a", "bad"], ["bad"], ["bad"]]
    assert [invocation.attempt for invocation in kept.invocations] == [1, 2, 3]
    [item] = s3.list_objects_v2(Bucket="kept", Prefix="aws/lambda/kept/")["Contents"]
    failure = read_failure(s3.get_object(Bucket="kept", Key=item["Key"])["Body"].read())
    assert failure.records == kept.invocations[-1].records
    assert kept.poller.lost_records == 0


@pytest.mark.parametrize("service", ["sqs", "sns"])
def test_the_poller_sends_a_pointer_to_a_queue_or_topic(source: Sources, service: str) -> None:
    name = f"pointer-{service}"
    arn = queue_arn = f"arn:aws:sqs:{REGION}:000000000000:{name}"
    failing = source(name, MaximumRetryAttempts=0)
    url = failing.client("sqs").create_queue(QueueName=name)["QueueUrl"]
    if service == "sns":
        arn = failing.client("sns").create_topic(Name=name)["TopicArn"]
        failing.client("sns").subscribe(TopicArn=arn, Protocol="sqs", Endpoint=queue_arn)
    failing.request |= destination(arn)
    failing.deliver("boom")
    [message] = failing.client("sqs").receive_message(QueueUrl=url, WaitTimeSeconds=5)["Messages"]
    body = json.loads(message["Body"])
    pointer = json.loads(body["Message"]) if service == "sns" else body
    assert pointer["DDBStreamBatchInfo"]["batchSize"] == 1


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [("dropped", {}, "no on-failure destination"), ("refused", destination("arn:aws:s3:::nowhere"), "nowhere refused")],
)
def test_records_that_reach_no_destination_are_counted_and_logged(
    source: Sources, caplog: pytest.LogCaptureFixture, name: str, options: dict[str, Any], reason: str
) -> None:
    """Lambda counts such records as dropped; AWS documents no retry."""
    lossy = source(name, MaximumRetryAttempts=0, **options)
    lossy.deliver("boom")
    assert lossy.poller.lost_records == 1
    [line] = [line for line in caplog.messages if "lost" in line]
    assert f"mapping {name} lost 1 records" in line
    assert reason in line
