"""Requests of an operator: skip an item's first waiting change, or redrive parked changes."""

from collections.abc import Callable
from typing import Any

import pytest

from handler.stream.engine.batch import InvalidBatchError
from handler.stream.engine.workers import SimulatedCrash
from handler.stream.failures import read_failure
from tests.fakes.aws import answered, before, in_turn, refusal, refused
from tests.fakes.records import STREAM, record
from tests.handler.conftest import Counts
from tests.handler.harness import FAILS, FIRST, ConsumerHarness, digest, with_mended_item

LATER = STREAM.replace("2026-01-01", "2026-02-01")


def redrive(world: ConsumerHarness, *numbers: int, item: str = "a", stream: str = STREAM) -> dict[str, Any]:
    return world.ask("redrive", records=[record(number, item, stream=stream) for number in numbers])


def named(number: int) -> dict[str, Any]:
    return {
        "event_id": f"event-{number}",
        "event_name": "MODIFY",
        "table": "orders",
        "keys": {"id": "a"},
        "sequence_number": str(FIRST + number),
    }


def test_skip_parks_the_first_waiting_change_and_makes_the_item_due(counts: Counts) -> None:
    world = with_mended_item("aaa")
    counts()
    assert world.ask("skip", item=digest("a")) == {"skipped": True, "change": named(1)}
    assert (world.parked(), world.waiting(), world.ran) == ([1], [2, 3], [])
    assert counts() == {"ParkedChanges": 1}
    [body] = world.s3.objects.values()
    assert (read_failure(body).condition, read_failure(body).error) == (
        "Skipped",
        "SkippedError: an operator skipped it",
    )
    row = world.held_row()
    assert (row.owner, row.due, row.since, row.waiting, row.deaths) == (None, world.clock(), world.clock(), 2, 0)
    assert world.retry()["released"] == 1
    assert world.applied == [2, 3]


def test_skipping_the_last_waiting_change_releases_the_item() -> None:
    world = with_mended_item("a")
    assert world.ask("skip", item=digest("a"))["skipped"] is True
    row = world.row()
    assert row is not None
    assert row.state == "done"
    assert world.deliver("a", start=2) == []
    assert world.applied == [2]


def test_skip_says_that_no_such_item_is_held() -> None:
    world = with_mended_item("a")
    world.retry(now=True)
    for name in (digest("a"), digest("b"), "x"):
        assert world.ask("skip", item=name) == {"skipped": False, "reason": f"no item {name} is held"}


def leave_leased(world: ConsumerHarness) -> None:
    """A retry run crashes during change 1."""
    world.trouble[1] = SimulatedCrash()
    with pytest.raises(SimulatedCrash):
        world.retry(now=True)


def make_newer(world: ConsumerHarness) -> None:
    """A newer version of the engine holds the item."""
    world.ledger("hold#consumer")[digest("a")]["v"] = {"N": "2"}


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (leave_leased, "a retry run is at work on the item: try again in a minute"),
        (make_newer, "a newer version of the engine holds the item"),
    ],
)
def test_skip_leaves_an_item_to_the_run_or_the_version_that_has_it(
    prepare: Callable[[ConsumerHarness], None], reason: str
) -> None:
    world = with_mended_item("aaa")
    prepare(world)
    before_skip = world.row()
    assert world.ask("skip", item=digest("a")) == {"skipped": False, "reason": reason}
    assert (world.parked(), world.row()) == ([], before_skip)


def test_skip_ends_the_deaths_of_an_item() -> None:
    world = with_mended_item("aaa")
    leave_leased(world)
    world.clock.now += 66
    assert world.ask("skip", item=digest("a"))["skipped"] is True
    assert world.held_row().is_suspect is False


def test_skip_says_where_the_failure_store_refuses_and_leaves_the_change_first() -> None:
    world = with_mended_item("aaa")
    world.s3.failing = refusal("AccessDenied")
    answer = world.ask("skip", item=digest("a"))
    assert answer == {"skipped": False, "change": named(1), "reason": "the failure store refuses it: the log says why"}
    assert (world.waiting(), world.held_row().owner) == ([1, 2, 3], None)


