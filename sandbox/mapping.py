"""The event source mapping decides: a pure state machine on a clock that fails, retries and gives up as AWS does."""

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import takewhile
from typing import Annotated, Any, Literal, cast
from zlib import crc32

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_pascal

from sandbox.filtering import any_of

PAYLOAD_LIMIT = 6 * 1024 * 1024
"""Bytes of one invocation's event; AWS: "Lambda quotas", synchronous invocation payload."""
RETENTION = 24 * 3600
"""Seconds that a stream keeps a record; AWS: "Change data capture for DynamoDB Streams"."""

AGE_EXCEEDED = "RecordAgeExceeded"
RETRIES_EXHAUSTED = "RetryAttemptsExhausted"
EXPIRED = "RetentionPassed"
"""Not AWS's word: what retention takes reaches no destination and is in no metric."""

Start = Literal["TRIM_HORIZON", "LATEST"]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_pascal, populate_by_name=True)


class _Filter(_Model):
    pattern: str


class _Filters(_Model):
    filters: Annotated[tuple[_Filter, ...], Field(max_length=5)] = ()


class _Destination(_Model):
    destination: Annotated[str, Field(pattern=r"^arn:[^:]+:(s3|sqs|sns):")] | None = None


class _Destinations(_Model):
    on_failure: _Destination = _Destination()


class Configuration(_Model):
    """A mapping as `create_event_source_mapping` takes it, with AWS's defaults and bounds; seconds where not said.

    Whatever the sandbox does not imitate, tumbling windows first of all, is a `ValidationError` that names it.
    """

    event_source_arn: str
    function_name: str
    starting_position: Start
    enabled: bool = True
    batch_size: Annotated[int, Field(ge=1, le=10_000)] = 100
    maximum_batching_window_in_seconds: Annotated[int, Field(ge=0, le=300)] = 0
    parallelization_factor: Annotated[int, Field(ge=1, le=10)] = 1
    maximum_retry_attempts: Annotated[int, Field(ge=-1, le=10_000)] = -1
    maximum_record_age_in_seconds: Literal[-1] | Annotated[int, Field(ge=60, le=604_800)] = -1
    bisect_batch_on_function_error: bool = False
    function_response_types: tuple[Literal["ReportBatchItemFailures"], ...] = ()
    filter_criteria: _Filters = _Filters()
    destination_config: _Destinations = _Destinations()
    tumbling_window_in_seconds: Literal[0] = 0
    tags: dict[str, str] = {}
    metrics_config: dict[str, Any] = {}


def back_off(tries: int) -> float:
    """Seconds until the next try after `tries` in vain: about one at first, growing, as recorded; the cap is ours."""
    return min(0.9 * 1.7 ** min(tries - 1, 16), 60.0)


@dataclass(frozen=True)
class Switches:
    """What AWS does not document, each with its likelier reading as the default."""

    suffix_follows: bool = True
    """A checkpoint that fails for good takes the records after it along to the destination."""
    halves_inherit: bool = True
    """The halves of a batch start with its count of retries, not afresh."""
    empty_windows: bool = False
    """A batching window without records invokes the function all the same."""
    children_from: Start = "TRIM_HORIZON"
    """Where a mapping from LATEST starts in shards that appear later."""
    filtered_count: bool = True
    """Records that no filter lets through move the checkpoint as soon as they are read."""
    trimmed_resumes: Start = "TRIM_HORIZON"
    """Where reading goes on when retention has passed the checkpoint."""
    malformed_fails: bool = True
    """A response of a shape that no document names fails the batch."""
    back_off: Callable[[int], float] = back_off


@dataclass(frozen=True)
class Record:
    """One stream record, as the event's JSON has it."""

    event: Mapping[str, Any]

    @property
    def sequence(self) -> str:
        """The sequence number as the stream wrote it."""
        return self.event["dynamodb"]["SequenceNumber"]

    @property
    def created(self) -> float:
        """Epoch seconds, whole ones on AWS."""
        return self.event["dynamodb"]["ApproximateCreationDateTime"]

    @cached_property
    def size(self) -> int:
        """Bytes that the record takes in an invocation's event."""
        return len(json.dumps(self.event)) + 2

    @property
    def item(self) -> bytes:
        """The item's full key, for keeping its changes in one lane."""
        return json.dumps(self.event["dynamodb"]["Keys"], sort_keys=True).encode()


@dataclass(frozen=True)
class Position:
    """A place in a shard, in the words of GetShardIterator."""

    kind: Literal["TRIM_HORIZON", "LATEST", "AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER"]
    sequence: str | None = None


