"""The turn of a held item: what it runs, how it ends, and what it writes."""

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
from tests.handler.harness import FAILS, FIRST, ConsumerHarness, digest, with_held_item, with_mended_item

NOTHING = {"held": 0, "due": 0, "tried": 0, "released": 0, "parked": 0}


def test_waiting_changes_run_in_order_one_attempt_each_until_one_fails() -> None:
    world = with_held_item("aaaa")
    world.trouble = {3: FAILS}
    assert world.retry(now=True) == NOTHING | {"held": 1, "due": 1, "tried": 1}
    assert world.ran == [1, 2, 3]
    assert world.applied == [1, 2]
    assert world.waiting() == [3, 4]
    assert world.paused == []


def test_a_turn_costs_three_writes_and_two_reads() -> None:
    world = with_mended_item("a")
    world.retry(now=True)
    assert world.dynamodb.calls == [
        "Query hold",
        "UpdateItem hold",  # lease
        "Query change",
        "UpdateItem hold",  # release
        "BatchWriteItem change",
    ]


def test_items_have_their_turns_side_by_side() -> None:
    world = ConsumerHarness()
    world.trouble = {1: FAILS, 2: FAILS}
    world.deliver("abab")
    world.ran.clear()
    world.trouble = {}
    assert world.retry(now=True)["released"] == 2
    assert world.ran in ([1, 2, 3, 4], [2, 1, 4, 3])


def test_what_has_run_is_removed_and_the_row_is_kept_for_an_hour_to_settle_late_deliveries() -> None:
    world = with_mended_item("aa")
    world.retry(now=True)
    row = world.row()
    assert row is not None
    assert (row.state, row.next, row.owner, row.waiting) == ("done", None, None, 0)
    assert row.tail == f"{STREAM.rpartition('/')[2]}#{FIRST + 2:040}"
    assert row.expiry == world.clock() + 3600
    assert set(world.ledger(f"hold#consumer#{digest('a')}")) == {"!"}
    assert world.deliver("aab") == []
    assert world.applied == [1, 2, 3]


def test_a_failure_is_described_and_logged_with_what_was_done_before_it(log_lines: Lines) -> None:
    world = with_held_item("aaa")
    world.trouble = {2: KeyError("new")}
    world.retry(now=True)
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
    described = world.described()
    assert (described["error_type"], described["error_text"], described["tries"]) == ("KeyError", "'new'", "4")


def test_a_release_is_logged_with_what_was_done(log_lines: Lines) -> None:
    world = with_held_item("aa")
    since = world.held_row().since
    world.trouble.clear()
    world.clock.now = since + 90
    world.retry()
    line = log_lines()[-1]
    assert (line["message"], line["item"], line["changes"]) == ("item released", digest("a"), 2)
    assert (line["sequence_numbers"], line["held_seconds"]) == ([str(FIRST + 1), str(FIRST + 2)], 90)


def test_a_turn_ends_after_15_seconds_and_is_due_at_once(log_lines: Lines) -> None:
    world = with_held_item("a" * 5)
    world.trouble = {number: world.takes(5) for number in range(1, 6)}
    assert world.retry(now=True, seconds=600) == NOTHING | {"held": 1, "due": 1, "tried": 1}
    assert world.applied == [1, 2, 3]
    assert world.waiting() == [4, 5]
    row = world.held_row()
    assert (row.due, row.owner, row.lease, row.waiting) == (world.clock(), None, 0, 2)
    line = log_lines()[-1]
    assert (line["message"], line["waiting"]) == ("changes done", 2)
    assert line["sequence_numbers"] == [str(FIRST + number) for number in (1, 2, 3)]
    assert world.retry()["released"] == 1


def test_no_change_starts_without_time_for_a_whole_handler() -> None:
    world = with_held_item("aaa")
    world.trouble = {1: world.takes(5.1)}
    world.retry(now=True, seconds=17)
    assert world.applied == [1]
    assert world.waiting() == [2, 3]
    assert world.held_row().owner is None


def test_progress_is_saved_once_a_second() -> None:
    world = with_held_item("a" * 6)
    world.trouble = {number: world.takes(0.5) for number in range(1, 6)}
    world.trouble[6] = SimulatedCrash()
    with pytest.raises(SimulatedCrash):
        world.retry(now=True)
    assert world.dynamodb.calls.count("UpdateItem hold") == 3  # lease, and after the second and the fourth change
    assert world.waiting() == [5, 6]


def test_a_timeout_saves_how_far_a_turn_has_come_and_counts_as_one_death() -> None:
    world = with_held_item("aaa")
    world.trouble = {2: world.times_out}
    with pytest.raises(SimulatedCrash):
        world.retry(now=True)
    assert world.waiting() == [2, 3]
    world.ran.clear()
    with pytest.raises(SimulatedCrash):
        world.retry_later(2, now=True)
    assert (world.ran, world.held_row().deaths) == ([2], 1)
    assert world.held_row().is_suspect


def test_a_handler_that_ends_after_the_deadline_moves_its_item_on() -> None:
    world = with_held_item("aaa")
    world.trouble = {1: world.ends_late()}
    assert world.retry(now=True)["released"] == 0
    assert (world.applied, world.waiting()) == ([1], [2, 3])
    assert (world.held_row().owner, world.held_row().due) == (None, world.clock())


def append(world: ConsumerHarness, start: int) -> Callable[[], None]:
    """A batch that arrives with another change of the item."""

    def deliver() -> None:
        assert world.deliver("a", start=start) == []

    return deliver


