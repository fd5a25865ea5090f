"""Requests of an operator: skip an item's first waiting change, or redrive parked changes."""

from collections.abc import Callable
from typing import Any

import pytest

from handler.stream.change import PermanentError
from handler.stream.engine.batch import InvalidBatchError
from handler.stream.engine.workers import SimulatedCrash
from tests.fakes.aws import answered, before, in_turn, refusal, refused
from tests.fakes.records import STREAM, record
from tests.handler.conftest import Counts
from tests.handler.harness import FAILS, FIRST, ConsumerHarness, digest, with_mended_item

LATER = STREAM.replace("2026-01-01", "2026-02-01")


def redrive(harness: ConsumerHarness, *numbers: int, item: str = "a", stream: str = STREAM) -> dict[str, Any]:
    return harness.ask("redrive", records=[record(number, item, stream=stream) for number in numbers])


def named(number: int) -> dict[str, Any]:
    return {
        "event_id": f"event-{number}",
        "event_name": "MODIFY",
        "table": "orders",
        "keys": {"id": "a"},
        "sequence_number": str(FIRST + number),
    }


def test_skip_parks_the_first_waiting_change_and_makes_the_item_due(counts: Counts) -> None:
    harness = with_mended_item("aaa")
    counts()
    assert harness.ask("skip", item=digest("a")) == {"skipped": True, "change": named(1)}
    assert (harness.parked(), harness.waiting(), harness.ran) == ([1], [2, 3], [])
    assert counts() == {"ParkedChanges": 1}
    failure = harness.failure()
    assert (failure.condition, failure.error) == ("Skipped", "SkippedError: an operator skipped it")
    row = harness.held_row()
    assert (row.owner, row.due, row.since, row.waiting, row.deaths) == (None, harness.clock(), harness.clock(), 2, 0)
    assert harness.retry()["released"] == 1
    assert harness.applied == [2, 3]


def test_skipping_the_last_waiting_change_releases_the_item() -> None:
    harness = with_mended_item("a")
    assert harness.ask("skip", item=digest("a"))["skipped"] is True
    assert harness.ledger("hold#consumer")[digest("a")]["state"] == {"S": "done"}
    assert harness.deliver("a", start=2) == []
    assert harness.applied == [2]


def test_skip_says_that_no_such_item_is_held() -> None:
    harness = with_mended_item("a")
    harness.retry(now=True)
    for name in (digest("a"), digest("b"), "x"):
        assert harness.ask("skip", item=name) == {"skipped": False, "reason": f"no item {name} is held"}


def leave_leased(harness: ConsumerHarness) -> None:
    """A retry run crashes during change 1."""
    harness.trouble[1] = SimulatedCrash()
    harness.retry_and_crash(now=True)


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (leave_leased, "a retry run is at work on the item: try again in a minute"),
        (ConsumerHarness.make_newer, "a newer version of the engine holds the item"),
    ],
)
def test_skip_leaves_an_item_to_the_run_or_the_version_that_has_it(
    prepare: Callable[[ConsumerHarness], None], reason: str
) -> None:
    harness = with_mended_item("aaa")
    prepare(harness)
    before_skip = harness.row()
    assert harness.ask("skip", item=digest("a")) == {"skipped": False, "reason": reason}
    assert (harness.parked(), harness.row()) == ([], before_skip)


def test_skip_ends_the_deaths_of_an_item() -> None:
    harness = with_mended_item("aaa")
    leave_leased(harness)
    harness.clock.now += 66
    assert harness.ask("skip", item=digest("a"))["skipped"] is True
    assert harness.held_row().is_suspect is False


def test_skip_says_where_the_failure_store_refuses_and_leaves_the_change_first() -> None:
    harness = with_mended_item("aaa")
    harness.s3.failing = refusal("AccessDenied")
    answer = harness.ask("skip", item=digest("a"))
    assert answer == {"skipped": False, "change": named(1), "reason": "the failure bucket refuses it: the log says why"}
    assert (harness.waiting(), harness.held_row().owner) == ([1, 2, 3], None)


