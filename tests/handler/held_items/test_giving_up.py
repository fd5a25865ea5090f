"""Retry runs: which changes are parked or given up, and how a change that crashes the function ends."""

from typing import Any

import pytest

from handler.stream import PermanentError
from handler.stream.engine.workers import SimulatedCrash
from handler.stream.failures import read_failure
from tests.fakes.aws import LambdaContext, refusal
from tests.fakes.records import nested, record
from tests.handler.conftest import Lines
from tests.handler.harness import FAILS, NOTHING, ConsumerHarness, with_held_item

DAY = 86_400.0


@pytest.mark.parametrize("place", [1, 2])
def test_a_permanent_error_is_parked_and_the_items_next_change_runs(place: int) -> None:
    harness = with_held_item("aaa")
    harness.trouble = {place: PermanentError("never")}
    assert harness.retry(now=True) == NOTHING | {"held": 1, "due": 1, "tried": 1, "released": 1, "parked": 1}
    assert harness.parked() == [place]
    assert harness.applied == [number for number in (1, 2, 3) if number != place]


def test_what_cannot_be_parked_waits_on() -> None:
    harness = with_held_item("aa")
    harness.trouble = {1: PermanentError("never")}
    harness.s3.failing = refusal("SlowDown")
    assert harness.retry(now=True)["parked"] == 0
    assert harness.waiting() == [1, 2]
    harness.s3.failing = None
    assert harness.retry_later(2)["parked"] == 1
    assert harness.applied == [2]


def test_a_waiting_change_that_is_deeper_than_json_can_be_read_is_parked_when_its_turn_comes() -> None:
    harness = ConsumerHarness({1: FAILS})
    harness.engine({"Records": [record(1), record(2, NewImage={"n": nested(1000)})]}, LambdaContext(harness.clock))
    harness.trouble.clear()

    harness.look = lambda change: change.new_image
    assert harness.retry(now=True)["parked"] == 1
    assert (harness.applied, harness.parked()) == ([1], [2])


def test_a_change_is_given_up_after_seven_days_as_its_items_first_and_the_next_one_runs(log_lines: Lines) -> None:
    harness = with_held_item("aaa")
    harness.clock.now = harness.held_row().since + 7 * DAY - 1
    assert harness.retry()["parked"] == 0
    harness.clock.now += 1
    assert harness.retry(now=True) == NOTHING | {"held": 1, "due": 1, "tried": 1, "released": 1, "parked": 1}
    assert (harness.parked(), harness.applied) == ([1], [2, 3])
    assert [read_failure(body).condition for body in harness.s3.objects.values()] == ["GivenUp"]
    parked = next(line for line in log_lines() if line["message"] == "change parked")
    assert (parked["event_id"], parked["reason"], parked["error"]["text"]) == ("event-1", "GivenUp", "down")


def test_when_to_give_up_can_be_set_and_counts_from_when_a_change_became_the_first() -> None:
    harness = with_held_item("aa", give_up_after_seconds=60.0)
    harness.trouble[2] = FAILS
    assert harness.retry_later(1)["parked"] == 1
    assert harness.parked() == [1]
    harness.clock.now += 59
    assert harness.retry(now=True)["parked"] == 0
    harness.clock.now += 1
    assert harness.retry(now=True)["parked"] == 1
    assert harness.parked() == [1, 2]


def given_up() -> ConsumerHarness:
    """Item a's first change was given up, and its second one fails since then; item b fails for longer."""
    harness = with_held_item("aaaa", give_up_after_seconds=600.0)
    harness.trouble = {1: FAILS, 2: FAILS, 3: FAILS, 11: FAILS}
    harness.clock.now += 300
    harness.deliver("b", start=11)
    harness.retry_later(5)
    assert (harness.parked(), harness.waiting(), harness.waiting("b")) == ([1], [2, 3, 4], [11])
    harness.ran.clear()
    return harness


def test_after_that_further_changes_have_one_try_each_while_another_item_succeeds() -> None:
    harness = given_up()
    harness.trouble.pop(11)
    assert harness.retry(now=True) == NOTHING | {"held": 2, "due": 2, "tried": 2, "released": 2, "parked": 2}
    assert (harness.ran, harness.parked()) == ([11, 2, 3, 4], [1, 2, 3])


def test_without_another_items_success_further_ones_have_the_ordinary_back_off() -> None:
    """An outage must not make the engine give up an item's changes quickly."""
    harness = given_up()
    harness.retry_later(2, now=True)
    assert (harness.parked(), harness.waiting(), harness.held_row().given_up) == ([1], [2, 3, 4], 1)


def test_an_items_own_success_ends_the_one_try() -> None:
    harness = given_up()
    harness.trouble = {3: FAILS}
    harness.retry(now=True)
    assert (harness.parked(), harness.waiting(), harness.held_row().given_up) == ([1], [3, 4], 0)


# Suspects


def suspect(batch: str, deaths: int = 1, **settings: Any) -> ConsumerHarness:
    """Return a held item whose first change has crashed the function, ten minutes apart."""
    harness = with_held_item(batch, **settings)
    harness.trouble = {1: SimulatedCrash()}
    for _ in range(deaths):
        harness.retry_and_crash(10)
    harness.mend()
    return harness


@pytest.mark.parametrize("failing", [1, 2])
def test_a_suspect_that_the_function_outlives_is_one_no_longer(failing: int) -> None:
    """Its first change succeeds, or fails without a crash: the consecutive crashes end."""
    harness = suspect("aa")
    harness.trouble = {failing: FAILS}
    harness.retry_later(2, now=True)
    row = harness.held_row()
    assert (row.deaths, row.owner, row.is_suspect) == (0, None, False)


def test_a_death_leaves_the_item_due_by_back_off() -> None:
    harness = with_held_item("a")
    harness.clock.now = harness.held_row().since + 2000
    harness.trouble = {1: SimulatedCrash()}
    harness.retry_and_crash(now=True)
    harness.clock.now += 499
    assert harness.retry()["due"] == 0
    harness.clock.now += 1
    harness.retry_and_crash()


def test_a_suspect_is_given_up_at_the_lease_without_another_try() -> None:
    harness = suspect("aa", 2, give_up_after_seconds=600.0)
    assert harness.retry_later(10)["parked"] == 1
    assert harness.ran == [2]
    failure = harness.failure()
    assert (failure.condition, failure.error) == (
        "GivenUp",
        "SuspectError: the function died 2 times while this change ran",
    )


def test_after_one_death_a_change_that_has_failed_too_long_has_its_try() -> None:
    """The owner may have crashed before it started this change."""
    harness = suspect("a", give_up_after_seconds=600.0)
    assert harness.retry_later(10)["released"] == 1
    assert harness.parked() == []


def test_a_suspects_progress_is_written_after_each_change() -> None:
    """The next crash then counts for the change that causes it."""
    harness = with_held_item("aaa", give_up_after_seconds=600.0)
    harness.trouble = {2: SimulatedCrash()}
    for _ in range(3):
        harness.retry_and_crash(10)
    row = harness.held_row()
    assert (row.next or "").endswith("02")
    assert harness.retry_later(10)["parked"] == 1
    assert harness.parked() == [2]
    assert harness.applied[-1] == 3