def test_a_change_that_arrives_during_the_turn_runs_in_it() -> None:
    world = with_held_item("aa")
    world.trouble = {2: append(world, 3)}
    assert world.retry(now=True)["released"] == 1
    assert world.applied == [1, 2, 3]


@pytest.mark.parametrize("seconds", [0, 1])
def test_a_change_that_arrives_after_the_last_one_and_before_the_release_runs_in_the_turn(seconds: int) -> None:
    """With a second gone, the turn has written that nothing waits any more."""
    world = with_held_item("aa")

    def end() -> None:
        world.clock.now += seconds
        world.dynamodb.on["UpdateItem hold"] = in_turn(*[answered] * seconds, before(append(world, 3)))

    world.trouble = {2: end}
    assert world.retry(now=True)["released"] == 1
    assert world.applied == [1, 2, 3]
    assert world.waiting() == []


def test_a_release_whose_answer_is_lost_is_a_release() -> None:
    world = with_held_item("a")
    world.trouble = {1: lambda: world.dynamodb.on.update({"UpdateItem hold": in_turn(unanswered)})}
    assert world.retry(now=True)["released"] == 1
    assert world.applied == [1]
    assert world.waiting() == []


def test_a_hand_back_whose_answer_is_lost_is_one() -> None:
    world = with_held_item("aa")
    failed_at = list[float]()

    def fail() -> None:
        failed_at.append(world.clock())
        world.dynamodb.on["UpdateItem hold"] = in_turn(unanswered)
        raise FAILS

    world.trouble = {2: fail}
    world.retry(now=True)
    row = world.held_row()
    assert (row.owner, row.waiting, row.due) == (None, 1, failed_at[0] + 60)
    assert world.waiting() == [2]


def test_a_progress_whose_answer_is_lost_counts_what_waits_once() -> None:
    world = with_held_item("aaa")

    def slow() -> None:
        world.clock.now += 1
        world.dynamodb.on["UpdateItem hold"] = in_turn(unanswered)

    world.trouble = {1: slow, 2: FAILS}
    world.retry(now=True)
    assert world.held_row().waiting == 2
    world.trouble.clear()
    assert world.retry_later(2)["released"] == 1


def test_a_release_is_tried_until_three_seconds_are_left() -> None:
    world = with_held_item("a")

    def down() -> None:
        until = world.clock() + 100
        world.dynamodb.on["UpdateItem hold"] = lambda act: act() if world.clock() > until else refused()(act)

    world.trouble = {1: down}
    assert world.retry(now=True, seconds=120)["released"] == 1
    assert world.applied == [1]


def test_what_cannot_be_released_in_time_runs_again_when_its_lease_is_over(log_lines: Lines) -> None:
    world = with_held_item("a")
    world.trouble = {1: lambda: world.dynamodb.on.update({"UpdateItem hold": refused()})}
    end = world.clock() + 20
    assert world.retry(now=True, seconds=20)["released"] == 0
    assert end - 4 <= world.clock() <= end - 2
    assert log_lines()[-1]["message"] == "the ledger does not answer: the item's lease ends by itself"
    world.dynamodb.on.clear()
    world.trouble.clear()
    world.clock.now = end + 5
    assert world.retry(now=True)["released"] == 1
    assert world.applied == [1, 1]


@pytest.mark.parametrize("end", [FAILS, SimulatedCrash()])
def test_a_turn_whose_lease_was_taken_over_writes_nothing_more(end: BaseException) -> None:
    """A zombie: its invocation was thought dead, its lease ran out, and another run has taken the item."""
    world = with_held_item("aaa")
    rows = list[HoldRow]()

    def freeze() -> None:
        world.clock.now += 70
        world.trouble = {2: end}
        with contextlib.suppress(SimulatedCrash):
            world.retry(now=True)
        rows.append(world.held_row())

    world.trouble = {1: freeze}
    world.retry(now=True, seconds=60)
    assert world.ran == [1, 1, 2]
    assert [world.held_row()] == rows


def test_an_item_that_another_run_leases_first_is_left_to_it() -> None:
    world = with_held_item("a")
    others = world.environment()

    def lease_first() -> None:
        row = world.held_row()
        ledger = others._processor.ledger  # pyright: ignore[reportPrivateUsage] # another run's
        assert ledger is not None
        now = world.clock()
        ledger.holds.lease(row, Lease("other", now + 60), now=now, due=now, due_by=now + 3600)

    world.dynamodb.on["UpdateItem hold"] = before(lease_first)
    assert world.retry(now=True) == NOTHING | {"held": 1, "due": 1}
    assert world.ran == []
    assert world.held_row().owner == "other"


def test_an_item_that_another_run_has_tried_meanwhile_is_left_until_it_is_due() -> None:
    world = with_held_item("a")
    world.clock.now += 60

    def try_first() -> None:
        world.retry()

    world.dynamodb.on["UpdateItem hold"] = before(try_first)
    world.trouble[1] = FAILS
    assert world.retry() == NOTHING | {"held": 1, "due": 1}
    assert world.ran == [1], "by the run that came first"


def test_a_hold_of_more_than_a_page_runs_page_by_page() -> None:
    world = with_held_item("a" * 12)
    world.dynamodb.page_bytes = 1
    world.trouble = {7: FAILS}
    world.retry(now=True)
    assert (world.applied, world.waiting()) == ([1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12])
    world.trouble.clear()
    assert world.retry_later(2)["released"] == 1
    assert world.applied == list(range(1, 13))
