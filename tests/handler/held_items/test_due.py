"""Retry runs: which held items are due, in which order they run, and what a run reports."""

import json
from typing import Any

import pytest

from handler.stream import PermanentError
from handler.stream.engine.workers import SimulatedCrash
from tests.fakes.aws import refusal, refused
from tests.fakes.records import START, record
from tests.handler.conftest import Counts, Lines
from tests.handler.harness import FAILS, NOTHING, ConsumerHarness, Takes, digest, with_held_item, with_mended_item

DAY = 86_400.0


def test_a_held_item_is_due_a_minute_after_it_failed_and_not_before() -> None:
    harness = with_held_item()
    assert harness.retry_later(59 / 60) == NOTHING | {"held": 1}
    harness.trouble.clear()
    assert harness.retry_later(1 / 60) == NOTHING | {"held": 1, "due": 1, "tried": 1, "released": 1}
    assert harness.applied == [1, 2]


@pytest.mark.parametrize("value", ["true", 1, None, False])
def test_now_is_true_and_nothing_else(value: object) -> None:
    assert with_held_item().retry(now=value)["due"] == 0


def test_an_item_is_not_due_while_its_lease_runs_even_now() -> None:
    harness = with_held_item("a")
    harness.trouble[1] = SimulatedCrash()
    harness.retry_and_crash(now=True, seconds=60)
    harness.trouble.clear()
    harness.clock.now += 64.9
    assert harness.retry(now=True) == NOTHING | {"held": 1}
    harness.clock.now += 0.1
    assert harness.retry(now=True)["released"] == 1


def test_a_run_with_nothing_held_reads_once_and_writes_nothing() -> None:
    harness = ConsumerHarness()
    assert harness.retry() == NOTHING
    assert harness.dynamodb.calls == ["Query hold"]


def test_every_page_of_held_items_is_read() -> None:
    harness = ConsumerHarness(dict.fromkeys(range(1, 8), FAILS))
    harness.deliver("abcdefg")
    harness.dynamodb.page_bytes = 1
    assert harness.retry(now=True) == NOTHING | {"held": 7, "due": 7, "tried": 7}


def test_where_the_ledger_cannot_be_read_the_run_fails() -> None:
    """Lambda's error metric shows the failure; the next run starts a minute later."""
    harness = with_held_item()
    harness.dynamodb.on["Query hold"] = refused()
    with pytest.raises(Exception, match="InternalServerError"):
        harness.retry(now=True)


def test_new_turns_begin_in_the_first_50_seconds() -> None:
    harness = ConsumerHarness({1: FAILS, 2: FAILS})
    harness.deliver("a")
    harness.clock.now += 1
    harness.deliver("b", start=2)
    harness.ran.clear()
    harness.trouble = {1: Takes(50)}
    assert harness.retry(now=True, seconds=900) == NOTHING | {"held": 2, "due": 2, "tried": 1, "released": 1}
    assert (harness.ran, harness.held_row("b").deaths) == ([1], 0)
    assert harness.held_row("b").owner is None


# Back-off


@pytest.mark.parametrize(
    ("failing", "wait"), [(60, 60), (240, 60), (400, 100), (4 * 3600 - 40, 3590), (4 * 3600, 3600), (DAY, 3600)]
)
def test_the_next_try_is_a_quarter_of_the_failing_time_away_at_least_a_minute_at_most_an_hour(
    failing: float, wait: float
) -> None:
    harness = with_held_item("a")
    harness.clock.now = harness.held_row().since + failing
    harness.retry(now=True)
    assert harness.held_row().due == harness.clock() + wait


def test_the_schedules_minute_can_be_a_second() -> None:
    """The sandbox sets it to a second, so that its user does not wait."""
    harness = with_held_item("a", minute_seconds=1.0)
    assert harness.held_row().due == harness.clock() + 1
    harness.clock.now += 1000
    harness.retry(now=True)
    assert harness.held_row().due == harness.clock() + 60


def test_the_failing_time_is_that_of_the_first_waiting_change() -> None:
    harness = with_held_item("aa")
    harness.clock.now += 1000
    harness.trouble = {2: FAILS}
    harness.retry(now=True)
    row = harness.held_row()
    assert (row.since, row.due) == (harness.clock(), harness.clock() + 60)


# Order


def flood(number: int) -> ConsumerHarness:
    """Return a harness with held items, each younger than the previous one."""
    harness = ConsumerHarness()
    for place in range(number):
        harness.trouble[place + 1] = FAILS
        harness.clock.now = START + place * 1000
        harness.deliver(chr(ord("a") + place), start=place + 1, at=harness.clock.now)
    harness.ran.clear()
    return harness


def test_due_items_are_taken_alternately_from_the_oldest_and_the_youngest_end() -> None:
    harness = flood(5)
    harness.retry(now=True)
    assert harness.ran == [1, 5, 2, 4, 3]


def test_suspects_run_last_one_at_a_time_fewest_deaths_first() -> None:
    """An owner in a row whose lease has ended counts as a crash, too."""
    harness = flood(5)
    rows = harness.ledger("hold#consumer")
    rows[digest("a")] |= {"deaths": {"N": "1"}, "owner": {"S": "dead"}}
    rows[digest("b")] |= {"deaths": {"N": "1"}}
    rows[digest("d")] |= {"deaths": {"N": "3"}}
    at_once = list[int]()
    plain = harness.steps

    def execute(items: Any, left: Any, on_deadline: Any) -> None:
        at_once.append(len(items))
        plain(items, left, on_deadline)

    harness.engine._processor.executor = execute  # pyright: ignore[reportPrivateUsage] # what runs at once
    harness.retry(now=True)
    assert harness.ran == [3, 5, 2, 1, 4]
    assert at_once == [2, 1, 1, 1, 0], "and nothing is to be purged"