def test_skip_says_that_a_hold_is_broken() -> None:
    world = with_mended_item("aaa")
    del world.ledger(f"hold#consumer#{digest('a')}")[f"{STREAM.rpartition('/')[2]}#{FIRST + 1:040}#0000"]
    answer = world.ask("skip", item=digest("a"))
    assert answer["skipped"] is False
    assert answer["reason"].startswith("the hold is broken: ")
    assert world.held_row().owner is None


def test_a_redriven_change_of_an_item_that_is_not_held_makes_a_hold_that_is_due() -> None:
    world = ConsumerHarness()
    assert redrive(world, 1) == {"held": ["event-1"], "refused": []}
    row = world.held_row()
    assert (row.next, row.tail, row.waiting, row.due, row.since) == (None, "", 0, world.clock(), world.clock())
    assert (world.described()["keys"], world.described()["error_type"]) == ('{"id": {"S": "a"}}', "Redriven")
    assert world.retry() == {"held": 1, "due": 1, "tried": 1, "released": 1, "parked": 0}
    assert world.applied == [1]
    assert world.waiting() == []


def test_redriven_changes_run_before_those_that_wait_and_are_newer_whatever_their_stream() -> None:
    world = ConsumerHarness()
    world.trouble[5] = FAILS
    world.deliver("aa", start=5)
    world.trouble.clear()
    world.ran.clear()
    redrive(world, 9, 1)
    redrive(world, 2, stream=LATER)
    assert world.retry()["released"] == 1
    assert world.applied == [1, 5, 6, 9, 2]


def test_redriven_changes_make_their_item_due() -> None:
    world = with_mended_item("aaa")
    world.clock.now += 4000
    world.trouble[1] = FAILS
    world.retry()
    assert world.held_row().due > world.clock()
    redrive(world, 9)
    assert world.held_row().due == world.clock()


def test_a_redriven_change_never_looks_at_tails_and_leaves_them() -> None:
    """The redriven change runs although the item's hold has settled later changes."""
    world = with_mended_item("aaa")
    world.retry(now=True)
    world.applied.clear()
    tail = world.row()
    assert tail is not None
    redrive(world, 2)
    assert world.held_row().tail == tail.tail
    assert world.retry()["released"] == 1
    assert world.applied == [2]
    after = world.row()
    assert after is not None
    assert (after.tail, after.tail_at) == (tail.tail, tail.tail_at)


def test_the_streams_changes_wait_behind_a_redriven_one() -> None:
    world = ConsumerHarness()
    redrive(world, 1)
    assert world.deliver("aa", start=2) == []
    assert (world.ran, world.waiting()) == ([], [1, 2, 3])
    assert world.retry()["released"] == 1
    assert world.applied == [1, 2, 3]


def test_a_redriven_change_that_fails_waits_like_any_other() -> None:
    world = ConsumerHarness()
    redrive(world, 1, 2)
    world.trouble[1] = FAILS
    assert world.retry()["released"] == 0
    row = world.held_row()
    assert (row.due, row.owner, world.waiting()) == (world.clock() + 60, None, [1, 2])
    assert world.described()["tries"] == "1"
    world.trouble.clear()
    world.retry_later(1)
    assert world.applied == [1, 2]


@pytest.mark.parametrize("end", ["fails", "succeeds", "takes long"])
def test_a_change_of_the_stream_that_arrives_while_a_redriven_one_runs_disturbs_nothing(end: str) -> None:
    world = ConsumerHarness()
    redrive(world, 1, 2)

    def arrive() -> None:
        assert world.deliver("a", start=5) == []
        if end == "takes long":
            world.clock.now += 2
        if end == "fails":
            raise FAILS

    world.trouble[1] = [arrive]
    world.retry()
    if end == "fails":
        row = world.held_row()
        assert (row.owner, row.deaths, row.lease) == (None, 0, 0)
        world.retry_later(1)
    assert world.applied == [1, 2, 5]
    assert world.waiting() == []


