"""Records that may crash the function: one-record deliveries are counted, and the third is held untried."""

import pytest

from handler.stream import PermanentError
from handler.stream.engine.workers import SimulatedCrash
from tests.fakes.aws import refused
from tests.fakes.records import record
from tests.handler.conftest import Lines
from tests.handler.harness import FAILS, ConsumerHarness


def deliver_and_die(harness: ConsumerHarness, times: int) -> None:
    """Deliver a batch of one record; the function crashes each time."""
    harness.trouble[1] = SimulatedCrash()
    for _ in range(times):
        harness.deliver_and_crash("a")


def test_the_third_delivery_of_an_old_record_alone_is_held_unrun_as_suspect(log_lines: Lines) -> None:
    harness = ConsumerHarness(age=31)
    deliver_and_die(harness, 2)
    harness.ran.clear()
    assert harness.deliver("a") == []
    assert (harness.ran, harness.waiting()) == ([], [1])
    assert harness.held_row().is_suspect
    line = log_lines()[-1]
    assert (line["message"], line["attempts"]) == ("item held", 0)
    assert line["error"] == {
        "type": "SuspectError",
        "text": "2 deliveries of the record alone ended without a response",
    }
    assert harness.ledger(f"alone#consumer#{record(1)['eventSourceARN']}") == {}


@pytest.mark.parametrize(
    ("window", "age", "counted"), [(0.0, 30, False), (0.0, 31, True), (300.0, 330, False), (300.0, 331, True)]
)
def test_a_delivery_counts_where_the_record_is_older_than_the_window_and_30_seconds(
    window: float, age: float, counted: bool
) -> None:
    harness = ConsumerHarness(batching_window_seconds=window, age=age)
    deliver_and_die(harness, 1)
    rows = harness.ledger(f"alone#consumer#{record(1)['eventSourceARN']}")
    assert [row["count"] for row in rows.values()] == [{"N": "1"}] * counted
    assert [row["expiry"] for row in rows.values()] == [{"N": str(int(harness.clock()) + 48 * 3600)}] * counted


@pytest.mark.parametrize("end", [None, FAILS, PermanentError("never")])
def test_a_delivery_that_ends_with_an_answer_gives_its_count_back(end: Exception | None) -> None:
    harness = ConsumerHarness(age=31)
    deliver_and_die(harness, 1)
    harness.trouble[1] = end
    assert harness.deliver("a") == []
    assert harness.ledger(f"alone#consumer#{record(1)['eventSourceARN']}") == {}


def test_a_record_in_a_larger_batch_is_not_counted() -> None:
    harness = ConsumerHarness({1: SimulatedCrash()}, age=31)
    harness.deliver_and_crash("ab")
    assert "UpdateItem alone" not in harness.dynamodb.calls


@pytest.mark.parametrize(
    ("call", "reported", "message"),
    [
        ("UpdateItem alone", [1], "the ledger cannot count a delivery: the batch is reported"),
        ("DeleteItem alone", [], "the ledger cannot remove the count of a delivery"),
    ],
)
def test_a_delivery_that_cannot_be_counted_comes_again_unrun_and_a_count_that_stays_holds_nothing_up(
    call: str, reported: list[int], message: str, log_lines: Lines
) -> None:
    harness = ConsumerHarness(age=31, on={call: refused()})
    assert harness.deliver("a") == reported
    assert harness.ran == harness.applied == [1][len(reported) :]
    assert log_lines()[-1]["message"] == message


def test_a_suspect_of_a_held_item_waits_behind_what_waits() -> None:
    harness = ConsumerHarness({1: FAILS})
    harness.deliver("a")
    harness.clock.now += 60
    assert harness.deliver("a", start=2) == []
    assert harness.waiting() == [1, 2]


@pytest.mark.parametrize(("version", "reported"), [(None, []), ({"N": "1"}, []), ({"N": "2"}, [1])])
def test_a_count_without_a_format_is_counted_on_and_one_of_a_newer_format_is_left(
    version: dict[str, str] | None, reported: list[int]
) -> None:
    harness = ConsumerHarness(age=31)
    deliver_and_die(harness, 1)
    harness.trouble.clear()
    [row] = harness.ledger(f"alone#consumer#{record(1)['eventSourceARN']}").values()
    assert row.pop("v") == {"N": "1"}
    if version:
        row["v"] = version
    assert harness.deliver("a") == reported