def test_skip_says_that_a_hold_is_broken() -> None:
    harness = with_mended_item("aaa")
    del harness.change_rows()[f"{STREAM.rpartition('/')[2]}#{FIRST + 1:040}#0000"]
    answer = harness.ask("skip", item=digest("a"))
    assert answer["skipped"] is False
    assert answer["reason"].startswith("the hold is broken: ")
    assert harness.held_row().owner is None


def test_a_redriven_change_of_an_item_that_is_not_held_makes_a_hold_that_is_due() -> None:
    harness = ConsumerHarness()
    assert redrive(harness, 1) == {"at": harness.clock(), "held": ["event-1"], "refused": []}
    row = harness.held_row()
    assert (row.next, row.tail, row.waiting, row.due, row.since) == (None, "", 0, harness.clock(), harness.clock())
    assert (harness.described()["keys"], harness.described()["error_type"]) == ('{"id": {"S": "a"}}', "Redriven")
    assert harness.retry() == {"held": 1, "due": 1, "tried": 1, "released": 1, "parked": 0}
    assert (harness.applied, harness.waiting()) == ([1], [])


def test_redriven_changes_run_before_those_that_wait_and_are_newer_whatever_their_stream() -> None:
    harness = ConsumerHarness({5: FAILS})
    harness.deliver("aa", start=5)
    harness.mend()
    redrive(harness, 9, 1)
    redrive(harness, 2, stream=LATER)
    assert harness.retry()["released"] == 1
    assert harness.applied == [1, 5, 6, 9, 2]


def test_redriven_changes_make_their_item_due() -> None:
    harness = with_mended_item("aaa")
    harness.clock.now += 4000
    harness.trouble[1] = FAILS
    harness.retry()
    assert harness.held_row().due > harness.clock()
    redrive(harness, 9)
    assert harness.held_row().due == harness.clock()


def test_a_redriven_change_never_looks_at_tails_and_leaves_them() -> None:
    """The redriven change runs although the item's hold has settled later changes."""
    harness = with_mended_item("aaa")
    harness.retry(now=True)
    harness.applied.clear()
    row = harness.ledger("hold#consumer")[digest("a")]
    tails = row["tail"], row["tail_at"]
    redrive(harness, 2)
    assert harness.held_row().tail == tails[0]["S"]
    assert harness.retry()["released"] == 1
    row = harness.ledger("hold#consumer")[digest("a")]
    assert (harness.applied, row["tail"], row["tail_at"]) == ([2], *tails)


def test_the_streams_changes_wait_behind_a_redriven_one() -> None:
    harness = ConsumerHarness()
    redrive(harness, 1)
    assert harness.deliver("aa", start=2) == []
    assert (harness.ran, harness.waiting()) == ([], [1, 2, 3])
    assert harness.retry()["released"] == 1
    assert harness.applied == [1, 2, 3]


def test_a_redriven_change_that_fails_waits_like_any_other() -> None:
    harness = ConsumerHarness()
    redrive(harness, 1, 2)
    harness.trouble[1] = FAILS
    assert harness.retry()["released"] == 0
    row = harness.held_row()
    assert (row.due, row.owner, harness.waiting()) == (harness.clock() + 60, None, [1, 2])
    assert harness.described()["tries"] == "1"
    harness.trouble.clear()
    harness.retry_later(1)
    assert harness.applied == [1, 2]


