"""Records that may crash the function: one-record deliveries are counted, and the third is held untried."""

from typing import Any

import pytest

from handler.stream import PermanentError
from handler.stream.engine.workers import SimulatedCrash
from tests.fakes.aws import refused
from tests.fakes.records import STREAM
from tests.handler.conftest import Lines
from tests.handler.harness import FAILS, ConsumerHarness

ALONE = f"alone#consumer#{STREAM}"


def crashed(times: int = 1, age: float = 31, **settings: Any) -> ConsumerHarness:
    """Return a harness whose function crashed on each of so many deliveries of one record alone."""
    harness = ConsumerHarness({1: SimulatedCrash()}, age=age, **settings)
    for _ in range(times):
        harness.deliver_and_crash("a")
    harness.mend()
    return harness


def test_the_third_delivery_of_an_old_record_alone_is_held_unrun_as_suspect(log_lines: Lines) -> None:
    harness = crashed(2)
    assert harness.deliver("a") == []
    assert (harness.ran, harness.waiting()) == ([], [1])
    assert harness.held_row().is_suspect
    line = log_lines()[-1]
    assert (line["message"], line["attempts"]) == ("item held", 0)
    text = "2 deliveries of the record alone ended without a response"
    assert line["error"] == {"type": "SuspectError", "text": text}
    assert harness.ledger(ALONE) == {}


@pytest.mark.parametrize(
    ("window", "age", "counted"), [(0.0, 30, False), (0.0, 31, True), (300.0, 330, False), (300.0, 331, True)]
)
def test_a_delivery_counts_where_the_record_is_older_than_the_window_and_30_seconds(
    window: float, age: float, counted: bool
) -> None:
    harness = crashed(age=age, batching_window_seconds=window)
    rows = harness.ledger(ALONE)
    assert [row["count"] for row in rows.values()] == [{"N": "1"}] * counted
    assert [row["expiry"] for row in rows.values()] == [{"N": str(int(harness.clock()) + 48 * 3600)}] * counted


@pytest.mark.parametrize("end", [None, FAILS, PermanentError("never")])
def test_a_delivery_that_ends_with_an_answer_gives_its_count_back(end: Exception | None) -> None:
    harness = crashed()
    harness.trouble[1] = end
    assert harness.deliver("a") == []
    assert harness.ledger(ALONE) == {}


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
    harness = crashed()
    [row] = harness.ledger(ALONE).values()
    assert row.pop("v") == {"N": "1"}
    if version:
        row["v"] = version
    assert harness.deliver("a") == reported
