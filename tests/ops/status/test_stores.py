"""What status says about held, parked and forgotten changes, in the words that the operator reads."""

from dataclasses import replace

import pytest

from handler.stream.environment import DAY
from ops.status.facts import MISSING, GoneConsumer, HeldError, HoldFacts, Listing, ScheduleFacts, TableFacts
from ops.status.findings import Level
from tests.ops.status.facts import (
    CONSUMER,
    HOUR,
    MINUTE,
    NOW,
    STORES,
    STREAM,
    facts,
    findings,
    hours,
    minutes,
    only,
    with_function,
    with_recent,
)

HELD, REDEPLOY = "python -m ops held mirror", "pulumi up --refresh"
CAUSE = 'EndpointConnectionError: Could not connect to the endpoint URL: "…"'


def holds(items: int, since: float = 2 * HOUR, **changes: object) -> HoldFacts:
    """Return held items, the longest of which has failed for some seconds."""
    held = HoldFacts(items, has_more=False, waiting=3 * items, oldest_since=NOW - since, longest_due=NOW - MINUTE)
    return replace(held, **changes)


def test_a_held_item():
    consumer = replace(CONSUMER, holds=holds(1, waiting=1, errors=(HeldError(CAUSE, 1),)))
    assert only(findings(consumer)) == (
        "held",
        "1 item is held since 20:40 UTC (2 h ago).",
        f"1 change waits in order, and the schedule retries them. Its error: {CAUSE}",
        "held",
        HELD,
    )


def test_many_held_items_have_a_most_frequent_error():
    errors = (HeldError(CAUSE, 98), HeldError("KeyError: 'total'", 2))
    consumer = replace(CONSUMER, holds=holds(211, errors=errors))
    assert only(findings(consumer)) == (
        "many-held",
        "211 items are held, the first since 20:40 UTC (2 h ago).",
        "633 changes wait in order, and the schedule retries them. "
        f"Most frequent error (98 of the 100 longest held): {CAUSE}",
        "many-held",
        HELD,
    )


def test_more_items_than_are_read():
    consumer = replace(CONSUMER, holds=holds(20_000, has_more=True))
    assert only(findings(consumer))[1].startswith("more than 20,000 items are held, the first since 20:40")


@pytest.mark.parametrize(
    ("failing", "words"),
    [
        (6 * DAY, None),
        (6.5 * DAY, "The longest held item is given up in 12 h."),
        (7.1 * DAY, "The longest held item is given up at its next try."),
    ],
)
def test_giving_up_within_a_day(failing: float, words: str | None):
    found = {each.kind: each for each in findings(replace(CONSUMER, holds=holds(1, since=failing)))}
    assert (found["giving-up-soon"].state if "giving-up-soon" in found else None) == words


def test_a_broken_hold():
    kind, state, meaning, *_ = only(findings(with_recent(HoldBroken=((NOW - 30 * MINUTE, 1.0),))))
    assert (kind, state) == ("hold-broken", "A hold is broken: retry runs found 1 such hold in the last hour.")
    assert meaning.startswith("The ledger lacks a waiting change.")


def test_a_schedule_that_is_disabled_or_gone():
    disabled = findings(replace(CONSUMER, schedule=ScheduleFacts("mirror-retry-1", "DISABLED")))
    assert only(disabled) == (
        "schedule-disabled",
        "The retry schedule is disabled.",
        "Held items are not retried, and stay held.",
        "not-retrying",
        "python -m ops resume mirror",
    )
    gone = findings(replace(CONSUMER, schedule=MISSING))
    assert only(gone)[1::3] == ("The retry schedule does not exist any more.", REDEPLOY)


def test_held_items_that_a_disabled_schedule_does_not_retry():
    consumer = replace(CONSUMER, holds=holds(1), schedule=ScheduleFacts("mirror-retry-1", "DISABLED"))
    held, _ = findings(consumer)
    assert held.meaning == "3 changes wait in order."