# Helpers


def many(number: int) -> ConsumerHarness:
    """Return a harness with the hold rows of due items, without their changes: no turn may begin."""
    harness = with_held_item("a")
    rows = harness.ledger("hold#consumer")
    [row] = rows.values()
    rows.update({f"{place:032x}": {**row, "sk": {"S": f"{place:032x}"}} for place in range(number - 1)})
    return harness


@pytest.mark.parametrize(("number", "helpers"), [(500, 0), (501, 1), (1001, 2), (2600, 4)])
def test_a_scheduled_run_invokes_a_helper_for_each_500_due_items_beyond_the_first(number: int, helpers: int) -> None:
    harness = many(number)
    assert harness.retry(now=True, seconds=12) == NOTHING | {"held": number, "due": number}
    of = helpers + 1
    assert harness.functions.invoked == [
        ("mirror", {"table-stream": "retry", "now": True, "slice": [helper, of]}) for helper in range(1, of)
    ]


def test_run_and_helpers_share_the_items_out_and_helpers_invoke_nobody() -> None:
    harness = ConsumerHarness(dict.fromkeys(range(501), FAILS))
    harness.invoke({"Records": [record(place, f"item-{place}") for place in range(501)]})
    harness.mend()
    first = harness.retry_later(1)
    [(_, payload)] = harness.functions.invoked
    assert payload == {"table-stream": "retry", "now": False, "slice": [1, 2]}
    second = harness.invoke(payload)
    assert (first["due"], second["due"], second["held"]) == (501, 501 - first["tried"], 501 - first["released"])
    assert len(harness.functions.invoked) == 1
    assert sorted(harness.ran) == list(range(501))


def test_a_helper_that_cannot_be_invoked_leaves_its_items_to_the_next_run(log_lines: Lines) -> None:
    harness = many(501)
    harness.functions.failing = refusal("TooManyRequestsException")
    assert harness.retry(now=True, seconds=12)["due"] == 501
    assert log_lines()[-1]["message"] == "a helper cannot be invoked: its items are due in the next run"


# Metrics


def test_every_run_reports_how_many_items_are_held_and_for_how_long_zeros_included(
    capsys: pytest.CaptureFixture[str], counts: Counts
) -> None:
    harness = ConsumerHarness()
    harness.retry()
    line = json.loads(capsys.readouterr().out)
    assert (line["HeldItems"], line["OldestHeldSeconds"]) == ([0], [0])
    units = {each["Name"]: each["Unit"] for each in line["_aws"]["CloudWatchMetrics"][0]["Metrics"]}
    assert units == {"HeldItems": "Count", "OldestHeldSeconds": "Seconds"}
    harness.trouble = {1: FAILS, 2: FAILS}
    harness.deliver("a")
    harness.clock.now = harness.held_row().since + 30
    harness.deliver("b", start=2)
    harness.clock.now = harness.held_row().since + 40
    counts()
    harness.retry()
    assert counts() == {"HeldItems": 2, "OldestHeldSeconds": 40}


def test_a_run_counts_what_it_released_and_parked(counts: Counts) -> None:
    harness = with_held_item("aa")
    harness.trouble = {1: PermanentError("never")}
    counts()
    harness.retry(now=True)
    assert counts() == {"ParkedChanges": 1, "ReleasedItems": 1, "HeldItems": 1, "OldestHeldSeconds": 0}


def test_helpers_send_no_gauges(counts: Counts) -> None:
    harness = with_held_item("a")
    counts()
    harness.retry(slice=[1, 2])
    assert counts() == {}


# One item


def test_a_run_for_an_item_runs_its_turn_only() -> None:
    harness = flood(3)
    harness.mend()
    assert harness.retry(now=True, item=digest("b")) == {"held": 1, "due": 1, "tried": 1, "released": 1, "parked": 0}
    assert harness.applied == [2]
    assert (harness.held_row("a").is_held, harness.held_row("c").is_held) == (True, True)


def test_a_run_for_an_item_waits_until_the_item_is_due_unless_it_is_now() -> None:
    harness = with_mended_item("a")
    assert harness.retry(item=digest("a")) == NOTHING | {"held": 1}
    assert harness.retry_later(1, item=digest("a"))["released"] == 1


def test_a_run_for_an_item_that_is_not_held_counts_nothing() -> None:
    harness = with_mended_item("a")
    assert harness.retry(now=True, item=digest("b")) == NOTHING
    harness.retry(now=True)
    assert harness.retry(now=True, item=digest("a")) == NOTHING, "its row stays for an hour"


def test_a_run_for_an_item_of_a_newer_version_leaves_it_alone() -> None:
    harness = with_mended_item("a")
    harness.make_newer()
    assert harness.retry(now=True, item=digest("a")) == NOTHING | {"held": 1}


def test_a_run_for_an_item_sends_no_gauges_invokes_no_helpers_and_purges_nothing(counts: Counts) -> None:
    harness = many(501)
    harness.clock.now += 3600 * 24
    counts()
    harness.retry(now=True, item=digest("a"))
    harness.trouble.clear()
    harness.retry(now=True, item=digest("a"))
    assert counts() == {"ReleasedItems": 1}
    assert harness.functions.invoked == []
    harness.clock.now += 3601
    harness.retry(now=True, item=digest("a"))
    assert digest("a") in harness.ledger("hold#consumer")
