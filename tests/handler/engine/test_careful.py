"""Slow failures make an environment careful: items take a detour, so that few of them delay its batches."""

from typing import Any

import pytest

from tests.fakes.aws import refusal
from tests.fakes.records import record
from tests.handler.conftest import Lines
from tests.handler.harness import FAILS, ConsumerHarness, Takes

ASKED = ("mirror", {"table-stream": "retry"})


def careful(seconds: float = 5.0, between: float = 0.0, **settings: Any) -> ConsumerHarness:
    """Return a harness where items a and b have failed, each after so many seconds, and clear the logs of calls."""
    harness = ConsumerHarness({1: Takes(seconds, FAILS), 2: Takes(seconds, FAILS)}, **settings)
    assert harness.deliver("a") == []
    harness.clock.now += between
    assert harness.deliver("b", start=2, at=harness.clock.now) == []
    harness.mend()
    harness.applied.clear()
    return harness


def test_after_two_slow_failures_other_items_take_a_detour(log_lines: Lines) -> None:
    harness = careful()
    assert harness.deliver("cdc", start=3) == []
    assert (harness.ran, harness.waiting("c"), harness.waiting("d")) == ([], [3, 5], [4])
    assert (harness.held_row("c").due, harness.functions.invoked) == (harness.clock(), [ASKED])
    line = log_lines()[-1]
    assert (line["message"], line["attempts"]) == ("item held", 0)
    assert line["error"]["text"] == "others failed slowly: a retry run tries it"
    assert harness.retry()["released"] == 2
    assert sorted(harness.applied) == [3, 4, 5]


@pytest.mark.parametrize(("seconds", "between"), [(4.9, 0.0), (5.0, 60.0)])
def test_quick_failures_and_failures_a_minute_apart_change_nothing(seconds: float, between: float) -> None:
    harness = careful(seconds, between)
    harness.deliver("c", start=3, at=harness.clock())
    assert (harness.applied, harness.functions.invoked) == ([3], [])


def test_a_failure_after_half_of_the_handler_timeout_is_slow() -> None:
    harness = careful(2.0, handler_timeout_seconds=4.0)
    harness.deliver("c", start=3)
    assert harness.ran == []


def test_an_item_released_after_the_slow_failures_is_trusted() -> None:
    harness = careful()
    harness.deliver("c", start=3)
    harness.retry()
    harness.deliver("cd", start=4)
    assert (harness.applied, harness.waiting("d")) == ([3, 4], [5])


def test_an_item_released_before_the_slow_failures_is_not_trusted() -> None:
    harness = ConsumerHarness({11: FAILS})
    harness.deliver("c", start=11)
    harness.trouble.clear()
    harness.retry(now=True)
    harness.trouble = {1: Takes(5, FAILS), 2: Takes(5, FAILS)}
    harness.deliver("ab")
    harness.deliver("c", start=12)
    assert harness.waiting("c") == [12]


def test_a_trusted_item_that_fails_is_trusted_no_longer() -> None:
    harness = careful()
    harness.deliver("c", start=3)
    harness.retry()
    harness.deliver("c", start=4)
    harness.ledger("hold#consumer").clear()  # now only the environment knows the item
    harness.trouble[6] = FAILS
    harness.deliver("cc", start=5)
    assert (harness.applied, harness.waiting("c")) == ([3, 4, 5], [6])
    harness.ledger("hold#consumer").clear()
    harness.ran.clear()
    harness.deliver("c", start=7)
    assert (harness.ran, harness.waiting("c")) == ([], [7])


def test_a_retry_run_is_invoked_at_most_every_5_seconds() -> None:
    harness = careful()
    harness.deliver("c", start=3)
    harness.clock.now += 4.9
    harness.deliver("d", start=4)
    assert harness.functions.invoked == [ASKED]
    harness.clock.now += 0.1
    harness.invoke({"Records": [record(5, "a", at=harness.clock())]})
    assert harness.functions.invoked == [ASKED] * 2
    harness.clock.now += 5
    harness.invoke({"Records": [record(6, "a", at=harness.clock())]})
    assert harness.functions.invoked == [ASKED] * 2, "no item has taken a detour since"


def test_a_minute_after_the_last_slow_failure_all_items_are_tried_again() -> None:
    harness = careful()
    harness.clock.now += 59.9
    harness.deliver("c", start=3, at=harness.clock())
    harness.clock.now += 0.1
    harness.deliver("d", start=4, at=harness.clock())
    assert harness.ran == [4]


def test_without_its_retry_run_the_item_waits_for_the_next_scheduled_run(log_lines: Lines) -> None:
    harness = careful()
    harness.functions.failing = refusal("TooManyRequestsException")
    assert harness.deliver("c", start=3) == []
    assert harness.waiting("c") == [3]
    assert log_lines()[-1]["message"] == "a retry run cannot be invoked: the next scheduled run takes the items"


def test_another_environment_and_a_consumer_without_stores_are_not_careful() -> None:
    harness = careful()
    harness.engine = harness.environment()
    harness.deliver("c", start=3)
    assert harness.applied == [3]
    harness = ConsumerHarness({1: Takes(5, FAILS), 2: Takes(5, FAILS)}, ledger_table="")
    assert harness.deliver("abc") == [1, 2]
    assert (harness.applied, harness.functions.invoked) == ([3], [])
