"""The end of an invocation's time: what still starts, and what is saved before the function dies."""

import threading
from typing import Any

import pytest

from handler.stream import PermanentError
from handler.stream.engine.batch_run import RECORD_AGE_SECONDS
from handler.stream.engine.workers import Workers
from handler.stream.ledger.notes import DONE, HELD, UNDONE
from tests.handler.conftest import Counts, Lines
from tests.handler.fakes import Context, before, in_turn, record, refused
from tests.handler.world import FAILS, Died, World

HOURS = 3600.0


@pytest.mark.parametrize(("left", "started"), [(12.0, [1]), (12.1, [1, 2])])
def test_another_change_starts_only_while_more_than_handler_timeout_and_two_seconds_are_left(
    left: float, started: list[int]
) -> None:
    world = World()
    world.trouble[1] = world.takes(60 - left)
    assert world.deliver("ab", seconds=60) == [number for number in (1, 2) if number not in started]
    assert world.ran == started


def test_handler_timeout_can_be_set() -> None:
    world = World(handler_timeout_seconds=3.0)
    world.trouble[1] = world.takes(54)
    assert world.deliver("ab", seconds=60) == []


def test_the_batchs_first_change_that_is_not_yet_done_is_always_started() -> None:
    world = World()
    assert world.deliver("ab", seconds=1) == [2]
    assert world.deliver("b", start=2, seconds=1) == []
    assert world.applied == [1, 2]


def test_what_had_no_turn_is_reported_and_noted() -> None:
    world = World()
    assert world.deliver("abab", seconds=1) == [2, 3, 4]
    assert world.note(under=2) == {2: UNDONE, 3: UNDONE, 4: UNDONE}


def test_without_a_context_there_is_no_deadline() -> None:
    world = World()
    world.trouble[1] = world.takes(10_000)
    assert world.engine({"Records": [record(1), record(2, "b")]}) == {"batchItemFailures": []}


def test_a_context_of_another_runtime_without_a_clock_is_no_deadline() -> None:
    assert World().deliver("ab", context=object()) == []


def test_time_is_asked_of_this_invocation() -> None:
    world = World()
    world.deliver("ab", context=Context(world.clock, 1))
    assert world.deliver("ab", context=Context(world.clock, 60)) == []


def test_a_timeout_notes_what_is_done_holds_what_runs_and_notes_that() -> None:
    world = World()
    world.trouble[3] = world.times_out
    seen = list[tuple[Any, list[int]]]()

    def look(act: Any) -> Any:
        answer = act()
        seen.append((world.note(under=1), world.waiting("c")))
        return answer

    world.dynamodb.on = {"PutItem note": look, "UpdateItem hold": look}
    with pytest.raises(Died):
        world.deliver("abcaca")
    done = {1: DONE, 2: DONE, 3: UNDONE, 4: UNDONE, 5: UNDONE, 6: UNDONE}
    assert seen == [(done, []), (done, [3, 5]), (done | {3: HELD, 5: HELD}, [3, 5])]


def test_the_timed_out_batch_comes_again_whole_and_repeats_nothing() -> None:
    world = World()
    world.trouble[3] = world.times_out
    with pytest.raises(Died):
        world.deliver("abcaca")
    world.trouble.clear()
    world.ran.clear()
    assert world.deliver("abcaca") == []
    assert world.ran == [4, 6]
    assert world.waiting("c") == [3, 5]


def test_what_runs_at_the_end_is_held_by_this_invocation_until_five_seconds_after_it(log_lines: Lines) -> None:
    world = World()
    end = world.clock() + 60
    world.trouble[1] = world.times_out
    with pytest.raises(Died):
        world.deliver("aa", seconds=60)
    row = world.held_row()
    assert (row.lease, row.waiting, row.deaths, row.due) == (end + 5, 2, 0, world.clock() + 60)
    assert row.owner is not None
    (line,) = log_lines()
    assert (line["message"], line["event_id"], line["attempts"], line["changes"]) == ("item held", "event-1", 1, 2)
    assert line["error"] == {"type": "StillRunningError", "text": "the handler still ran with 2 s left"}
    world.clock.now = end + 4.9
    assert world.retry(now=True)["due"] == 0
    world.trouble.clear()
    world.clock.now = end + 5
    assert world.retry(now=True)["released"] == 1


