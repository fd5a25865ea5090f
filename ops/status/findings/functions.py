"""Findings about a consumer's function: its state, its errors, and how far it is behind."""

from collections.abc import Iterator

from ops.status.facts import MISSING, RECENT_PERIOD, ConsumerFacts, FunctionFacts
from ops.status.findings.finding import REDEPLOY, Finding, Level
from ops.status.findings.series import between, last_positive, total
from ops.status.summary import Lag
from ops.streams import RETENTION_SECONDS
from ops.text.counts import count
from ops.text.times import clock, duration_text

WINDOW_SECONDS = 900
"""How far back errors count: three periods of the alarms."""
MINUTES_TO_REPORT = 3
"""Fewer minutes with throttles, or near the time-out, may be chance."""
NEAR_TIMEOUT = 0.8
"""The part of the time-out from which the slowest batches are near it."""
LATE_SECONDS, LOSING_SECONDS = 3600, RETENTION_SECONDS / 4
"""The thresholds of the alarms `late` and `losing-soon`."""


def function_findings(consumer: ConsumerFacts, now: float) -> Iterator[Finding]:
    """Return the findings about the function of a consumer."""
    name, function = consumer.name, consumer.function
    tail = f"python -m ops tail {name}"
    if function == MISSING:
        yield Finding(
            *("function-missing", Level.NOW, name),
            f"The function {consumer.function_name} does not exist any more.",
            "Nothing is processed.",
            *("broken", REDEPLOY),
        )
        return
    if isinstance(function, FunctionFacts):
        yield from _state(consumer, function)
    recent, since = consumer.recent, now - WINDOW_SECONDS
    errors = between(recent.get("Errors", ()), since, now)
    if failed := int(sum(value for _, value in errors)):
        runs = int(total(recent.get("Invocations", ()), since, now))
        thirds = {int((at - since) // (WINDOW_SECONDS / 3)) for at, value in errors if value}
        yield Finding(
            *("function-fails", Level.NOW if len(thirds) == 3 else Level.SOON, name),
            f"{failed:,} of {count(max(runs, failed), 'invocation')} failed in the last 15 minutes, the last at "
            f"{clock(last_positive(errors) or now, now)}.",
            "The function crashes, runs out of time or memory, or cannot start. A handler's failure is none of these.",
            *("broken", tail),
        )
    throttles = [at for at, value in between(recent.get("Throttles", ()), since, now) if value]
    if len(throttles) >= MINUTES_TO_REPORT:
        yield Finding(
            *("throttled", Level.SOON, name),
            f"Lambda throttled the function in {len(throttles)} of the last 15 minutes.",
            "The account or the function has no concurrency left. The changes wait in the stream.",
            *("throttled",),
        )
    if isinstance(function, FunctionFacts):
        limit = function.timeout_seconds * 1000 * NEAR_TIMEOUT
        slow = [value for _, value in between(recent.get("Duration", ()), since, now) if value > limit]
        if len(slow) >= MINUTES_TO_REPORT:
            yield Finding(
                *("near-time-out", Level.SOON, name),
                f"Batches take up to {duration_text(max(slow) / 1000)}; the time-out is "
                f"{duration_text(function.timeout_seconds)}.",
                "What a batch does not reach in time is delivered again.",
                *("near-the-time-out", tail),
            )
    if failures := last_positive(consumer.history.get("DestinationDeliveryFailures", ())):
        yield Finding(
            *("delivery-failed", Level.NOW, name),
            f"Lambda could not write to the failure destination, the last time at {clock(failures, now)}.",
            "The changes of that batch are lost.",
            *("lost", REDEPLOY),
        )


def _state(consumer: ConsumerFacts, function: FunctionFacts) -> Iterator[Finding]:
    if function.state not in ("Active", "Inactive", "ActiveNonInvocable"):
        is_pending = function.state == "Pending"
        yield Finding(
            *("function-state", Level.NOTE if is_pending else Level.NOW, consumer.name),
            f"The function is {function.state}{f': {function.state_reason}' if function.state_reason else '.'}",
            "Lambda is making the function ready." if is_pending else "Nothing is processed.",
            *("broken", None if is_pending else REDEPLOY),
        )
    if function.last_update == "Failed":
        reason = f": {function.last_update_reason}" if function.last_update_reason else "."
        yield Finding(
            *("update-failed", Level.SOON, consumer.name),
            f"The last update of the function failed{reason}",
            "The function still runs its former code and settings.",
            *("broken", REDEPLOY),
        )


def lag_findings(consumer: ConsumerFacts, lag: Lag | None, now: float) -> Iterator[Finding]:
    """Return the finding about a function that is far behind."""
    if lag is None or lag.seconds < LATE_SECONDS or now - lag.at > WINDOW_SECONDS + RECENT_PERIOD:
        return
    if lag.is_rising:
        outlook = "It falls further behind."
    elif lag.catch_up_seconds is None:
        outlook = "It does not catch up."
    else:
        outlook = f"It is up to date in about {duration_text(lag.catch_up_seconds)}, at the present rate."
    is_losing = lag.seconds >= LOSING_SECONDS
    expiry = lag.at - lag.seconds + RETENTION_SECONDS
    expires = f"The oldest unread changes expire in {duration_text(expiry - now)}, at {clock(expiry, now)}. "
    yield Finding(
        *("losing-soon" if is_losing else "late", Level.NOW, consumer.name),
        f"It is {duration_text(lag.seconds)} behind its tables.",
        f"{expires if is_losing else ''}{outlook}",
        *("losing-soon" if is_losing else "late", f"python -m ops tail {consumer.name}"),
    )
