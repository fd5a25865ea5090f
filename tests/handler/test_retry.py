"""Retry runs: which held items have a turn, what a turn runs, and how it ends."""

import contextlib
import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from handler.stream import PermanentError
from handler.stream.failures import read_failure
from handler.stream.ledger.holds import Lease
from handler.stream.ledger.rows import HoldRow
from tests.handler.conftest import Counts, Lines
from tests.handler.fakes import START, STREAM, Context, before, nested, record, refusal, refused, times, unanswered
from tests.handler.world import FAILS, FIRST, Died, World, digest

DAY = 86_400.0
NOTHING = {"held": 0, "due": 0, "tried": 0, "released": 0, "parked": 0}


def held(batch: str = "aa", failing: int = 1, **settings: float) -> World:
    """A world whose item of one change is held; nothing has been called since."""
    world = World(**settings)
    world.trouble[failing] = FAILS
    assert world.deliver(batch) == []
    world.ran.clear()
    world.applied.clear()
    world.dynamodb.calls.clear()
    world.paused.clear()
    return world


# What is due


def test_a_held_item_is_due_a_minute_after_it_failed_and_not_before() -> None:
    world = held()
    assert world.retry_later(59 / 60) == NOTHING | {"held": 1}
    world.trouble.clear()
    assert world.retry_later(1 / 60) == NOTHING | {"held": 1, "due": 1, "tried": 1, "released": 1}
    assert world.applied == [1, 2]


def test_now_makes_everything_due() -> None:
    world = held()
    world.trouble.clear()
    assert world.retry(now=True)["released"] == 1


@pytest.mark.parametrize("value", ["true", 1, None, False])
def test_now_is_true_and_nothing_else(value: object) -> None:
    assert held().retry(now=value)["due"] == 0


def test_an_item_is_not_due_while_its_lease_runs_even_now() -> None:
    world = held("a")
    world.trouble[1] = Died()
    with pytest.raises(Died):
        world.retry(now=True, seconds=60)
    world.trouble.clear()
    world.clock.now += 64.9
    assert world.retry(now=True) == NOTHING | {"held": 1}
    world.clock.now += 0.1
    assert world.retry(now=True)["released"] == 1


def test_a_run_with_nothing_held_reads_once_and_writes_nothing() -> None:
    world = World()
    assert world.retry() == NOTHING
    assert world.dynamodb.calls == ["Query hold"]


def test_every_page_of_held_items_is_read() -> None:
    world = World()
    for number in range(1, 8):
        world.trouble[number] = FAILS
    world.deliver("abcdefg")
    world.dynamodb.page_bytes = 1
    assert world.retry(now=True) == NOTHING | {"held": 7, "due": 7, "tried": 7}


def test_where_the_ledger_cannot_be_read_the_run_fails() -> None:
    """Lambda's own error metric tells of it; the next run is a minute away."""
    world = held()
    world.dynamodb.on["Query hold"] = refused()
    with pytest.raises(Exception, match="InternalServerError"):
        world.retry(now=True)


# A turn


def test_waiting_changes_run_in_order_one_attempt_each_until_one_fails() -> None:
    world = held("aaaa")
    world.trouble = {3: FAILS}
    assert world.retry(now=True) == NOTHING | {"held": 1, "due": 1, "tried": 1}
    assert world.ran == [1, 2, 3]
    assert world.applied == [1, 2]
    assert world.waiting() == [3, 4]
    assert world.paused == []


def test_a_turn_costs_three_writes_and_two_reads() -> None:
    world = held("a")
    world.trouble.clear()
    world.retry(now=True)
    assert world.dynamodb.calls == [
        "Query hold",
        "UpdateItem hold",  # lease
        "Query change",
        "UpdateItem hold",  # release
        "BatchWriteItem change",
    ]


def test_items_have_their_turns_side_by_side() -> None:
    world = World()
    world.trouble = {1: FAILS, 2: FAILS}
    world.deliver("abab")
    world.ran.clear()
    world.trouble = {}
    assert world.retry(now=True)["released"] == 2
    assert world.ran in ([1, 2, 3, 4], [2, 1, 4, 3])


