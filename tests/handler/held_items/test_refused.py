"""Writes to a hold that the ledger refuses or throttles, or whose response is lost."""

import pytest

from handler.stream.ledger.notes import DONE, UNDONE
from tests.fakes.aws import before, in_turn, refused, unanswered
from tests.handler.conftest import Counts, Lines
from tests.handler.harness import FAILS, ConsumerHarness, with_mended_item


def test_an_append_refused_since_the_item_was_released_runs_what_is_above_the_tail() -> None:
    harness = with_mended_item("aa")
    harness.dynamodb.on["UpdateItem hold"] = before(lambda: harness.retry(now=True))
    assert harness.deliver("aaa", start=2) == []
    assert (harness.applied, harness.waiting()) == ([1, 2, 3, 4], [])


def test_an_append_refused_since_the_row_was_deleted_runs_all() -> None:
    harness = with_mended_item("aa")

    def release_and_purge() -> None:
        harness.retry(now=True)
        harness.retry_later(60)
        assert harness.row() is None

    harness.dynamodb.on["UpdateItem hold"] = before(release_and_purge)
    assert harness.deliver("aa", start=3, seconds=7200) == []
    assert harness.applied == [1, 2, 3, 4]


@pytest.mark.parametrize(("doubled", "batch"), [("aaa", "aa"), ("a", "aaa")])
def test_an_append_refused_by_a_doubled_delivery_appends_only_what_that_one_does_not_have(
    doubled: str, batch: str
) -> None:
    harness = with_mended_item("aa")
    harness.dynamodb.on["UpdateItem hold"] = before(lambda: harness.deliver(doubled, start=3))
    assert harness.deliver(batch, start=3) == []
    assert (harness.waiting(), harness.held_row().waiting) == ([1, 2, 3, 4, 5], 5)


def test_a_hold_refused_by_a_doubled_delivery_appends_what_that_one_does_not_have() -> None:
    harness = ConsumerHarness({1: FAILS})
    harness.dynamodb.on["UpdateItem hold"] = before(lambda: harness.deliver("aa"))
    assert harness.deliver("aaa") == []
    assert (harness.waiting(), harness.held_row().waiting) == ([1, 2, 3], 3)


def test_a_hold_refused_since_it_was_released_meanwhile_runs_what_is_above_the_tail() -> None:
    harness = ConsumerHarness({1: FAILS})

    def hold_and_release() -> None:
        harness.deliver("aa")
        harness.trouble.clear()
        harness.retry(now=True)

    harness.dynamodb.on["UpdateItem hold"] = before(hold_and_release)
    assert harness.deliver("aaa") == []
    assert harness.applied == [1, 2, 3]


@pytest.mark.parametrize("lost", ["UpdateItem hold", "BatchWriteItem change"])
def test_a_hold_whose_answer_is_lost_is_reported_and_settled_when_it_comes_again(lost: str) -> None:
    harness = ConsumerHarness({1: FAILS}, on={lost: in_turn(unanswered)})
    assert harness.deliver("aba") == [1, 3]
    assert harness.note(under=1) == {1: UNDONE, 2: DONE, 3: UNDONE}
    assert harness.deliver("aba") == []
    assert (harness.applied, harness.waiting(), harness.held_row().waiting) == ([2], [1, 3], 2)


def test_an_append_whose_answer_is_lost_is_reported_and_settled_when_it_comes_again() -> None:
    harness = with_mended_item("aa")
    harness.dynamodb.on["UpdateItem hold"] = in_turn(unanswered)
    assert harness.deliver("aa", start=3) == [3, 4]
    assert harness.deliver("aa", start=3) == []
    assert (harness.waiting(), harness.held_row().waiting) == ([1, 2, 3, 4], 4)


@pytest.mark.parametrize("busy", ["UpdateItem hold", "BatchWriteItem change"])
def test_where_the_ledger_throttles_batches_are_reported_and_the_stream_is_the_buffer_again(
    busy: str, log_lines: Lines, counts: Counts
) -> None:
    harness = ConsumerHarness({1: FAILS}, on={busy: refused("ProvisionedThroughputExceededException")})
    assert harness.deliver("aba") == [1, 3]
    assert counts() == {"ReportedChanges": 2}
    assert [line["message"] for line in log_lines()] == [
        "the ledger cannot hold an item: its changes are reported",
        "change failed",
    ]
    harness.dynamodb.on.clear()
    harness.trouble.clear()
    assert harness.deliver("aba") == []
    assert harness.applied == [2, 1, 3]


@pytest.mark.parametrize("call", ["Query note", "Query hold"])
def test_where_the_ledger_cannot_be_read_the_whole_batch_is_reported_untried(
    call: str, counts: Counts, log_lines: Lines
) -> None:
    harness = ConsumerHarness(on={call: refused()})
    assert harness.deliver("abc") == [1, 2, 3]
    assert harness.ran == []
    assert counts() == {"ReportedChanges": 3}
    assert [line["message"] for line in log_lines()] == ["the ledger cannot be read: the whole batch is reported"]


def test_a_held_item_that_cannot_be_appended_to_keeps_no_other_from_running() -> None:
    harness = with_mended_item("a")
    harness.dynamodb.on["UpdateItem hold"] = refused()
    assert harness.deliver("aba", start=2) == [2, 4]
    assert harness.applied == [3]
