"""GetShardIterator with AT_TIMESTAMP, which the emulator lacks."""

import json
import time
from typing import Any

from sandbox.front.forwarding import Forward, Request, Response
from sandbox.front.signing import with_json
from sandbox.mapping.invocation import Client


def shard_iterator_at(client: Client, request: Request, forward: Forward) -> Response | None:
    """Answer with an iterator at the first record of a shard that is not older than the Timestamp.

    Timestamps of records are whole seconds, as on AWS. If all records are older, the iterator is after the last one. A
    time in the future is an error (AWS: GetShardIterator). The front reads the shard from its beginning to that record.
    """
    try:
        wanted = request.json()
    except ValueError:
        return None  # the emulator has the error
    if wanted.get("ShardIteratorType") != "AT_TIMESTAMP":
        return None
    timestamp = wanted.pop("Timestamp", None)
    if not isinstance(timestamp, int | float) or isinstance(timestamp, bool):
        return Response.error("ValidationException", "Timestamp is required for AT_TIMESTAMP")
    if timestamp > time.time():
        return Response.error("ValidationException", f"Timestamp {timestamp} is in the future")

    def iterator(kind: str, **position: str) -> Response:
        return forward(with_json(request, {**wanted, "ShardIteratorType": kind, **position}))

    start = iterator("TRIM_HORIZON")
    if start.status >= 300:
        return start
    following, last = json.loads(start.body)["ShardIterator"], None
    while following:
        page: dict[str, Any] = client("dynamodbstreams").get_records(ShardIterator=following)
        for record in (each["dynamodb"] for each in page["Records"]):
            if record["ApproximateCreationDateTime"].timestamp() >= timestamp:
                return iterator("AT_SEQUENCE_NUMBER", SequenceNumber=record["SequenceNumber"])
            last = record["SequenceNumber"]
        following = page.get("NextShardIterator") if page["Records"] else None
    return iterator("AFTER_SEQUENCE_NUMBER", SequenceNumber=last) if last else start
