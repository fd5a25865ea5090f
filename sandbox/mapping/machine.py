"""The event source mapping as a pure state machine, which fails, retries and gives up as on AWS."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from math import inf
from typing import Any, cast
from zlib import crc32

from sandbox.mapping.configuration import Assumptions, Configuration
from sandbox.mapping.filters import any_of
from sandbox.mapping.protocol import (
    AGE_EXCEEDED,
    RETENTION_PASSED,
    RETRIES_EXHAUSTED,
    Action,
    Describe,
    Discard,
    Failed,
    InvocationResult,
    Invoke,
    Position,
    Read,
    Record,
    Returned,
    Throttled,
)

PAYLOAD_BYTES = 6 * 1024 * 1024
"""Largest event of an invocation, in bytes (AWS: "Lambda quotas", synchronous invocation payload)."""
RETENTION_SECONDS = 24 * 3600
"""How long a stream keeps a record (AWS: "Change data capture for DynamoDB Streams")."""


def count_settled(payload: object, sequences: Sequence[str], *, malformed_response_fails: bool) -> int | None:
    """Return the number of a batch's records that a response settles; None if it fails the whole batch.

    The response reports batch item failures; `sequences` are the sequence numbers of the batch, in order.
    """
    if payload in (None, "", {}, []):
        return len(sequences)
    failures = cast("dict[str, Any]", payload).get("batchItemFailures", ()) if isinstance(payload, dict) else ()
    if failures is None or failures == []:
        return len(sequences)
    if not isinstance(failures, list):
        return None if malformed_response_fails else len(sequences)
    checkpoint = len(sequences)
    for failure in cast("list[Any]", failures):
        identifier = cast("dict[str, Any]", failure).get("itemIdentifier") if isinstance(failure, dict) else None
        if identifier not in sequences:
            return None
        checkpoint = min(checkpoint, sequences.index(identifier))
    return checkpoint


class _Shard:
    def __init__(self, name: str, parent: str | None, start: Position, queues: int) -> None:
        self.name, self.parent = name, parent
        self.checkpoint = start
        self.settled: set[str] = set()  # sequence numbers after the checkpoint
        self.rewind(queues)

    def rewind(self, queues: int) -> None:
        """Forget the records that are not settled, and read them again from the checkpoint."""
        self.cursor = self.checkpoint
        self.unsettled: deque[str] = deque()
        self.queues = [_BatchQueue(self) for _ in range(queues)]
        self.reading: Read | None = None
        self.next_read = self.end_read_at = 0.0
        self.ended = self.must_reread = False

    @property
    def running(self) -> bool:
        return any(queue.running for queue in self.queues)

    def settle(self, sequences: Iterable[str]) -> None:
        self.settled.update(sequences)
        while self.unsettled and self.unsettled[0] in self.settled:
            sequence = self.unsettled.popleft()
            self.settled.remove(sequence)
            self.checkpoint = Position("AFTER_SEQUENCE_NUMBER", sequence)


@dataclass
class _BatchQueue:
    """One of the shard's queues, as many as its concurrent batches; all changes of an item are in the same queue."""

    shard: _Shard
    waiting: deque[Record] = field(default_factory=deque[Record])
    window_since: float = 0
    batches: deque["_Batch"] = field(default_factory=deque["_Batch"])
    running: bool = False


@dataclass
class _Batch:
    queue: _BatchQueue
    records: list[Record]
    failures: int = 0  # failed invocations since the last progress
    attempts: int = 0  # failed and throttled invocations since then
    not_before: float = 0


