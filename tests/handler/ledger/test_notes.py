"""Progress notes: what a partly reported batch has settled is neither repeated nor turned back."""

import random

import pytest

from handler.stream import PermanentError
from handler.stream.ledger.notes import DONE, HELD, UNDONE, Note
from tests.fakes.aws import refused
from tests.fakes.records import START, STREAM
from tests.handler.conftest import Counts, Lines
from tests.handler.harness import FAILS, FIRST, ConsumerHarness


def reporting(*failing: int) -> ConsumerHarness:
    """A harness that reports what fails: the ledger refuses to hold it."""
    return ConsumerHarness(dict.fromkeys(failing, FAILS), on={"UpdateItem hold": refused()})


def test_a_batch_that_is_reported_in_part_notes_every_record_from_the_first_reported_one() -> None:
    harness = reporting(2)
    harness.trouble[5] = PermanentError("never")
    assert harness.deliver("abcbde") == [2, 4]
    note = harness.note(under=2)
    assert list((note or {}).items()) == [(2, UNDONE), (3, DONE), (4, UNDONE), (5, HELD), (6, DONE)]
    assert len(harness.ledger(f"note#consumer#{STREAM}")) == 1


@pytest.mark.parametrize(
    ("failing", "batch", "next_batch", "start", "ran"),
    [
        pytest.param(2, "abcbd", "bcbd", 2, [2, 4], id="from the checkpoint"),
        pytest.param(1, "abcd", "bcd", 2, [], id="split, or its head discarded"),
        pytest.param(1, "ab", "abcd", 1, [1, 3, 4], id="longer than the note"),
    ],
)
def test_the_next_delivery_runs_only_what_is_not_settled(
    failing: int, batch: str, next_batch: str, start: int, ran: list[int]
) -> None:
    harness = reporting(failing)
    harness.deliver(batch)
    harness.mend()
    assert harness.deliver(next_batch, start=start) == []
    assert harness.ran == ran


def test_what_is_remembered_is_in_the_ledger_alone() -> None:
    """So a note serves every environment, and none skips what another one may have run again since."""
    harness = reporting(1)
    harness.deliver("ab")
    harness.trouble.clear()
    harness.engine = harness.environment()
    harness.deliver("ab")
    assert harness.applied == [2, 1]
    harness.dynamodb.tables["ledger"].clear()
    harness.deliver("ab")
    assert harness.applied == [2, 1, 1, 2]


def test_a_note_that_does_not_name_the_first_record_is_not_used_and_not_carried_on() -> None:
    """Another concurrent batch of the shard wrote it, and may know better by now."""
    harness = reporting(1)
    harness.deliver("a b c d")
    harness.ran.clear()
    harness.dynamodb.calls.clear()
    assert harness.deliver(" e f") == []
    assert harness.ran == [2, 4]
    assert harness.dynamodb.calls == ["Query note", "Query hold"]


def test_a_nearer_note_hides_one_further_below() -> None:
    harness = reporting(1, 2)
    harness.deliver("abc")
    del harness.trouble[1]
    harness.deliver("abc")
    assert harness.note(under=2) is not None
    harness.mend()
    harness.deliver("bc", start=2)
    assert harness.ran == [2]


def test_what_a_shorter_batch_leaves_of_a_note_is_carried_on_under_the_record_that_comes_next() -> None:
    harness = reporting(1)
    harness.deliver("abcdef")
    harness.mend()
    assert harness.deliver("abc") == []
    assert (harness.ran, harness.note(under=4)) == ([1], {4: DONE, 5: DONE, 6: DONE})
    assert harness.deliver("def", start=4) == []
    assert harness.ran == [1]


def test_what_is_left_of_a_note_is_carried_on_by_a_batch_that_is_reported_in_part_too() -> None:
    harness = reporting(1, 2)
    harness.deliver("abcde")
    del harness.trouble[1]
    assert harness.deliver("abc") == [2]
    assert harness.note(under=2) == {2: UNDONE, 3: DONE, 4: DONE, 5: DONE}


def test_notes_of_two_streams_are_kept_apart() -> None:
    """Sequence numbers repeat between streams."""
    harness = reporting(1)
    harness.deliver("ab")
    harness.mend()
    harness.deliver("ab", stream=STREAM.replace("orders", "users"))
    assert harness.ran == [1, 2]


def test_notes_lie_in_the_ledger_under_consumer_stream_and_padded_sequence_for_two_days() -> None:
    harness = ConsumerHarness(powertools_service_name="mirror")
    harness.deliver("ab", seconds=1)
    [(sort, item)] = harness.ledger(f"note#mirror#{STREAM}").items()
    assert sort == "0" * 19 + str(FIRST + 2)
    assert len(sort) == 40
    assert item["expiry"] == {"N": str(int(START) + 48 * 3600)}


def test_where_a_note_cannot_be_written_the_repeats_to_come_are_counted_and_logged(
    counts: Counts, log_lines: Lines
) -> None:
    harness = reporting(2)
    harness.dynamodb.on["PutItem note"] = refused("ProvisionedThroughputExceededException")
    assert harness.deliver("abcbd") == [2, 4]
    assert counts() == {"ReportedChanges": 2, "RepeatedChanges": 2}
    line = log_lines()[-1]
    assert (line["message"], line["repeats"]) == ("the note cannot be written: finished changes are repeated", 2)
    assert "ProvisionedThroughputExceededException" in line["exception"]


@pytest.mark.parametrize("size", [1, 100, 10_000])
def test_a_note_is_read_as_it_was_written(size: int) -> None:
    generator = random.Random(size)
    sequence, states = 10**39, dict[int, str]()
    for _ in range(size):
        sequence += generator.randrange(1, 10**6)
        states[sequence] = generator.choice([UNDONE, DONE, DONE, DONE, HELD])
    read = Note.unpack(Note(states).pack())
    assert list(read.states.items()) == list(states.items())


def test_ten_thousand_records_fit_into_an_item() -> None:
    """An item holds 400 KB; here on sequence numbers further apart than a stream's."""
    generator = random.Random(1)
    sequences = sorted({generator.randrange(10**25) for _ in range(10_000)})
    assert len(Note(dict.fromkeys(range(10**20, 10**20 + 5_000_000, 500), DONE)).pack()) < 26_000
    assert len(Note({each: generator.choice(".+x") for each in sequences}).pack()) < 200_000


def test_a_note_without_a_format_is_read_and_one_of_a_newer_format_makes_the_batch_come_again(log_lines: Lines) -> None:
    """During a deployment, an old and a new version of the engine may run at the same time."""
    harness = reporting(2)
    harness.deliver("abc")
    harness.mend()
    [row] = harness.ledger(f"note#consumer#{STREAM}").values()
    assert row["v"] == {"N": "1"}
    row["v"] = {"N": "2"}
    assert harness.deliver("bc", start=2) == [2, 3]
    assert "NewerFormatError" in log_lines()[-1]["exception"]
    del row["v"]
    assert harness.deliver("bc", start=2) == []
    assert harness.ran == [2]
