"""The end of an invocation's time: what still starts, and what is written down before the function dies."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from handler.stream import PermanentError
from handler.stream.progress import DONE, PARKED, UNDONE
from handler.stream.workers import Death, Workers
from tests.handler.conftest import Lines
from tests.handler.fakes import START, Context, record, refusal
from tests.handler.world import World

FAILS = ValueError("down")


class Died(Death):
    """The function is killed while a handler runs: it comes out of the handler, and the executor lets it through."""


def takes(world: World, seconds: float) -> Callable[[], None]:
    """A handler that takes some time."""

    def run() -> None:
        world.clock.now += seconds

    return run


@pytest.mark.parametrize(("left", "started"), [(12.0, [1]), (12.1, [1, 2])])
def test_another_change_starts_only_while_more_than_handler_timeout_and_two_seconds_are_left(
    left: float, started: list[int]
) -> None:
    world = World()
    world.trouble[1] = takes(world, 60 - left)
    assert world.deliver("ab", seconds=60) == [number for number in (1, 2) if number not in started]
    assert world.ran == started


def test_handler_timeout_can_be_set() -> None:
    world = World(handler_timeout_seconds=3)
    world.trouble[1] = takes(world, 54)
    assert world.deliver("ab", seconds=60) == []


def test_the_batchs_first_change_that_is_not_yet_done_is_always_started() -> None:
    world = World()
    assert world.deliver("ab", seconds=1) == [2]
    assert world.deliver("b", start=2, seconds=1) == []
    assert world.applied == [1, 2]


def test_the_first_change_that_a_note_leaves_undone_is_always_started() -> None:
    world = World()
    world.trouble |= {2: FAILS, 3: FAILS}
    world.deliver("abc")
    world.trouble.clear()
    world.ran.clear()
    assert world.deliver("bc", start=2, seconds=1) == [3]
    assert world.ran == [2]


def test_what_was_not_started_keeps_its_order_and_its_clock() -> None:
    world = World()
    world.trouble |= {1: FAILS, 3: FAILS}
    world.deliver("abcc")
    assert world.deliver("abcc", seconds=1) == [1, 3, 4]
    note = world.note(under=1)
    assert note is not None
    assert dict(note.clocks) == {1: START, 3: START}


def test_without_a_context_there_is_no_deadline() -> None:
    world = World()
    world.trouble[1] = takes(world, 10_000)
    answer = world.engine({"Records": [record(1), record(2, "b")]})
    assert answer == {"batchItemFailures": []}


def test_a_handler_that_does_not_end_leaves_a_note_under_the_batchs_first_record() -> None:
    """The whole batch fails with the function, and the time-out repeats only what it interrupted."""
    world = World()
    world.trouble[3] = Died()
    with pytest.raises(Died):
        world.deliver("abcaca")
    note = world.note(under=1)
    assert note is not None
    assert dict(note.states) == {1: DONE, 2: DONE, 3: UNDONE, 4: UNDONE, 5: UNDONE, 6: UNDONE}
    world.trouble.clear()
    world.ran.clear()
    assert world.deliver("abcaca") == []
    assert world.ran == [3, 4, 5, 6]


def test_the_interrupted_change_has_failed_for_its_items_clock(log_lines: Lines) -> None:
    world = World()
    world.trouble[2] = Died()
    with pytest.raises(Died):
        world.deliver("ab")
    note = world.note(under=1)
    assert note is not None
    assert dict(note.clocks) == {2: START}
    (line,) = log_lines()
    assert (line["message"], line["event_id"]) == ("change failed", "event-2")
    assert line["error"] == {"type": "StillRunningError", "text": "the handler still ran with 2 s left"}


def test_a_running_change_whose_clock_has_run_out_is_parked_and_noted(counts: Callable[[], dict[str, int]]) -> None:
    world = World()
    world.trouble[2] = Died()
    with pytest.raises(Died):
        world.deliver("abb")
    world.clock.now += 15 * 60
    counts()
    with pytest.raises(Died):
        world.deliver("abb")
    assert world.parked() == [2]
    assert counts() == {"ParkedChanges": 1}
    note = world.note(under=1)
    assert note is not None
    assert dict(note.states) == {1: DONE, 2: PARKED, 3: UNDONE}
    assert world.deliver("abb") == []
    assert world.applied == [1, 3]


def test_a_hanging_change_with_nothing_beside_it_is_parked_after_an_hour() -> None:
    world = World()
    world.trouble[1] = Died()
    with pytest.raises(Died):
        world.deliver("a")
    world.clock.now += 60 * 60
    with pytest.raises(Died):
        world.deliver("a")
    assert world.parked() == [1]
    assert world.deliver("a") == []


def test_the_halves_of_a_batch_that_timed_out_read_its_note() -> None:
    """A whole-batch failure is split in two by the mapping."""
    world = World()
    world.trouble[2] = Died()
    with pytest.raises(Died):
        world.deliver("abcd")
    world.trouble.clear()
    world.ran.clear()
    world.deliver("ab")
    world.deliver("cd", start=3)
    assert world.ran == [2, 3, 4]


def test_where_the_last_note_cannot_be_written_the_repeats_are_counted(counts: Callable[[], dict[str, int]]) -> None:
    world = World()
    world.dynamodb.failing["put_item"] = refusal("InternalServerError", "PutItem")
    world.trouble[2] = Died()
    with pytest.raises(Died):
        world.deliver("ab")
    assert counts() == {"RepeatsToCome": 1}


def test_without_a_ledger_last_words_are_few() -> None:
    world = World(ledger_table="")
    world.trouble[2] = Died()
    with pytest.raises(Died):
        world.deliver("ab")
    assert world.dynamodb.calls == []


class Ending(Context):
    """No time is left as soon as a handler runs."""

    def __init__(self, world: World, running: threading.Event) -> None:
        super().__init__(world.clock, 0)
        self._running = running

    def get_remaining_time_in_millis(self) -> int:
        soon(self._running)
        return 0


def soon(event: threading.Event) -> None:
    assert event.wait(timeout=10)


def test_the_function_never_returns_while_a_handler_runs() -> None:
    world = World(executor=Workers(2))
    running, spoken = threading.Event(), threading.Event()
    put_item = world.dynamodb.put_item

    def put(**request: Any) -> dict[str, Any]:
        spoken.set()
        return put_item(**request)

    def hang() -> None:
        running.set()
        soon(spoken)

    world.dynamodb.put_item = put
    world.trouble[1] = hang
    assert world.deliver("ab", context=Ending(world, running)) == [2]
    assert world.applied == [1]
    note = world.note(under=2)
    assert note is not None
    assert dict(note.states) == {2: UNDONE}


@pytest.mark.parametrize("outcome", [None, FAILS, PermanentError("never")])
def test_a_change_parked_by_the_last_words_stays_so_whatever_its_handler_comes_to(
    outcome: Exception | None, counts: Callable[[], dict[str, int]]
) -> None:
    world = World(executor=Workers(2))
    world.trouble[1] = FAILS
    world.deliver("ab")
    world.clock.now += 15 * 60
    running, parked = threading.Event(), threading.Event()
    put_item = world.dynamodb.put_item

    def put(**request: Any) -> dict[str, Any]:
        parked.set()  # the note is written after the parking
        return put_item(**request)

    def hang() -> None:
        running.set()
        soon(parked)
        if outcome:
            raise outcome

    world.dynamodb.put_item = put
    world.trouble[1] = hang
    assert world.deliver("ab", context=Ending(world, running)) == []
    assert (world.parked(), world.s3.puts) == ([1], 1)
    assert counts()["ParkedChanges"] == 1


def test_a_context_of_another_runtime_without_a_clock_is_no_deadline() -> None:
    world = World()
    assert world.deliver("ab", context=object()) == []


def test_time_is_asked_of_this_invocation() -> None:
    world = World()
    world.deliver("ab", context=Context(world.clock, 1))
    assert world.deliver("ab", context=Context(world.clock, 60)) == []


def test_the_note_is_written_before_anything_is_parked() -> None:
    """Parking may be slow, and the note is what keeps the most."""
    world = World()
    world.trouble[2] = Died()
    with pytest.raises(Died):
        world.deliver("ab")
    world.clock.now += 15 * 60
    world.dynamodb.calls.clear()
    put_object, before = world.s3.put_object, list[list[str]]()

    def put(**request: Any) -> dict[str, Any]:
        before.append(list(world.dynamodb.calls))
        return put_object(**request)

    world.s3.put_object = put
    with pytest.raises(Died):
        world.deliver("ab")
    assert before == [["query", "put_item"]]
    assert world.dynamodb.calls == ["query", "put_item", "put_item"]


def test_the_note_is_written_before_what_nothing_outlived_is_parked() -> None:
    """A failure store that takes its time may cost the invocation, and nothing that is done."""
    world = World()
    world.trouble[2] = Died()
    with pytest.raises(Died):
        world.deliver("ab")
    world.clock.now += 15 * 60
    put_object, before = world.s3.put_object, list[dict[int, str]]()

    def put(**request: Any) -> dict[str, Any]:
        note = world.note(under=2)
        before.append(dict(note.states) if note else {})
        return put_object(**request)

    world.trouble[2] = FAILS
    world.s3.failing = refusal("SlowDown", "PutObject")
    world.s3.put_object = put
    assert world.deliver("abc") == [2]
    assert before == [{}, {2: UNDONE, 3: DONE}], "tried at the failure, and once more in the end"


def test_the_last_words_leave_alone_what_has_failed_by_itself(log_lines: Lines) -> None:
    world = World()
    world.trouble |= {1: FAILS, 3: Died()}
    with pytest.raises(Died):
        world.deliver("abc")
    told = [(line["event_id"], line["error"]["type"]) for line in log_lines() if line["message"] == "change failed"]
    assert told == [("event-1", "ValueError"), ("event-3", "StillRunningError")]


def test_a_handler_that_fails_after_the_last_words_has_failed_once(log_lines: Lines) -> None:
    world = World(executor=Workers(2))
    running, noted = threading.Event(), threading.Event()
    put_item = world.dynamodb.put_item

    def put(**request: Any) -> dict[str, Any]:
        noted.set()
        return put_item(**request)

    def hang() -> None:
        running.set()
        soon(noted)
        raise FAILS

    world.dynamodb.put_item = put
    world.trouble[1] = hang
    assert world.deliver("ab", context=Ending(world, running)) == [1, 2]
    assert [line["error"]["type"] for line in log_lines()] == ["StillRunningError"]


def test_what_had_no_turn_is_not_parked_when_no_time_is_left_for_it() -> None:
    world = World()
    world.clock.now += 86_400
    world.trouble[1] = takes(world, 60)
    assert world.deliver("abc", seconds=60) == [2, 3]
    assert world.parked() == []
