"""The turn of a held item: its changes, its end, and its writes."""

import contextlib
import re
from collections.abc import Callable

import pytest

from handler.stream.engine.workers import SimulatedCrash
from handler.stream.ledger.holds import Lease
from handler.stream.ledger.rows import HoldRow
from tests.fakes.aws import answered, before, in_turn, refused, unanswered
from tests.fakes.records import STREAM
from tests.handler.conftest import Lines
from tests.handler.harness import (
    ENDS_LATE,
    FAILS,
    FIRST,
    NOTHING,
    TIMES_OUT,
    ConsumerHarness,
    Takes,
    digest,
    with_held_item,
    with_mended_item,
)


def test_waiting_changes_run_in_order_one_attempt_each_until_one_fails() -> None:
    harness = with_held_item("aaaa")
    harness.trouble = {3: FAILS}
    assert harness.retry(now=True) == NOTHING | {"held": 1, "due": 1, "tried": 1}
    assert (harness.ran, harness.applied, harness.waiting(), harness.paused) == ([1, 2, 3], [1, 2], [3, 4], [])


def test_a_turn_costs_three_writes_and_two_reads() -> None:
    harness = with_mended_item("a")
    harness.retry(now=True)
    assert harness.dynamodb.calls == [
        "Query hold",
        "UpdateItem hold",  # lease
        "Query change",
        "UpdateItem hold",  # release
        "BatchWriteItem change",
    ]


def test_items_have_their_turns_side_by_side() -> None:
    harness = ConsumerHarness({1: FAILS, 2: FAILS})
    harness.deliver("abab")
    harness.ran.clear()
    harness.trouble = {}
    assert harness.retry(now=True)["released"] == 2
    assert harness.ran in ([1, 2, 3, 4], [2, 1, 4, 3])


def test_what_has_run_is_removed_and_the_row_is_kept_for_an_hour_to_settle_late_deliveries() -> None:
    harness = with_mended_item("aa")
    harness.retry(now=True)
    row = harness.row()
    assert row is not None
    assert (row.state, row.next, row.owner, row.waiting) == ("done", None, None, 0)
    assert row.tail == f"{STREAM.rpartition('/')[2]}#{FIRST + 2:040}"
    assert row.expiry == harness.clock() + 3600
    assert set(harness.change_rows()) == {"!"}
    assert harness.deliver("aab") == []
    assert harness.applied == [1, 2, 3]


def test_a_failure_is_described_and_logged_with_what_was_done_before_it(log_lines: Lines) -> None:
    harness = with_held_item("aaa")
    harness.trouble = {2: KeyError("new")}
    harness.retry(now=True)
    line = log_lines()[-1]
    named = {name: line[name] for name in ("message", "item", "table", "keys", "event_id", "sequence_number", "error")}
    assert named == {
        "message": "retry failed",
        "item": digest("a"),
        "table": "orders",
        "keys": {"id": "a"},
        "event_id": "event-2",
        "sequence_number": str(FIRST + 2),
        "error": {"type": "KeyError", "text": "'new'"},
    }
    assert (line["tries"], line["waiting"], line["sequence_numbers"]) == (4, 2, [str(FIRST + 1)])
    assert re.fullmatch(r"2027-01-15T08:01:00Z", line["next_try"])
    described = harness.described()
    assert (described["error_type"], described["error_text"], described["tries"]) == ("KeyError", "'new'", "4")


def test_a_release_is_logged_with_what_was_done(log_lines: Lines) -> None:
    harness = with_held_item("aa")
    since = harness.held_row().since
    harness.trouble.clear()
    harness.clock.now = since + 90
    harness.retry()
    line = log_lines()[-1]
    assert (line["message"], line["item"], line["changes"]) == ("item released", digest("a"), 2)
    assert (line["sequence_numbers"], line["held_seconds"]) == ([str(FIRST + 1), str(FIRST + 2)], 90)


def test_a_turn_ends_after_15_seconds_and_is_due_at_once(log_lines: Lines) -> None:
    harness = with_held_item("a" * 5)
    harness.trouble = {number: Takes(5) for number in range(1, 6)}
    assert harness.retry(now=True, seconds=600) == NOTHING | {"held": 1, "due": 1, "tried": 1}
    assert (harness.applied, harness.waiting()) == ([1, 2, 3], [4, 5])
    row = harness.held_row()
    assert (row.due, row.owner, row.lease, row.waiting) == (harness.clock(), None, 0, 2)
    line = log_lines()[-1]
    assert (line["message"], line["waiting"]) == ("changes done", 2)
    assert line["sequence_numbers"] == [str(FIRST + number) for number in (1, 2, 3)]
    assert harness.retry()["released"] == 1


