"""Retries within the invocation: a failed change is tried up to three times if that delays the batch little."""

from typing import Any

import pytest

from handler.stream import PermanentError
from handler.stream.engine.attempt import pause
from handler.stream.engine.health import Health
from tests.fakes.records import START, record
from tests.handler.harness import FAILS, ConsumerHarness, Takes


@pytest.mark.parametrize(("failures", "pauses"), [(0, []), (1, [0.2]), (2, [0.2, 0.4])])
@pytest.mark.parametrize("stores", [{}, {"ledger_table": "", "failure_bucket": ""}], ids=["stores", "no stores"])
def test_a_change_that_fails_once_or_twice_is_done_in_the_same_invocation(
    failures: int, pauses: list[float], stores: dict[str, Any]
) -> None:
    harness = ConsumerHarness({1: [FAILS] * failures}, **stores)
    assert harness.deliver("aa") == []
    assert (harness.ran, harness.applied) == ([1] * (failures + 1) + [2], [1, 2])
    assert harness.paused == pauses


def test_after_three_tries_the_item_is_held() -> None:
    harness = ConsumerHarness({1: [FAILS] * 3})
    assert harness.deliver("aab") == []
    assert (harness.ran, harness.paused) == ([1, 1, 1, 3], [0.2, 0.4])
    assert (harness.waiting(), harness.described()["tries"]) == ([1, 2], "3")


@pytest.mark.parametrize(("seconds", "tries"), [(0.7, 3), (0.9, 2), (1.1, 1)])
def test_a_change_that_has_used_1_second_is_not_retried(seconds: float, tries: int) -> None:
    """The time of all tries and pauses counts."""
    harness = ConsumerHarness({1: [Takes(seconds, FAILS), FAILS, FAILS]})
    harness.deliver("a")
    assert harness.ran == [1] * tries


@pytest.mark.parametrize(("seconds", "tries"), [(12.1, 1), (12.3, 2), (12.7, 3)])
def test_a_retry_needs_time_for_its_pause_the_handler_timeout_and_the_reserve(seconds: float, tries: int) -> None:
    harness = ConsumerHarness({1: FAILS})
    assert harness.deliver("a", seconds=seconds) == []
    assert harness.ran == [1] * tries


def test_pauses_have_a_budget_that_is_refilled_by_a_tenth_of_the_time() -> None:
    """In a busy shard each pause delays the next batches."""
    harness = ConsumerHarness(dict.fromkeys(range(1, 6), FAILS))
    harness.deliver("abc")
    assert (harness.ran, harness.paused) == ([1, 1, 1, 2, 2, 2, 3], [0.2, 0.4, 0.2, 0.4]), (
        "the budget of 1.2 s is spent"
    )
    harness.clock.now += 2
    harness.deliver("d", start=4)
    assert harness.ran.count(4) == 2, "the budget of 0.3 s is too small for the second pause"
    harness.clock.now += 60
    harness.deliver("e", start=5)
    assert harness.ran.count(5) == 3


def test_concurrent_pauses_count_once() -> None:
    health = Health(slow_seconds=5.0)
    assert all(health.may_pause(now=START, seconds=0.4) for _ in range(10))
    assert all(health.may_pause(now=START + 0.4, seconds=0.4) for _ in range(10))


def test_after_ten_failed_items_of_a_batch_each_change_has_one_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handler.stream.engine.health.PAUSED_SECONDS", 100.0)
    harness = ConsumerHarness(dict.fromkeys(range(1, 13), FAILS))
    assert harness.deliver("abcdefghijkl") == []
    assert [harness.ran.count(number) for number in range(1, 13)] == [3] * 10 + [1] * 2
    harness.trouble = {13: [FAILS]}
    harness.deliver("m", start=13)
    assert harness.applied == [13], "each batch has its own count"


def test_parked_changes_are_not_failed_items() -> None:
    harness = ConsumerHarness(dict.fromkeys(range(1, 11), PermanentError("never")))
    harness.trouble[11] = [FAILS]
    assert harness.deliver("abcdefghijk") == []
    assert harness.applied == [11]


def test_a_permanent_error_ends_the_retries() -> None:
    harness = ConsumerHarness({1: [FAILS, PermanentError("never")], 2: [PermanentError("never")]})
    assert harness.deliver("ab") == []
    assert (harness.ran, harness.parked(), harness.paused) == ([1, 1, 2], [1, 2], [0.2])


def test_an_undecodable_change_has_one_try() -> None:
    harness = ConsumerHarness()
    harness.look = lambda change: change.new_image
    harness.invoke({"Records": [record(1, NewImage={"n": {"N": "x"}})]})
    assert (harness.ran, harness.parked(), harness.paused) == ([1], [1], [])


def test_pauses_have_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    slept = list[float]()
    monkeypatch.setattr("time.sleep", slept.append)
    for _ in range(20):
        pause(0.2)
    assert all(0.15 <= seconds <= 0.25 for seconds in slept)
    assert len(set(slept)) > 10
