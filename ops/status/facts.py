"""The facts that status reads; times are seconds since 1970, durations are seconds.

A fact is None if it could not be read or does not apply, and MISSING if AWS says that the thing does not exist.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

MISSING = "missing"
Missing = Literal["missing"]

Series = tuple[tuple[float, float], ...]
"""A metric: the start and the value of each period that has a value, ascending."""
Metrics = Mapping[str, Series]
"""Series by the metric's name. A metric without a datapoint is an empty series."""
RECENT_PERIOD, RECENT_SECONDS = 60, 3600
"""The period of recent metrics, and how far back they go."""
HISTORY_PERIOD, HISTORY_SECONDS = 300, 48 * 3600
"""The period of the history of metrics, and how far back it goes: twice the retention of a stream."""


@dataclass(frozen=True)
class FunctionFacts:
    """A function's configuration (GetFunctionConfiguration)."""

    state: str
    state_reason: str
    last_update: str
    last_update_reason: str
    timeout_seconds: float
    role_arn: str
    namespace: str
    """The namespace of the engine's metrics."""
    remember_seconds: float | None
    give_up_after_seconds: float | None
    """Both None for a consumer without stores, or if the variables cannot be decrypted."""
    clock_skew: float = 0.0
    """AWS's time of the answer minus this machine's."""


@dataclass(frozen=True)
class Listing:
    """The first objects of a prefix of the failure bucket."""

    count: int
    has_more: bool
    oldest_at: float | None
    newest_at: float | None


@dataclass(frozen=True)
class DestinationFacts:
    """A mapping's on-failure destination."""

    arn: str
    exists: bool | None
    """None if it could not be read."""
    is_allowed: bool | None
    """Whether the function's role may write to it; None if AWS does not say (SimulatePrincipalPolicy)."""


@dataclass(frozen=True)
class MappingFacts:
    """An event source mapping (GetEventSourceMapping), its stream, and its metrics."""

    table: str
    """The table's name in the program."""
    uuid: str
    state: str
    reason: str
    last_result: str
    modified_at: float
    stream_arn: str
    account: str
    """The account of the function."""
    destination_arn: str | None = None
    counts_events: bool = False
    """Whether the mapping sends the metrics of its events (EventCount)."""
    latest_stream_arn: str | Missing | None = None
    """The stream that the table has now; None for a table of another account."""
    oldest_record_at: float | None = None
    """When the oldest record of the stream was written; None for an empty stream."""
    destination: DestinationFacts | None = None
    discarded: Listing | Missing | None = None
    """The batches that the mapping wrote to the failure bucket."""
    recent: Metrics = field(default_factory=dict[str, Series])
    history: Metrics = field(default_factory=dict[str, Series])

    @property
    def table_name(self) -> str:
        """The table's name in AWS."""
        return self.stream_arn.split("/")[1]

    @property
    def is_of_another_account(self) -> bool:
        """Whether the table belongs to another account, which does not show its metrics and its description."""
        return self.stream_arn.split(":")[4] != self.account


@dataclass(frozen=True)
class HeldError:
    """Items whose last error has one cause."""

    cause: str
    """As `ops.text.causes.cause_of` returns it."""
    items: int


@dataclass(frozen=True)
class HoldFacts:
    """A consumer's held items in the ledger."""

    items: int
    has_more: bool
    """Whether there are more items than were read."""
    waiting: int
    """The changes of these items that wait."""
    oldest_since: float | None
    """When the first waiting change of an item began to fail: the earliest of these times."""
    longest_due: float | None
    """The earliest time at which an item without a lease was due."""
    errors: tuple[HeldError, ...] = ()
    """The errors of the longest held items, the most frequent cause first."""


@dataclass(frozen=True)
class ScheduleFacts:
    """A retry schedule (GetSchedule)."""

    name: str
    state: str


@dataclass(frozen=True)
class ConsumerFacts:
    """A consumer of the stack."""

    name: str
    function_name: str
    ledger_name: str | None
    function: FunctionFacts | Missing | None
    mappings: tuple[MappingFacts, ...]
    missing_mappings: tuple[str, ...] = ()
    """The tables whose mapping does not exist any more."""
    holds: HoldFacts | Missing | None = None
    parked: Listing | Missing | None = None
    schedule: ScheduleFacts | Missing | None = None
    recent: Metrics = field(default_factory=dict[str, Series])
    history: Metrics = field(default_factory=dict[str, Series])


@dataclass(frozen=True)
class TableFacts:
    """Metrics of a table, the ledger included."""

    name: str
    recent: Metrics = field(default_factory=dict[str, Series])
    history: Metrics = field(default_factory=dict[str, Series])


@dataclass(frozen=True)
class StoreFacts:
    """The failure bucket and the ledger, which all consumers share."""

    bucket: str
    ledger: str
    failure_days: int | Missing | None = None
    """Days after which the failure bucket deletes a failure; MISSING if it never deletes one."""
    ledger_expires: bool | None = None
    """Whether the ledger deletes expired rows (time to live)."""


@dataclass(frozen=True)
class GoneConsumer:
    """Traces of a consumer that the stack does not have."""

    name: str
    """Its name in the ledger."""
    holds: HoldFacts
    noted_streams: tuple[str, ...]
    """The streams of the stack for which the ledger has notes."""
    has_failures: bool


@dataclass(frozen=True)
class Unread:
    """A fact that could not be read."""

    consumer: str | None
    what: str
    reason: str


@dataclass(frozen=True)
class Facts:
    """Everything that status reads."""

    now: float
    """AWS's time."""
    clock_skew: float
    """AWS's time minus this machine's."""
    consumers: tuple[ConsumerFacts, ...]
    tables: Mapping[str, TableFacts]
    """By the tables' names in AWS."""
    stores: StoreFacts
    gone: tuple[GoneConsumer, ...] = ()
    unread: tuple[Unread, ...] = ()