def test_no_change_starts_without_time_for_a_whole_handler() -> None:
    harness = with_held_item("aaa")
    harness.trouble = {1: Takes(5.1)}
    harness.retry(now=True, seconds=17)
    assert (harness.applied, harness.waiting()) == ([1], [2, 3])
    assert harness.held_row().owner is None


def test_progress_is_saved_once_a_second() -> None:
    harness = with_held_item("a" * 6)
    harness.trouble = {number: Takes(0.5) for number in range(1, 6)}
    harness.trouble[6] = SimulatedCrash()
    harness.retry_and_crash(now=True)
    assert harness.dynamodb.calls.count("UpdateItem hold") == 3  # lease, and after the second and the fourth change
    assert harness.waiting() == [5, 6]


def test_a_timeout_saves_how_far_a_turn_has_come_and_counts_as_one_death() -> None:
    harness = with_held_item("aaa")
    harness.trouble = {2: TIMES_OUT}
    harness.retry_and_crash(now=True)
    assert harness.waiting() == [2, 3]
    harness.ran.clear()
    harness.retry_and_crash(2, now=True)
    assert (harness.ran, harness.held_row().deaths) == ([2], 1)
    assert harness.held_row().is_suspect


def test_a_handler_that_ends_after_the_deadline_moves_its_item_on() -> None:
    harness = with_held_item("aaa")
    harness.trouble = {1: ENDS_LATE}
    assert harness.retry(now=True)["released"] == 0
    assert (harness.applied, harness.waiting()) == ([1], [2, 3])
    assert (harness.held_row().owner, harness.held_row().due) == (None, harness.clock())


def append(harness: ConsumerHarness, start: int) -> Callable[[], None]:
    """A batch that arrives with another change of the item."""

    def deliver() -> None:
        assert harness.deliver("a", start=start) == []

    return deliver


def test_a_change_that_arrives_during_the_turn_runs_in_it() -> None:
    harness = with_held_item("aa")
    harness.trouble = {2: append(harness, 3)}
    assert harness.retry(now=True)["released"] == 1
    assert harness.applied == [1, 2, 3]


@pytest.mark.parametrize("seconds", [0, 1])
def test_a_change_that_arrives_after_the_last_one_and_before_the_release_runs_in_the_turn(seconds: int) -> None:
    """After a second the turn has saved that no change waits."""
    harness = with_held_item("aa")

    def end() -> None:
        harness.clock.now += seconds
        harness.dynamodb.on["UpdateItem hold"] = in_turn(*[answered] * seconds, before(append(harness, 3)))

    harness.trouble = {2: end}
    assert harness.retry(now=True)["released"] == 1
    assert (harness.applied, harness.waiting()) == ([1, 2, 3], [])


def test_a_release_whose_answer_is_lost_is_a_release() -> None:
    harness = with_held_item("a")
    harness.trouble = {1: lambda: harness.dynamodb.on.update({"UpdateItem hold": in_turn(unanswered)})}
    assert harness.retry(now=True)["released"] == 1
    assert (harness.applied, harness.waiting()) == ([1], [])


def test_a_hand_back_whose_answer_is_lost_is_one() -> None:
    harness = with_held_item("aa")
    failed_at = list[float]()

    def fail() -> None:
        failed_at.append(harness.clock())
        harness.dynamodb.on["UpdateItem hold"] = in_turn(unanswered)
        raise FAILS

    harness.trouble = {2: fail}
    harness.retry(now=True)
    row = harness.held_row()
    assert (row.owner, row.waiting, row.due) == (None, 1, failed_at[0] + 60)
    assert harness.waiting() == [2]


def test_a_progress_whose_answer_is_lost_counts_what_waits_once() -> None:
    harness = with_held_item("aaa")

    def slow() -> None:
        harness.clock.now += 1
        harness.dynamodb.on["UpdateItem hold"] = in_turn(unanswered)

    harness.trouble = {1: slow, 2: FAILS}
    harness.retry(now=True)
    assert harness.held_row().waiting == 2
    harness.trouble.clear()
    assert harness.retry_later(2)["released"] == 1


