"""Reads the changes of a time from the stream itself, as a consumer's mappings would deliver them."""

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from handler.stream.change import Change
from handler.stream.failures import failure_key
from handler.stream.ledger.rows import digest_of
from ops import OpsError
from ops.cli import Session
from ops.concurrency import concurrently
from ops.failures.plan_file import Failed, PlanFile
from ops.failures.planning import ledger_name
from ops.stack import CONNECTIONS, Client, ConsumerOutputs
from ops.streams import oldest_record_at
from ops.text.counts import count
from ops.text.progress import progress
from ops.text.times import iso_minute, minute_at, parse_time
from sandbox.mapping.filters import FilterError, any_of
from sandbox.mapping.records import lambda_record

EMPTY_PAGES = 10
"""Empty pages in a row after which an open shard counts as read: a page may be empty although records follow."""
PAUSE_SECONDS = 0.2
"""Pause after a round of reads that were all empty: a shard allows 5 reads a second."""
CAUSE = "from the stream"


@dataclass(frozen=True)
class Source:
    """A stream that a mapping of the consumer reads; `passes` is the mapping's filter."""

    stream_arn: str
    passes: Callable[[Any], bool]


@dataclass(frozen=True)
class Found:
    """The result of reading a stream; times are seconds since 1970."""

    read: int
    """Records of the stream in the time, whether or not the filter passes them."""
    oldest: float | None
    """The oldest record that the streams still have."""


def sources_of(client: Client, consumer: ConsumerOutputs) -> list[Source]:
    """Return the streams of a consumer's mappings.

    Raises
    ------
    OpsError
        A filter cannot be read or evaluated.
    """
    sources: list[Source] = []
    for table, uuid in consumer.mappings.items():
        mapping: dict[str, Any] = client("lambda").get_event_source_mapping(UUID=uuid)
        if "FilterCriteriaError" in mapping:
            raise OpsError(f"the filter of the mapping of {table} cannot be read: {mapping['FilterCriteriaError']}")
        criteria: dict[str, list[dict[str, str]]] = mapping.get("FilterCriteria") or {}
        try:
            passes = any_of([each["Pattern"] for each in criteria.get("Filters") or ()])
        except FilterError as error:
            raise OpsError(f"the filter of the mapping of {table} cannot be evaluated here: {error}") from error
        sources.append(Source(mapping["EventSourceArn"], passes))
    return sources


class StreamReader:
    """Reads the streams of one consumer.

    Parameters
    ----------
    client
        Returns boto3's client of "dynamodbstreams".
    name, ledger_name
        The consumer's name, and its name in the ledger.
    sleep
        Pauses for the given seconds.
    """

    def __init__(
        self, client: Client, name: str, ledger_name: str, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._streams, self._name, self._ledger_name, self._sleep = client("dynamodbstreams"), name, ledger_name, sleep
        self._pool = ThreadPoolExecutor(CONNECTIONS)

    def close(self) -> None:
        """Cancel reads that have not begun."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def read(
        self,
        plan: PlanFile,
        source: Source,
        since: datetime,
        until: datetime,
        items: frozenset[str] | None,
        on_records: Callable[[int], None],
    ) -> Found:
        """Add the changes from `since` to `until` to a plan, to the second; `items` are digests, None for all items.

        The order in which shards are read does not matter, because the plan sorts each item's changes. Records that
        DynamoDB has put into an open shard before this call are read.
        """
        number, oldest = 0, oldest_record_at(self._streams, source.stream_arn)
        shards = [each["ShardId"] for each in self._shards(source.stream_arn)]
        for record in self._records(source.stream_arn, shards, since, until):
            number += 1
            event = lambda_record(record, source.stream_arn)
            change = Change(event, "redrive")
            if source.passes(event) and (items is None or digest_of(change) in items):
                created = change.created_seconds or since.timestamp()
                plan.add_change(Failed(self._name, failure_key(self._ledger_name, change), change, CAUSE, "", created))
            on_records(1)
        return Found(number, oldest)

    def _shards(self, stream_arn: str) -> Iterator[dict[str, Any]]:
        after: dict[str, str] = {}
        while True:
            description = self._streams.describe_stream(StreamArn=stream_arn, **after)["StreamDescription"]
            yield from description["Shards"]
            if not description.get("LastEvaluatedShardId"):
                return
            after = {"ExclusiveStartShardId": description["LastEvaluatedShardId"]}

    def _records(
        self, stream_arn: str, shards: list[str], since: datetime, until: datetime
    ) -> Iterator[Mapping[str, Any]]:
        """Yield the records of all shards in a time; all shards are read at the same time, a page each."""

        def begin(shard: str) -> str:
            where = {"StreamArn": stream_arn, "ShardId": shard}
            answer = self._streams.get_shard_iterator(**where, ShardIteratorType="AT_TIMESTAMP", Timestamp=since)
            return answer["ShardIterator"]

        following: dict[str, str] = dict(concurrently(self._pool, begin, shards))
        empty = dict.fromkeys(shards, 0)
        while following:
            pages = concurrently(self._pool, self._page, list(following.values()))
            has_found = False
            for shard, (_, page) in zip(list(following), pages, strict=True):
                records = page["Records"]
                in_time = [each for each in records if _created(each) <= until.timestamp()]
                yield from (each for each in in_time if _created(each) >= int(since.timestamp()))
                empty[shard] = 0 if records else empty[shard] + 1
                has_found = has_found or bool(records)
                following[shard] = page.get("NextShardIterator") or ""
                if len(in_time) < len(records) or empty[shard] >= EMPTY_PAGES:
                    following[shard] = ""
            following = {shard: iterator for shard, iterator in following.items() if iterator}
            if following and not has_found:
                self._sleep(PAUSE_SECONDS)

    def _page(self, iterator: str) -> dict[str, Any]:
        return self._streams.get_records(ShardIterator=iterator)


def _created(record: Mapping[str, Any]) -> float:
    return record["dynamodb"]["ApproximateCreationDateTime"].timestamp()


def read_stream(
    session: Session,
    name: str,
    plan: PlanFile,
    times: tuple[str, str | None],
    items: frozenset[str] | None,
    began: datetime,
) -> dict[str, Any]:
    """Read the changes of a time from the consumer's streams, and print and return how far the streams go back.

    Raises
    ------
    OpsError
        A time is invalid, or a filter cannot be evaluated.
    """
    consumer, client = session.stack.consumer(name), session.stack.client
    since = parse_time(times[0], began)
    until = parse_time(times[1], began) if times[1] else began
    if until < since:
        raise OpsError(f"--until {times[1]} is before --since {times[0]}")
    reader = StreamReader(client, name, ledger_name(name, consumer))
    session.console.print(f"replay · {name}")
    read, oldest = 0, list[float]()
    try:
        with progress(session.console) as bar:
            task = bar.add_task("reading", total=None)
            for source in sources_of(client, consumer):
                found = reader.read(plan, source, since, until, items, lambda number: bar.advance(task, number))
                read += found.read
                oldest += [found.oldest] if found.oldest is not None else []
    finally:
        reader.close()
    session.console.print(f"  {count(read, 'record')} read, from {iso_minute(since)} to {iso_minute(until)}")
    if oldest and max(oldest) > since.timestamp() + 1:
        session.console.print(
            f"  the stream's oldest record is of {minute_at(max(oldest))}, after --since:\n"
            "    earlier changes, if there were any, are no longer in the stream"
        )
    return {"read": read, "since": since.isoformat(), "until": until.isoformat(), "oldest": max(oldest, default=None)}