def test_what_has_run_is_removed_and_the_row_is_kept_for_an_hour_to_settle_late_deliveries() -> None:
    world = held("aa")
    world.trouble.clear()
    world.retry(now=True)
    row = world.row()
    assert row is not None
    assert (row.state, row.next, row.owner, row.waiting) == ("done", None, None, 0)
    assert row.tail == f"{STREAM.rpartition('/')[2]}#{FIRST + 2:040}"
    assert row.expiry == world.clock() + 3600
    assert set(world.ledger(f"hold#consumer#{digest('a')}")) == {"!"}
    assert world.deliver("aab") == []
    assert world.applied == [1, 2, 3]


def test_a_released_items_rows_are_purged_after_an_hour() -> None:
    world = held("aa")
    world.trouble.clear()
    world.retry(now=True)
    world.retry_later(59)
    assert world.row() is not None
    world.retry_later(1)
    assert world.row() is None
    assert world.ledger(f"hold#consumer#{digest('a')}") == {}


def test_a_purge_removes_changes_that_a_death_has_left_and_not_those_of_a_new_hold() -> None:
    world = held("aa")
    world.trouble.clear()
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


def test_a_run_purges_at_most_a_thousand_and_a_purge_that_fails_is_the_next_runs(log_lines: Lines) -> None:
    world = held("a")
    world.trouble.clear()
    world.retry(now=True)
    world.dynamodb.on["DeleteItem hold"] = refused()
    assert world.retry_later(60) == NOTHING
    assert log_lines()[-1]["message"] == "the ledger cannot remove released items: the next run does"
    world.dynamodb.on.clear()
    world.retry_later(1)
    assert world.row() is None


# Back-off


@pytest.mark.parametrize(
    ("failing", "wait"), [(60, 60), (240, 60), (400, 100), (4 * 3600 - 40, 3590), (4 * 3600, 3600), (DAY, 3600)]
)
def test_the_next_try_is_a_quarter_of_the_failing_time_away_at_least_a_minute_at_most_an_hour(
    failing: float, wait: float
) -> None:
    world = held("a")
    world.clock.now = world.held_row().since + failing
    world.retry(now=True)
    assert world.held_row().due == world.clock() + wait


def test_the_schedules_minute_can_be_a_second() -> None:
    """The sandbox's is: nobody waits for a minute in front of a screen."""
    world = held("a", minute_seconds=1.0)
    assert world.held_row().due == world.clock() + 1
    world.clock.now += 1000
    world.retry(now=True)
    assert world.held_row().due == world.clock() + 60


def test_the_failing_time_is_that_of_the_first_waiting_change() -> None:
    world = held("aa")
    world.clock.now += 1000
    world.trouble = {2: FAILS}
    world.retry(now=True)
    row = world.held_row()
    assert (row.since, row.due) == (world.clock(), world.clock() + 60)


def test_a_failure_is_described_and_logged_with_what_was_done_before_it(log_lines: Lines) -> None:
    world = held("aaa")
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
    world = held("aa")
    since = world.held_row().since
    world.trouble.clear()
    world.clock.now = since + 90
    world.retry()
    line = log_lines()[-1]
    assert (line["message"], line["item"], line["changes"]) == ("item released", digest("a"), 2)
    assert (line["sequence_numbers"], line["held_seconds"]) == ([str(FIRST + 1), str(FIRST + 2)], 90)


# A turn's end


def test_a_turn_ends_after_15_seconds_and_is_due_at_once(log_lines: Lines) -> None:
    world = held("a" * 5)
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
    world = held("aaa")
    world.trouble = {1: world.takes(5.1)}
    world.retry(now=True, seconds=17)
    assert world.applied == [1]
    assert world.waiting() == [2, 3]
    assert world.held_row().owner is None


def test_new_turns_begin_in_the_first_50_seconds() -> None:
    world = World()
    world.trouble = {1: FAILS, 2: FAILS}
    world.deliver("a")
    world.clock.now += 1
    world.deliver("b", start=2)
    world.ran.clear()
    world.trouble = {1: world.takes(50)}
    assert world.retry(now=True, seconds=900) == NOTHING | {"held": 2, "due": 2, "tried": 1, "released": 1}
    assert world.ran == [1]
    assert world.held_row("b").deaths == 0
    assert world.held_row("b").owner is None