@pytest.mark.parametrize("seconds", [0, 2])
def test_a_change_that_is_redriven_during_the_turn_runs_in_it(seconds: int) -> None:
    """Also if the turn saves its progress afterwards, and so reads the row that counts the redrive."""
    world = with_mended_item("aa")

    def redrive_meanwhile() -> None:
        redrive(world, 9)
        world.clock.now += seconds

    world.trouble[2] = redrive_meanwhile
    assert world.retry(now=True)["released"] == 1
    assert world.applied == [1, 2, 9]


def test_a_change_that_is_redriven_between_the_last_one_and_the_release_runs_too() -> None:
    world = with_mended_item("a")
    world.dynamodb.on["UpdateItem hold"] = in_turn(answered, before(lambda: redrive(world, 9)))
    assert world.retry(now=True)["released"] == 1
    assert world.applied == [1, 9]
    assert world.waiting() == []


def test_the_same_change_twice_in_a_request_runs_once() -> None:
    """Both the mapping's and the engine's failure record may contain the change."""
    world = ConsumerHarness()
    assert redrive(world, 1, 1)["held"] in (["event-1"], ["event-1", "event-1"])
    world.retry()
    assert world.applied == [1]


def test_items_are_redriven_each_by_itself() -> None:
    world = ConsumerHarness()
    records = [record(1), record(2, "b"), record(3)]
    world.dynamodb.on["BatchWriteItem change"] = in_turn(refused("ThrottlingException"))
    answer = world.ask("redrive", records=records)
    assert answer["held"] == ["event-2"]
    assert [each["event_id"] for each in answer["refused"]] == ["event-1", "event-3"]
    assert all(each["reason"].startswith("ClientError: ") for each in answer["refused"])
    assert (world.row("a"), world.waiting("b")) == (None, [2])


def test_redrive_leaves_an_item_of_a_newer_version_to_it() -> None:
    world = with_mended_item("a")
    make_newer(world)
    before_redrive = world.row()
    reason = "a newer version of the engine holds its item"
    assert redrive(world, 9) == {"held": [], "refused": [{"event_id": "event-9", "reason": reason}]}
    assert world.row() == before_redrive


@pytest.mark.parametrize("records", [None, [], {}, [{}], [record(1), {"body": "from a queue"}], [record(1, Keys={})]])
def test_what_is_no_list_of_stream_records_is_refused_before_anything_is_written(records: Any) -> None:
    world = ConsumerHarness()
    with pytest.raises(InvalidBatchError):
        world.ask("redrive", records=records)
    assert world.dynamodb.calls == []


def test_a_redriven_change_can_be_parked_and_skipped() -> None:
    world = ConsumerHarness()
    redrive(world, 1, 2)
    assert world.ask("skip", item=digest("a"))["skipped"] is True
    assert (world.parked(), world.waiting()) == ([1], [2])


def test_the_handler_can_tell_a_redriven_change() -> None:
    world = ConsumerHarness()
    seen = list[str]()
    world.look = lambda change: seen.append(change.origin)
    redrive(world, 1)
    world.deliver("a", start=2)
    world.retry()
    assert seen == ["redrive", "stream"]


def test_a_redriven_change_is_given_up_by_its_own_time() -> None:
    """The changes that wait behind it may have failed for a week."""
    world = with_mended_item("a")
    world.trouble = {1: FAILS, -5: FAILS}
    world.clock.now += 7 * 86_400
    redrive(world, -5)
    world.retry()
    assert world.parked() == []


def test_the_row_of_an_item_that_only_had_redriven_changes_is_purged_and_keeps_no_other_from_it() -> None:
    world = ConsumerHarness()
    redrive(world, 1)
    redrive(world, 2, item="b")
    assert world.retry()["released"] == 2
    world.retry_later(60)
    assert (world.row("a"), world.row("b")) == (None, None)
    assert world.ledger(f"hold#consumer#{digest('a')}") == {}
