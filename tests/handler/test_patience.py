"""How long a failing change is tried: poison told from outage, on a test's clock."""

from collections.abc import Callable
from typing import Any

import pytest

from handler.stream import PermanentError
from handler.stream.batch import Item
from handler.stream.environment import Environment
from handler.stream.failures import read_failure
from handler.stream.patience import REMEMBERED_ITEMS, Patience
from handler.stream.progress import DONE, PARKED, UNDONE, Note
from tests.handler.conftest import Lines
from tests.handler.fakes import START, STREAM, Steps, refusal
from tests.handler.world import World

FAILS = ValueError("down")
MINUTE = 60.0


def test_an_items_clock_starts_when_it_fails_and_another_item_is_done() -> None:
    world = World()
    world.trouble[1] = FAILS
    world.clock.now += 5
    world.deliver("ab")
    note = world.note(under=1)
    assert note is not None
    assert dict(note.clocks) == {1: START + 5}


@pytest.mark.parametrize("first", ["failure", "success"])
def test_the_clock_starts_with_the_later_of_failure_and_success(first: str) -> None:
    world = World()

    def pass_time() -> None:
        world.clock.now += 10

    def fail_late() -> None:
        pass_time()
        raise FAILS

    world.trouble |= {1: FAILS, 2: pass_time} if first == "failure" else {2: fail_late}
    world.deliver("ab")
    note = world.note(under=1 if first == "failure" else 2)
    assert note is not None
    assert list(note.clocks.values()) == [START + 10]


def test_no_clock_starts_where_nothing_else_is_done() -> None:
    world = World()
    world.trouble |= {1: FAILS, 2: FAILS, 3: FAILS}
    world.deliver("aba")
    note = world.note(under=1)
    assert note is not None
    assert note.clocks == {}


def test_every_item_but_the_failing_one_is_a_sign_whichever_was_first() -> None:
    world = World()
    world.trouble[4] = FAILS
    world.deliver("aaba")
    note = world.note(under=4)
    assert note is not None
    assert dict(note.clocks) == {4: START}


def test_another_change_of_the_same_item_is_no_sign() -> None:
    world = World()
    world.trouble[2] = FAILS
    world.deliver("aa")
    note = world.note(under=2)
    assert note is not None
    assert note.clocks == {}


def test_a_parked_change_is_no_sign() -> None:
    """It shows nothing about the dependency that is out."""
    world = World()
    world.trouble |= {1: FAILS, 2: PermanentError("never")}
    world.deliver("ab")
    world.deliver("ab")
    note = world.note(under=1)
    assert note is not None
    assert (dict(note.states)[2], note.clocks) == (PARKED, {})


def test_a_change_that_the_note_says_is_done_is_a_sign() -> None:
    world = World()
    world.trouble[1] = FAILS
    notes = world.notes()
    notes.write(STREAM, 10**20 + 1, Note({10**20 + 1: UNDONE, 10**20 + 2: DONE}), START)
    world.clock.now += 7
    world.deliver("ab")
    note = world.note(under=1)
    assert note is not None
    assert dict(note.clocks) == {1: START + 7}


def test_when_the_clock_has_run_the_next_failure_parks_that_change_alone() -> None:
    world = World()
    world.trouble |= {1: FAILS, 3: FAILS}
    world.deliver("abac")
    world.clock.now += 15 * MINUTE - 1
    assert world.deliver("abac") == [1, 3]
    assert world.parked() == []
    world.clock.now += 1
    world.trouble.pop(3)
    assert world.deliver("abac") == []
    assert world.parked() == [1]
    assert world.applied == [2, 4, 3]


def test_a_success_in_time_stops_the_clock() -> None:
    world = World()
    world.trouble[1] = FAILS
    world.deliver("aba")
    world.clock.now += 20 * MINUTE
    world.trouble = {3: FAILS}
    assert world.deliver("aba") == [3]
    assert world.parked() == []
    note = world.note(under=3)
    assert note is not None
    assert dict(note.clocks) == {3: START + 20 * MINUTE}  # the next change has a clock of its own


