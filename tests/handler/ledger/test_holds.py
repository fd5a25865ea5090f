"""A failing item is held, its later changes wait, and no batch is reported because a handler fails."""

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
    world = ConsumerHarness()
    world.trouble[2] = FAILS
    assert world.deliver("abcbab") == []
    assert world.applied == [1, 3, 5]
    assert world.waiting("b") == [2, 4, 6]
    assert (world.waiting("a"), world.waiting("c")) == ([], [])


def test_a_healthy_batch_costs_two_reads_of_the_ledger_and_no_write() -> None:
    world = ConsumerHarness()
    assert world.deliver("abcab") == []
    assert world.dynamodb.calls == ["Query note", "Query hold"]


def test_a_hold_costs_two_writes() -> None:
    world = ConsumerHarness()
    world.trouble[1] = FAILS
    world.deliver("aba")
    assert world.dynamodb.calls == ["Query note", "Query hold", "BatchWriteItem change", "UpdateItem hold"]


def test_the_row_says_what_the_ledgers_contract_says() -> None:
    world = ConsumerHarness()
    world.trouble[1] = FAILS
    world.deliver("aa", at=START - 3)
    now = world.clock()
    assert world.ledger("hold#consumer") == {
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
    world = ConsumerHarness()
    world.trouble[1] = KeyError("x")
    world.deliver("a")
    assert world.described() == {
        "table": "arn:aws:dynamodb:eu-central-1:111122223333:table/orders",
        "keys": '{"id": {"S": "a"}}',
        "error_type": "KeyError",
        "error_text": "'x'",
        "tries": "3",
        "at": str(world.clock()),
    }


def test_the_rows_of_a_consumer_lie_under_its_ledger_name_which_outlives_a_rename() -> None:
    world = ConsumerHarness(powertools_service_name="new", ledger_name="old")
    world.trouble[1] = FAILS
    world.deliver("a")
    assert sorted(world.dynamodb.tables["ledger"]) == ["hold#old", f"hold#old#{digest('a')}"]


def test_a_hold_is_logged_and_counted(log_lines: Lines, counts: Counts) -> None:
    world = ConsumerHarness()
    world.trouble[1] = ValueError("the effect")
    world.trouble[1].__cause__ = OSError("the cause")
    world.deliver("aba")
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
    world = ConsumerHarness()
    world.trouble[1] = PermanentError("never")
    assert world.deliver("aab") == []
    assert (world.parked(), world.applied, world.waiting()) == ([1], [3, 2], [])
    assert counts() == {"ParkedChanges": 1}
    (line,) = log_lines()
    assert (line["message"], line["reason"], line["event_id"]) == ("change parked", "PermanentError", "event-1")
    assert world.ran == [1, 3, 2], "it has one try"


def test_what_cannot_be_parked_is_held(log_lines: Lines) -> None:
    world = ConsumerHarness()
    world.trouble[1] = PermanentError("never")
    world.s3.failing = refusal("SlowDown", "PutObject")
    assert world.deliver("aab") == []
    assert (world.waiting(), world.applied) == ([1, 2], [3])
    refused_line, held_line = log_lines()
    assert (refused_line["message"], refused_line["event_id"]) == ("change cannot be parked", "event-1")
    assert refused_line["error"]["text"].startswith("An error occurred (SlowDown)")
    assert (held_line["message"], held_line["error"]["text"]) == ("item held", "never")


def test_without_a_ledger_a_failing_change_is_reported_with_its_items_later_ones(log_lines: Lines) -> None:
    world = ConsumerHarness(ledger_table="")
    world.trouble[1] = FAILS
    assert world.deliver("aba") == [1, 3]
    assert world.applied == [2]
    assert [line["message"] for line in log_lines()] == ["change failed"]


def test_later_batches_append_the_items_changes_and_run_the_others(log_lines: Lines, counts: Counts) -> None:
    world = with_mended_item("aa")
    counts()
    assert world.deliver("aba", start=3) == []
    assert (world.ran, world.waiting()) == ([4], [1, 2, 3, 5])
    assert world.dynamodb.calls == ["Query note", "Query hold", "BatchWriteItem change", "UpdateItem hold"]
    row = world.held_row()
    assert (row.next, row.tail, row.waiting) == (f"{LABEL}#{FIRST + 1:040}", f"{LABEL}#{FIRST + 5:040}", 4)
    line = log_lines()[-1]
    assert (line["message"], line["level"], line["waits_for"]) == ("changes wait", "INFO", str(FIRST + 1))
    assert (line["waiting"], line["changes"], line["event_id"]) == (4, 2, "event-3")
    assert line["sequence_numbers"] == [str(FIRST + 3), str(FIRST + 5)]
    assert counts() == {"HeldChanges": 2}


def test_appending_needs_no_time_for_a_handler() -> None:
    world = with_mended_item()
    assert world.deliver("aa", start=3, seconds=3) == []
    assert world.waiting() == [1, 2, 3, 4]


def test_after_the_release_the_items_next_change_runs_as_it_comes() -> None:
    world = with_mended_item()
    world.retry(now=True)
    assert world.deliver("a", start=3) == []
    assert world.applied == [1, 2, 3]


def test_an_item_is_its_table_and_raw_key() -> None:
    """Numbers that are equal are two items as long as the stream writes them in two ways; the order costs nothing."""
    world = ConsumerHarness()
    world.trouble[1] = FAILS
    world.engine({"Records": [record(1, Keys={"id": {"N": "1"}})]})
    world.engine({"Records": [record(2, Keys={"id": {"N": "1.0"}})]})
    world.engine({"Records": [record(3, stream=STREAM.replace("orders", "users"), Keys={"id": {"N": "1"}})]})
    assert world.applied == [2, 3]
    world.engine({"Records": [record(4, Keys={"id": {"N": "1"}})]})
    assert world.applied == [2, 3]


def test_an_item_of_a_recreated_stream_waits_behind_what_waits() -> None:
    world = with_mended_item()
    assert world.deliver("a", start=-5, stream=LATER) == []
    assert (world.ran, world.waiting()) == ([], [1, 2, -5])
    assert world.retry(now=True)["released"] == 1
    assert world.applied == [1, 2, -5]


def test_what_the_hold_took_in_is_settled_when_it_comes_again() -> None:
    """A doubled delivery, or a batch whose answer was lost."""
    world = with_mended_item("aab")
    assert world.deliver("aab") == []
    assert (world.ran, world.waiting()) == ([3], [1, 2])
    world.retry(now=True)
    assert world.deliver("aab") == []
    assert world.applied == [3, 1, 2, 3]


def test_a_longer_batch_comes_again_and_only_the_new_changes_are_appended() -> None:
    world = with_mended_item("aa")
    assert world.deliver("aaaa") == []
    assert (world.waiting(), world.held_row().waiting) == ([1, 2, 3, 4], 4)


@pytest.mark.parametrize("released", [False, True])
@pytest.mark.parametrize(
    ("number", "stream", "at"), [(1, EARLIER, START), (99, EARLIER, START), (-1, STREAM, START + 1)]
)
def test_what_is_at_or_below_the_tail_and_not_of_the_hold_is_parked_as_out_of_sequence(
    number: int, stream: str, at: float, released: bool, counts: Counts
) -> None:
    """Of an older stream, or younger than the last change that was taken in: no order is left for it."""
    world = with_mended_item()
    if released:
        world.retry(now=True)
    world.ran.clear()
    counts()
    assert world.deliver("a", start=number, stream=stream, at=at) == []
    assert world.parked() == [number]
    assert number not in world.ran
    assert counts() == {"OutOfSequence": 1, "ParkedChanges": 1}
    [body] = world.s3.objects.values()
    assert read_failure(body).condition == "OutOfSequence"


def test_an_older_change_of_the_stream_is_settled_by_the_tail() -> None:
    """Sequence numbers of an item grow, so it was taken in or done before."""
    world = with_mended_item()
    assert world.deliver("a", start=-3) == []
    assert (world.ran, world.parked(), world.waiting()) == ([], [], [1, 2])


def test_what_is_out_of_sequence_and_cannot_be_parked_comes_again_with_all_after_it(counts: Counts) -> None:
    world = with_mended_item()
    world.s3.failing = refusal("SlowDown")
    counts()
    records = [record(-1, at=START + 1), record(3)]
    answer = world.engine({"Records": records})
    assert [failure["itemIdentifier"] for failure in answer["batchItemFailures"]] == [str(FIRST - 1), str(FIRST + 3)]
    assert world.waiting() == [1, 2]
    assert counts() == {"OutOfSequence": 1, "ReportedChanges": 2}


def test_a_record_that_tells_no_age_is_settled_by_the_tail() -> None:
    world = with_mended_item()
    assert world.deliver("a", start=1, ApproximateCreationDateTime=None) == []
    assert (world.ran, world.parked()) == ([], [])


@pytest.mark.parametrize(("number", "reads"), [(99, 2), (101, 3)])
def test_of_more_than_a_page_of_holds_a_batch_reads_those_of_its_items(number: int, reads: int) -> None:
    world = ConsumerHarness()
    world.trouble = dict.fromkeys(range(number), FAILS)
    world.invoke({"Records": [record(place, f"item-{place}") for place in range(number)]})
    world.engine = world.environment()
    world.ran.clear()
    world.dynamodb.calls.clear()
    last = f"item-{number - 1}"
    assert world.invoke({"Records": [record(200, last), record(201, "new")]}) == {"batchItemFailures": []}
    assert world.dynamodb.calls[:reads] == ["Query note", "Query hold", "BatchGetItem hold"][:reads]
    assert world.dynamodb.calls[reads] == "BatchWriteItem change"
    assert (world.ran, world.waiting(last)) == ([201], [number - 1, 200])


def test_what_comes_for_an_item_with_10_000_waiting_changes_is_parked(counts: Counts) -> None:
    world = with_mended_item("a")
    world.ledger("hold#consumer")[digest("a")]["waiting"] = {"N": "9999"}
    assert world.deliver("a", start=2) == []
    counts()
    assert world.deliver("aba", start=3) == []
    assert (world.parked(), world.applied) == ([3, 5], [4])
    assert counts() == {"ParkedChanges": 2}
    assert {read_failure(body).condition for body in world.s3.objects.values()} == {"HoldFull"}
    assert world.held_row().tail == f"{LABEL}#{FIRST + 2:040}"


def test_what_a_full_hold_cannot_park_waits_all_the_same() -> None:
    world = with_mended_item("a")
    world.ledger("hold#consumer")[digest("a")]["waiting"] = {"N": "10000"}
    world.s3.failing = refusal("SlowDown")
    assert world.deliver("aa", start=2) == []
    assert world.waiting() == [1, 2, 3]
