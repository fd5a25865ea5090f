"""Holds whose rows are missing, unreadable, of a newer version, or left over."""

import pytest

from tests.handler.conftest import Counts, Lines
from tests.handler.fakes import STREAM, before, in_turn, refused
from tests.handler.world import FAILS, FIRST, World, digest, held, mended

NOTHING = {"held": 0, "due": 0, "tried": 0, "released": 0, "parked": 0}


def key(number: int, part: int = 0) -> str:
    """The sort key of a change's row."""
    return f"{STREAM.rpartition('/')[2]}#{FIRST + number:040}#{part:04}"


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("damage", ["missing", "unreadable", "no record"])
def test_a_change_row_that_is_missing_or_unreadable_stops_its_item_and_nothing_else(
    number: int, damage: str, counts: Counts, log_lines: Lines
) -> None:
    world = World()
    world.trouble = {1: FAILS, 11: FAILS}
    world.deliver("aaa")
    world.deliver("b", start=11)
    world.trouble.clear()
    world.ran.clear()
    rows = world.ledger(f"hold#consumer#{digest('a')}")
    match damage:
        case "missing":
            del rows[key(number)]
        case "unreadable":
            rows[key(number)]["record"] = {"B": b"nonsense"}
        case _:
            del rows[key(number)]["record"]
    counts()
    assert world.retry(now=True) == NOTHING | {"held": 2, "due": 2, "tried": 1, "released": 1}
    assert world.ran == [11]
    assert counts()["HoldBroken"] == 1
    broken = next(line for line in log_lines() if line["message"] == "hold broken")
    assert (broken["item"], broken["level"]) == (digest("a"), "ERROR")
    assert broken["error"]["type"] == "HoldBrokenError"
    row = world.held_row()
    assert (row.owner, row.due) == (None, world.clock() + 3600)
    assert world.deliver("a", start=4) == []
    assert world.ran == [11]


def test_a_broken_item_that_is_repaired_goes_on() -> None:
    world = held("aa")
    rows = world.ledger(f"hold#consumer#{digest('a')}")
    row = rows.pop(key(1))
    world.trouble.clear()
    world.retry(now=True)
    rows[key(1)] = row
    assert world.retry(now=True)["released"] == 1
    assert world.applied == [1, 2]


def test_items_of_a_newer_version_are_left_to_it(log_lines: Lines) -> None:
    world = held("a")
    world.ledger("hold#consumer")[digest("a")]["v"] = {"N": "2"}
    before_run = world.row()
    assert world.retry(now=True) == NOTHING | {"held": 1}
    assert (world.ran, world.row()) == ([], before_run)
    assert log_lines()[-1]["message"] == "a newer version is at work: the items that it holds are left to it"


# Batches


def newer(world: World) -> None:
    world.ledger("hold#consumer")[digest("a")]["v"] = {"N": "2"}


def test_a_batch_with_an_item_whose_hold_is_of_a_newer_version_is_reported(log_lines: Lines) -> None:
    world = held("a")
    newer(world)
    assert world.deliver("bac", start=2) == [2, 3, 4]
    assert world.ran == []
    line = log_lines()[-1]
    assert (line["message"], line["level"], line["item"]) == (
        "a newer version is at work: the whole batch comes again",
        "ERROR",
        digest("a"),
    )


def test_another_items_row_of_a_newer_version_is_nobodys_business() -> None:
    world = held("a")
    newer(world)
    assert world.deliver("b", start=2) == []
    assert world.applied == [2]


def test_an_item_that_a_newer_version_holds_meanwhile_comes_again() -> None:
    world = World()
    world.trouble[1] = FAILS

    def hold() -> None:
        world.deliver("a")
        newer(world)

    world.dynamodb.on["UpdateItem hold"] = before(hold)
    assert world.deliver("aba") == [1, 3]
    assert world.applied == [2]


# What is left over


def test_a_released_items_rows_are_purged_after_an_hour() -> None:
    world = mended("aa")
    world.retry(now=True)
    world.retry_later(59)
    assert world.row() is not None
    world.retry_later(1)
    assert world.row() is None
    assert world.ledger(f"hold#consumer#{digest('a')}") == {}


def test_a_purge_removes_changes_that_a_death_has_left_and_not_those_of_a_new_hold() -> None:
    world = mended("aa")
    world.dynamodb.on["BatchWriteItem change"] = refused()
    assert world.retry(now=True)["released"] == 1
    assert len(world.ledger(f"hold#consumer#{digest('a')}")) == 3
    del world.dynamodb.on["BatchWriteItem change"]

    def hold_again() -> None:
        world.trouble[3] = FAILS
        assert world.deliver("a", start=3) == []

    world.dynamodb.on["DeleteItem hold"] = before(hold_again)
    world.retry_later(60)
    assert world.waiting() == [3]
    assert world.described()["error_type"] == "ValueError"


def test_a_purge_leaves_a_change_row_that_a_new_hold_has_written_again_meanwhile() -> None:
    """The change's row was there, uncounted: its batch was reported, and comes again while the purge is under way."""
    world = mended("aa")
    world.dynamodb.on["UpdateItem hold"] = in_turn(refused())
    assert world.deliver("a", start=3) == [3]
    assert world.retry(now=True)["released"] == 1
    assert key(3) in world.ledger(f"hold#consumer#{digest('a')}")

    def hold_again() -> None:
        world.trouble[3] = FAILS
        assert world.deliver("a", start=3) == []

    world.dynamodb.on["DeleteItem change"] = before(hold_again)
    world.retry_later(60)
    assert world.waiting() == [3]


def test_a_purge_that_fails_is_the_next_runs(log_lines: Lines) -> None:
    world = mended("a")
    world.retry(now=True)
    world.dynamodb.on["DeleteItem hold"] = refused()
    assert world.retry_later(60) == NOTHING
    assert log_lines()[-1]["message"] == "the ledger cannot remove a released item: the next run does"
    world.dynamodb.on.clear()
    world.retry_later(1)
    assert world.row() is None
