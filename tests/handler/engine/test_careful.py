"""Slow failures: an environment lets items earn trust beside the shard, so that its batches wait for few of them."""

from typing import Any

import pytest

from tests.handler.conftest import Lines
from tests.handler.fakes import record, refusal
from tests.handler.world import FAILS, World

ASKED = ("mirror", {"table-stream": "retry"})


def careful(seconds: float = 5.0, between: float = 0.0, **settings: Any) -> World:
    """A world where items a and b have failed, each after so many seconds; nothing has been called since."""
    world = World(**settings)
    world.trouble = {1: world.takes(seconds, FAILS), 2: world.takes(seconds, FAILS)}
    assert world.deliver("a") == []
    world.clock.now += between
    assert world.deliver("b", start=2, at=world.clock.now) == []
    world.trouble.clear()
    world.ran.clear()
    world.applied.clear()
    return world


def test_after_two_slow_failures_other_items_are_held_untried_and_a_retry_run_tries_them_at_once(
    log_lines: Lines,
) -> None:
    world = careful()
    assert world.deliver("cdc", start=3) == []
    assert (world.ran, world.waiting("c"), world.waiting("d")) == ([], [3, 5], [4])
    assert (world.held_row("c").due, world.functions.invoked) == (world.clock(), [ASKED])
    line = log_lines()[-1]
    assert (line["message"], line["attempts"]) == ("item held", 0)
    assert line["error"]["text"] == "others failed slowly: it is tried beside the shard"
    assert world.retry()["released"] == 2
    assert sorted(world.applied) == [3, 4, 5]


@pytest.mark.parametrize(("seconds", "between"), [(4.9, 0.0), (5.0, 60.0)])
def test_failures_that_are_quick_or_a_minute_apart_change_nothing(seconds: float, between: float) -> None:
    world = careful(seconds, between)
    world.deliver("c", start=3, at=world.clock())
    assert (world.applied, world.functions.invoked) == ([3], [])


def test_half_a_handlers_time_is_slow() -> None:
    world = careful(2.0, handler_timeout_seconds=4.0)
    world.deliver("c", start=3)
    assert world.ran == []


def test_an_item_that_a_retry_run_has_released_since_is_trusted() -> None:
    world = careful()
    world.deliver("c", start=3)
    world.retry()
    world.deliver("cd", start=4)
    assert (world.applied, world.waiting("d")) == ([3, 4], [5])


def test_a_release_before_the_slow_failures_earns_no_trust() -> None:
    world = World()
    world.trouble[11] = FAILS
    world.deliver("c", start=11)
    world.trouble.clear()
    world.retry(now=True)
    world.trouble = {1: world.takes(5, FAILS), 2: world.takes(5, FAILS)}
    world.deliver("ab")
    world.deliver("c", start=12)
    assert world.waiting("c") == [12]


def test_a_trusted_item_that_fails_is_trusted_no_longer() -> None:
    world = careful()
    world.deliver("c", start=3)
    world.retry()
    world.deliver("c", start=4)
    world.ledger("hold#consumer").clear()  # only the environment remembers it
    world.trouble[6] = FAILS
    world.deliver("cc", start=5)
    assert (world.applied, world.waiting("c")) == ([3, 4, 5], [6])
    world.ledger("hold#consumer").clear()
    world.ran.clear()
    world.deliver("c", start=7)
    assert (world.ran, world.waiting("c")) == ([], [7])


def test_a_retry_run_is_asked_for_every_five_seconds_while_one_is_wanted() -> None:
    world = careful()
    world.deliver("c", start=3)
    world.clock.now += 4.9
    world.deliver("d", start=4)
    assert world.functions.invoked == [ASKED]
    world.clock.now += 0.1
    world.invoke({"Records": [record(5, "a", at=world.clock())]})
    assert world.functions.invoked == [ASKED] * 2
    world.clock.now += 5
    world.invoke({"Records": [record(6, "a", at=world.clock())]})
    assert world.functions.invoked == [ASKED] * 2, "nothing was held for one since"


def test_a_minute_after_the_last_slow_failure_all_items_are_tried_again() -> None:
    world = careful()
    world.clock.now += 59.9
    world.deliver("c", start=3, at=world.clock())
    world.clock.now += 0.1
    world.deliver("d", start=4, at=world.clock())
    assert world.ran == [4]


def test_a_retry_run_that_cannot_be_asked_for_is_the_next_minutes(log_lines: Lines) -> None:
    world = careful()
    world.functions.failing = refusal("TooManyRequestsException")
    assert world.deliver("c", start=3) == []
    assert world.waiting("c") == [3]
    assert log_lines()[-1]["message"] == "a retry run cannot be asked for: the next minute's takes the items"


def test_another_environment_and_a_consumer_without_stores_take_no_detour() -> None:
    world = careful()
    world.engine = world.environment()
    world.deliver("c", start=3)
    assert world.applied == [3]
    world = World(ledger_table="")
    world.trouble = {1: world.takes(5, FAILS), 2: world.takes(5, FAILS)}
    assert world.deliver("abc") == [1, 2]
    assert (world.applied, world.functions.invoked) == ([3], [])