def given_up(world: World) -> None:
    """Let item a's change 1 be given up while b succeeds."""
    world.trouble[1] = FAILS
    world.deliver("ab")
    world.clock.now += 15 * MINUTE
    assert world.deliver("ab") == []
    assert world.parked() == [1]


def test_after_that_each_further_change_of_the_item_has_one_try_while_others_succeed() -> None:
    world = World()
    given_up(world)
    world.trouble |= {12: FAILS, 13: FAILS}
    assert world.deliver("baac", start=11) == []
    assert world.parked() == [1, 12, 13]


def test_the_one_try_also_counts_where_the_others_succeed_later_in_the_invocation() -> None:
    world = World()
    given_up(world)
    world.trouble[11] = FAILS
    assert world.deliver("ab", start=11) == []
    assert world.parked() == [1, 11]


def test_the_one_try_needs_another_items_success() -> None:
    """An outage must not decide over an item that was poison before."""
    world = World()
    given_up(world)
    world.trouble |= {11: FAILS, 12: FAILS}
    assert world.deliver("ab", start=11) == [11, 12]
    assert world.parked() == [1]


def test_the_one_try_ends_with_the_items_first_success() -> None:
    world = World()
    given_up(world)
    assert world.deliver("ab", start=11) == []
    world.trouble[22] = FAILS
    assert world.deliver("ba", start=21) == [22]
    assert world.parked() == [1]


def test_forgetting_costs_time_only() -> None:
    world = World()
    given_up(world)
    world.engine = world.environment()
    world.trouble[12] = FAILS
    assert world.deliver("ba", start=11) == [12]
    world.clock.now += 15 * MINUTE
    assert world.deliver("a", start=12) == []
    assert world.parked() == [1, 12]


def test_a_full_memory_is_emptied() -> None:
    memory: set[Item] = set(range(REMEMBERED_ITEMS))
    patience = Patience(Environment(), Note({1: UNDONE}, {1: START}), memory, [])
    assert patience.over("one more", 1, START + 15 * MINUTE) == "GiveUpAfterExceeded"
    assert memory == {"one more"}


def test_where_nothing_else_succeeds_only_the_checkpoints_change_is_parked_after_an_hour() -> None:
    world = World(maximum_record_age_seconds=-1)
    world.trouble |= {1: FAILS, 2: FAILS, 3: FAILS}
    world.deliver("aba")
    world.clock.now += 60 * MINUTE - 1
    assert world.deliver("aba") == [1, 2, 3]
    world.clock.now += 1
    assert world.deliver("aba") == [2, 3]
    assert world.parked() == [1]
    world.clock.now += 59 * MINUTE
    assert world.deliver("ba", start=2) == [2, 3]
    world.clock.now += 1 * MINUTE
    assert world.deliver("ba", start=2) == [3]
    assert world.parked() == [1, 2]


def test_after_an_hour_alone_another_items_success_starts_the_items_clock_instead() -> None:
    """The outage is over: what fails once more is given its quarter of an hour."""
    world = World(maximum_record_age_seconds=-1)
    world.trouble |= {1: FAILS, 2: FAILS}
    world.deliver("ab")
    world.clock.now += 61 * MINUTE
    world.trouble.pop(2)
    assert world.deliver("ab") == [1]
    assert world.parked() == []


def test_what_is_parked_alone_leaves_its_item_unsuspected() -> None:
    world = World(maximum_record_age_seconds=-1)
    world.trouble |= {1: FAILS, 2: FAILS}
    world.deliver("ab")
    world.clock.now += 60 * MINUTE
    world.deliver("ab")
    world.trouble = {12: FAILS}
    assert world.deliver("ba", start=11) == [12]
    assert world.parked() == [1]


