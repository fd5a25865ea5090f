"""The deadline of an invocation: which changes still start, and what the engine saves before the time-out."""

import threading
from typing import Any

import pytest

from handler.stream import PermanentError
from handler.stream.engine.batch_run import RECORD_AGE_SECONDS
from handler.stream.engine.workers import SimulatedCrash, Workers
from handler.stream.ledger.notes import DONE, HELD, UNDONE
from tests.fakes.aws import LambdaContext, before, in_turn, refused
from tests.fakes.records import record
from tests.handler.conftest import Counts, Lines
from tests.handler.harness import ENDS_LATE, FAILS, TIMES_OUT, ConsumerHarness, Takes

HOURS = 3600.0


@pytest.mark.parametrize(
    ("timeout", "left", "started"), [(10.0, 12.0, [1]), (10.0, 12.1, [1, 2]), (3.0, 5.0, [1]), (3.0, 6.0, [1, 2])]
)
def test_another_change_starts_only_while_more_than_handler_timeout_and_two_seconds_are_left(
    timeout: float, left: float, started: list[int]
) -> None:
    harness = ConsumerHarness({1: Takes(60 - left)}, handler_timeout_seconds=timeout)
    assert harness.deliver("ab", seconds=60) == [number for number in (1, 2) if number not in started]
    assert harness.ran == started


def test_the_first_undone_change_of_a_batch_always_starts() -> None:
    harness = ConsumerHarness()
    assert harness.deliver("ab", seconds=1) == [2]
    assert harness.deliver("b", start=2, seconds=1) == []
    assert harness.applied == [1, 2]


def test_changes_without_a_turn_are_reported_and_noted() -> None:
    harness = ConsumerHarness()
    assert harness.deliver("abab", seconds=1) == [2, 3, 4]
    assert harness.note(under=2) == {2: UNDONE, 3: UNDONE, 4: UNDONE}


def test_without_a_context_there_is_no_deadline() -> None:
    harness = ConsumerHarness({1: Takes(10_000)})
    assert harness.engine({"Records": [record(1), record(2, "b")]}) == {"batchItemFailures": []}


def test_a_context_without_a_remaining_time_has_no_deadline() -> None:
    assert ConsumerHarness().deliver("ab", context=object()) == []


def test_each_invocation_has_its_own_deadline() -> None:
    harness = ConsumerHarness()
    harness.deliver("ab", context=LambdaContext(harness.clock, 1))
    assert harness.deliver("ab", context=LambdaContext(harness.clock, 60)) == []


def test_at_the_deadline_progress_is_noted_and_running_items_are_held() -> None:
    harness = ConsumerHarness({3: TIMES_OUT})
    seen = list[tuple[Any, list[int]]]()

    def look(act: Any) -> Any:
        answer = act()
        seen.append((harness.note(under=1), harness.waiting("c")))
        return answer

    harness.dynamodb.on = {"PutItem note": look, "UpdateItem hold": look}
    harness.deliver_and_crash("abcaca")
    done = {1: DONE, 2: DONE, 3: UNDONE, 4: UNDONE, 5: UNDONE, 6: UNDONE}
    assert seen == [(done, []), (done, [3, 5]), (done | {3: HELD, 5: HELD}, [3, 5])]


def test_the_next_delivery_after_a_timeout_repeats_nothing() -> None:
    harness = ConsumerHarness({3: TIMES_OUT})
    harness.deliver_and_crash("abcaca")
    harness.mend()
    assert harness.deliver("abcaca") == []
    assert (harness.ran, harness.waiting("c")) == ([4, 6], [3, 5])


def test_a_running_item_is_leased_until_5_seconds_after_the_invocation(log_lines: Lines) -> None:
    harness = ConsumerHarness()
    end = harness.clock() + 60
    harness.trouble[1] = TIMES_OUT
    harness.deliver_and_crash("aa", seconds=60)
    row = harness.held_row()
    assert (row.lease, row.waiting, row.deaths, row.due) == (end + 5, 2, 0, harness.clock() + 60)
    assert row.owner is not None
    (line,) = log_lines()
    assert (line["message"], line["event_id"], line["attempts"], line["changes"]) == ("item held", "event-1", 1, 2)
    assert line["error"] == {"type": "StillRunningError", "text": "the handler still ran with 2 s left"}
    harness.clock.now = end + 4.9
    assert harness.retry(now=True)["due"] == 0
    harness.trouble.clear()
    harness.clock.now = end + 5
    assert harness.retry(now=True)["released"] == 1


