"""Makes and sends the failure records of on-failure destinations, in the shapes recorded on AWS."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from sandbox.mapping.invocation import Client
from sandbox.mapping.protocol import RETRIES_EXHAUSTED, Discard


def failure_record(discard: Discard, *, function_arn: str, stream_arn: str, now: float) -> dict[str, Any]:
    """Return the failure record of a discarded batch, as queues and topics receive it.

    The record points to stream records, and is of no use once the stream's retention has removed them.
    """
    first, last = discard.records[0], discard.records[-1]
    record: dict[str, Any] = {
        "requestContext": {
            "requestId": str(uuid4()),
            "functionArn": function_arn,
            "condition": discard.condition,
            "approximateInvokeCount": discard.invocations,
        },
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": discard.function_error},
        "version": "1.0",
        "timestamp": _utc(now).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "DDBStreamBatchInfo": {
            "shardId": discard.shard,
            "startSequenceNumber": first.sequence,
            "endSequenceNumber": last.sequence,
            "approximateArrivalOfFirstRecord": _whole_seconds(first.created_at),
            "approximateArrivalOfLastRecord": _whole_seconds(last.created_at),
            "batchSize": len(discard.records),
            "streamArn": stream_arn,
        },
    }
    if discard.condition != RETRIES_EXHAUSTED:
        del record["responseContext"]
    return record


def send(client: Client, destination: str, mapping: str, discard: Discard, record: dict[str, Any]) -> None:
    """Send a failure record to a bucket, queue or topic, by its ARN. A bucket receives the whole event as well.

    Raises
    ------
    botocore.exceptions.ClientError
        The destination refuses the record.
    """
    service, name = destination.split(":")[2], destination.rsplit(":", 1)[1]
    if service == "s3":
        payload = json.dumps({"Records": [each.event for each in discard.records]})
        body = json.dumps({**record, "payload": payload})
        key = object_key(mapping, discard.shard, record["timestamp"])
        client("s3").put_object(Bucket=name, Key=key, Body=body.encode(), ContentType="application/json")
    elif service == "sqs":
        queue = client("sqs").get_queue_url(QueueName=name)["QueueUrl"]
        client("sqs").send_message(QueueUrl=queue, MessageBody=json.dumps(record))
    else:
        client("sns").publish(TopicArn=destination, Message=json.dumps(record))


def object_key(mapping: str, shard: str, timestamp: str) -> str:
    """Return the key of a failure record in a bucket; `timestamp` is in ISO 8601."""
    when = datetime.fromisoformat(timestamp)
    return f"aws/lambda/{mapping}/{shard}/{when:%Y/%m/%d}/{when:%Y-%m-%dT%H.%M.%S}-{uuid4()}"


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _whole_seconds(seconds: float) -> str:
    return f"{_utc(seconds):%Y-%m-%dT%H:%M:%SZ}"
