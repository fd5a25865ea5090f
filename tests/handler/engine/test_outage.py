"""Outages: after many failures in a row, changes are held without a try."""

from handler.stream import PermanentError
from tests.fakes.records import record
from tests.handler.conftest import Lines
from tests.handler.harness import FAILS, ConsumerHarness, Takes


def outage(harness: ConsumerHarness, items: int = 20, start: int = 100) -> None:
    """Let so many items fail in a row, for more than 5 s."""
    for place in range(items):
        harness.trouble[start + place] = FAILS
    if items > 1:
        harness.trouble[start + items - 2] = harness.trouble[start + items - 1] = Takes(2.6, FAILS)
    records = [record(start + place, f"down-{start + place}") for place in range(items)]
    assert harness.engine({"Records": records}) == {"batchItemFailures": []}
    harness.ran.clear()


def test_after_20_failures_in_a_row_changes_are_held_without_a_try(log_lines: Lines) -> None:
    harness = ConsumerHarness()
    outage(harness)
    assert harness.deliver("aba") == []
    assert (harness.ran, harness.waiting("a"), harness.waiting("b")) == ([], [1, 3], [2])
    line = log_lines()[-1]
    assert (line["message"], line["attempts"]) == ("item held", 0)
    assert line["error"] == {"type": "UntriedError", "text": "the changes before it failed one after the other"}


def test_20_failures_within_5_seconds_are_not_an_outage() -> None:
    """Many bad items in one batch must not hold the healthy items."""
    harness = ConsumerHarness(dict.fromkeys(range(1, 31), FAILS))
    harness.engine({"Records": [record(number, f"item-{number}") for number in range(1, 31)]})
    assert set(harness.ran) == set(range(1, 31))
    harness.deliver("a", start=31)
    assert harness.applied == [31]


def test_19_failures_in_a_row_are_not_an_outage() -> None:
    harness = ConsumerHarness()
    outage(harness, 19)
    harness.deliver("a")
    assert harness.ran == [1]


def test_a_success_restarts_the_count() -> None:
    harness = ConsumerHarness()
    outage(harness, 19)
    harness.deliver("a")
    outage(harness, 19, start=200)
    harness.deliver("b", start=2)
    assert harness.ran == [2]


def test_in_an_outage_one_change_is_tried_every_10_seconds_and_its_success_ends_the_outage() -> None:
    harness = ConsumerHarness()
    outage(harness)
    harness.clock.now += 9.9
    harness.deliver("a")
    assert harness.ran == []
    harness.clock.now += 0.1
    harness.trouble[2] = FAILS
    harness.deliver("bc", start=2)
    assert set(harness.ran) == {2}
    assert (harness.waiting("b"), harness.waiting("c")) == ([2], [3])
    harness.clock.now += 10
    harness.deliver("def", start=4)
    assert harness.applied == [4, 5, 6]


def test_a_permanent_error_neither_counts_nor_restarts_the_count() -> None:
    harness = ConsumerHarness()
    outage(harness, 19)
    harness.trouble[1] = PermanentError("never")
    harness.deliver("a")
    outage(harness, 1, start=300)
    harness.deliver("b", start=2)
    assert harness.ran == []


def test_another_environment_knows_nothing_of_the_outage() -> None:
    harness = ConsumerHarness()
    outage(harness)
    harness.engine = harness.environment()
    harness.deliver("a")
    assert harness.applied == [1]


def test_without_a_ledger_every_change_is_tried() -> None:
    harness = ConsumerHarness(dict.fromkeys(range(1, 30), FAILS), ledger_table="")
    harness.engine({"Records": [record(number, f"item-{number}") for number in range(1, 30)]})
    assert set(harness.ran) == set(range(1, 30))


def test_a_retry_run_tries_due_items_during_an_outage() -> None:
    harness = ConsumerHarness()
    outage(harness)
    harness.deliver("a")
    assert harness.retry_later(1)["released"] == 1