def test_progress_is_saved_once_a_second() -> None:
    world = held("a" * 6)
    world.trouble = {number: world.takes(0.5) for number in range(1, 6)} | {6: Died()}
    with pytest.raises(Died):
        world.retry(now=True)
    assert world.dynamodb.calls.count("UpdateItem hold") == 3  # lease, and after the second and the fourth change
    assert world.waiting() == [5, 6]


def test_a_timeout_saves_how_far_a_turn_has_come_and_counts_as_one_death() -> None:
    world = held("aaa")
    world.trouble = {2: world.times_out}
    with pytest.raises(Died):
        world.retry(now=True)
    assert world.waiting() == [2, 3]
    world.ran.clear()
    with pytest.raises(Died):
        world.retry_later(2, now=True)
    assert (world.ran, world.held_row().deaths) == ([2], 1)
    assert world.held_row().is_suspect


def test_a_handler_that_ends_after_the_deadline_moves_its_item_on() -> None:
    world = held("aaa")
    world.trouble = {1: world.ends_late()}
    assert world.retry(now=True)["released"] == 0
    assert (world.applied, world.waiting()) == ([1], [2, 3])
    assert (world.held_row().owner, world.held_row().due) == (None, world.clock())


# Release


def append(world: World, start: int) -> Callable[[], None]:
    """A batch that arrives with another change of the item."""

    def deliver() -> None:
        assert world.deliver("a", start=start) == []

    return deliver


def test_a_change_that_arrives_during_the_turn_runs_in_it() -> None:
    world = held("aa")
    world.trouble = {2: append(world, 3)}
    assert world.retry(now=True)["released"] == 1
    assert world.applied == [1, 2, 3]


@pytest.mark.parametrize("seconds", [0, 1])
def test_a_change_that_arrives_after_the_last_one_and_before_the_release_runs_in_the_turn(seconds: int) -> None:
    """With a second gone, the turn has written that nothing waits any more."""
    world = held("aa")

    def end() -> None:
        world.clock.now += seconds
        hooks = [before(append(world, 3))] if seconds == 0 else [before(append(world, 3)), lambda act: act()]
        world.dynamodb.on["UpdateItem hold"] = lambda act: (hooks.pop() if hooks else lambda do: do())(act)

    world.trouble = {2: end}
    assert world.retry(now=True)["released"] == 1
    assert world.applied == [1, 2, 3]
    assert world.waiting() == []


def test_a_release_whose_answer_is_lost_is_a_release() -> None:
    world = held("a")
    world.trouble = {1: lambda: world.dynamodb.on.update({"UpdateItem hold": times(1, unanswered)})}
    assert world.retry(now=True)["released"] == 1
    assert world.applied == [1]
    assert world.waiting() == []


def test_a_hand_back_whose_answer_is_lost_is_one() -> None:
    world = held("aa")
    failed_at = list[float]()

    def fail() -> None:
        failed_at.append(world.clock())
        world.dynamodb.on["UpdateItem hold"] = times(1, unanswered)
        raise FAILS

    world.trouble = {2: fail}
    world.retry(now=True)
    row = world.held_row()
    assert (row.owner, row.waiting, row.due) == (None, 1, failed_at[0] + 60)
    assert world.waiting() == [2]


def test_a_progress_whose_answer_is_lost_counts_what_waits_once() -> None:
    world = held("aaa")

    def slow() -> None:
        world.clock.now += 1
        world.dynamodb.on["UpdateItem hold"] = times(1, unanswered)

    world.trouble = {1: slow, 2: FAILS}
    world.retry(now=True)
    assert world.held_row().waiting == 2
    world.trouble.clear()
    assert world.retry_later(2)["released"] == 1


def test_a_release_is_tried_until_three_seconds_are_left() -> None:
    world = held("a")

    def down() -> None:
        until = world.clock() + 100
        world.dynamodb.on["UpdateItem hold"] = lambda act: act() if world.clock() > until else refused()(act)

    world.trouble = {1: down}
    assert world.retry(now=True, seconds=120)["released"] == 1
    assert world.applied == [1]


