"""The figures of a consumer's line: how far it is behind, its rate, and its last retry run."""

from dataclasses import dataclass

from ops.status.facts import HISTORY_PERIOD, RECENT_PERIOD, ConsumerFacts, HoldFacts, Listing, Series

RATE_SECONDS, RATE_DELAY_SECONDS = 300, 120
"""The rate is the mean of 5 minutes that ended 2 minutes ago: CloudWatch does not show later minutes in full."""
TREND_SECONDS, MIN_TREND_SECONDS = 600, 120
"""The trend of the age is that of its last 10 minutes, if they have values 2 minutes apart."""


@dataclass(frozen=True)
class Lag:
    """How far a function is behind its tables."""

    seconds: float
    """The age of the last record of the oldest batch in the last minute with a batch (IteratorAge)."""
    at: float
    """The end of that minute."""
    is_rising: bool = False
    catch_up_seconds: float | None = None
    """When it is up to date at the present rate; None if the age does not fall, or too little is known."""


@dataclass(frozen=True)
class Summary:
    """The figures of one consumer. None means that nothing is known."""

    lag: Lag | None
    has_metrics: bool
    changes_per_second: float | None
    held_items: int | None
    held_since: float | None
    waiting_changes: int | None
    parked_changes: int | None
    has_more_parked: bool
    last_retry_at: float | None


def summary_of(consumer: ConsumerFacts, now: float) -> Summary:
    """Return the figures of a consumer."""
    holds = consumer.holds if isinstance(consumer.holds, HoldFacts) else None
    parked = consumer.parked if isinstance(consumer.parked, Listing) else None
    return Summary(
        lag=lag_of(consumer),
        has_metrics=_has_metrics(consumer),
        changes_per_second=_rate(consumer, now),
        held_items=holds.items if holds else None,
        held_since=holds.oldest_since if holds else None,
        waiting_changes=holds.waiting if holds else None,
        parked_changes=parked.count if parked else None,
        has_more_parked=bool(parked and parked.has_more),
        last_retry_at=last_retry_run(consumer),
    )


def lag_of(consumer: ConsumerFacts) -> Lag | None:
    """Return the lag at the last batch of the last 48 hours; None without a batch."""
    series = consumer.recent.get("IteratorAge", ())
    if not series:
        past = consumer.history.get("IteratorAge", ())
        return Lag(past[-1][1] / 1000, past[-1][0] + HISTORY_PERIOD) if past else None
    (last_at, last), (first_at, first) = series[-1], _first_of_trend(series)
    seconds, catch_up = last / 1000, None
    if last_at - first_at >= MIN_TREND_SECONDS and last < first:
        catch_up = last / ((first - last) / (last_at - first_at))
    is_rising = last_at - first_at >= MIN_TREND_SECONDS and last > first
    return Lag(seconds, last_at + RECENT_PERIOD, is_rising=is_rising, catch_up_seconds=catch_up)


def _first_of_trend(series: Series) -> tuple[float, float]:
    return next(point for point in series if point[0] >= series[-1][0] - TREND_SECONDS)


def last_retry_run(consumer: ConsumerFacts) -> float | None:
    """Return when the last retry run reported (HeldItems), to the minute; None without a report in 48 hours."""
    if recent := consumer.recent.get("HeldItems", ()):
        return recent[-1][0] + RECENT_PERIOD
    past = consumer.history.get("HeldItems", ())
    return past[-1][0] + HISTORY_PERIOD if past else None


def _rate(consumer: ConsumerFacts, now: float) -> float | None:
    """Return the changes a second that the mappings read (PolledEventCount); None if that is not known yet."""
    series = [each.recent.get("PolledEventCount", ()) for each in consumer.mappings]
    if not any(each.history.get("PolledEventCount") for each in consumer.mappings) and not any(series):
        return None
    until = (now - RATE_DELAY_SECONDS) // RECENT_PERIOD * RECENT_PERIOD
    polled = sum(value for points in series for at, value in points if until - RATE_SECONDS <= at < until)
    has_just_begun = not polled and any(value for points in series for at, value in points if at >= until)
    return None if has_just_begun else polled / RATE_SECONDS


def _has_metrics(consumer: ConsumerFacts) -> bool:
    """Return whether there is a metric of the consumer's work. The number of invocations is none."""
    known = [consumer.recent, consumer.history, *(each.history for each in consumer.mappings)]
    return any(metrics.get(name) for metrics in known for name in ("IteratorAge", "HeldItems", "PolledEventCount"))
