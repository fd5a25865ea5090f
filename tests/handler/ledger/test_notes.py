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


def test_the_next_delivery_runs_only_what_is_not_settled() -> None:
    world = reporting(2)
    world.deliver("abcbd")
    world.trouble.clear()
    world.ran.clear()
    assert world.deliver("bcbd", start=2) == []
    assert world.ran == [2, 4]


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


def test_a_note_below_the_first_record_is_used_if_it_names_it() -> None:
    """The mapping has split the batch, or discarded its head."""
    world = reporting(1)
    world.deliver("abcd")
    world.ran.clear()
    assert world.deliver("bcd", start=2) == []
    assert world.ran == []


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


def test_a_record_that_the_note_does_not_name_is_not_settled() -> None:
    """The next batch is longer."""
    world = reporting(1)
    world.deliver("ab")
    world.trouble.clear()
    world.ran.clear()
    assert world.deliver("abcd") == []
    assert world.ran == [1, 3, 4]


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
    read = Note.unpacked(Note(states).packed())
    assert list(read.states.items()) == list(states.items())


def test_ten_thousand_records_fit_into_an_item() -> None:
    """An item holds 400 KB; here on sequence numbers further apart than a stream's."""
    generator = random.Random(1)
    sequences = sorted({generator.randrange(10**25) for _ in range(10_000)})
    assert len(Note(dict.fromkeys(range(10**20, 10**20 + 5_000_000, 500), DONE)).packed()) < 26_000
    assert len(Note({each: generator.choice(".+x") for each in sequences}).packed()) < 200_000