@pytest.mark.parametrize("end", ["fails", "succeeds", "takes long"])
def test_a_change_of_the_stream_that_arrives_while_a_redriven_one_runs_disturbs_nothing(end: str) -> None:
    harness = ConsumerHarness()
    redrive(harness, 1, 2)

    def arrive() -> None:
        assert harness.deliver("a", start=5) == []
        if end == "takes long":
            harness.clock.now += 2
        if end == "fails":
            raise FAILS

    harness.trouble[1] = [arrive]
    harness.retry()
    if end == "fails":
        row = harness.held_row()
        assert (row.owner, row.deaths, row.lease) == (None, 0, 0)
        harness.retry_later(1)
    assert (harness.applied, harness.waiting()) == ([1, 2, 5], [])


@pytest.mark.parametrize("seconds", [0, 2])
def test_a_change_that_is_redriven_during_the_turn_runs_in_it(seconds: int) -> None:
    """Also if the turn saves its progress afterwards, and so reads the row that counts the redrive."""
    harness = with_mended_item("aa")

    def redrive_meanwhile() -> None:
        redrive(harness, 9)
        harness.clock.now += seconds

    harness.trouble[2] = redrive_meanwhile
    assert harness.retry(now=True)["released"] == 1
    assert harness.applied == [1, 2, 9]


def test_a_change_that_is_redriven_between_the_last_one_and_the_release_runs_too() -> None:
    harness = with_mended_item("a")
    harness.dynamodb.on["UpdateItem hold"] = in_turn(answered, before(lambda: redrive(harness, 9)))
    assert harness.retry(now=True)["released"] == 1
    assert (harness.applied, harness.waiting()) == ([1, 9], [])


def test_the_same_change_twice_in_a_request_runs_once() -> None:
    """Both the mapping's and the engine's failure record may contain the change."""
    harness = ConsumerHarness()
    assert redrive(harness, 1, 1)["held"] in (["event-1"], ["event-1", "event-1"])
    harness.retry()
    assert harness.applied == [1]


def test_items_are_redriven_each_by_itself() -> None:
    harness = ConsumerHarness()
    records = [record(1), record(2, "b"), record(3)]
    harness.dynamodb.on["UpdateItem hold"] = in_turn(refused("ThrottlingException"))
    answer = harness.ask("redrive", records=records)
    assert answer["held"] == ["event-2"]
    assert [each["event_id"] for each in answer["refused"]] == ["event-1", "event-3"]
    assert all(each["reason"].startswith("ClientError: ") for each in answer["refused"])
    assert (harness.row("a"), harness.waiting("b")) == (None, [2])


def test_a_refused_write_of_rows_refuses_the_items_of_its_group_and_no_other() -> None:
    """25 rows fit a group: 12 items with their descriptions, then two items."""
    harness = ConsumerHarness()
    harness.dynamodb.on["BatchWriteItem change"] = in_turn(refused("ThrottlingException"))
    answer = harness.ask("redrive", records=[record(number, f"item-{number}") for number in range(14)])
    assert [each["event_id"] for each in answer["refused"]] == [f"event-{number}" for number in range(12)]
    assert answer["held"] == ["event-12", "event-13"]
    assert [item for item in range(14) if harness.row(f"item-{item}")] == [12, 13]


def test_an_item_costs_one_conditional_write_and_a_share_of_the_batch_calls() -> None:
    harness = with_mended_item("a")
    harness.dynamodb.calls.clear()
    harness.ask("redrive", records=[record(9), *(record(number, f"item-{number}") for number in range(20, 31))])
    writes = ["BatchGetItem hold", "BatchWriteItem change", *["UpdateItem hold"] * 12]
    assert sorted(harness.dynamodb.calls) == writes


def test_redrive_keeps_the_description_of_an_item_that_is_held() -> None:
    harness = with_mended_item("a")
    before_redrive = harness.described()
    redrive(harness, 9)
    assert harness.described() == before_redrive