def test_a_release_is_tried_until_three_seconds_are_left() -> None:
    harness = with_held_item("a")

    def down() -> None:
        until = harness.clock() + 100
        harness.dynamodb.on["UpdateItem hold"] = lambda act: act() if harness.clock() > until else refused()(act)

    harness.trouble = {1: down}
    assert harness.retry(now=True, seconds=120)["released"] == 1
    assert harness.applied == [1]


def test_what_cannot_be_released_in_time_runs_again_when_its_lease_is_over(log_lines: Lines) -> None:
    harness = with_held_item("a")
    harness.trouble = {1: lambda: harness.dynamodb.on.update({"UpdateItem hold": refused()})}
    end = harness.clock() + 20
    assert harness.retry(now=True, seconds=20)["released"] == 0
    assert end - 4 <= harness.clock() <= end - 2
    assert log_lines()[-1]["message"] == "the ledger does not respond: the item's lease expires"
    harness.dynamodb.on.clear()
    harness.trouble.clear()
    harness.clock.now = end + 5
    assert harness.retry(now=True)["released"] == 1
    assert harness.applied == [1, 1]


@pytest.mark.parametrize("end", [FAILS, SimulatedCrash()])
def test_a_turn_whose_lease_was_taken_over_writes_nothing_more(end: BaseException) -> None:
    """The invocation froze, its lease ended, and another run leased the item."""
    harness = with_held_item("aaa")
    rows = list[HoldRow]()

    def freeze() -> None:
        harness.clock.now += 70
        harness.trouble = {2: end}
        with contextlib.suppress(SimulatedCrash):
            harness.retry(now=True)
        rows.append(harness.held_row())

    harness.trouble = {1: freeze}
    harness.retry(now=True, seconds=60)
    assert harness.ran == [1, 1, 2]
    assert [harness.held_row()] == rows


def test_an_item_that_another_run_leases_first_is_left_to_it() -> None:
    harness = with_held_item("a")
    others = harness.environment()

    def lease_first() -> None:
        row = harness.held_row()
        ledger = others._processor.ledger  # pyright: ignore[reportPrivateUsage] # another run's
        assert ledger is not None
        now = harness.clock()
        ledger.holds.lease(row, Lease("other", now + 60), now=now, due=now, due_by=now + 3600)

    harness.dynamodb.on["UpdateItem hold"] = before(lease_first)
    assert harness.retry(now=True) == NOTHING | {"held": 1, "due": 1}
    assert (harness.ran, harness.held_row().owner) == ([], "other")


def test_an_item_that_another_run_has_tried_meanwhile_is_left_until_it_is_due() -> None:
    harness = with_held_item("a")
    harness.clock.now += 60

    def try_first() -> None:
        harness.retry()

    harness.dynamodb.on["UpdateItem hold"] = before(try_first)
    harness.trouble[1] = FAILS
    assert harness.retry() == NOTHING | {"held": 1, "due": 1}
    assert harness.ran == [1], "by the run that came first"


def test_a_hold_of_more_than_a_page_runs_page_by_page() -> None:
    harness = with_held_item("a" * 12)
    harness.dynamodb.page_bytes = 1
    harness.trouble = {7: FAILS}
    harness.retry(now=True)
    assert (harness.applied, harness.waiting()) == ([1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12])
    harness.trouble.clear()
    assert harness.retry_later(2)["released"] == 1
    assert harness.applied == list(range(1, 13))


def test_a_turn_of_many_pages_counts_the_waiting_changes_once() -> None:
    """So its reads grow with the number of its changes, and not with the square of it."""

    def reads(changes: int) -> int:
        harness = with_mended_item("a" * changes)
        harness.dynamodb.page_bytes = 1
        harness.retry(now=True)
        assert harness.applied == list(range(1, changes + 1))
        return harness.dynamodb.calls.count("Query change")

    assert reads(40) < 2.2 * reads(20)


@pytest.mark.parametrize("later", ["nothing", "another change"])
def test_a_change_that_is_appended_before_the_progress_is_saved_survives_a_crash(later: str) -> None:
    """The turn saves that it has run the last change that it knows, and dies in the appended one."""
    harness = with_mended_item("a")

    def append() -> None:
        assert harness.deliver("a", start=2) == []
        harness.clock.now += 2

    harness.trouble = {1: [append], 2: [SimulatedCrash()]}
    harness.retry_and_crash(now=True)
    if later == "another change":
        assert harness.deliver("a", start=3) == []
    harness.retry_later(2)
    assert harness.ledger("hold#consumer")[digest("a")]["state"] == {"S": "done"}
    assert harness.applied == ([1, 2, 3] if later == "another change" else [1, 2])