@dataclass(frozen=True)
class Describe:
    """Do: list the stream's shards, and tell `discover`."""


@dataclass(frozen=True, eq=False)
class Read:
    """Do: get records of a shard from a position on, and tell `read` (or `trimmed`)."""

    shard: str
    position: Position
    asked: float


@dataclass(frozen=True, eq=False)
class Invoke:
    """Do: call the function with these records, and tell `answer`; `attempt` counts this batch's from 1."""

    shard: str
    records: tuple[Record, ...]
    attempt: int


@dataclass(frozen=True, eq=False)
class Discard:
    """Do: send these records to the destination, or count them as lost; the shard has already moved on."""

    shard: str
    records: tuple[Record, ...]
    condition: str
    invocations: int
    function_error: str | None = None


Action = Describe | Read | Invoke | Discard


@dataclass(frozen=True)
class Returned:
    """The function returned this payload, parsed."""

    payload: Any


@dataclass(frozen=True)
class Failed:
    """The function raised, timed out or died."""


@dataclass(frozen=True)
class Throttled:
    """The function was not run: no concurrency left, or Lambda itself failed. Costs no retry."""


Outcome = Returned | Failed | Throttled


def done_before_checkpoint(payload: object, sequences: Sequence[str], *, malformed_fails: bool) -> int | None:
    """How many of a batch's records a response with partial failures settles; None where it fails the whole batch."""
    if payload in (None, "", {}, []):
        return len(sequences)
    failures = cast("dict[str, Any]", payload).get("batchItemFailures", ()) if isinstance(payload, dict) else ()
    if failures is None or failures == []:
        return len(sequences)
    if not isinstance(failures, list):
        return None if malformed_fails else len(sequences)
    checkpoint = len(sequences)
    for failure in cast("list[Any]", failures):
        identifier = cast("dict[str, Any]", failure).get("itemIdentifier") if isinstance(failure, dict) else None
        if identifier not in sequences:
            return None
        checkpoint = min(checkpoint, sequences.index(identifier))
    return checkpoint


@dataclass
class _Batch:
    records: list[Record]
    failures: int = 0  # invocations in a row without progress
    tries: int = 0  # the same, throttled ones included
    not_before: float = 0


@dataclass
class _Lane:
    """What is delivered one batch after the other: a shard's items that fall to it."""

    waiting: deque[Record] = field(default_factory=deque[Record])
    window_since: float = 0
    batches: deque[_Batch] = field(default_factory=deque[_Batch])
    running: bool = False


class _Shard:
    def __init__(self, name: str, parent: str | None, start: Position, lanes: int) -> None:
        self.name, self.parent = name, parent
        self.checkpoint = start
        self.settled: set[str] = set()  # beyond the checkpoint
        self.ended = False
        self.rewind(lanes)

    def rewind(self, lanes: int) -> None:
        """Forget what was read and not settled, to read it again from the checkpoint."""
        self.cursor = self.checkpoint
        self.unsettled: deque[str] = deque()
        self.lanes = [_Lane() for _ in range(lanes)]
        self.reading: Read | None = None
        self.next_read = 0.0
        self.empty_at = 0.0
        self.stale = self.ended = False

    @property
    def finished(self) -> bool:
        return self.ended and not self.unsettled and not self.stale

    def settle(self, sequences: Iterable[str]) -> None:
        self.settled.update(sequences)
        while self.unsettled and self.unsettled[0] in self.settled:
            sequence = self.unsettled.popleft()
            self.settled.remove(sequence)
            self.checkpoint = Position("AFTER_SEQUENCE_NUMBER", sequence)


