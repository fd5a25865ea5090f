"""What status says about functions and their lag, in the words that the operator reads."""

from dataclasses import replace

import pytest

from ops.status.facts import MISSING
from ops.status.findings import Level
from ops.status.summary import Lag, lag_of, summary_of
from tests.ops.status.facts import (
    CONSUMER,
    HOUR,
    NOW,
    changed,
    findings,
    minutes,
    only,
    with_function,
    with_recent,
)

TAIL, REDEPLOY = "python -m ops tail mirror", "pulumi up --refresh"


def test_a_function_that_is_gone():
    assert only(findings(replace(CONSUMER, function=MISSING))) == (
        "function-missing",
        "The function mirror-function-1 does not exist any more.",
        "Nothing is processed.",
        "broken",
        REDEPLOY,
    )


def test_a_function_that_cannot_run_says_why():
    found = findings(with_function(state="Failed", state_reason="The image was deleted."))
    assert only(found)[:3] == (
        "function-state",
        "The function is Failed: The image was deleted.",
        "Nothing is processed.",
    )


@pytest.mark.parametrize("state", ["Active", "Inactive"])
def test_an_idle_function_is_well(state: str):
    """Lambda makes an inactive function ready when it is invoked."""
    assert findings(with_function(state=state)) == []


def test_a_failed_update():
    found = findings(with_function(last_update="Failed", last_update_reason="The key is disabled."))
    assert only(found) == (
        "update-failed",
        "The last update of the function failed: The key is disabled.",
        "The function still runs its former code and settings.",
        "broken",
        REDEPLOY,
    )


@pytest.mark.parametrize(
    ("errors", "level", "state"),
    [
        (minutes(2, until=20), None, ""),
        (minutes(2, since=4), Level.SOON, "8 of 75 invocations failed in the last 15 minutes, the last at 22:39 UTC."),
        (minutes(1, since=15), Level.NOW, "15 of 75 invocations failed in the last 15 minutes, the last at 22:39 UTC."),
    ],
)
def test_failed_invocations(errors: tuple[tuple[float, float], ...], level: Level | None, state: str):
    found = findings(with_recent(Errors=errors))
    assert [(each.level, each.state, each.command) for each in found] == ([(level, state, TAIL)] if level else [])


def test_throttles():
    assert findings(with_recent(Throttles=minutes(4, since=2))) == []
    assert only(findings(with_recent(Throttles=minutes(4, since=5)))) == (
        "throttled",
        "Lambda throttled the function in 5 of the last 15 minutes.",
        "The account or the function has no concurrency left. The changes wait in the stream.",
        "throttled",
        None,
    )


def test_batches_near_the_time_out():
    assert findings(with_recent(Duration=minutes(47_000))) == []
    assert only(findings(with_recent(Duration=minutes(51_000)))) == (
        "near-time-out",
        "Batches take up to 51 s; the time-out is 1 min.",
        "What a batch does not reach in time is delivered again.",
        "near-the-time-out",
        TAIL,
    )


def test_a_failed_delivery_to_the_destination():
    history = changed(CONSUMER.history, DestinationDeliveryFailures=((NOW - HOUR, 1.0),))
    assert only(findings(replace(CONSUMER, history=history))) == (
        "delivery-failed",
        "Lambda could not write to the failure destination, the last time at 21:40 UTC.",
        "The changes of that batch are lost.",
        "lost",
        REDEPLOY,
    )


def ages(first: float, last: float) -> tuple[tuple[float, float], ...]:
    """Return ages in hours that go evenly from the one to the other within the last 10 minutes, in milliseconds."""
    start = NOW - 660
    return tuple((start + 60 * minute, (first + (last - first) * minute / 10) * HOUR * 1000) for minute in range(11))


@pytest.mark.parametrize(
    ("first", "last", "outlook"),
    [
        (3, 2, "It is up to date in about 20 min, at the present rate."),
        (2, 2, "It does not catch up."),
        (2, 2.1, "It falls further behind."),
    ],
)
def test_a_late_function_says_when_it_is_up_to_date(first: float, last: float, outlook: str):
    kind, state, meaning, section, command = only(findings(with_recent(IteratorAge=ages(first, last))))
    behind = "2 h 6 min" if last > 2 else "2 h"
    assert (kind, state) == ("late", f"It is {behind} behind its tables.")
    assert (meaning, section, command) == (outlook, "late", TAIL)


def test_a_function_that_will_lose_changes_says_when():
    assert only(findings(with_recent(IteratorAge=ages(18.5, 18.75))))[:4] == (
        "losing-soon",
        "It is 18 h 45 min behind its tables.",
        "The oldest unread changes expire in 5 h 15 min, at 03:55 UTC. It falls further behind.",
        "losing-soon",
    )


def test_an_age_of_yesterday_is_no_lag_of_today():
    old = replace(CONSUMER, recent=changed(CONSUMER.recent, IteratorAge=minutes(2 * HOUR * 1000, since=50, until=40)))
    assert findings(old) == []
    assert lag_of(old) == Lag(7200, NOW - 40 * 60)


def test_the_figures_of_a_line():
    figures = summary_of(CONSUMER, NOW)
    assert figures.lag == Lag(0.4, NOW)
    assert (figures.changes_per_second, figures.held_items, figures.parked_changes) == (1.0, 0, 0)
    assert (figures.last_retry_at, figures.has_metrics) == (NOW, True)


def test_the_rate_of_a_mapping_that_has_just_begun_is_not_known_yet():
    [mapping] = CONSUMER.mappings
    begun = replace(mapping, recent={"PolledEventCount": minutes(60, since=1)}, history={})
    assert summary_of(replace(CONSUMER, mappings=(begun,)), NOW).changes_per_second is None
    quiet = replace(mapping, recent={"PolledEventCount": minutes(60, until=20)})
    assert summary_of(replace(CONSUMER, mappings=(quiet,)), NOW).changes_per_second == 0


def test_without_metrics_nothing_is_claimed():
    silent = replace(
        CONSUMER,
        recent={},
        history={},
        mappings=tuple(replace(each, recent={}, history={}) for each in CONSUMER.mappings),
    )
    figures = summary_of(silent, NOW)
    assert (figures.lag, figures.changes_per_second, figures.last_retry_at, figures.has_metrics) == (
        *(None, None, None),
        False,
    )
    assert findings(silent, tables={}) == []
