"""Messages between the mapping state machine and its driver: actions, and results of invocations."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

AGE_EXCEEDED = "RecordAgeExceeded"
RETRIES_EXHAUSTED = "RetryAttemptsExhausted"
RETENTION_PASSED = "RetentionPassed"
"""Condition of records that the stream's retention removed. AWS has none: no destination or metric shows them."""


@dataclass(frozen=True)
class Record:
    """One stream record, in the shape of an invocation's event."""

    event: Mapping[str, Any]

    @property
    def sequence(self) -> str:
        """Sequence number, as a string of digits."""
        return self.event["dynamodb"]["SequenceNumber"]

    @property
    def created_at(self) -> float:
        """Time of the change in epoch seconds; a whole number on AWS."""
        return self.event["dynamodb"]["ApproximateCreationDateTime"]

    @property
    def item(self) -> bytes:
        """Full key of the item, as JSON."""
        return json.dumps(self.event["dynamodb"]["Keys"], sort_keys=True).encode()

    @cached_property
    def size(self) -> int:
        """Size in an invocation's event, in bytes."""
        return len(json.dumps(self.event)) + 2


@dataclass(frozen=True)
class Position:
    """A position in a shard, as GetShardIterator takes it."""

    kind: Literal["TRIM_HORIZON", "LATEST", "AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER"]
    sequence: str | None = None


@dataclass(frozen=True)
class Describe:
    """List the stream's shards and call `discover`, or `retry` if that fails."""


@dataclass(frozen=True, eq=False)
class Read:
    """Get a shard's records from a position on, and call `receive`, `skip_trimmed` or, if that fails, `retry`.

    `issued_at` is in epoch seconds.
    """

    shard: str
    position: Position
    issued_at: float


@dataclass(frozen=True, eq=False)
class Invoke:
    """Invoke the function with these records, and call `complete`.

    `attempt` is 1 for a new first record, and grows by one with each attempt without progress.
    """

    shard: str
    records: tuple[Record, ...]
    attempt: int


@dataclass(frozen=True, eq=False)
class Discard:
    """Send these records to the destination, or count them as lost; the shard continues in both cases."""

    shard: str
    records: tuple[Record, ...]
    condition: str
    invocations: int
    function_error: str | None


Action = Describe | Read | Invoke | Discard


@dataclass(frozen=True)
class Returned:
    """The function returned this payload; it is parsed."""

    payload: Any


@dataclass(frozen=True)
class Failed:
    """The function raised, timed out or crashed."""


@dataclass(frozen=True)
class Throttled:
    """The function did not run: no concurrency was left, or Lambda itself failed. This consumes no retry."""


InvocationResult = Returned | Failed | Throttled
