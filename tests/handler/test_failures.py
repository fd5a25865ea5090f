"""The failure record: the engine writes one object per parked change, and reads each format of the mapping."""

import json
from typing import Any

import pytest

from handler.stream import PermanentError
from handler.stream.change import Change
from handler.stream.failures import FailureBucket, UnreadableFailureError, failure_body, failure_key, read_failure
from tests.fakes.aws import S3, Clock, LambdaContext, refusal
from tests.fakes.records import START, STREAM, record
from tests.handler.harness import ConsumerHarness

KEY = "engine/consumer/orders/2026-01-01T00:00:00.000/0000000000000000000100000000000000000001-event-1"
ERROR = PermanentError("no template")

# The mapping's record in S3, as recorded on AWS.
MAPPING: dict[str, Any] = {
    "requestContext": {
        "requestId": "c8ec4fd3-ef62-4d4b-8d1e-2f0a2ab6f2f4",
        "functionArn": "arn:aws:lambda:eu-central-1:111122223333:function:mirror",
        "condition": "RetryAttemptsExhausted",
        "approximateInvokeCount": 4,
    },
    "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
    "version": "1.0",
    "timestamp": "2022-07-13T13:48:01.000Z",
    "DDBStreamBatchInfo": {
        "shardId": "shardId-00000001658158862577-4d34b2a3",
        "startSequenceNumber": "100000000000000000001",
        "endSequenceNumber": "100000000000000000002",
        "approximateArrivalOfFirstRecord": "2022-07-13T13:48:01Z",
        "approximateArrivalOfLastRecord": "2022-07-13T13:48:01Z",
        "batchSize": 2,
        "streamArn": STREAM,
    },
    "payload": json.dumps({"Records": [record(1), record(2)]}),
}


def body_of(change: Change, context: Any = None) -> str:
    return failure_body(change, ERROR, "PermanentError", context, START + 0.25)


def parked(context: Any = None) -> dict[str, Any]:
    """Return the object of one parked change."""
    s3, change = S3(), Change(record(1))
    FailureBucket(lambda: s3, "failures", "consumer").park(change, body_of(change, context))
    return json.loads(s3.objects[KEY])


def test_keys_sort_in_stream_order() -> None:
    keys = [failure_key("mirror", Change(record(1, SequenceNumber=number))) for number in ("9", "10", "9" * 40)]
    assert keys == sorted(keys)


def test_a_parked_change_has_the_format_of_the_mappings_record() -> None:
    def shape(value: Any) -> Any:
        return {name: shape(part) for name, part in value.items()} if isinstance(value, dict) else None  # pyright: ignore[reportUnknownVariableType] # JSON

    body = parked(context=LambdaContext(Clock()))
    assert shape(body) == shape(MAPPING)
    assert body == {
        "requestContext": {
            "requestId": "request-1",
            "functionArn": "arn:aws:lambda:eu-central-1:111122223333:function:mirror",
            "condition": "PermanentError",
            "approximateInvokeCount": 1,
        },
        "responseContext": {
            "statusCode": 200,
            "executedVersion": "$LATEST",
            "functionError": "PermanentError: no template",
        },
        "version": "1.0",
        "timestamp": "2027-01-15T08:00:00.250Z",
        "DDBStreamBatchInfo": {
            "shardId": None,
            "startSequenceNumber": "100000000000000000001",
            "endSequenceNumber": "100000000000000000001",
            "approximateArrivalOfFirstRecord": "2027-01-15T08:00:00Z",
            "approximateArrivalOfLastRecord": "2027-01-15T08:00:00Z",
            "batchSize": 1,
            "streamArn": STREAM,
        },
        "payload": json.dumps({"Records": [record(1)]}),
    }


def test_a_failure_record_has_the_whole_stream_record() -> None:
    failure = read_failure(json.dumps(parked()))
    assert failure.records == (record(1),)
    assert (failure.condition, failure.error) == ("PermanentError", "PermanentError: no template")


@pytest.mark.parametrize("when", [None, float("nan"), float("inf"), 1e18, -1])
def test_a_record_without_a_valid_time_or_stream_arn_can_be_parked(when: Any) -> None:
    s3 = S3()
    raw = record(1, stream="stream-ARN", ApproximateCreationDateTime=when)
    FailureBucket(lambda: s3, "failures", "consumer").park(Change(raw), body_of(Change(raw)))
    [(key, body)] = s3.objects.items()
    assert key == "engine/consumer/stream-ARN/unknown/0000000000000000000100000000000000000001-event-1"
    assert json.dumps(read_failure(body).records) == json.dumps([raw])  # NaN is not equal to itself


def test_a_parked_change_is_one_object_with_a_fixed_key_and_parking_twice_keeps_the_first() -> None:
    harness = ConsumerHarness({1: ERROR})
    harness.deliver("a")
    before = dict(harness.s3.objects)
    assert list(before) == [KEY]
    harness.clock.now += 20
    assert harness.deliver("a") == []
    assert (harness.s3.objects, harness.s3.puts) == (before, 2)


def test_another_error_of_s3_is_raised() -> None:
    s3 = S3()
    s3.failing = refusal("AccessDenied", "PutObject")
    with pytest.raises(Exception, match="AccessDenied"):
        FailureBucket(lambda: s3, "failures", "consumer").park(Change(record(1)), "{}")


@pytest.mark.parametrize("payload", [MAPPING["payload"], json.loads(MAPPING["payload"])], ids=["text", "object"])
def test_the_mappings_record_is_read_with_its_payload_as_text_or_object(payload: Any) -> None:
    failure = read_failure(json.dumps({**MAPPING, "payload": payload}))
    assert (failure.condition, failure.error) == ("RetryAttemptsExhausted", "Unhandled")
    assert failure.stream_arn == STREAM
    assert failure.records == (record(1), record(2))
    assert failure.at == "2022-07-13T13:48:01.000Z"


def test_a_failure_record_of_an_untried_batch_has_no_response() -> None:
    body = {name: part for name, part in MAPPING.items() if name != "responseContext"}
    body["requestContext"] = {**MAPPING["requestContext"], "condition": "RecordAgeExceeded"}
    failure = read_failure(json.dumps(body).encode())
    assert (failure.condition, failure.error) == ("RecordAgeExceeded", None)


def test_a_reported_failure_has_no_error() -> None:
    body = {**MAPPING, "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": None}}
    assert read_failure(json.dumps(body)).error is None


def test_a_pointer_in_a_queue_has_no_records() -> None:
    body = {name: part for name, part in MAPPING.items() if name != "payload"}
    assert read_failure(json.dumps(body)).records == ()


@pytest.mark.parametrize(
    "text", ["", "x", "[]", "null", "{}", '{"requestContext": {}}', json.dumps({**MAPPING, "payload": "x"}), b"\xff"]
)
def test_another_text_is_not_a_failure_record(text: str | bytes) -> None:
    with pytest.raises(UnreadableFailureError, match="not a failure record: "):
        read_failure(text)
