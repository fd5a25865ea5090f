"""The failure record: one object a parked change, in the shape of the mapping's own."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from handler.stream.aws import error_code
from handler.stream.change import Change
from handler.stream.codec import from_json, padded, text_of, to_json


class UnreadableFailureError(Exception):
    """The text is not a failure record."""


@dataclass(frozen=True)
class Failure:
    """What a failure record says, whether the engine or the mapping wrote it."""

    condition: str
    """Why it is here: the mapping's RetryAttemptsExhausted or RecordAgeExceeded; the engine's PermanentError,
    Undecodable, GivenUp, HoldFull, Skipped or OutOfSequence."""
    error: str | None
    """As far as the record tells it."""
    stream_arn: str
    records: tuple[dict[str, Any], ...]
    """Whole; empty where the record is a pointer (SQS, SNS)."""
    at: str
    """When it was written (ISO 8601)."""


def read_failure(text: str | bytes) -> Failure:
    """Read a failure record, in each variant that AWS has been seen to write; raises UnreadableFailureError."""
    try:
        body: dict[str, Any] = from_json(text)
        payload: Any = body.get("payload") or {}
        event: dict[str, Any] = from_json(payload) if isinstance(payload, str) else payload
        answer: dict[str, Any] = body.get("responseContext") or {}
        return Failure(
            condition=body["requestContext"]["condition"],
            error=answer.get("functionError"),
            stream_arn=body["DDBStreamBatchInfo"]["streamArn"],
            records=tuple(event.get("Records", ())),
            at=body["timestamp"],
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnreadableFailureError(f"not a failure record: {type(error).__name__} {error}") from error


def failure_key(consumer: str, change: Change) -> str:
    """The object's name: the same each time a change is parked, in stream order within a stream."""
    stream = change.stream_or_unknown
    name = f"{padded(change.sequence_number)}-{change.record.get('eventID')}"
    return f"engine/{consumer}/{stream.table_name}/{stream.label}/{name}"


def failure_body(change: Change, error: BaseException, reason: str, context: Any, now: float) -> str:
    """One change in the shape of the mapping's S3 record; `functionError` tells the error, `shardId` is not known."""
    arrived = change.created_seconds
    arrival = None if arrived is None else _time(arrived, "seconds")
    body = {
        "requestContext": {
            "requestId": getattr(context, "aws_request_id", None),
            "functionArn": getattr(context, "invoked_function_arn", None),
            "condition": reason,
            "approximateInvokeCount": 1,
        },
        "responseContext": {
            "statusCode": 200,
            "executedVersion": getattr(context, "function_version", None),
            "functionError": f"{type(error).__name__}: {text_of(error)}",
        },
        "version": "1.0",
        "timestamp": _time(now, "milliseconds"),
        "DDBStreamBatchInfo": {
            "shardId": None,
            "startSequenceNumber": change.sequence_number,
            "endSequenceNumber": change.sequence_number,
            "approximateArrivalOfFirstRecord": arrival,
            "approximateArrivalOfLastRecord": arrival,
            "batchSize": 1,
            "streamArn": change.stream_arn,
        },
        "payload": to_json({"Records": [change.record]}),
    }
    return to_json(body)


def _time(seconds: float, precision: str) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec=precision).replace("+00:00", "Z")


class FailureStore(Protocol):
    """Where changes are parked."""

    def park(self, change: Change, body: str, /) -> None:
        """Keep the change's failure record; a second time it leaves the first. Raises where it cannot."""
        ...


class FailureBucket:
    """The failure store in S3; `s3` gives boto3's client when it is first needed.

    Its one call: `put_object(Bucket, Key, Body, ContentType, IfNoneMatch="*")`.
    """

    def __init__(self, s3: Any, bucket: str, consumer: str) -> None:
        self._s3, self._bucket, self._consumer = s3, bucket, consumer

    def park(self, change: Change, body: str, /) -> None:
        """Write the change's object unless it is there already, which keeps the first one's lifetime."""
        try:
            self._s3().put_object(
                Bucket=self._bucket,
                Key=failure_key(self._consumer, change),
                Body=body.encode(),
                ContentType="application/json",
                IfNoneMatch="*",
            )
        except Exception as refused:
            if error_code(refused) != "PreconditionFailed":
                raise