def test_a_timed_out_items_death_counts_when_it_is_leased() -> None:
    world = World()
    world.trouble[1] = world.times_out
    with pytest.raises(Died):
        world.deliver("a")
    with pytest.raises(Died):
        world.retry_later(2, now=True)
    world.trouble[1] = Died()
    with pytest.raises(Died):
        world.retry_later(2, now=True)
    assert world.held_row().deaths == 2
    assert world.held_row().is_suspect


@pytest.mark.parametrize(("batch", "reported", "later"), [("a", [], []), ("aaa", [], [2, 3]), ("aba", [2], [3])])
def test_a_handler_that_ends_after_the_last_words_moves_its_item_on(
    batch: str, reported: list[int], later: list[int]
) -> None:
    world = World()
    world.trouble[1] = world.ends_late()
    assert world.deliver(batch) == reported
    assert world.waiting() == later
    assert world.applied == [1]
    world.ran.clear()
    assert world.retry()["released"] == (1 if later else 0)
    assert world.ran == later


def test_a_handler_that_fails_after_the_last_words_hands_its_item_back(log_lines: Lines) -> None:
    world = World()
    world.trouble[1] = world.ends_late(FAILS)
    assert world.deliver("aa") == []
    row = world.held_row()
    assert (row.owner, row.lease, row.deaths, row.due) == (None, 0, 0, world.clock() + 60)
    assert world.waiting() == [1, 2]
    assert world.ran == [1], "no time is left for another try"
    assert [line["message"] for line in log_lines()] == ["item held"]
    world.trouble.clear()
    assert world.retry_later(1)["released"] == 1


@pytest.mark.parametrize("batch", ["a", "aa"])
def test_a_permanent_error_after_the_last_words_is_parked_and_the_item_goes_on(batch: str) -> None:
    world = World()
    world.trouble[1] = world.ends_late(PermanentError("never"))
    assert world.deliver(batch) == []
    assert (world.parked(), world.waiting()) == ([1], [2][: len(batch) - 1])
    world.retry()
    assert world.applied == [2][: len(batch) - 1]


def test_what_was_parked_before_the_last_words_is_noted_as_settled() -> None:
    world = World()
    world.trouble = {1: PermanentError("never"), 2: world.times_out}
    with pytest.raises(Died):
        world.deliver("ab")
    assert world.note(under=1) == {1: HELD, 2: HELD}


def test_a_handler_that_ends_late_waits_until_its_hold_is_written() -> None:
    """On threads: the deadline's hold is under way while the handler returns."""
    world = World(executor=Workers(2))
    holding, ended = threading.Event(), threading.Event()

    class Ending(Context):
        """No time is left as soon as a handler runs."""

        def get_remaining_time_in_millis(self) -> int:
            assert running.wait(timeout=10)
            return 0

    def end() -> None:
        running.set()
        assert holding.wait(timeout=10)
        ended.set()

    running = threading.Event()

    def hold(act: Any) -> Any:
        world.dynamodb.on.clear()
        holding.set()
        assert ended.wait(timeout=10)
        return act()

    world.dynamodb.on["UpdateItem hold"] = hold
    world.trouble[1] = end
    assert world.deliver("aa", context=Ending(world.clock)) == []
    assert (world.applied, world.waiting()) == ([1], [2])
    assert world.held_row().owner is None


def test_a_late_end_hands_back_what_a_doubled_delivery_has_appended_meanwhile() -> None:
    world = World()
    late = world.ends_late()

    def end() -> None:
        late()
        assert world.deliver("aa") == []

    world.trouble[1] = [end]
    assert world.deliver("a") == []
    row = world.held_row()
    assert (world.waiting(), row.owner, row.deaths, row.lease) == ([2], None, 0, 0)


def test_what_cannot_be_held_at_the_end_comes_again(log_lines: Lines) -> None:
    world = World()
    world.trouble[2] = world.times_out
    world.dynamodb.on["UpdateItem hold"] = refused()
    with pytest.raises(Died):
        world.deliver("ab")
    assert world.note(under=1) == {1: DONE, 2: UNDONE}
    assert log_lines()[0]["message"] == "the ledger cannot hold an item whose handler still runs"
    world.dynamodb.on.clear()
    world.trouble.clear()
    assert world.deliver("ab") == []
    assert world.applied == [1, 2]


