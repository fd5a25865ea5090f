"""A failing item is held, its later changes wait, and no batch is reported because a handler fails."""

from typing import Any

import pytest

from handler.stream import PermanentError
from handler.stream.failures import read_failure
from tests.fakes.aws import refusal
from tests.fakes.records import START, STREAM, record
from tests.handler.conftest import Counts, Lines
from tests.handler.harness import FAILS, FIRST, ConsumerHarness, digest, with_mended_item

LABEL = STREAM.rpartition("/")[2]
EARLIER, LATER = STREAM.replace("2026-01-01", "2025-01-01"), STREAM.replace("2026-01-01", "2026-02-01")


def test_a_failing_item_is_held_with_its_later_changes_and_nothing_is_reported() -> None:
    harness = ConsumerHarness({2: FAILS})
    assert harness.deliver("abcbab") == []
    assert (harness.applied, harness.waiting("b")) == ([1, 3, 5], [2, 4, 6])
    assert (harness.waiting("a"), harness.waiting("c")) == ([], [])


def test_a_healthy_batch_costs_two_reads_of_the_ledger_and_no_write() -> None:
    harness = ConsumerHarness()
    assert harness.deliver("abcab") == []
    assert harness.dynamodb.calls == ["Query note", "Query hold"]


def test_a_hold_costs_two_writes() -> None:
    harness = ConsumerHarness({1: FAILS})
    harness.deliver("aba")
    assert harness.dynamodb.calls == ["Query note", "Query hold", "BatchWriteItem change", "UpdateItem hold"]


def test_the_row_says_what_the_ledgers_contract_says() -> None:
    harness = ConsumerHarness({1: FAILS})
    harness.deliver("aa", at=START - 3)
    now = harness.clock()
    assert harness.ledger("hold#consumer") == {
        digest("a"): {
            "pk": {"S": "hold#consumer"},
            "sk": {"S": digest("a")},
            "v": {"N": "1"},
            "state": {"S": "held"},
            "next": {"S": f"{LABEL}#{FIRST + 1:040}"},
            "tail": {"S": f"{LABEL}#{FIRST + 2:040}"},
            "tail_at": {"N": str(START - 3)},
            "since": {"N": str(now)},
            "due": {"N": str(now + 60)},
            "lease": {"N": "0"},
            "deaths": {"N": "0"},
            "given_up": {"N": "0"},
            "waiting": {"N": "2"},
        }
    }


def test_what_an_operator_reads_about_an_item() -> None:
    harness = ConsumerHarness({1: KeyError("x")})
    harness.deliver("a")
    assert harness.described() == {
        "table": "arn:aws:dynamodb:eu-central-1:111122223333:table/orders",
        "keys": '{"id": {"S": "a"}}',
        "error_type": "KeyError",
        "error_text": "'x'",
        "tries": "3",
        "at": str(harness.clock()),
    }


def test_the_rows_of_a_consumer_lie_under_its_ledger_name_which_outlives_a_rename() -> None:
    harness = ConsumerHarness({1: FAILS}, powertools_service_name="new", ledger_name="old")
    harness.deliver("a")
    assert sorted(harness.dynamodb.tables["ledger"]) == ["hold#old", f"hold#old#{digest('a')}"]


def test_a_hold_is_logged_and_counted(log_lines: Lines, counts: Counts) -> None:
    harness = ConsumerHarness()
    harness.trouble[1] = ValueError("the effect")
    harness.trouble[1].__cause__ = OSError("the cause")
    harness.deliver("aba")
    (line,) = log_lines()
    assert (line["message"], line["level"], line["item"]) == ("item held", "ERROR", digest("a"))
    assert (line["event_id"], line["event_name"], line["table"]) == ("event-1", "MODIFY", "orders")
    assert (line["keys"], line["sequence_number"]) == ({"id": "a"}, str(FIRST + 1))
    assert line["error"] == {"type": "ValueError", "text": "the effect"}
    assert (line["attempts"], line["changes"]) == (3, 2)
    assert line["sequence_numbers"] == [str(FIRST + 1), str(FIRST + 3)]
    assert line["next_try"] == "2027-01-15T08:01:00Z"
    assert "OSError: the cause" in line["exception"]
    assert line["function_request_id"] == "request-1"
    assert counts() == {"HeldChanges": 2}


