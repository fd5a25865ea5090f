"""Failure records have the shape recorded on AWS, for each kind of on-failure destination."""

import json
import re
from typing import Any
from uuid import UUID

import pytest

from handler.stream.failures import read_failure
from sandbox.mapping.destinations import failure_record, send
from sandbox.mapping.protocol import AGE_EXCEEDED, RETRIES_EXHAUSTED, Discard, Record
from tests.fakes.records import STREAM, sequence
from tests.fakes.stream import change

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
