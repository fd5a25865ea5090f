"""Facts of a healthy stack, from which tests make unhealthy ones."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from handler.stream.environment import DAY
from ops.status.facts import (
    HISTORY_PERIOD,
    RECENT_PERIOD,
    ConsumerFacts,
    DestinationFacts,
    Facts,
    FunctionFacts,
    HoldFacts,
    Listing,
    MappingFacts,
    Metrics,
    ScheduleFacts,
    Series,
    StoreFacts,
    TableFacts,
)
from ops.status.findings import Finding, judge

NOW = datetime(2026, 11, 26, 22, 40, tzinfo=UTC).timestamp()
HOUR, MINUTE = 3600.0, 60.0
STREAM = "arn:aws:dynamodb:eu-west-1:111122223333:table/orders-1/stream/2026-01-01T00:00:00.000"
BUCKET_ARN = "arn:aws:s3:::failures-1"


def minutes(value: float, since: float = 30, until: float = 0) -> Series:
    """Return a value a minute, from `since` to `until` minutes ago."""
    start = NOW - since * MINUTE
    return tuple((start + minute * RECENT_PERIOD, value) for minute in range(int(since - until)))


def hours(value: float, since: float = 47, until: float = 0) -> Series:
    """Return a value each 5 minutes, from `since` to `until` hours ago."""
    start, count = NOW - since * HOUR, int((since - until) * HOUR / HISTORY_PERIOD)
    return tuple((start + period * HISTORY_PERIOD, value) for period in range(count))


FUNCTION = FunctionFacts(
    state="Active",
    state_reason="",
    last_update="Successful",
    last_update_reason="",
    timeout_seconds=60,
    role_arn="arn:aws:iam::111122223333:role/mirror-role-1",
    namespace="shop",
    remember_seconds=22 * DAY,
    give_up_after_seconds=7 * DAY,
)
MAPPING = MappingFacts(
    table="orders",
    uuid="uuid-1",
    state="Enabled",
    reason="User action",
    last_result="OK",
    modified_at=NOW - 100 * HOUR,
    stream_arn=STREAM,
    account="111122223333",
    destination_arn=BUCKET_ARN,
    counts_events=True,
    latest_stream_arn=STREAM,
    oldest_record_at=NOW - 24 * HOUR,
    destination=DestinationFacts(BUCKET_ARN, exists=True, is_allowed=True),
    discarded=Listing(0, has_more=False, oldest_at=None, newest_at=None),
    recent={"PolledEventCount": minutes(60)},
    history={"PolledEventCount": hours(300), "DroppedEventCount": ()},
)
CONSUMER = ConsumerFacts(
    name="mirror",
    function_name="mirror-function-1",
    ledger_name="mirror",
    function=FUNCTION,
    mappings=(MAPPING,),
    holds=HoldFacts(0, has_more=False, waiting=0, oldest_since=None, longest_due=None),
    parked=Listing(0, has_more=False, oldest_at=None, newest_at=None),
    schedule=ScheduleFacts("mirror-retry-1", "ENABLED"),
    recent={"IteratorAge": minutes(400), "HeldItems": minutes(0), "Invocations": minutes(5), "Errors": ()},
    history={"IteratorAge": hours(400), "HeldItems": hours(0)},
)
TABLE = TableFacts("orders-1", {"ConsumedWriteCapacityUnits": minutes(60)}, {"ConsumedWriteCapacityUnits": hours(300)})
STORES = StoreFacts("failures-1", "ledger-1", failure_days=14, ledger_expires=True)


def facts(*consumers: ConsumerFacts, **changes: Any) -> Facts:
    """Return the facts of a stack with these consumers, by default one that is well."""
    healthy = Facts(
        now=NOW,
        clock_skew=0.0,
        consumers=consumers or (CONSUMER,),
        tables={"orders-1": TABLE, "ledger-1": TableFacts("ledger-1")},
        stores=STORES,
    )
    return replace(healthy, **changes)


def with_mapping(**changes: Any) -> ConsumerFacts:
    """Return the consumer with a changed mapping."""
    return replace(CONSUMER, mappings=(replace(MAPPING, **changes),))


def with_function(**changes: Any) -> ConsumerFacts:
    """Return the consumer with a changed function."""
    return replace(CONSUMER, function=replace(FUNCTION, **changes))


def with_recent(**metrics: Series) -> ConsumerFacts:
    """Return the consumer with other recent metrics."""
    return replace(CONSUMER, recent=changed(CONSUMER.recent, **metrics))


def changed(metrics: Metrics, **changes: Series) -> Metrics:
    """Return metrics with other series."""
    return {**metrics, **changes}


def findings(*consumers: ConsumerFacts, **changes: Any) -> list[Finding]:
    """Return the findings about these facts."""
    return judge(facts(*consumers, **changes))


def only(found: list[Finding]) -> tuple[str, str, str, str, str | None]:
    """Return kind, state, meaning, section and command of the only finding."""
    [finding] = found
    return finding.kind, finding.state, finding.meaning, finding.section, finding.command