def test_a_death_is_counted_when_the_item_is_leased_again() -> None:
    harness = ConsumerHarness({1: TIMES_OUT})
    harness.deliver_and_crash("a")
    harness.retry_and_crash(2, now=True)
    harness.trouble[1] = SimulatedCrash()
    harness.retry_and_crash(2, now=True)
    assert harness.held_row().deaths == 2
    assert harness.held_row().is_suspect


@pytest.mark.parametrize(("batch", "reported", "later"), [("a", [], []), ("aaa", [], [2, 3]), ("aba", [2], [3])])
def test_a_handler_that_succeeds_after_the_deadline_updates_its_hold(
    batch: str, reported: list[int], later: list[int]
) -> None:
    harness = ConsumerHarness({1: ENDS_LATE})
    assert harness.deliver(batch) == reported
    assert (harness.waiting(), harness.applied) == (later, [1])
    harness.ran.clear()
    assert harness.retry()["released"] == (1 if later else 0)
    assert harness.ran == later


def test_a_handler_that_fails_after_the_deadline_ends_its_lease(log_lines: Lines) -> None:
    harness = ConsumerHarness({1: Takes(then=FAILS)})
    assert harness.deliver("aa") == []
    row = harness.held_row()
    assert (row.owner, row.lease, row.deaths, row.due) == (None, 0, 0, harness.clock() + 60)
    assert harness.waiting() == [1, 2]
    assert harness.ran == [1], "too little time for another try"
    assert [line["message"] for line in log_lines()] == ["item held"]
    harness.trouble.clear()
    assert harness.retry_later(1)["released"] == 1


@pytest.mark.parametrize("batch", ["a", "aa"])
def test_a_permanent_error_after_the_deadline_is_parked_and_the_item_continues(batch: str) -> None:
    harness = ConsumerHarness({1: Takes(then=PermanentError("never"))})
    assert harness.deliver(batch) == []
    assert (harness.parked(), harness.waiting()) == ([1], [2][: len(batch) - 1])
    harness.retry()
    assert harness.applied == [2][: len(batch) - 1]


def test_a_change_parked_before_the_deadline_is_noted_as_settled() -> None:
    harness = ConsumerHarness({1: PermanentError("never"), 2: TIMES_OUT})
    harness.deliver_and_crash("ab")
    assert harness.note(under=1) == {1: HELD, 2: HELD}


def test_a_handler_that_ends_late_waits_until_its_hold_is_written() -> None:
    """In threads: the handler returns while the deadline's hold is being written."""
    running, holding, ended = threading.Event(), threading.Event(), threading.Event()

    def execute(items: Any, left: Any, on_deadline: Any) -> None:
        """Run the items in a time that ends as soon as the handler runs."""

        def when_running() -> None:
            assert running.wait(timeout=10)
            on_deadline()

        Workers(2)(items, left and (lambda: 0.0), when_running)

    harness = ConsumerHarness(executor=execute)

    def end() -> None:
        running.set()
        assert holding.wait(timeout=10)
        ended.set()

    def hold(act: Any) -> Any:
        harness.dynamodb.on.clear()
        holding.set()
        assert ended.wait(timeout=10)
        return act()

    harness.dynamodb.on["UpdateItem hold"] = hold
    harness.trouble[1] = end
    assert harness.deliver("aa") == []
    assert (harness.applied, harness.waiting()) == ([1], [2])
    assert harness.held_row().owner is None


def test_a_change_appended_by_a_repeated_delivery_waits_after_a_late_end() -> None:
    harness = ConsumerHarness()

    def end() -> None:
        ENDS_LATE.run(harness)
        assert harness.deliver("aa") == []

    harness.trouble[1] = [end]
    assert harness.deliver("a") == []
    row = harness.held_row()
    assert (harness.waiting(), row.owner, row.deaths, row.lease) == ([2], None, 0, 0)


def test_an_item_that_cannot_be_held_at_the_deadline_is_delivered_again(log_lines: Lines) -> None:
    harness = ConsumerHarness({2: TIMES_OUT}, on={"UpdateItem hold": refused()})
    harness.deliver_and_crash("ab")
    assert harness.note(under=1) == {1: DONE, 2: UNDONE}
    assert log_lines()[0]["message"] == "the ledger cannot hold an item whose handler still runs"
    harness.dynamodb.on.clear()
    harness.trouble.clear()
    assert harness.deliver("ab") == []
    assert harness.applied == [1, 2]