@pytest.mark.parametrize("meanwhile", ["held", "released", "held at an earlier change"])
def test_an_item_that_changes_between_the_read_and_the_write_is_redriven_too(meanwhile: str) -> None:
    harness = ConsumerHarness() if meanwhile.startswith("held") else with_mended_item("a", minute_seconds=1)

    def change() -> None:
        if meanwhile == "released":
            assert harness.retry(now=True)["released"] == 1
            harness.applied.clear()
        else:
            number = 5 if meanwhile == "held" else -5
            harness.trouble[number] = FAILS
            harness.deliver("a", start=number)

    harness.dynamodb.on["BatchWriteItem change"] = before(change)
    assert redrive(harness, 2)["held"] == ["event-2"]
    harness.mend()
    harness.applied.clear()
    assert harness.retry(now=True)["released"] == 1
    assert harness.applied == {"held": [2, 5], "released": [2], "held at an earlier change": [-5, 2]}[meanwhile]


def test_an_item_that_changes_during_each_attempt_is_refused() -> None:
    harness = ConsumerHarness()
    conflict = refused("ConditionalCheckFailedException")
    harness.dynamodb.on["UpdateItem hold"] = in_turn(conflict, conflict, conflict)
    [refusal] = redrive(harness, 1)["refused"]
    assert refusal == {"event_id": "event-1", "reason": "its item was held and released again during each attempt"}


def test_a_redriven_change_that_is_parked_again_overwrites_its_object() -> None:
    """The engine keeps the first object in every other case: its lifetime counts from the first failure."""
    harness = ConsumerHarness({1: PermanentError("no template")})
    harness.deliver("a")
    assert harness.failure().error == "PermanentError: no template"
    harness.trouble[1] = PermanentError("still no template")
    redrive(harness, 1)
    assert harness.retry()["parked"] == 1
    assert harness.failure().error == "PermanentError: still no template"
    harness.trouble[1] = PermanentError("again")
    harness.deliver("a")
    assert harness.failure().error == "PermanentError: still no template"


def test_redrive_leaves_an_item_of_a_newer_version_to_it() -> None:
    harness = with_mended_item("a")
    harness.make_newer()
    before_redrive = harness.row()
    reason = "a newer version of the engine holds its item"
    refusals = [{"event_id": "event-9", "reason": reason}]
    assert redrive(harness, 9) == {"at": harness.clock(), "held": [], "refused": refusals}
    assert harness.row() == before_redrive


@pytest.mark.parametrize("records", [None, [], {}, [{}], [record(1), {"body": "from a queue"}], [record(1, Keys={})]])
def test_what_is_no_list_of_stream_records_is_refused_before_anything_is_written(records: Any) -> None:
    harness = ConsumerHarness()
    with pytest.raises(InvalidBatchError):
        harness.ask("redrive", records=records)
    assert harness.dynamodb.calls == []


def test_a_redriven_change_can_be_parked_and_skipped() -> None:
    harness = ConsumerHarness()
    redrive(harness, 1, 2)
    assert harness.ask("skip", item=digest("a"))["skipped"] is True
    assert (harness.parked(), harness.waiting()) == ([1], [2])


def test_the_handler_can_tell_a_redriven_change() -> None:
    harness = ConsumerHarness()
    seen = list[str]()
    harness.look = lambda change: seen.append(change.origin)
    redrive(harness, 1)
    harness.deliver("a", start=2)
    harness.retry()
    assert seen == ["redrive", "stream"]


def test_a_redriven_change_is_given_up_by_its_own_time() -> None:
    """The changes that wait behind it may have failed for a week."""
    harness = with_mended_item("a")
    harness.trouble = {1: FAILS, -5: FAILS}
    harness.clock.now += 7 * 86_400
    redrive(harness, -5)
    harness.retry()
    assert harness.parked() == []


def test_the_row_of_an_item_that_only_had_redriven_changes_is_purged_and_keeps_no_other_from_it() -> None:
    harness = ConsumerHarness()
    redrive(harness, 1)
    redrive(harness, 2, item="b")
    assert harness.retry()["released"] == 2
    harness.retry_later(60)
    assert (harness.row("a"), harness.row("b")) == (None, None)
    assert harness.change_rows() == {}
