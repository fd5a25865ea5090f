"""Many failures in a row: what the handlers need is down, and what comes is held untried."""

from handler.stream import PermanentError
from tests.handler.conftest import Lines
from tests.handler.fakes import record
from tests.handler.world import FAILS, World


def outage(world: World, items: int = 20, start: int = 100) -> None:
    """So many items fail one after the other, for longer than a flood of bad items lasts."""
    for place in range(items):
        world.trouble[start + place] = FAILS
    if items > 1:
        world.trouble[start + items - 2] = world.trouble[start + items - 1] = world.takes(2.6, FAILS)
    records = [record(start + place, f"down-{start + place}") for place in range(items)]
    assert world.engine({"Records": records}) == {"batchItemFailures": []}
    world.ran.clear()


def test_after_20_failures_in_a_row_what_comes_is_held_untried(log_lines: Lines) -> None:
    world = World()
    outage(world)
    assert world.deliver("aba") == []
    assert (world.ran, world.waiting("a"), world.waiting("b")) == ([], [1, 3], [2])
    line = log_lines()[-1]
    assert (line["message"], line["attempts"]) == ("item held", 0)
    assert line["error"] == {"type": "UntriedError", "text": "the changes before it failed one after the other"}


def test_20_failures_within_5_seconds_are_no_outage() -> None:
    """A flood of bad items that come together is over by then, and its healthy neighbours are not held."""
    world = World()
    world.trouble = dict.fromkeys(range(1, 31), FAILS)
    world.engine({"Records": [record(number, f"item-{number}") for number in range(1, 31)]})
    assert set(world.ran) == set(range(1, 31))
    world.deliver("a", start=31)
    assert world.applied == [31]


def test_19_failures_in_a_row_are_no_outage() -> None:
    world = World()
    outage(world, 19)
    world.deliver("a")
    assert world.ran == [1]


def test_a_success_between_begins_the_row_anew() -> None:
    world = World()
    outage(world, 19)
    world.deliver("a")
    outage(world, 19, start=200)
    world.deliver("b", start=2)
    assert world.ran == [2]


def test_while_down_a_probe_every_10_seconds_is_tried_and_its_success_ends_it() -> None:
    world = World()
    outage(world)
    world.clock.now += 9.9
    world.deliver("a")
    assert world.ran == []
    world.clock.now += 0.1
    world.trouble[2] = FAILS
    world.deliver("bc", start=2)
    assert set(world.ran) == {2}
    assert (world.waiting("b"), world.waiting("c")) == ([2], [3])
    world.clock.now += 10
    world.deliver("def", start=4)
    assert world.applied == [4, 5, 6]


def test_a_permanent_error_is_neither_failure_nor_success() -> None:
    world = World()
    outage(world, 19)
    world.trouble[1] = PermanentError("never")
    world.deliver("a")
    outage(world, 1, start=300)
    world.deliver("b", start=2)
    assert world.ran == []


def test_another_environment_finds_out_by_itself() -> None:
    world = World()
    outage(world)
    world.engine = world.environment()
    world.deliver("a")
    assert world.applied == [1]


def test_without_a_ledger_nothing_is_left_untried() -> None:
    world = World(ledger_table="")
    world.trouble = dict.fromkeys(range(1, 30), FAILS)
    world.engine({"Records": [record(number, f"item-{number}") for number in range(1, 30)]})
    assert set(world.ran) == set(range(1, 30))


def test_a_retry_run_tries_what_is_due_while_down() -> None:
    world = World()
    outage(world)
    world.deliver("a")
    assert world.retry_later(1)["released"] == 1
