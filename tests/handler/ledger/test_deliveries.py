"""Records that may kill the function: their deliveries alone are counted, and the third is held unrun."""

import pytest

from handler.stream import PermanentError
from handler.stream.engine.workers import SimulatedCrash
from tests.fakes.aws import refused
from tests.fakes.records import record
from tests.handler.conftest import Lines
from tests.handler.harness import FAILS, ConsumerHarness


def alone(world: ConsumerHarness, times: int) -> None:
    """A batch of one is delivered so many times, and the function dies of it."""
    world.trouble[1] = SimulatedCrash()
    for _ in range(times):
        with pytest.raises(SimulatedCrash):
            world.deliver("a")


def test_the_third_delivery_of_an_old_record_alone_is_held_unrun_as_suspect(log_lines: Lines) -> None:
    world = ConsumerHarness()
    world.clock.now += 31
    alone(world, 2)
    world.ran.clear()
    assert world.deliver("a") == []
    assert (world.ran, world.waiting()) == ([], [1])
    assert world.held_row().is_suspect
    line = log_lines()[-1]
    assert (line["message"], line["attempts"]) == ("item held", 0)
    assert line["error"] == {
        "type": "SuspectError",
        "text": "2 deliveries of the record alone ended without a response",
    }
    assert world.ledger(f"alone#consumer#{record(1)['eventSourceARN']}") == {}


@pytest.mark.parametrize(
    ("window", "age", "counted"), [(0.0, 30, False), (0.0, 31, True), (300.0, 330, False), (300.0, 331, True)]
)
def test_a_delivery_counts_where_the_record_is_older_than_the_window_and_30_seconds(
    window: float, age: float, counted: bool
) -> None:
    world = ConsumerHarness(batching_window_seconds=window)
    world.clock.now += age
    alone(world, 1)
    rows = world.ledger(f"alone#consumer#{record(1)['eventSourceARN']}")
    assert [row["count"] for row in rows.values()] == [{"N": "1"}] * counted
    assert [row["expiry"] for row in rows.values()] == [{"N": str(int(world.clock()) + 48 * 3600)}] * counted


@pytest.mark.parametrize("end", [None, FAILS, PermanentError("never")])
def test_a_delivery_that_ends_with_an_answer_gives_its_count_back(end: Exception | None) -> None:
    world = ConsumerHarness()
    world.clock.now += 31
    alone(world, 2 - 1)
    world.trouble[1] = end
    assert world.deliver("a") == []
    assert world.ledger(f"alone#consumer#{record(1)['eventSourceARN']}") == {}


def test_a_record_in_a_larger_batch_is_not_counted() -> None:
    world = ConsumerHarness()
    world.clock.now += 31
    world.trouble[1] = SimulatedCrash()
    with pytest.raises(SimulatedCrash):
        world.deliver("ab")
    assert "UpdateItem alone" not in world.dynamodb.calls


def test_a_delivery_that_cannot_be_counted_is_not_run_and_comes_again(log_lines: Lines) -> None:
    world = ConsumerHarness()
    world.clock.now += 31
    world.dynamodb.on["UpdateItem alone"] = refused()
    assert world.deliver("a") == [1]
    assert world.ran == []
    assert log_lines()[-1]["message"] == "the ledger cannot count a delivery: the batch is reported"


def test_a_count_that_cannot_be_given_back_holds_nothing_up(log_lines: Lines) -> None:
    world = ConsumerHarness()
    world.clock.now += 31
    world.dynamodb.on["DeleteItem alone"] = refused()
    assert world.deliver("a") == []
    assert world.applied == [1]
    assert log_lines()[-1]["message"] == "the ledger cannot remove the count of a delivery"


def test_a_suspect_of_a_held_item_waits_behind_what_waits() -> None:
    world = ConsumerHarness()
    world.trouble[1] = FAILS
    world.deliver("a")
    world.clock.now += 60
    assert world.deliver("a", start=2) == []
    assert world.waiting() == [1, 2]