def test_a_permanent_error_is_parked_and_its_items_next_change_runs(counts: Counts, log_lines: Lines) -> None:
    harness = ConsumerHarness({1: PermanentError("never")})
    assert harness.deliver("aab") == []
    assert (harness.parked(), harness.applied, harness.waiting()) == ([1], [3, 2], [])
    assert counts() == {"ParkedChanges": 1}
    (line,) = log_lines()
    assert (line["message"], line["reason"], line["event_id"]) == ("change parked", "PermanentError", "event-1")
    assert harness.ran == [1, 3, 2], "it has one try"


def test_what_cannot_be_parked_is_held(log_lines: Lines) -> None:
    harness = ConsumerHarness({1: PermanentError("never")})
    harness.s3.failing = refusal("SlowDown", "PutObject")
    assert harness.deliver("aab") == []
    assert (harness.waiting(), harness.applied) == ([1, 2], [3])
    refused_line, held_line = log_lines()
    assert (refused_line["message"], refused_line["event_id"]) == ("change cannot be parked", "event-1")
    assert refused_line["error"]["text"].startswith("An error occurred (SlowDown)")
    assert (held_line["message"], held_line["error"]["text"]) == ("item held", "never")


def test_without_a_ledger_a_failing_change_is_reported_with_its_items_later_ones(log_lines: Lines) -> None:
    harness = ConsumerHarness({1: FAILS}, ledger_table="")
    assert harness.deliver("aba") == [1, 3]
    assert harness.applied == [2]
    assert [line["message"] for line in log_lines()] == ["change failed"]


def test_later_batches_append_the_items_changes_and_run_the_others(log_lines: Lines, counts: Counts) -> None:
    harness = with_mended_item("aa")
    counts()
    assert harness.deliver("aba", start=3) == []
    assert (harness.ran, harness.waiting()) == ([4], [1, 2, 3, 5])
    assert harness.dynamodb.calls == ["Query note", "Query hold", "BatchWriteItem change", "UpdateItem hold"]
    row = harness.held_row()
    assert (row.next, row.tail, row.waiting) == (f"{LABEL}#{FIRST + 1:040}", f"{LABEL}#{FIRST + 5:040}", 4)
    line = log_lines()[-1]
    assert (line["message"], line["level"], line["waits_for"]) == ("changes wait", "INFO", str(FIRST + 1))
    assert (line["waiting"], line["changes"], line["event_id"]) == (4, 2, "event-3")
    assert line["sequence_numbers"] == [str(FIRST + 3), str(FIRST + 5)]
    assert counts() == {"HeldChanges": 2}


@pytest.mark.parametrize(("batch", "start"), [("aa", 3), ("aaaa", 1)])
def test_new_changes_are_appended_each_once_and_without_time_for_a_handler(batch: str, start: int) -> None:
    harness = with_mended_item("aa")
    assert harness.deliver(batch, start=start, seconds=3) == []
    assert (harness.waiting(), harness.held_row().waiting) == ([1, 2, 3, 4], 4)


def test_after_the_release_the_items_next_change_runs_as_it_comes() -> None:
    harness = with_mended_item()
    harness.retry(now=True)
    assert harness.deliver("a", start=3) == []
    assert harness.applied == [1, 2, 3]


def test_an_item_is_its_table_and_raw_key() -> None:
    """Numbers that are equal are two items as long as the stream writes them in two ways; the order costs nothing."""
    harness = ConsumerHarness({1: FAILS})
    harness.engine({"Records": [record(1, Keys={"id": {"N": "1"}})]})
    harness.engine({"Records": [record(2, Keys={"id": {"N": "1.0"}})]})
    harness.engine({"Records": [record(3, stream=STREAM.replace("orders", "users"), Keys={"id": {"N": "1"}})]})
    assert harness.applied == [2, 3]
    harness.engine({"Records": [record(4, Keys={"id": {"N": "1"}})]})
    assert harness.applied == [2, 3]


def test_an_item_of_a_recreated_stream_waits_behind_what_waits() -> None:
    harness = with_mended_item()
    assert harness.deliver("a", start=-5, stream=LATER) == []
    assert (harness.ran, harness.waiting()) == ([], [1, 2, -5])
    assert harness.retry(now=True)["released"] == 1
    assert harness.applied == [1, 2, -5]


