"""The failure record of a parked change: one object in S3, in the format of the mapping's failure record."""

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
    """The content of a failure record, written by the engine or by the mapping."""

    condition: str
    """The reason: RetryAttemptsExhausted or RecordAgeExceeded by the mapping; PermanentError, Undecodable, GivenUp,
    HoldFull, Skipped or OutOfSequence by the engine."""
    error: str | None
    """Type and text of the error, if the record has them."""
    stream_arn: str
    records: tuple[dict[str, Any], ...]
    """The stream records; none if the failure record is only a pointer (SQS, SNS)."""
    at: str
    """When the failure record was written (ISO 8601)."""
    function_arn: str | None = None
    """The function's ARN, if the record has it."""


def read_failure(text: str | bytes) -> Failure:
    """Read a failure record in any format that AWS is known to write. Raises UnreadableFailureError."""
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
            function_arn=body["requestContext"].get("functionArn"),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnreadableFailureError(f"not a failure record: {type(error).__name__} {error}") from error


def failure_key(consumer: str, change: Change) -> str:
    """Return the object's key: the same each time the change is parked; keys of a stream sort in stream order."""
    stream = change.stream_or_unknown
    name = f"{padded(change.sequence_number)}-{change.record.get('eventID')}"
    return f"engine/{consumer}/{stream.table_name}/{stream.label}/{name}"


def failure_body(change: Change, error: BaseException, reason: str, context: Any, now: float) -> str:
    """Return one change in the format of the mapping's S3 record, except that `shardId` is null (unknown)."""
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
    """A store in which changes are parked."""

    def park(self, change: Change, body: str, /) -> None:
        """Store the change's failure record unless a change that is not redriven is stored already.

        Raises the store's error if that fails.
        """
        ...


class FailureBucket:
    """The failure bucket in S3; `s3` returns boto3's client.

    Its only call is `put_object(Bucket, Key, Body, ContentType)`, with `IfNoneMatch="*"` except for redriven changes.
    """

    def __init__(self, s3: Any, bucket: str, consumer: str) -> None:
        self._s3, self._bucket, self._consumer = s3, bucket, consumer

    def park(self, change: Change, body: str, /) -> None:
        """Write the change's object unless it exists, so that the first object keeps its lifetime.

        A redriven change that is parked again overwrites its object: the operator sees the new error, and a redrive
        that is about to delete the object sees that it has changed.
        """
        condition = {} if change.origin == "redrive" else {"IfNoneMatch": "*"}
        try:
            self._s3().put_object(
                Bucket=self._bucket,
                Key=failure_key(self._consumer, change),
                Body=body.encode(),
                ContentType="application/json",
                **condition,
            )
        except Exception as refused:
            if error_code(refused) != "PreconditionFailed":
                raise