class MappingMachine:
    """One mapping of one stream. `advance` returns the actions to perform; other methods take in their results.

    The machine uses no threads, I/O or clock. Its driver performs the actions and passes the time, in epoch seconds.

    Parameters
    ----------
    configuration
        The mapping's configuration.
    assumptions
        The readings of AWS's undocumented behaviour.
    poll_seconds
        Seconds between two reads at the end of a shard; 0.25 on AWS, which polls four times a second. The driver may
        change the attribute of this name at any time.

    Attributes
    ----------
    last_result
        AWS's LastProcessingResult.
    filtered_out
        The number of records, so far, that no filter pattern has matched.

    Raises
    ------
    FilterError
        A filter pattern is invalid or not imitated.
    """

    def __init__(
        self, configuration: Configuration, assumptions: Assumptions | None = None, poll_seconds: float = 0.25
    ) -> None:
        self.last_result = "No records processed"
        self.filtered_out = 0
        self._assumptions = assumptions or Assumptions()
        self.poll_seconds = poll_seconds
        self._shards: dict[str, _Shard] = {}
        self._finished: set[str] = set()
        self._running: dict[Invoke, _Batch] = {}
        self._actions: list[Action] = []
        self._described, self._describe_at = False, 0.0
        self.configure(configuration)

    def configure(self, configuration: Configuration) -> None:
        """Take a new configuration, `enabled` included. Checkpoints stay; new batches are cut, with new counts."""
        self._passes = any_of(configuration.patterns)
        self.configuration = configuration
        for shard in self._shards.values():
            shard.must_reread = True

    def read_now(self) -> None:
        """Read every shard as soon as possible, before its next poll."""
        for shard in self._shards.values():
            shard.next_read = 0.0

    def is_invoking(self) -> bool:
        """Return whether an invocation runs."""
        return bool(self._running)

    def oldest_record(self) -> float | None:
        """Return when the oldest record was created that was read and is not settled (epoch seconds)."""
        queues = [queue for shard in self._shards.values() for queue in shard.queues]
        batches = [*self._running.values(), *(batch for queue in queues for batch in queue.batches)]
        records = [batch.records for batch in batches] + [queue.waiting for queue in queues]
        return min((each[0].created_at for each in records if each), default=None)

    def is_idle(self) -> bool:
        """Return whether every record that was read is settled, and no action is pending."""
        pending = self._actions or self._running or not self._described or self._describe_at < inf
        return not pending and not any(shard.unsettled or shard.must_reread for shard in self._shards.values())

    def is_drained(self, since: float) -> bool:
        """Return whether the mapping is idle, and reads issued at or after `since` found every shard at its end."""
        return self.is_idle() and all(shard.end_read_at >= since for shard in self._shards.values())

    def discover(self, lineage: Iterable[tuple[str, str | None]]) -> None:
        """Take in the stream's shards, each with its parent's name. A child is read after its parent is finished."""
        configured = self.configuration.starting_position
        later = self._described and configured == "LATEST"
        start = Position(self._assumptions.new_shards_start_at if later else configured)
        for name, parent in lineage:
            if name not in self._shards and name not in self._finished:
                self._shards[name] = _Shard(name, parent, start, self.configuration.parallelization_factor)
        self._described = True

    def receive(self, action: Read, events: Sequence[Mapping[str, Any]], now: float, *, ended: bool = False) -> None:
        """Take in the records of a read; `ended` says that they are the last ones of a closed shard."""
        shard = self._shards[action.shard]
        if shard.reading is not action:
            return
        shard.reading, shard.ended = None, ended
        if not events:
            shard.next_read, shard.end_read_at = now + self.poll_seconds, action.issued_at
        elif shard.checkpoint.kind == "LATEST":
            shard.checkpoint = Position("AT_SEQUENCE_NUMBER", Record(events[0]).sequence)
        for event in events:
            self._enqueue(shard, Record(event), now)
        self._settle(shard, ())

    def _enqueue(self, shard: _Shard, record: Record, now: float) -> None:
        shard.cursor = Position("AFTER_SEQUENCE_NUMBER", record.sequence)
        if not self._passes(record.event):
            self.filtered_out += 1
            if self._assumptions.filtered_records_advance:
                shard.unsettled.append(record.sequence)
                shard.settled.add(record.sequence)
            return
        shard.unsettled.append(record.sequence)
        if record.sequence not in shard.settled:
            queue = shard.queues[crc32(record.item) % len(shard.queues)]
            if not queue.waiting and not self._assumptions.invoke_on_empty_window:
                queue.window_since = now
            queue.waiting.append(record)

    def skip_trimmed(self, action: Read) -> None:
        """Take in that retention has passed the position of a read, and read on where the assumptions say."""
        shard = self._shards[action.shard]
        if shard.reading is action:
            shard.reading = None
            shard.cursor = shard.checkpoint = Position(self._assumptions.resume_after_trim_at)

    def retry(self, action: Describe | Read, now: float) -> None:
        """Take in that an action failed: `advance` returns it again after the poll interval."""
        if isinstance(action, Describe):
            self._describe_at = now + self.poll_seconds
        elif (shard := self._shards[action.shard]).reading is action:
            shard.reading, shard.next_read = None, now + self.poll_seconds

    def complete(self, invocation: Invoke, result: InvocationResult, now: float) -> int:
        """Take in the result of an invocation; return the number of records that it does not settle."""
        batch = self._running.pop(invocation)
        batch.queue.running = False
        self.last_result = "OK" if isinstance(result, Returned) else "PROBLEM: Function call failed"
        if not batch.records:
            return 0
        batch.attempts += 1
        done = None if isinstance(result, Throttled) else self._count_settled(batch, result)
        if isinstance(result, Throttled):
            self._retry(batch, now)
        elif done:
            self._settle(batch.queue.shard, batch.records[:done])
            if rest := batch.records[done:]:
                self._retry(_Batch(batch.queue, rest, attempts=1), now)
        else:
            batch.failures += 1
            self._fail(batch, "Unhandled" if isinstance(result, Failed) else None, whole=done is None, now=now)
        return len(invocation.records) - (done or 0)

    def _count_settled(self, batch: _Batch, result: Returned | Failed) -> int | None:
        if isinstance(result, Failed):
            return None
        if not self.configuration.function_response_types:
            return len(batch.records)
        sequences = [record.sequence for record in batch.records]
        return count_settled(
            result.payload, sequences, malformed_response_fails=self._assumptions.malformed_response_fails
        )

    def _fail(self, batch: _Batch, error: str | None, *, whole: bool, now: float) -> None:
        retries = self.configuration.maximum_retry_attempts
        if whole and self.configuration.bisect_batch_on_function_error and len(batch.records) > 1:
            middle = len(batch.records) // 2
            failures = batch.failures - 1 if self._assumptions.halves_keep_failure_count else 0
            for half in (batch.records[middle:], batch.records[:middle]):
                self._retry(_Batch(batch.queue, half, failures, attempts=1), now)
        elif retries == -1 or batch.failures <= retries:
            self._retry(batch, now)
        else:
            takes_rest = whole or self._assumptions.discard_rest_of_batch
            self._discard(batch, len(batch.records) if takes_rest else 1, RETRIES_EXHAUSTED, error)

    def _retry(self, batch: _Batch, now: float) -> None:
        batch.not_before = now + self._assumptions.back_off(batch.attempts)
        batch.queue.batches.appendleft(batch)

    def _discard(self, batch: _Batch, count: int, condition: str, error: str | None = None) -> None:
        discarded, rest = batch.records[:count], batch.records[count:]
        # Recorded on AWS: a record that is too old for its first attempt is discarded with a count of 1.
        invocations = max(batch.failures, 1)
        self._actions.append(Discard(batch.queue.shard.name, tuple(discarded), condition, invocations, error))
        self._settle(batch.queue.shard, discarded)
        if rest:
            batch.queue.batches.appendleft(_Batch(batch.queue, rest))

    def _settle(self, shard: _Shard, records: Iterable[Record]) -> None:
        shard.settle(record.sequence for record in records)
        if shard.ended and not shard.unsettled and not shard.must_reread:
            del self._shards[shard.name]
            self._finished.add(shard.name)
            self._describe_at = 0.0

    def advance(self, now: float) -> list[Action]:
        """Return the actions to perform now, each of them once."""
        for shard in list(self._shards.values()) if self.configuration.enabled else ():
            if shard.must_reread:
                if shard.running:
                    continue
                shard.rewind(self.configuration.parallelization_factor)
            if now >= shard.next_read and self._wants_more(shard):
                shard.reading = Read(shard.name, shard.cursor, now)
                self._actions.append(shard.reading)
            for queue in shard.queues:
                self._start(queue, now)
        if now >= self._describe_at:
            self._describe_at = inf
            self._actions.append(Describe())
        actions, self._actions = self._actions, []
        return actions

    def due(self) -> float | None:
        """Return when `advance` has an action if no result arrives before; None if it then has none."""
        return min(self._due_times(), default=None) if self.configuration.enabled else None

    def _due_times(self) -> Iterator[float]:
        window = self.configuration.maximum_batching_window_in_seconds
        if self._describe_at < inf:
            yield self._describe_at
        for shard in self._shards.values():
            if shard.must_reread:
                yield from () if shard.running else (0.0,)
                continue
            if self._wants_more(shard):
                yield shard.next_read
            for queue in shard.queues:
                if queue.running:
                    continue
                if queue.batches:
                    yield queue.batches[0].not_before
                elif queue.waiting or (window and self._assumptions.invoke_on_empty_window):
                    yield queue.window_since + window
                if oldest_first := queue.batches[0].records if queue.batches else queue.waiting:
                    yield oldest_first[0].created_at + min(self._limits().values())

    def _wants_more(self, shard: _Shard) -> bool:
        unread = not shard.reading and not shard.ended and shard.parent not in self._shards
        return unread and any(len(queue.waiting) < self.configuration.batch_size for queue in shard.queues)

    def _start(self, queue: _BatchQueue, now: float) -> None:
        while not queue.running and (batch := queue.batches.popleft() if queue.batches else self._cut(queue, now)):
            if self._discard_overdue(batch, now):
                continue
            if now < batch.not_before:
                queue.batches.appendleft(batch)
                return
            queue.running = True
            invocation = Invoke(queue.shard.name, tuple(batch.records), batch.attempts + 1)
            self._running[invocation] = batch
            self._actions.append(invocation)

    def _discard_overdue(self, batch: _Batch, now: float) -> bool:
        """Discard records at their age limit, also before their next attempt is due, as recorded on AWS."""
        for condition, limit in self._limits().items():
            if overdue := _too_old(batch.records, limit, now):
                self._discard(batch, overdue, condition)
                return True
        return False

    def _limits(self) -> Mapping[str, float]:
        """Return the age in seconds at which a record is discarded, by the condition."""
        age = self.configuration.maximum_record_age_in_seconds
        return {RETENTION_PASSED: RETENTION_SECONDS} | ({AGE_EXCEEDED: age} if age != -1 else {})

    def _cut(self, queue: _BatchQueue, now: float) -> _Batch | None:
        """Return the next batch if it is full by count or bytes, or its window is over; else only overdue records."""
        count = size = 0
        for record in queue.waiting:
            size += record.size
            if count == self.configuration.batch_size or (count and size > PAYLOAD_BYTES):
                break
            count += 1
        full = count == self.configuration.batch_size or count < len(queue.waiting)
        window = self.configuration.maximum_batching_window_in_seconds
        may_be_empty = window and self._assumptions.invoke_on_empty_window
        if full or (now >= queue.window_since + window and (count or may_be_empty)):
            queue.window_since = now
        elif not (count := _too_old(queue.waiting, min(self._limits().values()), now)):
            return None
        return _Batch(queue, [queue.waiting.popleft() for _ in range(count)])


def _too_old(records: Iterable[Record], limit: float, now: float) -> int:
    """Return the number of records, from the first on, that have reached the limit."""
    return sum(1 for _ in takewhile(lambda record: now >= record.created_at + limit, records))