def test_what_the_hold_took_in_is_settled_when_it_comes_again() -> None:
    """A doubled delivery, or a batch whose answer was lost."""
    harness = with_mended_item("aab")
    assert harness.deliver("aab") == []
    assert (harness.ran, harness.waiting()) == ([3], [1, 2])
    harness.retry(now=True)
    assert harness.deliver("aab") == []
    assert harness.applied == [3, 1, 2, 3]


@pytest.mark.parametrize("released", [False, True])
@pytest.mark.parametrize(
    ("number", "stream", "at"), [(1, EARLIER, START), (99, EARLIER, START), (-1, STREAM, START + 1)]
)
def test_what_is_at_or_below_the_tail_and_not_of_the_hold_is_parked_as_out_of_sequence(
    number: int, stream: str, at: float, released: bool, counts: Counts
) -> None:
    """Of an older stream, or younger than the last change that was taken in: no order is left for it."""
    harness = with_mended_item()
    if released:
        harness.retry(now=True)
    harness.ran.clear()
    counts()
    assert harness.deliver("a", start=number, stream=stream, at=at) == []
    assert harness.parked() == [number]
    assert number not in harness.ran
    assert counts() == {"OutOfSequence": 1, "ParkedChanges": 1}
    assert harness.failure().condition == "OutOfSequence"


@pytest.mark.parametrize(("number", "fields"), [(-3, {}), (1, {"ApproximateCreationDateTime": None})])
def test_a_change_below_the_tail_that_is_older_or_has_no_age_is_settled(number: int, fields: dict[str, Any]) -> None:
    """Sequence numbers of an item grow, so it was taken in or done before."""
    harness = with_mended_item()
    assert harness.deliver("a", start=number, **fields) == []
    assert (harness.ran, harness.parked(), harness.waiting()) == ([], [], [1, 2])


def test_what_is_out_of_sequence_and_cannot_be_parked_comes_again_with_all_after_it(counts: Counts) -> None:
    harness = with_mended_item()
    harness.s3.failing = refusal("SlowDown")
    counts()
    records = [record(-1, at=START + 1), record(3)]
    answer = harness.engine({"Records": records})
    assert [failure["itemIdentifier"] for failure in answer["batchItemFailures"]] == [str(FIRST - 1), str(FIRST + 3)]
    assert harness.waiting() == [1, 2]
    assert counts() == {"OutOfSequence": 1, "ReportedChanges": 2}


@pytest.mark.parametrize(("number", "reads"), [(99, 2), (101, 3)])
def test_of_more_than_a_page_of_holds_a_batch_reads_those_of_its_items(number: int, reads: int) -> None:
    harness = ConsumerHarness(dict.fromkeys(range(number), FAILS))
    harness.invoke({"Records": [record(place, f"item-{place}") for place in range(number)]})
    harness.engine = harness.environment()
    harness.ran.clear()
    harness.dynamodb.calls.clear()
    last = f"item-{number - 1}"
    assert harness.invoke({"Records": [record(200, last), record(201, "new")]}) == {"batchItemFailures": []}
    assert harness.dynamodb.calls[:reads] == ["Query note", "Query hold", "BatchGetItem hold"][:reads]
    assert harness.dynamodb.calls[reads] == "BatchWriteItem change"
    assert (harness.ran, harness.waiting(last)) == ([201], [number - 1, 200])


def test_what_comes_for_an_item_with_10_000_waiting_changes_is_parked(counts: Counts) -> None:
    harness = with_mended_item("a")
    harness.ledger("hold#consumer")[digest("a")]["waiting"] = {"N": "9999"}
    assert harness.deliver("a", start=2) == []
    counts()
    assert harness.deliver("aba", start=3) == []
    assert (harness.parked(), harness.applied) == ([3, 5], [4])
    assert counts() == {"ParkedChanges": 2}
    assert {read_failure(body).condition for body in harness.s3.objects.values()} == {"HoldFull"}
    assert harness.held_row().tail == f"{LABEL}#{FIRST + 2:040}"


def test_what_a_full_hold_cannot_park_waits_all_the_same() -> None:
    harness = with_mended_item("a")
    harness.ledger("hold#consumer")[digest("a")]["waiting"] = {"N": "10000"}
    harness.s3.failing = refusal("SlowDown")
    assert harness.deliver("aa", start=2) == []
    assert harness.waiting() == [1, 2, 3]
