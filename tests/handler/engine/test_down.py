"""Many failures in a row: what the handlers need is down, and what comes is held untried."""

from handler.stream import PermanentError
from tests.fakes.records import record
from tests.handler.conftest import Lines
from tests.handler.harness import FAILS, ConsumerHarness


def outage(harness: ConsumerHarness, items: int = 20, start: int = 100) -> None:
    """So many items fail one after the other, for longer than a flood of bad items lasts."""
    for place in range(items):
        harness.trouble[start + place] = FAILS
    if items > 1:
        harness.trouble[start + items - 2] = harness.trouble[start + items - 1] = harness.takes(2.6, FAILS)
    records = [record(start + place, f"down-{start + place}") for place in range(items)]
    assert harness.engine({"Records": records}) == {"batchItemFailures": []}
    harness.ran.clear()


def test_after_20_failures_in_a_row_what_comes_is_held_untried(log_lines: Lines) -> None:
    harness = ConsumerHarness()
    outage(harness)
    assert harness.deliver("aba") == []
    assert (harness.ran, harness.waiting("a"), harness.waiting("b")) == ([], [1, 3], [2])
    line = log_lines()[-1]
    assert (line["message"], line["attempts"]) == ("item held", 0)
    assert line["error"] == {"type": "UntriedError", "text": "the changes before it failed one after the other"}


def test_20_failures_within_5_seconds_are_no_outage() -> None:
    """A flood of bad items that come together is over by then, and its healthy neighbours are not held."""
    harness = ConsumerHarness()
    harness.trouble = dict.fromkeys(range(1, 31), FAILS)
    harness.engine({"Records": [record(number, f"item-{number}") for number in range(1, 31)]})
    assert set(harness.ran) == set(range(1, 31))
    harness.deliver("a", start=31)
    assert harness.applied == [31]


def test_19_failures_in_a_row_are_no_outage() -> None:
    harness = ConsumerHarness()
    outage(harness, 19)
    harness.deliver("a")
    assert harness.ran == [1]


def test_a_success_between_begins_the_row_anew() -> None:
    harness = ConsumerHarness()
    outage(harness, 19)
    harness.deliver("a")
    outage(harness, 19, start=200)
    harness.deliver("b", start=2)
    assert harness.ran == [2]


def test_while_down_a_probe_every_10_seconds_is_tried_and_its_success_ends_it() -> None:
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


def test_a_permanent_error_is_neither_failure_nor_success() -> None:
    harness = ConsumerHarness()
    outage(harness, 19)
    harness.trouble[1] = PermanentError("never")
    harness.deliver("a")
    outage(harness, 1, start=300)
    harness.deliver("b", start=2)
    assert harness.ran == []


def test_another_environment_finds_out_by_itself() -> None:
    harness = ConsumerHarness()
    outage(harness)
    harness.engine = harness.environment()
    harness.deliver("a")
    assert harness.applied == [1]


def test_without_a_ledger_nothing_is_left_untried() -> None:
    harness = ConsumerHarness(ledger_table="")
    harness.trouble = dict.fromkeys(range(1, 30), FAILS)
    harness.engine({"Records": [record(number, f"item-{number}") for number in range(1, 30)]})
    assert set(harness.ran) == set(range(1, 30))


def test_a_retry_run_tries_what_is_due_while_down() -> None:
    harness = ConsumerHarness()
    outage(harness)
    harness.deliver("a")
    assert harness.retry_later(1)["released"] == 1