class EventSourceMapping:
    """One mapping of one stream: `advance` says what to do now, everything else tells it what came of that.

    It knows neither threads nor I/O nor the time: whoever drives it says what time it is, in epoch seconds.

    Parameters
    ----------
    configuration
        What the mapping was created with.
    switches
        The readings of what AWS does not document.
    poll
        Seconds between two reads of a shard at its end; AWS polls four times a second.

    Raises
    ------
    FilterError
        A filter pattern is invalid or not imitated.
    """

    def __init__(self, configuration: Configuration, switches: Switches | None = None, poll: float = 0.25) -> None:
        self.last_result = "No records processed"
        self._switches = switches or Switches()
        self._poll = poll
        self._shards: dict[str, _Shard] = {}
        self._finished: set[str] = set()
        self._running: dict[Invoke, tuple[_Shard, _Lane, _Batch]] = {}
        self._actions: list[Action] = [Describe()]
        self._first = True
        self.configure(configuration)

    def configure(self, configuration: Configuration) -> None:
        """Take a new configuration, `enabled` included. The checkpoints stay; batches and retries start afresh."""
        self._passes = any_of(each.pattern for each in configuration.filter_criteria.filters)
        self.configuration = configuration
        for shard in self._shards.values():
            shard.stale = True

    def at_rest(self) -> bool:
        """Whether all that was read is settled: nothing runs, nothing waits."""
        return not (self._first or self._actions or self._running) and not any(
            shard.unsettled for shard in self._shards.values()
        )

    def caught_up(self, since: float) -> bool:
        """Whether, besides, every shard was found at its end by a read that was asked for at or after `since`."""
        return self.at_rest() and all(shard.empty_at >= since for shard in self._shards.values())

    def discover(self, lineage: Iterable[tuple[str, str | None]]) -> None:
        """Take in the stream's shards, each with its parent's id."""
        start: Start = self.configuration.starting_position
        if not self._first and start == "LATEST":
            start = self._switches.children_from
        for name, parent in lineage:
            if name not in self._shards and name not in self._finished:
                lanes = self.configuration.parallelization_factor
                self._shards[name] = _Shard(name, parent, Position(start), lanes)
        self._first = False

    def read(self, action: Read, events: Sequence[Mapping[str, Any]], now: float, *, ended: bool = False) -> None:
        """Take in the records found; `ended` where the shard is closed and these are its last."""
        shard = self._shards[action.shard]
        if shard.reading is not action:
            return
        shard.reading = None
        shard.ended = ended
        if events:
            shard.next_read = now
        else:
            shard.next_read, shard.empty_at = now + self._poll, action.asked
        for event in events:
            record = Record(event)
            if shard.checkpoint.kind == "LATEST":
                shard.checkpoint = Position("AT_SEQUENCE_NUMBER", record.sequence)
            shard.cursor = Position("AFTER_SEQUENCE_NUMBER", record.sequence)
            passes = self._passes(event)
            if passes or self._switches.filtered_count:
                shard.unsettled.append(record.sequence)
            if not passes:
                shard.settled.add(record.sequence)
            elif record.sequence not in shard.settled:
                lane = shard.lanes[crc32(record.item) % len(shard.lanes) if len(shard.lanes) > 1 else 0]
                if not lane.waiting and not self._switches.empty_windows:
                    lane.window_since = now
                lane.waiting.append(record)
        self._settle(shard, ())

    def trimmed(self, action: Read) -> None:
        """Take in that retention has passed the position that was to be read."""
        shard = self._shards[action.shard]
        if shard.reading is action:
            shard.reading = None
            shard.cursor = Position(self._switches.trimmed_resumes)

    def answer(self, invocation: Invoke, outcome: Outcome, now: float) -> None:
        """Take in what came of an invocation."""
        shard, lane, batch = self._running.pop(invocation)
        lane.running = False
        if not batch.records:
            return
        batch.tries += 1
        if isinstance(outcome, Throttled):
            self.last_result = "PROBLEM: Function call failed"
            self._retry(lane, batch, now)
            return
        done: int | None = None
        if isinstance(outcome, Returned):
            done = len(batch.records)
            if self.configuration.function_response_types:
                sequences = [record.sequence for record in batch.records]
                done = done_before_checkpoint(
                    outcome.payload, sequences, malformed_fails=self._switches.malformed_fails
                )
        self.last_result = "OK" if isinstance(outcome, Returned) else "PROBLEM: Function call failed"
        if done:
            self._settle(shard, batch.records[:done])
            if rest := batch.records[done:]:
                self._retry(lane, _Batch(rest, tries=1), now)
            return
        batch.failures += 1
        self._failed(shard, lane, batch, outcome, whole=done is None, now=now)

    def _failed(self, shard: _Shard, lane: _Lane, batch: _Batch, outcome: Outcome, *, whole: bool, now: float) -> None:
        retries = self.configuration.maximum_retry_attempts
        if whole and self.configuration.bisect_batch_on_function_error and len(batch.records) > 1:
            middle = len(batch.records) // 2
            failures = batch.failures - 1 if self._switches.halves_inherit else 0
            for half in (batch.records[middle:], batch.records[:middle]):
                self._retry(lane, _Batch(half, failures, tries=1), now)
        elif retries == -1 or batch.failures <= retries:
            self._retry(lane, batch, now)
        else:
            error = "Unhandled" if isinstance(outcome, Failed) else None
            count = len(batch.records) if whole or self._switches.suffix_follows else 1
            self._discard(shard, lane, batch, count, RETRIES_EXHAUSTED, error)

    def _retry(self, lane: _Lane, batch: _Batch, now: float) -> None:
        batch.not_before = now + self._switches.back_off(batch.tries)
        lane.batches.appendleft(batch)

    def _discard(
        self, shard: _Shard, lane: _Lane, batch: _Batch, count: int, condition: str, error: str | None = None
    ) -> None:
        doomed, rest = batch.records[:count], batch.records[count:]
        # Recorded: a record too old for its first attempt is discarded with a count of 1.
        invocations = max(batch.failures, 1)
        self._actions.append(Discard(shard.name, tuple(doomed), condition, invocations, error))
        self._settle(shard, doomed)
        if rest:
            lane.batches.appendleft(_Batch(rest))

    def _settle(self, shard: _Shard, records: Iterable[Record]) -> None:
        shard.settle(record.sequence for record in records)
        if shard.finished and self._shards.pop(shard.name, None):
            self._finished.add(shard.name)
            self._actions.append(Describe())

    def advance(self, now: float) -> list[Action]:
        """All that is to be done now; each action is given out once."""
        for shard in list(self._shards.values()) if self.configuration.enabled else ():
            if shard.stale and not any(lane.running for lane in shard.lanes):
                shard.rewind(self.configuration.parallelization_factor)
            if not shard.stale:
                if now >= shard.next_read and self._wants_more(shard):
                    shard.reading = Read(shard.name, shard.cursor, now)
                    self._actions.append(shard.reading)
                for lane in shard.lanes:
                    self._start(shard, lane, now)
        actions, self._actions = self._actions, []
        return actions

    def due(self) -> float | None:
        """When `advance` has something new even if nothing is told until then; None where it has nothing."""
        moments = list(self._moments()) if self.configuration.enabled else []
        return min(moments, default=None)

    def _moments(self) -> Iterator[float]:
        for shard in self._shards.values():
            if self._wants_more(shard):
                yield shard.next_read
            for lane in shard.lanes:
                if lane.running:
                    continue
                if lane.batches:
                    yield lane.batches[0].not_before
                elif lane.waiting or (
                    self._switches.empty_windows and self.configuration.maximum_batching_window_in_seconds
                ):
                    yield lane.window_since + self.configuration.maximum_batching_window_in_seconds

    def _wants_more(self, shard: _Shard) -> bool:
        return (
            not shard.reading
            and not shard.ended
            and shard.parent not in self._shards
            and any(len(lane.waiting) < self.configuration.batch_size for lane in shard.lanes)
        )

    def _start(self, shard: _Shard, lane: _Lane, now: float) -> None:
        while not lane.running:
            batch = lane.batches.popleft() if lane.batches else self._cut(lane, now)
            if batch is None:
                return
            if now < batch.not_before:
                lane.batches.appendleft(batch)
                return
            if not self._drop_overdue(shard, lane, batch, now):
                lane.running = True
                invocation = Invoke(shard.name, tuple(batch.records), batch.tries + 1)
                self._running[invocation] = (shard, lane, batch)
                self._actions.append(invocation)

    def _drop_overdue(self, shard: _Shard, lane: _Lane, batch: _Batch, now: float) -> bool:
        limits = [(RETENTION, EXPIRED)]
        if self.configuration.maximum_record_age_in_seconds != -1:
            limits.append((self.configuration.maximum_record_age_in_seconds, AGE_EXCEEDED))
        for limit, condition in limits:
            overdue = sum(1 for _ in takewhile(lambda record: now - record.created > limit, batch.records))  # noqa: B023 -- called within the loop's turn
            if overdue:
                self._discard(shard, lane, batch, overdue, condition)
                return True
        return False

    def _cut(self, lane: _Lane, now: float) -> _Batch | None:
        """The next batch: as many records as its size and 6 MB allow, once it is full or its window is over."""
        count = size = 0
        full = False
        for record in lane.waiting:
            size += record.size
            full = count == self.configuration.batch_size or (count > 0 and size > PAYLOAD_LIMIT)
            if full:
                break
            count += 1
        window = self.configuration.maximum_batching_window_in_seconds
        full = full or count == self.configuration.batch_size
        waited = now >= lane.window_since + window and (count > 0 or (window > 0 and self._switches.empty_windows))
        if not full and not waited:
            return None
        lane.window_since = now
        return _Batch([lane.waiting.popleft() for _ in range(count)])