@pytest.mark.parametrize(("end", "reported"), [(None, [2]), (FAILS, [1, 2])])
def test_a_late_end_without_a_hold_is_an_ordinary_end(end: Exception | None, reported: list[int]) -> None:
    harness = ConsumerHarness({1: Takes(then=end)}, on={"UpdateItem hold": refused()})
    assert harness.deliver("aa") == reported
    assert harness.applied == ([1] if end is None else [])


def test_without_a_note_the_repeated_changes_are_counted(counts: Counts) -> None:
    harness = ConsumerHarness({2: TIMES_OUT}, on={"PutItem note": refused()})
    harness.deliver_and_crash("ab")
    assert counts() == {"RepeatedChanges": 2, "HeldChanges": 1}


def test_an_item_that_cannot_be_held_does_not_affect_another() -> None:
    harness = ConsumerHarness()
    harness.trouble = {1: harness.steps.another, 2: TIMES_OUT}
    harness.dynamodb.on["UpdateItem hold"] = in_turn(refused())
    harness.deliver_and_crash("ab")
    assert (harness.waiting("a"), harness.waiting("b")) == ([], [2])
    assert harness.note(under=1) == {1: UNDONE, 2: HELD}


def test_without_a_ledger_the_deadline_only_logs_the_failure(log_lines: Lines) -> None:
    harness = ConsumerHarness({2: TIMES_OUT}, ledger_table="")
    harness.deliver_and_crash("ab")
    assert harness.dynamodb.calls == []
    assert [line["message"] for line in log_lines()] == ["change failed"]


def test_counts_are_printed_once_at_the_deadline(counts: Counts) -> None:
    harness = ConsumerHarness({1: FAILS, 2: ENDS_LATE})
    assert harness.deliver("ab") == []
    assert counts() == {"HeldChanges": 2}


@pytest.mark.parametrize(("age", "reported"), [(RECORD_AGE_SECONDS - 181, [2, 3]), (RECORD_AGE_SECONDS - 180, [])])
def test_a_change_that_the_mapping_could_discard_is_held_and_not_reported(
    age: float, reported: list[int], log_lines: Lines
) -> None:
    """The limit is the mapping's record age, less 60 s for this invocation and 120 s for the next delivery."""
    harness = ConsumerHarness({1: Takes(50)}, age=age)
    assert harness.deliver("abb", seconds=60) == reported
    assert harness.waiting("b") == ([] if reported else [2, 3])
    if not reported:
        line = log_lines()[-1]
        assert (line["message"], line["attempts"]) == ("item held", 0)
        assert line["error"] == {"type": "UntriedError", "text": "its turn did not come in time"}


def test_an_old_item_that_was_released_meanwhile_is_held_again() -> None:
    """During this batch, a repeated delivery holds the item and a retry run releases it."""
    harness = ConsumerHarness(age=RECORD_AGE_SECONDS)

    def hold_and_release() -> None:
        harness.trouble[2] = [FAILS] * 3
        assert harness.deliver(" b") == []
        assert harness.retry(now=True)["released"] == 1

    harness.trouble[1] = Takes(50)
    harness.dynamodb.on["UpdateItem hold"] = before(hold_and_release)
    assert harness.deliver("abb", seconds=60) == []
    assert (harness.applied, harness.waiting("b")) == ([1, 2], [3])


def test_an_old_change_is_tried() -> None:
    harness = ConsumerHarness(age=RECORD_AGE_SECONDS)
    assert harness.deliver("ab") == []
    assert harness.applied == [1, 2]


def test_at_the_deadline_old_items_without_a_turn_are_held() -> None:
    harness = ConsumerHarness({1: TIMES_OUT}, age=RECORD_AGE_SECONDS)
    harness.deliver_and_crash("abcb")
    assert (harness.waiting("a"), harness.waiting("b"), harness.waiting("c")) == ([1], [2, 4], [3])
    assert harness.note(under=1) == dict.fromkeys([1, 2, 3, 4], HELD)
    assert (harness.held_row("b").owner, harness.held_row("b").deaths) == (None, 0)


def test_a_record_without_a_time_is_not_old() -> None:
    harness = ConsumerHarness(age=24 * HOURS)
    assert harness.deliver("ab", seconds=1, ApproximateCreationDateTime=None) == [2]