def test_what_cannot_be_released_in_time_runs_again_when_its_lease_is_over(log_lines: Lines) -> None:
    world = held("a")
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


@pytest.mark.parametrize("end", [FAILS, Died()])
def test_a_turn_whose_lease_was_taken_over_writes_nothing_more(end: BaseException) -> None:
    """A zombie: its invocation was thought dead, its lease ran out, and another run has taken the item."""
    world = held("aaa")
    rows = list[HoldRow]()

    def freeze() -> None:
        world.clock.now += 70
        world.trouble = {2: end}
        with contextlib.suppress(Died):
            world.retry(now=True)
        rows.append(world.held_row())

    world.trouble = {1: freeze}
    world.retry(now=True, seconds=60)
    assert world.ran == [1, 1, 2]
    assert [world.held_row()] == rows


def test_an_item_that_another_run_leases_first_is_left_to_it() -> None:
    world = held("a")
    others = world.environment()

    def lease_first() -> None:
        row = world.held_row()
        ledger = others._processor.ledger  # pyright: ignore[reportPrivateUsage] # another run's
        assert ledger is not None
        ledger.holds.lease(row, Lease("other", world.clock() + 60), now=world.clock(), due=0)

    hooks = [before(lease_first)]
    world.dynamodb.on["UpdateItem hold"] = lambda act: hooks.pop()(act) if hooks else act()
    assert world.retry(now=True) == NOTHING | {"held": 1, "due": 1}
    assert world.ran == []
    assert world.held_row().owner == "other"


# Parked


@pytest.mark.parametrize("place", [1, 2])
def test_a_permanent_error_is_parked_and_the_items_next_change_runs(place: int) -> None:
    world = held("aaa")
    world.trouble = {place: PermanentError("never")}
    assert world.retry(now=True) == NOTHING | {"held": 1, "due": 1, "tried": 1, "released": 1, "parked": 1}
    assert world.parked() == [place]
    assert world.applied == [number for number in (1, 2, 3) if number != place]


def test_what_cannot_be_parked_waits_on() -> None:
    world = held("aa")
    world.trouble = {1: PermanentError("never")}
    world.s3.failing = refusal("SlowDown")
    assert world.retry(now=True)["parked"] == 0
    assert world.waiting() == [1, 2]
    world.s3.failing = None
    assert world.retry_later(2)["parked"] == 1
    assert world.applied == [2]


def test_a_change_is_given_up_after_seven_days_as_its_items_first_and_the_next_one_runs(log_lines: Lines) -> None:
    world = held("aaa")
    world.clock.now = world.held_row().since + 7 * DAY - 1
    assert world.retry()["parked"] == 0
    world.clock.now += 1
    assert world.retry(now=True) == NOTHING | {"held": 1, "due": 1, "tried": 1, "released": 1, "parked": 1}
    assert (world.parked(), world.applied) == ([1], [2, 3])
    assert [read_failure(body).condition for body in world.s3.objects.values()] == ["GivenUp"]
    parked = next(line for line in log_lines() if line["message"] == "change parked")
    assert (parked["event_id"], parked["reason"], parked["error"]["text"]) == ("event-1", "GivenUp", "down")


def test_when_to_give_up_can_be_set_and_counts_from_when_a_change_became_the_first() -> None:
    world = held("aa", give_up_after_seconds=60.0)
    world.trouble[2] = FAILS
    assert world.retry_later(1)["parked"] == 1
    assert world.parked() == [1]
    world.clock.now += 59
    assert world.retry(now=True)["parked"] == 0
    world.clock.now += 1
    assert world.retry(now=True)["parked"] == 1
    assert world.parked() == [1, 2]


def given_up() -> World:
    """Item a's first change was given up, and its second one fails since then; item b fails for longer."""
    world = held("aaaa", give_up_after_seconds=600.0)
    world.trouble = {1: FAILS, 2: FAILS, 3: FAILS, 11: FAILS}
    world.clock.now += 300
    world.deliver("b", start=11)
    world.retry_later(5)
    assert (world.parked(), world.waiting(), world.waiting("b")) == ([1], [2, 3, 4], [11])
    world.ran.clear()
    return world


