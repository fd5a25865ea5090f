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
    """A world that reports what fails: the ledger refuses to hold it."""
    world = ConsumerHarness()
    world.dynamodb.on["UpdateItem hold"] = refused()
    world.trouble |= dict.fromkeys(failing, FAILS)
    return world


def test_a_batch_that_is_reported_in_part_notes_every_record_from_the_first_reported_one() -> None:
    world = reporting(2)
    world.trouble[5] = PermanentError("never")
    assert world.deliver("abcbde") == [2, 4]
    note = world.note(under=2)
    assert list((note or {}).items()) == [(2, UNDONE), (3, DONE), (4, UNDONE), (5, HELD), (6, DONE)]
    assert len(world.ledger(f"note#consumer#{STREAM}")) == 1


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
    world = reporting(failing)
    world.deliver(batch)
    world.trouble.clear()
    world.ran.clear()
    assert world.deliver(next_batch, start=start) == []
    assert world.ran == ran


def test_what_is_remembered_is_in_the_ledger_alone() -> None:
    """So a note serves every environment, and none skips what another one may have run again since."""
    world = reporting(1)
    world.deliver("ab")
    world.trouble.clear()
    world.engine = world.environment()
    world.deliver("ab")
    assert world.applied == [2, 1]
    world.dynamodb.tables["ledger"].clear()
    world.deliver("ab")
    assert world.applied == [2, 1, 1, 2]


def test_a_note_that_does_not_name_the_first_record_is_not_used_and_not_carried_on() -> None:
    """Another concurrent batch of the shard wrote it, and may know better by now."""
    world = reporting(1)
    world.deliver("a b c d")
    world.ran.clear()
    world.dynamodb.calls.clear()
    assert world.deliver(" e f") == []
    assert world.ran == [2, 4]
    assert world.dynamodb.calls == ["Query note", "Query hold"]


def test_a_nearer_note_hides_one_further_below() -> None:
    world = reporting(1, 2)
    world.deliver("abc")
    del world.trouble[1]
    world.deliver("abc")
    assert world.note(under=2) is not None
    world.trouble.clear()
    world.ran.clear()
    world.deliver("bc", start=2)
    assert world.ran == [2]


def test_what_a_shorter_batch_leaves_of_a_note_is_carried_on_under_the_record_that_comes_next() -> None:
    world = reporting(1)
    world.deliver("abcdef")
    world.trouble.clear()
    world.ran.clear()
    assert world.deliver("abc") == []
    assert world.ran == [1]
    assert world.note(under=4) == {4: DONE, 5: DONE, 6: DONE}
    assert world.deliver("def", start=4) == []
    assert world.ran == [1]


def test_what_is_left_of_a_note_is_carried_on_by_a_batch_that_is_reported_in_part_too() -> None:
    world = reporting(1, 2)
    world.deliver("abcde")
    del world.trouble[1]
    assert world.deliver("abc") == [2]
    assert world.note(under=2) == {2: UNDONE, 3: DONE, 4: DONE, 5: DONE}


def test_notes_of_two_streams_are_kept_apart() -> None:
    """Sequence numbers repeat between streams."""
    world = reporting(1)
    world.deliver("ab")
    world.trouble.clear()
    world.ran.clear()
    world.deliver("ab", stream=STREAM.replace("orders", "users"))
    assert world.ran == [1, 2]


def test_notes_lie_in_the_ledger_under_consumer_stream_and_padded_sequence_for_two_days() -> None:
    world = ConsumerHarness(powertools_service_name="mirror")
    world.deliver("ab", seconds=1)
    [(sort, item)] = world.ledger(f"note#mirror#{STREAM}").items()
    assert sort == "0" * 19 + str(FIRST + 2)
    assert len(sort) == 40
    assert item["expiry"] == {"N": str(int(START) + 48 * 3600)}


def test_where_a_note_cannot_be_written_the_repeats_to_come_are_counted_and_logged(
    counts: Counts, log_lines: Lines
) -> None:
    world = reporting(2)
    world.dynamodb.on["PutItem note"] = refused("ProvisionedThroughputExceededException")
    assert world.deliver("abcbd") == [2, 4]
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
    world = reporting(2)
    world.deliver("abc")
    world.trouble.clear()
    world.ran.clear()
    [row] = world.ledger(f"note#consumer#{STREAM}").values()
    assert row["v"] == {"N": "1"}
    row["v"] = {"N": "2"}
    assert world.deliver("bc", start=2) == [2, 3]
    assert "NewerFormatError" in log_lines()[-1]["exception"]
    del row["v"]
    assert world.deliver("bc", start=2) == []
    assert world.ran == [2]
