"""Writes to a hold that the ledger refuses, loses the answer of, or does not take."""

import pytest

from handler.stream.ledger.notes import DONE, UNDONE
from tests.fakes.aws import before, in_turn, refused, unanswered
from tests.handler.conftest import Counts, Lines
from tests.handler.harness import FAILS, ConsumerHarness, with_mended_item


def test_an_append_refused_since_the_item_was_released_runs_what_is_above_the_tail() -> None:
    world = with_mended_item("aa")
    world.dynamodb.on["UpdateItem hold"] = before(lambda: world.retry(now=True))
    assert world.deliver("aaa", start=2) == []
    assert world.applied == [1, 2, 3, 4]
    assert world.waiting() == []


def test_an_append_refused_since_the_row_is_gone_runs_all() -> None:
    world = with_mended_item("aa")
    world.ledger("hold#consumer")

    def release_and_purge() -> None:
        world.retry(now=True)
        world.retry_later(60)
        assert world.row() is None

    world.dynamodb.on["UpdateItem hold"] = before(release_and_purge)
    assert world.deliver("aa", start=3, seconds=7200) == []
    assert world.applied == [1, 2, 3, 4]


def test_an_append_refused_by_a_doubled_delivery_is_settled_by_it() -> None:
    world = with_mended_item("aa")
    world.dynamodb.on["UpdateItem hold"] = before(lambda: world.deliver("aaa", start=3))
    assert world.deliver("aa", start=3) == []
    assert (world.waiting(), world.held_row().waiting) == ([1, 2, 3, 4, 5], 5)


def test_an_append_that_a_shorter_doubled_delivery_came_before_appends_the_rest() -> None:
    world = with_mended_item("aa")
    world.dynamodb.on["UpdateItem hold"] = before(lambda: world.deliver("a", start=3))
    assert world.deliver("aaa", start=3) == []
    assert (world.waiting(), world.held_row().waiting) == ([1, 2, 3, 4, 5], 5)


def test_a_hold_refused_by_a_doubled_delivery_appends_what_that_one_does_not_have() -> None:
    world = ConsumerHarness()
    world.trouble[1] = FAILS
    world.dynamodb.on["UpdateItem hold"] = before(lambda: world.deliver("aa"))
    assert world.deliver("aaa") == []
    assert (world.waiting(), world.held_row().waiting) == ([1, 2, 3], 3)


def test_a_hold_refused_since_it_was_released_meanwhile_runs_what_is_above_the_tail() -> None:
    world = ConsumerHarness()
    world.trouble[1] = FAILS

    def hold_and_release() -> None:
        world.deliver("aa")
        world.trouble.clear()
        world.retry(now=True)

    world.dynamodb.on["UpdateItem hold"] = before(hold_and_release)
    assert world.deliver("aaa") == []
    assert world.applied == [1, 2, 3]


@pytest.mark.parametrize("lost", ["UpdateItem hold", "BatchWriteItem change"])
def test_a_hold_whose_answer_is_lost_is_reported_and_settled_when_it_comes_again(lost: str) -> None:
    world = ConsumerHarness()
    world.trouble[1] = FAILS
    world.dynamodb.on[lost] = in_turn(unanswered)
    assert world.deliver("aba") == [1, 3]
    assert world.note(under=1) == {1: UNDONE, 2: DONE, 3: UNDONE}
    assert world.deliver("aba") == []
    assert (world.applied, world.waiting(), world.held_row().waiting) == ([2], [1, 3], 2)


def test_an_append_whose_answer_is_lost_is_reported_and_settled_when_it_comes_again() -> None:
    world = with_mended_item("aa")
    world.dynamodb.on["UpdateItem hold"] = in_turn(unanswered)
    assert world.deliver("aa", start=3) == [3, 4]
    assert world.deliver("aa", start=3) == []
    assert (world.waiting(), world.held_row().waiting) == ([1, 2, 3, 4], 4)


@pytest.mark.parametrize("busy", ["UpdateItem hold", "BatchWriteItem change"])
def test_where_the_ledger_throttles_batches_are_reported_and_the_stream_is_the_buffer_again(
    busy: str, log_lines: Lines, counts: Counts
) -> None:
    world = ConsumerHarness()
    world.trouble[1] = FAILS
    world.dynamodb.on[busy] = refused("ProvisionedThroughputExceededException")
    assert world.deliver("aba") == [1, 3]
    assert counts() == {"ReportedChanges": 2}
    assert [line["message"] for line in log_lines()] == [
        "the ledger cannot hold an item: its changes come again",
        "change failed",
    ]
    world.dynamodb.on.clear()
    world.trouble.clear()
    assert world.deliver("aba") == []
    assert world.applied == [2, 1, 3]


@pytest.mark.parametrize("call", ["Query note", "Query hold"])
def test_where_the_ledger_cannot_be_read_the_whole_batch_is_reported_untried(
    call: str, counts: Counts, log_lines: Lines
) -> None:
    world = ConsumerHarness()
    world.dynamodb.on[call] = refused()
    assert world.deliver("abc") == [1, 2, 3]
    assert world.ran == []
    assert counts() == {"ReportedChanges": 3}
    assert [line["message"] for line in log_lines()] == ["the ledger cannot be read: the whole batch is reported"]


def test_a_held_item_that_cannot_be_appended_to_keeps_no_other_from_running() -> None:
    world = with_mended_item("a")
    world.dynamodb.on["UpdateItem hold"] = refused()
    assert world.deliver("aba", start=2) == [2, 4]
    assert world.applied == [3]
