"""DynamoDB's streams: how long they keep a record, and the oldest record of a stream."""

from typing import Any

RETENTION_SECONDS = 24 * 3600
"""How long a stream keeps a record (DynamoDB Streams)."""
MAX_SHARDS, MAX_READS = 4, 3
"""Most shards that are tried, and most reads of a shard whose beginning is empty."""


def oldest_record_at(streams: Any, stream_arn: str) -> float | None:
    """Return when the oldest record of a stream was written, in seconds since 1970; None if no record is found.

    The oldest records are in the shards whose parent the stream no longer has. A read returns one record,
    but DynamoDB recommends at most two readers of a shard.
    """
    shards = streams.describe_stream(StreamArn=stream_arn)["StreamDescription"]["Shards"]
    there = {shard["ShardId"] for shard in shards}
    roots = [shard for shard in shards if shard.get("ParentShardId") not in there]
    roots.sort(key=lambda shard: int(shard["SequenceNumberRange"].get("StartingSequenceNumber", 0)))
    times = (_first_record_at(streams, stream_arn, shard["ShardId"]) for shard in roots[:MAX_SHARDS])
    return min((at for at in times if at is not None), default=None)


def _first_record_at(streams: Any, stream_arn: str, shard: str) -> float | None:
    iterator = streams.get_shard_iterator(StreamArn=stream_arn, ShardId=shard, ShardIteratorType="TRIM_HORIZON")
    position = iterator["ShardIterator"]
    for _ in range(MAX_READS):
        page = streams.get_records(ShardIterator=position, Limit=1)
        for record in page["Records"]:
            return record["dynamodb"]["ApproximateCreationDateTime"].timestamp()
        position = page.get("NextShardIterator")
        if position is None:
            return None
    return None
