"""Holds with rows that are missing, unreadable, of a newer format, or left over."""

import pytest

from tests.fakes.aws import before, in_turn, refused
from tests.fakes.records import STREAM
from tests.handler.conftest import Counts, Lines
from tests.handler.harness import FAILS, FIRST, NOTHING, ConsumerHarness, digest, with_held_item, with_mended_item


def key(number: int, part: int = 0) -> str:
    """Return the sort key of a change's row."""
    return f"{STREAM.rpartition('/')[2]}#{FIRST + number:040}#{part:04}"


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("damage", ["missing", "unreadable", "no record"])
def test_a_missing_or_unreadable_change_row_stops_only_its_item(
    number: int, damage: str, counts: Counts, log_lines: Lines
) -> None:
    harness = ConsumerHarness({1: FAILS, 11: FAILS})
    harness.deliver("aaa")
    harness.deliver("b", start=11)
    harness.mend()
    rows = harness.change_rows()
    match damage:
        case "missing":
            del rows[key(number)]
        case "unreadable":
            rows[key(number)]["record"] = {"B": b"nonsense"}
        case _:
            del rows[key(number)]["record"]
    counts()
    assert harness.retry(now=True) == NOTHING | {"held": 2, "due": 2, "tried": 1, "released": 1}
    assert harness.ran == [11]
    assert counts()["HoldBroken"] == 1
    broken = next(line for line in log_lines() if line["message"] == "hold broken")
    assert (broken["item"], broken["level"]) == (digest("a"), "ERROR")
    assert broken["error"]["type"] == "HoldBrokenError"
    row = harness.held_row()
    assert (row.owner, row.due) == (None, harness.clock() + 3600)
    assert harness.deliver("a", start=4) == []
    assert harness.ran == [11]


def test_a_change_that_is_missing_in_a_later_page_stops_its_item() -> None:
    harness = with_mended_item("a" * 12)
    harness.dynamodb.page_bytes = 1
    del harness.change_rows()[key(11)]
    harness.retry(now=True)
    assert harness.ran == []


def test_a_broken_item_continues_after_its_repair() -> None:
    harness = with_held_item("aa")
    rows = harness.change_rows()
    row = rows.pop(key(1))
    harness.trouble.clear()
    harness.retry(now=True)
    rows[key(1)] = row
    assert harness.retry(now=True)["released"] == 1
    assert harness.applied == [1, 2]


def test_a_retry_run_leaves_items_of_a_newer_format_alone(log_lines: Lines) -> None:
    harness = with_held_item("a")
    harness.make_newer()
    before_run = harness.row()
    assert harness.retry(now=True) == NOTHING | {"held": 1}
    assert (harness.ran, harness.row()) == ([], before_run)
    assert log_lines()[-1]["message"] == "a newer version of the engine holds items: this run leaves them alone"


# Batches


def test_a_batch_with_an_item_whose_hold_has_a_newer_format_is_reported(log_lines: Lines) -> None:
    """The report includes change 2, which the hold of another item has already settled."""
    harness = with_held_item("a")
    harness.trouble[2] = FAILS
    assert harness.deliver("b", start=2) == []
    harness.ran.clear()
    harness.make_newer()
    assert harness.deliver("bac", start=2) == [2, 3, 4]
    assert harness.ran == []
    line = log_lines()[-1]
    assert (line["message"], line["level"], line["item"]) == (
        "a newer version of the engine holds an item: the whole batch is reported",
        "ERROR",
        digest("a"),
    )


def test_another_items_hold_of_a_newer_format_is_ignored() -> None:
    harness = with_held_item("a")
    harness.make_newer()
    assert harness.deliver("b", start=2) == []
    assert harness.applied == [2]


def test_an_item_that_a_newer_engine_holds_meanwhile_is_reported() -> None:
    harness = ConsumerHarness({1: FAILS})

    def hold() -> None:
        harness.deliver("a")
        harness.make_newer()

    harness.dynamodb.on["UpdateItem hold"] = before(hold)
    assert harness.deliver("aba") == [1, 3]
    assert harness.applied == [2]


# Left-over rows


def test_a_released_items_rows_are_purged_after_an_hour() -> None:
    harness = with_mended_item("aa")
    harness.retry(now=True)
    harness.retry_later(59)
    assert harness.row() is not None
    harness.retry_later(1)
    assert harness.row() is None
    assert harness.change_rows() == {}


def hold_again(harness: ConsumerHarness) -> None:
    harness.trouble[3] = FAILS
    assert harness.deliver("a", start=3) == []


def test_a_purge_removes_left_over_changes_and_not_those_of_a_new_hold() -> None:
    harness = with_mended_item("aa")
    harness.dynamodb.on["BatchWriteItem change"] = refused()
    assert harness.retry(now=True)["released"] == 1
    assert len(harness.change_rows()) == 3
    del harness.dynamodb.on["BatchWriteItem change"]
    harness.dynamodb.on["DeleteItem hold"] = before(lambda: hold_again(harness))
    harness.retry_later(60)
    assert (harness.waiting(), harness.described()["error_type"]) == ([3], "ValueError")


def test_a_purge_leaves_a_change_row_that_a_new_hold_writes_meanwhile() -> None:
    """A failed hold has left a row of change 3, whose batch Lambda delivers again during the purge."""
    harness = with_mended_item("aa")
    harness.dynamodb.on["UpdateItem hold"] = in_turn(refused())
    assert harness.deliver("a", start=3) == [3]
    assert harness.retry(now=True)["released"] == 1
    assert key(3) in harness.change_rows()
    harness.dynamodb.on["DeleteItem change"] = before(lambda: hold_again(harness))
    harness.retry_later(60)
    assert harness.waiting() == [3]


def test_the_next_run_repeats_a_failed_purge(log_lines: Lines) -> None:
    harness = with_mended_item("a")
    harness.retry(now=True)
    harness.dynamodb.on["DeleteItem hold"] = refused()
    assert harness.retry_later(60) == NOTHING
    assert log_lines()[-1]["message"] == "the ledger cannot delete a released item: the next run tries again"
    harness.dynamodb.on.clear()
    harness.retry_later(1)
    assert harness.row() is None