def test_retry_runs_that_have_stopped():
    consumer = replace(CONSUMER, recent={**CONSUMER.recent, "HeldItems": ()}, history={"HeldItems": hours(0, until=2)})
    assert only(findings(consumer)) == (
        "not-retrying",
        "No retry run has reported since 20:40 UTC (2 h ago).",
        "The schedule should start one every minute. Held items are not retried, and stay held.",
        "not-retrying",
        "python -m ops retry mirror",
    )


def test_due_items_that_nothing_retries():
    """Without any metric, the ledger tells."""
    silent = replace(CONSUMER, recent={}, history={}, holds=holds(1, longest_due=NOW - HOUR))
    states = [each.state for each in findings(silent, tables={})]
    assert states[1:] == ["No retry run tries the held items: the first is due since 21:40 UTC (1 h ago)."]


def test_parked_changes():
    one = replace(CONSUMER, parked=Listing(1, has_more=False, oldest_at=NOW - HOUR, newest_at=NOW - HOUR))
    assert only(findings(one)) == (
        "parked",
        "1 change was parked at 21:40 UTC.",
        "The engine gave it up, and nothing retries it. The failure bucket has it whole.",
        "parked",
        "python -m ops failures mirror",
    )
    many = replace(CONSUMER, parked=Listing(1000, has_more=True, oldest_at=NOW - HOUR, newest_at=NOW - HOUR))
    assert only(findings(many))[1] == "more than 1,000 changes were parked, the last at 21:40 UTC."


def test_claims_that_expire_before_the_last_redelivery():
    """14 days in the failure bucket, 7 days of retries and a day in the stream are 22 days."""
    assert findings(with_function(remember_seconds=22 * DAY)) == []
    assert only(findings(with_function(remember_seconds=9 * DAY)))[:3] == (
        "lifetimes-too-short",
        "Claims and tombstones live for 9 d, but a change can come again for 22 d.",
        "The failure bucket keeps a change for 14 d: its redrive may repeat an effect or bring back an old version.",
    )


def test_a_bucket_that_keeps_failures_for_ever_is_well():
    assert findings(with_function(remember_seconds=9 * DAY), stores=replace(STORES, failure_days=MISSING)) == []


def test_a_ledger_that_deletes_nothing():
    assert only(findings(stores=replace(STORES, ledger_expires=False))) == (
        "ledger-keeps-rows",
        "The ledger ledger-1 deletes no expired rows: its time to live is off.",
        "It grows without end; the consumers work as before.",
        "tables-and-ledger",
        REDEPLOY,
    )


def test_a_throttled_ledger():
    tables = {**facts().tables, "ledger-1": TableFacts("ledger-1", {"WriteThrottleEvents": minutes(2, since=5)})}
    assert only(findings(tables=tables))[:3] == (
        "table-throttled",
        "DynamoDB throttled 10 requests of ledger-1 in the last 15 minutes.",
        "Batches that cannot reach the ledger are delivered again.",
    )


def test_traces_of_a_consumer_that_is_gone():
    gone = GoneConsumer("journal", holds(2), (STREAM,), has_failures=True)
    found = findings(gone=(gone,))
    assert [(each.kind, each.level, each.state) for each in found] == [
        ("gone-holds", Level.SOON, "2 items of journal are held, but the stack has no consumer journal."),
        (
            "gone-failures",
            Level.NOTE,
            "The failure bucket has parked changes of journal, which the stack does not have.",
        ),
        ("gone-notes", Level.NOTE, "The ledger has notes of journal, which the stack does not have, on orders-1."),
    ]
    assert found[0].meaning == (
        "Nothing retries them, since 20:40 UTC (2 h ago). Deploy journal again, or its successor with "
        'former_name="journal".'
    )


def test_a_consumer_without_stores_is_judged_without_them():
    bare = replace(CONSUMER, ledger_name=None, holds=None, parked=None, schedule=None)
    assert findings(bare) == []