@pytest.mark.parametrize(("end", "reported"), [(None, [2]), (FAILS, [1, 2])])
def test_a_late_end_without_a_hold_is_an_ordinary_end(end: Exception | None, reported: list[int]) -> None:
    world = World()
    world.dynamodb.on["UpdateItem hold"] = refused()
    world.trouble = {1: world.ends_late(end)}
    assert world.deliver("aa") == reported
    assert world.applied == ([1] if end is None else [])


def test_where_the_note_cannot_be_written_the_repeats_are_counted(counts: Counts) -> None:
    world = World()
    world.dynamodb.on["PutItem note"] = refused()
    world.trouble[2] = world.times_out
    with pytest.raises(Died):
        world.deliver("ab")
    assert counts() == {"RepeatedChanges": 2, "HeldChanges": 1}


def test_one_item_that_cannot_be_held_keeps_no_other_from_it() -> None:
    world = World()
    world.trouble = {1: world.steps.another, 2: world.times_out}
    world.dynamodb.on["UpdateItem hold"] = in_turn(refused())
    with pytest.raises(Died):
        world.deliver("ab")
    assert (world.waiting("a"), world.waiting("b")) == ([], [2])
    assert world.note(under=1) == {1: UNDONE, 2: HELD}


def test_without_a_ledger_last_words_are_few(log_lines: Lines) -> None:
    world = World(ledger_table="")
    world.trouble[2] = world.times_out
    with pytest.raises(Died):
        world.deliver("ab")
    assert world.dynamodb.calls == []
    assert [line["message"] for line in log_lines()] == ["change failed"]


def test_counts_so_far_are_sent_before_the_end_and_once(counts: Counts) -> None:
    world = World()
    world.trouble = {1: FAILS, 2: world.ends_late()}
    assert world.deliver("ab") == []
    assert counts() == {"HeldChanges": 2}


@pytest.mark.parametrize(("age", "reported"), [(RECORD_AGE_SECONDS - 181, [2, 3]), (RECORD_AGE_SECONDS - 180, [])])
def test_what_the_mapping_could_discard_before_it_comes_again_is_held_and_not_reported(
    age: float, reported: list[int], log_lines: Lines
) -> None:
    """The mapping's limit, this invocation's end in 60 s and two minutes."""
    world = World()
    world.clock.now += age
    world.trouble[1] = world.takes(50)
    assert world.deliver("abb", seconds=60) == reported
    assert world.waiting("b") == ([] if reported else [2, 3])
    if not reported:
        line = log_lines()[-1]
        assert (line["message"], line["attempts"]) == ("item held", 0)
        assert line["error"] == {"type": "UntriedError", "text": "its turn did not come in time"}


def test_an_old_item_that_was_released_a_moment_ago_is_held_again() -> None:
    """A doubled delivery has had its first change held, and a retry run has released it, since this batch began."""
    world = World()
    world.clock.now += RECORD_AGE_SECONDS

    def hold_and_release() -> None:
        world.trouble[2] = [FAILS] * 3
        assert world.deliver(" b") == []
        assert world.retry(now=True)["released"] == 1

    world.trouble[1] = world.takes(50)
    world.dynamodb.on["UpdateItem hold"] = before(hold_and_release)
    assert world.deliver("abb", seconds=60) == []
    assert (world.applied, world.waiting("b")) == ([1, 2], [3])


def test_an_old_change_still_has_its_try() -> None:
    world = World()
    world.clock.now += RECORD_AGE_SECONDS
    assert world.deliver("ab") == []
    assert world.applied == [1, 2]


def test_at_a_timeout_old_items_whose_turn_did_not_come_are_held_too() -> None:
    world = World()
    world.clock.now += RECORD_AGE_SECONDS
    world.trouble[1] = world.times_out
    with pytest.raises(Died):
        world.deliver("abcb")
    assert (world.waiting("a"), world.waiting("b"), world.waiting("c")) == ([1], [2, 4], [3])
    assert world.note(under=1) == dict.fromkeys([1, 2, 3, 4], HELD)
    assert (world.held_row("b").owner, world.held_row("b").deaths) == (None, 0)


def test_a_record_that_tells_no_age_has_none() -> None:
    world = World()
    world.clock.now += 24 * HOURS
    assert world.deliver("ab", seconds=1, ApproximateCreationDateTime=None) == [2]
