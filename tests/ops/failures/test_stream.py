"""Reading changes from the stream for a replay."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from handler.stream.change import Change
from handler.stream.ledger.rows import digest_of
from ops import OpsError
from ops.failures.plan_file import PlanFile
from ops.failures.stream import EMPTY_PAGES, Source, StreamReader, sources_of
from ops.stack import ConsumerOutputs
from tests.fakes.records import START, STREAM, record

CONSUMER = ConsumerOutputs(function="f", role="r", log_group="/g", mappings={"orders": "uuid-1"}, ledger_name="mirror")


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(START + seconds, UTC)


def in_boto3(made: dict[str, Any]) -> dict[str, Any]:
    """Return a record as GetRecords returns it."""
    body = made["dynamodb"] | {
        "ApproximateCreationDateTime": at(made["dynamodb"]["ApproximateCreationDateTime"] - START)
    }
    return {"eventID": made["eventID"], "eventName": made["eventName"], "dynamodb": body}


class Streams:
    """boto3's client of DynamoDB Streams; a page has two records, and an open shard has empty pages without end.

    Not imitated: LATEST, sequence numbers, limits and expired iterators.
    """

    def __init__(self, **shards: tuple[str | None, list[dict[str, Any]], bool]) -> None:
        self._shards = shards
        self.reads = 0

    def describe_stream(self, StreamArn: str, ExclusiveStartShardId: str | None = None) -> Any:  # noqa: N803
        names = list(self._shards)
        start = names.index(ExclusiveStartShardId) + 1 if ExclusiveStartShardId else 0
        page = names[start : start + 1]
        shards = [{"ShardId": name, "ParentShardId": self._shards[name][0]} for name in page]
        more = {"LastEvaluatedShardId": page[-1]} if start + 1 < len(names) else {}
        return {"StreamDescription": {"Shards": shards, **more}}

    def get_shard_iterator(self, StreamArn: str, ShardId: str, ShardIteratorType: str, Timestamp: Any = None) -> Any:  # noqa: N803
        records = self._shards[ShardId][1]
        since = Timestamp.timestamp() if Timestamp else 0
        place = sum(each["dynamodb"]["ApproximateCreationDateTime"] < since for each in records)
        return {"ShardIterator": f"{ShardId}:{place}"}

    def get_records(self, ShardIterator: str, Limit: int = 2) -> Any:  # noqa: N803
        self.reads += 1
        shard, _, place = ShardIterator.partition(":")
        _, records, is_open = self._shards[shard]
        end = min(int(place) + Limit, len(records))
        following = {"NextShardIterator": f"{shard}:{end}"} if is_open or end < len(records) else {}
        return {"Records": [in_boto3(each) for each in records[int(place) : end]], **following}


def each_of(plan: PlanFile) -> Iterator[str]:
    return (change.event_id for _, changes in plan.each("planned") for change in changes)


def passes_all(event: Any) -> bool:
    return True


def passes_event_4(event: Any) -> bool:
    return event["eventID"] == "event-4"


def read(streams: Streams, since: float, until: float, **options: Any) -> tuple[list[str], Any]:
    plan, source = PlanFile(), Source(STREAM, options.get("passes", passes_all))
    reader = StreamReader(lambda _: streams, "mirror", "mirror", sleep=lambda seconds: None)
    found = reader.read(plan, source, at(since), at(until), options.get("items"), lambda number: None)
    ids = sorted(each_of(plan), key=lambda name: int(name.partition("-")[2]))
    reader.close()
    plan.close()
    return ids, found


def two_shards() -> Streams:
    parent = [record(number, f"i{number % 2}", at=START + number) for number in range(5)]
    child = [record(number, f"i{number % 2}", at=START + number) for number in range(5, 10)]
    return Streams(parent=(None, parent, False), child=("parent", child, True))


def test_a_time_is_read_from_all_shards_to_the_second() -> None:
    streams = two_shards()
    ids, found = read(streams, 3.7, 7)
    assert ids == [f"event-{number}" for number in (4, 5, 6, 7)]
    assert (found.read, found.oldest) == (4, START)
    assert streams.reads < 10, "a shard is read no further than the last time"


def test_an_open_shard_ends_after_some_empty_pages() -> None:
    streams = two_shards()
    ids, _ = read(streams, 0, 1_000)
    assert ids == [f"event-{number}" for number in range(10)]
    assert EMPTY_PAGES <= streams.reads < EMPTY_PAGES + 10


def test_filter_and_item_select() -> None:
    wanted = frozenset([digest_of(Change(record(1, "i1")))])
    assert read(two_shards(), 0, 99, items=wanted)[0] == [f"event-{number}" for number in (1, 3, 5, 7, 9)]
    ids, found = read(two_shards(), 0, 99, passes=passes_event_4)
    assert (ids, found.read) == (["event-4"], 10)


def test_an_empty_stream_has_no_oldest_record() -> None:
    assert read(Streams(only=(None, [], True)), 0, 9)[1].oldest is None


class Mappings:
    """boto3's Lambda client with one mapping."""

    def __init__(self, **mapping: Any) -> None:
        self._mapping = {"EventSourceArn": STREAM, **mapping}

    def get_event_source_mapping(self, UUID: str) -> Any:  # noqa: N803
        assert UUID == "uuid-1"
        return self._mapping


def test_the_mappings_filter_decides() -> None:
    pattern = '{"eventName": ["INSERT"]}'
    [source] = sources_of(lambda _: Mappings(FilterCriteria={"Filters": [{"Pattern": pattern}]}), CONSUMER)
    assert [source.passes(record(1, name=name)) for name in ("INSERT", "MODIFY")] == [True, False]
    [source] = sources_of(lambda _: Mappings(), CONSUMER)
    assert source.passes(record(1))


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"FilterCriteria": {"Filters": [{"Pattern": '{"a": [{"cidr": "10.0.0.0/8"}]}'}]}}, "cannot be evaluated here"),
        ({"FilterCriteriaError": {"ErrorCode": "KMSAccessDenied"}}, "cannot be read"),
    ],
)
def test_a_filter_that_cannot_be_used_ends_the_replay(mapping: dict[str, Any], message: str) -> None:
    with pytest.raises(OpsError, match=f"the filter of the mapping of orders {message}"):
        sources_of(lambda _: Mappings(**mapping), CONSUMER)