def test_after_that_further_changes_have_one_try_each_while_another_item_succeeds() -> None:
    world = given_up()
    world.trouble.pop(11)
    assert world.retry(now=True) == NOTHING | {"held": 2, "due": 2, "tried": 2, "released": 2, "parked": 2}
    assert world.ran == [11, 2, 3, 4]
    assert world.parked() == [1, 2, 3]


def test_without_another_items_success_further_ones_have_the_ordinary_back_off() -> None:
    """An outage must not decide over an item that was poison before."""
    world = given_up()
    world.retry_later(2, now=True)
    assert (world.parked(), world.waiting()) == ([1], [2, 3, 4])
    assert world.held_row().given_up == 1


def test_an_items_own_success_ends_the_one_try() -> None:
    world = given_up()
    world.trouble = {3: FAILS}
    world.retry(now=True)
    assert (world.parked(), world.waiting()) == ([1], [3, 4])
    assert world.held_row().given_up == 0


# Order of the turns, helpers


def flood(number: int) -> World:
    """So many held items, each a second younger than the one before."""
    world = World()
    for place in range(number):
        world.trouble[place + 1] = FAILS
        world.clock.now = START + place * 1000
        world.deliver(chr(ord("a") + place), start=place + 1, at=world.clock.now)
    world.ran.clear()
    return world


def test_due_items_are_taken_alternately_from_the_oldest_and_the_youngest_end() -> None:
    world = flood(5)
    world.retry(now=True)
    assert world.ran == [1, 5, 2, 4, 3]


def test_suspects_run_last_one_at_a_time_fewest_deaths_first() -> None:
    """An owner that still stands in a row whose lease is over is a death, too."""
    world = flood(5)
    rows = world.ledger("hold#consumer")
    rows[digest("a")] |= {"deaths": {"N": "1"}, "owner": {"S": "dead"}}
    rows[digest("b")] |= {"deaths": {"N": "1"}}
    rows[digest("d")] |= {"deaths": {"N": "3"}}
    at_once = list[int]()
    plain = world.steps

    def execute(items: Any, left: Any, on_deadline: Any) -> None:
        at_once.append(len(items))
        plain(items, left, on_deadline)

    world.engine._processor.executor = execute  # pyright: ignore[reportPrivateUsage] # what runs at once
    world.retry(now=True)
    assert world.ran == [3, 5, 2, 1, 4]
    assert at_once == [2, 1, 1, 1]


def test_a_suspect_that_succeeds_is_one_no_longer() -> None:
    world = held("aa")
    world.trouble = {1: Died()}
    with pytest.raises(Died):
        world.retry(now=True)
    world.trouble = {2: FAILS}
    world.retry_later(2, now=True)
    row = world.held_row()
    assert (row.deaths, row.owner, row.is_suspect) == (0, None, False)


def test_a_death_leaves_the_item_due_by_back_off() -> None:
    world = held("a")
    world.clock.now = world.held_row().since + 2000
    world.trouble = {1: Died()}
    with pytest.raises(Died):
        world.retry(now=True)
    assert world.row() is not None
    world.clock.now += 499
    assert world.retry()["due"] == 0
    world.clock.now += 1
    with pytest.raises(Died):
        world.retry()


def test_a_suspect_is_given_up_at_the_lease_without_another_try() -> None:
    world = held("aa", give_up_after_seconds=600.0)
    world.trouble = {1: Died()}
    with pytest.raises(Died):
        world.retry(now=True)
    world.ran.clear()
    assert world.retry_later(10)["parked"] == 1
    assert world.ran == [2]
    [body] = world.s3.objects.values()
    assert (read_failure(body).condition, read_failure(body).error) == (
        "GivenUp",
        "SuspectError: the function died 1 times while this change ran",
    )


def test_a_suspect_that_only_fails_waits_like_any_other_again() -> None:
    """The function has outlived it: the deaths in a row are over."""
    world = held("a")
    world.trouble = {1: [Died(), FAILS]}
    with pytest.raises(Died):
        world.retry(now=True)
    world.retry_later(2, now=True)
    assert world.held_row().is_suspect is False


