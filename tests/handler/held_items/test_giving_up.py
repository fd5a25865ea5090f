"""Retry runs: what is parked or given up, and what becomes of changes that the function dies of."""

import pytest

from handler.stream import PermanentError
from handler.stream.engine.workers import SimulatedCrash
from handler.stream.failures import read_failure
from tests.fakes.aws import LambdaContext, refusal
from tests.fakes.records import nested, record
from tests.handler.conftest import Lines
from tests.handler.harness import FAILS, ConsumerHarness, with_held_item

NOTHING = {"held": 0, "due": 0, "tried": 0, "released": 0, "parked": 0}
DAY = 86_400.0


@pytest.mark.parametrize("place", [1, 2])
def test_a_permanent_error_is_parked_and_the_items_next_change_runs(place: int) -> None:
    world = with_held_item("aaa")
    world.trouble = {place: PermanentError("never")}
    assert world.retry(now=True) == NOTHING | {"held": 1, "due": 1, "tried": 1, "released": 1, "parked": 1}
    assert world.parked() == [place]
    assert world.applied == [number for number in (1, 2, 3) if number != place]


def test_what_cannot_be_parked_waits_on() -> None:
    world = with_held_item("aa")
    world.trouble = {1: PermanentError("never")}
    world.s3.failing = refusal("SlowDown")
    assert world.retry(now=True)["parked"] == 0
    assert world.waiting() == [1, 2]
    world.s3.failing = None
    assert world.retry_later(2)["parked"] == 1
    assert world.applied == [2]


def test_a_waiting_change_that_is_deeper_than_json_can_be_read_is_parked_when_its_turn_comes() -> None:
    world = ConsumerHarness()
    world.trouble = {1: FAILS}
    world.engine({"Records": [record(1), record(2, NewImage={"n": nested(1000)})]}, LambdaContext(world.clock))
    world.trouble.clear()

    world.look = lambda change: change.new_image
    assert world.retry(now=True)["parked"] == 1
    assert (world.applied, world.parked()) == ([1], [2])


def test_a_change_is_given_up_after_seven_days_as_its_items_first_and_the_next_one_runs(log_lines: Lines) -> None:
    world = with_held_item("aaa")
    world.clock.now = world.held_row().since + 7 * DAY - 1
    assert world.retry()["parked"] == 0
    world.clock.now += 1
    assert world.retry(now=True) == NOTHING | {"held": 1, "due": 1, "tried": 1, "released": 1, "parked": 1}
    assert (world.parked(), world.applied) == ([1], [2, 3])
    assert [read_failure(body).condition for body in world.s3.objects.values()] == ["GivenUp"]
    parked = next(line for line in log_lines() if line["message"] == "change parked")
    assert (parked["event_id"], parked["reason"], parked["error"]["text"]) == ("event-1", "GivenUp", "down")


def test_when_to_give_up_can_be_set_and_counts_from_when_a_change_became_the_first() -> None:
    world = with_held_item("aa", give_up_after_seconds=60.0)
    world.trouble[2] = FAILS
    assert world.retry_later(1)["parked"] == 1
    assert world.parked() == [1]
    world.clock.now += 59
    assert world.retry(now=True)["parked"] == 0
    world.clock.now += 1
    assert world.retry(now=True)["parked"] == 1
    assert world.parked() == [1, 2]


def given_up() -> ConsumerHarness:
    """Item a's first change was given up, and its second one fails since then; item b fails for longer."""
    world = with_held_item("aaaa", give_up_after_seconds=600.0)
    world.trouble = {1: FAILS, 2: FAILS, 3: FAILS, 11: FAILS}
    world.clock.now += 300
    world.deliver("b", start=11)
    world.retry_later(5)
    assert (world.parked(), world.waiting(), world.waiting("b")) == ([1], [2, 3, 4], [11])
    world.ran.clear()
    return world


def test_after_that_further_changes_have_one_try_each_while_another_item_succeeds() -> None:
    world = given_up()
    world.trouble.pop(11)
    assert world.retry(now=True) == NOTHING | {"held": 2, "due": 2, "tried": 2, "released": 2, "parked": 2}
    assert world.ran == [11, 2, 3, 4]
    assert world.parked() == [1, 2, 3]


def test_without_another_items_success_further_ones_have_the_ordinary_back_off() -> None:
    """An outage must not decide over an item that was poison before."""
    world = given_up()
    world.retry_later(2, now=True)
    assert (world.parked(), world.waiting()) == ([1], [2, 3, 4])
    assert world.held_row().given_up == 1


def test_an_items_own_success_ends_the_one_try() -> None:
    world = given_up()
    world.trouble = {3: FAILS}
    world.retry(now=True)
    assert (world.parked(), world.waiting()) == ([1], [3, 4])
    assert world.held_row().given_up == 0


# Suspects


def test_a_suspect_that_succeeds_is_one_no_longer() -> None:
    world = with_held_item("aa")
    world.trouble = {1: SimulatedCrash()}
    with pytest.raises(SimulatedCrash):
        world.retry(now=True)
    world.trouble = {2: FAILS}
    world.retry_later(2, now=True)
    row = world.held_row()
    assert (row.deaths, row.owner, row.is_suspect) == (0, None, False)


def test_a_suspect_that_only_fails_waits_like_any_other_again() -> None:
    """The function has outlived it: the deaths in a row are over."""
    world = with_held_item("a")
    world.trouble = {1: [SimulatedCrash(), FAILS]}
    with pytest.raises(SimulatedCrash):
        world.retry(now=True)
    world.retry_later(2, now=True)
    assert world.held_row().is_suspect is False


def test_a_death_leaves_the_item_due_by_back_off() -> None:
    world = with_held_item("a")
    world.clock.now = world.held_row().since + 2000
    world.trouble = {1: SimulatedCrash()}
    with pytest.raises(SimulatedCrash):
        world.retry(now=True)
    assert world.row() is not None
    world.clock.now += 499
    assert world.retry()["due"] == 0
    world.clock.now += 1
    with pytest.raises(SimulatedCrash):
        world.retry()


def test_a_suspect_is_given_up_at_the_lease_without_another_try() -> None:
    world = with_held_item("aa", give_up_after_seconds=600.0)
    world.trouble = {1: SimulatedCrash()}
    for _ in range(2):
        with pytest.raises(SimulatedCrash):
            world.retry_later(10)
    world.ran.clear()
    assert world.retry_later(10)["parked"] == 1
    assert world.ran == [2]
    [body] = world.s3.objects.values()
    assert (read_failure(body).condition, read_failure(body).error) == (
        "GivenUp",
        "SuspectError: the function died 2 times while this change ran",
    )


def test_after_one_death_a_change_that_has_failed_too_long_has_its_try() -> None:
    """The owner may have died before it came to this change."""
    world = with_held_item("a", give_up_after_seconds=600.0)
    world.trouble = {1: SimulatedCrash()}
    with pytest.raises(SimulatedCrash):
        world.retry(now=True)
    world.trouble.clear()
    assert world.retry_later(10)["released"] == 1
    assert world.parked() == []


def test_a_suspects_progress_is_written_after_each_change() -> None:
    """So that the next death counts for the change that causes it."""
    world = with_held_item("aaa", give_up_after_seconds=600.0)
    world.trouble = {2: SimulatedCrash()}
    for _ in range(3):
        with pytest.raises(SimulatedCrash):
            world.retry_later(10)
    row = world.held_row()
    assert (row.next or "").endswith("02")
    assert world.retry_later(10)["parked"] == 1
    assert world.parked() == [2]
    assert world.applied[-1] == 3
