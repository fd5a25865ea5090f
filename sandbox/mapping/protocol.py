"""The words between a mapping and whoever acts for it: what to do, and what came of it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

AGE_EXCEEDED = "RecordAgeExceeded"
RETRIES_EXHAUSTED = "RetryAttemptsExhausted"
RETENTION_PASSED = "RetentionPassed"
"""Not AWS's word: what retention takes reaches no destination and is in no metric."""


@dataclass(frozen=True)
class Record:
    """One stream record, as an invocation's event has it."""

    event: Mapping[str, Any]

    @property
    def sequence(self) -> str:
        """The sequence number as the stream wrote it."""
        return self.event["dynamodb"]["SequenceNumber"]

    @property
    def created_at(self) -> float:
        """Epoch seconds, whole ones on AWS."""
        return self.event["dynamodb"]["ApproximateCreationDateTime"]

    @property
    def item(self) -> bytes:
        """The item's full key."""
        return json.dumps(self.event["dynamodb"]["Keys"], sort_keys=True).encode()

    @cached_property
    def size(self) -> int:
        """Bytes that it takes in an invocation's event."""
        return len(json.dumps(self.event)) + 2


@dataclass(frozen=True)
class Position:
    """A place in a shard, in the words of GetShardIterator."""

    kind: Literal["TRIM_HORIZON", "LATEST", "AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER"]
    sequence: str | None = None


@dataclass(frozen=True)
class Describe:
    """List the stream's shards, and tell `discover`."""


@dataclass(frozen=True, eq=False)
class Read:
    """Get a shard's records from a position on, and call `receive` or `skip_trimmed`; `issued_at` in epoch seconds."""

    shard: str
    position: Position
    issued_at: float


@dataclass(frozen=True, eq=False)
class Invoke:
    """Call the function with these records, and tell `complete`.

    `attempt` is 1 where the first of them has not been given before, and grows by one with each try without progress.
    """

    shard: str
    records: tuple[Record, ...]
    attempt: int


@dataclass(frozen=True, eq=False)
class Discard:
    """Send these records to the destination, or count them as lost: the shard moves on either way."""

    shard: str
    records: tuple[Record, ...]
    condition: str
    invocations: int
    function_error: str | None


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
    """The function was not run: no concurrency was left, or Lambda itself failed. Costs no retry."""


InvocationResult = Returned | Failed | Throttled