def many(number: int) -> World:
    """So many held items, all due."""
    world = World()
    records = [record(place, f"item-{place}") for place in range(number)]
    world.trouble = dict.fromkeys(range(number), FAILS)
    assert world.engine({"Records": records}, Context(world.clock)) == {"batchItemFailures": []}
    world.ran.clear()
    world.dynamodb.calls.clear()
    return world


@pytest.mark.parametrize(("number", "helpers"), [(500, 0), (501, 1), (1001, 2), (2600, 4)])
def test_a_scheduled_run_invokes_a_helper_for_each_500_due_items_beyond_the_first(number: int, helpers: int) -> None:
    world = many(number)
    answer = world.retry(now=True)
    assert (answer["held"], answer["due"]) == (number, number)
    of = helpers + 1
    assert world.functions.invoked == [
        ("mirror", {"table-stream": "retry", "now": True, "slice": [helper, of]}) for helper in range(1, of)
    ]
    assert len(world.ran) == answer["tried"]
    assert (answer["tried"] == number) is (helpers == 0)


def test_run_and_helpers_share_the_items_out_and_helpers_invoke_nobody() -> None:
    world = many(1600)
    world.retry(now=True)
    for _, payload in list(world.functions.invoked):
        assert world.engine(payload, Context(world.clock))["held"] == 1600
    assert len(world.functions.invoked) == 3
    assert sorted(world.ran) == list(range(1600))


def test_helpers_try_what_the_scheduled_run_calls_due() -> None:
    world = many(501)
    assert world.retry_later(1)["due"] == 501
    assert [payload["now"] for _, payload in world.functions.invoked] == [False]


def test_a_helper_that_cannot_be_invoked_leaves_its_items_to_the_next_run(log_lines: Lines) -> None:
    world = many(501)
    world.functions.failing = refusal("TooManyRequestsException")
    answer = world.retry(now=True)
    assert 0 < answer["tried"] == len(world.ran) < 501
    assert "a helper cannot be invoked: its items are due in the next run" in [line["message"] for line in log_lines()]


# Metrics


def test_every_run_tells_how_many_items_are_held_and_for_how_long_zeros_included(
    capsys: pytest.CaptureFixture[str], counts: Counts
) -> None:
    world = World()
    world.retry()
    line = json.loads(capsys.readouterr().out)
    assert (line["HeldItems"], line["OldestHeldSeconds"]) == ([0], [0])
    units = {each["Name"]: each["Unit"] for each in line["_aws"]["CloudWatchMetrics"][0]["Metrics"]}
    assert units == {"HeldItems": "Count", "OldestHeldSeconds": "Seconds"}
    world.trouble = {1: FAILS, 2: FAILS}
    world.deliver("a")
    world.clock.now = world.held_row().since + 30
    world.deliver("b", start=2)
    world.clock.now = world.held_row().since + 40
    counts()
    world.retry()
    assert counts() == {"HeldItems": 2, "OldestHeldSeconds": 40}


def test_a_run_counts_what_it_released_and_parked(counts: Counts) -> None:
    world = held("aa")
    world.trouble = {1: PermanentError("never")}
    counts()
    world.retry(now=True)
    assert counts() == {"ParkedChanges": 1, "ReleasedItems": 1, "HeldItems": 1, "OldestHeldSeconds": 0}


def test_helpers_send_no_gauges(counts: Counts) -> None:
    world = held("a")
    counts()
    world.retry(slice=[1, 2])
    assert counts() == {}


# What stops an item


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


def test_a_hold_of_more_than_a_page_runs_page_by_page() -> None:
    world = held("a" * 12)
    world.dynamodb.page_bytes = 1
    world.trouble = {7: FAILS}
    world.retry(now=True)
    assert (world.applied, world.waiting()) == ([1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12])
    world.trouble.clear()
    assert world.retry_later(2)["released"] == 1
    assert world.applied == list(range(1, 13))


def test_a_waiting_change_that_is_deeper_than_json_can_be_read_is_parked_when_its_turn_comes() -> None:
    world = World()
    world.trouble = {1: FAILS}
    world.engine({"Records": [record(1), record(2, NewImage={"n": nested(1000)})]}, Context(world.clock))
    world.trouble.clear()

    world.look = lambda change: change.new_image
    assert world.retry(now=True)["parked"] == 1
    assert (world.applied, world.parked()) == ([1], [2])