@pytest.mark.parametrize(
    ("limit", "age"), [(3600, 3600 - 300), (7 * 86_400, 86_400 - 300), (-1, 86_400 - 300), (86_400, 86_400 - 300)]
)
def test_what_comes_within_the_margin_of_its_age_is_parked(limit: float, age: float) -> None:
    world = World(maximum_record_age_seconds=limit)
    world.trouble |= {1: FAILS, 2: FAILS}
    world.clock.now += age - 1
    assert world.deliver("ab") == [1, 2]
    world.clock.now += 1
    assert world.deliver("ab") == []
    assert world.parked() == [1, 2]


def test_within_the_margin_a_change_still_has_its_try() -> None:
    world = World()
    world.clock.now += 86_400
    assert world.deliver("ab") == []
    assert (world.applied, world.parked()) == ([1, 2], [])


def test_within_the_margin_what_had_no_turn_is_parked_too(log_lines: Lines) -> None:
    """The mapping would discard it before its next delivery."""
    world = World(executor=Steps())
    world.clock.now += 86_400 - 300

    def take_long() -> None:
        world.clock.now += 55

    world.trouble[1] = take_long
    assert world.deliver("ab", seconds=60) == []
    assert (world.applied, world.parked()) == ([1], [2])
    assert log_lines()[0]["error"]["type"] == "UntriedError"


def test_a_record_that_tells_no_age_has_none() -> None:
    world = World()
    world.trouble[1] = FAILS
    world.clock.now += 86_400
    assert world.deliver("ab", ApproximateCreationDateTime=None) == [1]


@pytest.mark.parametrize(
    ("error", "wait", "reason"),
    [
        (PermanentError("never"), 0, "PermanentError"),
        (FAILS, 15 * MINUTE, "GiveUpAfterExceeded"),
        (FAILS, 86_400, "RecordAgeExceeded"),
    ],
)
def test_the_failure_record_says_why_it_was_parked(error: BaseException, wait: float, reason: str) -> None:
    world = World()
    world.trouble[1] = FAILS
    world.deliver("ab")
    world.clock.now += wait
    world.trouble[1] = error
    world.deliver("ab")
    assert [read_failure(body).condition for body in world.s3.objects.values()] == [reason]


def test_a_change_that_nothing_else_outlived_says_so() -> None:
    world = World()
    world.trouble[1] = FAILS
    world.deliver("a")
    world.clock.now += 60 * MINUTE
    world.deliver("a")
    assert [read_failure(body).condition for body in world.s3.objects.values()] == ["GiveUpAloneAfterExceeded"]


def test_where_it_cannot_be_parked_it_is_an_ordinary_failure(
    counts: Callable[[], dict[str, int]], log_lines: Lines
) -> None:
    world = World()
    world.trouble[1] = PermanentError("never")
    world.s3.failing = refusal("SlowDown", "PutObject")
    assert world.deliver("aab") == [1, 2]
    assert counts() == {"FailedChanges": 1, "HeldChanges": 1}
    refused, failed = log_lines()
    assert (refused["message"], refused["event_id"]) == ("change cannot be parked", "event-1")
    assert refused["error"]["text"].startswith("An error occurred (SlowDown)")
    assert (failed["message"], failed["error"]) == ("change failed", {"type": "PermanentError", "text": "never"})
    world.s3.failing = None
    assert world.deliver("aab") == []
    assert world.parked() == [1]


def test_parked_changes_are_counted_and_logged_and_the_items_next_change_runs(
    counts: Callable[[], dict[str, int]], log_lines: Lines
) -> None:
    world = World()
    world.trouble[1] = PermanentError("never")
    assert world.deliver("aab") == []
    assert world.applied == [3, 2]
    assert counts() == {"ParkedChanges": 1}
    (line,) = log_lines()
    fields: dict[str, Any] = {name: line[name] for name in ("message", "event_id", "table", "keys", "error")}
    assert fields == {
        "message": "change parked",
        "event_id": "event-1",
        "table": "orders",
        "keys": {"id": "a"},
        "error": {"type": "PermanentError", "text": "never"},
    }
