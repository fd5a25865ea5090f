"""Progress notes: what a partly failed batch has done is neither repeated nor turned back."""

import random
from collections.abc import Callable

import pytest

from handler.stream import PermanentError
from handler.stream.progress import DONE, PARKED, UNDONE, Note
from tests.handler.conftest import Lines
from tests.handler.fakes import START, STREAM, refusal
from tests.handler.world import World

FAILS = ValueError("not now")
BASE = 10**20


def test_a_batch_that_succeeds_reads_once_and_writes_nothing() -> None:
    world = World()
    world.deliver("abc")
    assert world.dynamodb.calls == ["query"]


def test_a_partial_failure_notes_every_record_from_the_checkpoint_on_each_done_or_not() -> None:
    world = World()
    world.trouble |= {2: FAILS, 5: PermanentError("never")}
    assert world.deliver("abcbde") == [2, 4]
    note = world.note(under=2)
    assert note is not None
    assert dict(note.states) == {2: UNDONE, 3: DONE, 4: UNDONE, 5: PARKED, 6: DONE}
    assert list(note.states) == [2, 3, 4, 5, 6]
    assert len(world.dynamodb.tables["ledger"]) == 1


def test_the_next_delivery_runs_only_what_is_not_done() -> None:
    world = World()
    world.trouble[2] = FAILS
    world.deliver("abcbd")
    world.trouble.clear()
    world.ran.clear()
    assert world.deliver("bcbd", start=2) == []
    assert world.ran == [2, 4]


def test_what_is_remembered_is_in_the_ledger_alone() -> None:
    """Another environment may have run a change again since: this one must not skip what the note does not name."""
    world = World()
    world.trouble[1] = FAILS
    world.deliver("ab")
    world.trouble.clear()
    world.dynamodb.tables["ledger"].clear()
    world.deliver("ab")
    assert world.applied == [2, 1, 2]


def test_a_note_serves_another_environment() -> None:
    world = World()
    world.trouble[1] = FAILS
    world.deliver("abc")
    world.trouble.clear()
    world.engine = world.environment()
    world.deliver("abc")
    assert world.applied == [2, 3, 1]


def test_a_note_below_the_first_record_is_used_if_it_names_it() -> None:
    """The mapping has split the batch, or discarded its head."""
    world = World()
    world.trouble[1] = FAILS
    world.deliver("abcd")
    world.ran.clear()
    assert world.deliver("bcd", start=2) == []
    assert world.ran == []


def test_a_note_that_does_not_name_the_first_record_is_not_used() -> None:
    """It is another lane's, and not for this lane to carry on: that lane may know better by now."""
    world = World()
    world.trouble[1] = FAILS
    world.deliver("a b c d")
    world.ran.clear()
    world.dynamodb.calls.clear()
    assert world.deliver(" e f", start=1) == []
    assert world.ran == [2, 4]
    assert world.dynamodb.calls == ["query"]


def test_a_nearer_note_hides_one_further_below() -> None:
    world = World()
    world.trouble |= {1: FAILS, 2: FAILS}
    world.deliver("abc")
    world.trouble.pop(1)
    world.deliver("abc")
    assert world.note(under=2) is not None
    world.trouble.clear()
    world.ran.clear()
    world.deliver("bc", start=2)
    assert world.ran == [2]


def test_a_record_that_the_note_does_not_name_is_not_done() -> None:
    """The next batch is longer."""
    world = World()
    world.trouble[1] = FAILS
    world.deliver("ab")
    world.trouble.clear()
    world.ran.clear()
    assert world.deliver("abcd") == []
    assert world.ran == [1, 3, 4]


def test_what_a_shorter_batch_leaves_of_a_note_is_carried_on_under_the_record_that_comes_next() -> None:
    world = World()
    world.trouble[1] = FAILS
    world.deliver("abcdef")
    world.trouble.clear()
    world.ran.clear()
    assert world.deliver("abc") == []
    assert world.ran == [1]
    note = world.note(under=4)
    assert note is not None
    assert dict(note.states) == {4: DONE, 5: DONE, 6: DONE}
    assert world.deliver("def", start=4) == []
    assert world.ran == [1]


def test_what_is_left_of_a_note_is_carried_on_by_a_batch_that_fails_in_part_too() -> None:
    world = World()
    world.trouble |= {1: FAILS, 2: FAILS}
    world.deliver("abcde")
    world.trouble.pop(1)
    assert world.deliver("abc") == [2]
    note = world.note(under=2)
    assert note is not None
    assert dict(note.states) == {2: UNDONE, 3: DONE, 4: DONE, 5: DONE}


def test_clocks_of_what_is_left_are_carried_on() -> None:
    world = World()
    world.trouble |= {1: FAILS, 5: FAILS}
    world.deliver("abcde")
    world.clock.now += 60
    world.trouble.pop(1)
    world.deliver("ab")
    note = world.note(under=3)
    assert note is not None
    assert dict(note.clocks) == {5: START}
    assert note.alone is None


def test_since_when_the_first_undone_change_fails_is_carried_on() -> None:
    """A time-out's batch is split: its first half has nothing left to do."""
    world = World()
    notes = world.notes()
    notes.write(STREAM, BASE + 1, Note({BASE + 1: DONE, BASE + 2: UNDONE}, {}, 7.0), START)
    world.deliver("a")
    note = world.note(under=2)
    assert note is not None
    assert note.alone == 7.0


def test_notes_of_two_streams_are_kept_apart() -> None:
    """Sequence numbers repeat between streams."""
    world = World()
    world.trouble[1] = FAILS
    world.deliver("ab")
    world.ran.clear()
    world.deliver("ab", stream=STREAM.replace("orders", "users"))
    assert world.ran == [1, 2]


def test_notes_lie_in_the_ledger_under_consumer_stream_and_padded_sequence() -> None:
    world = World(powertools_service_name="mirror")
    world.trouble[1] = FAILS
    world.deliver("ab")
    [(key, item)] = world.dynamodb.tables["ledger"].items()
    assert key == (f"note#mirror#{STREAM}", "0" * 19 + str(BASE + 1))
    assert len(key[1]) == 40
    assert item["expiry"] == {"N": str(int(START) + 48 * 3600)}


def test_where_the_ledger_cannot_be_read_the_whole_batch_is_reported(
    counts: Callable[[], dict[str, int]], log_lines: Lines
) -> None:
    world = World()
    world.dynamodb.failing["query"] = refusal("InternalServerError", "Query")
    assert world.deliver("abc") == [1, 2, 3]
    assert world.ran == []
    assert counts() == {"HeldChanges": 3}
    assert [line["message"] for line in log_lines()] == ["the ledger cannot be read: the whole batch comes again"]


def test_where_a_note_cannot_be_written_the_repeats_to_come_are_counted_and_logged(
    counts: Callable[[], dict[str, int]], log_lines: Lines
) -> None:
    world = World()
    world.dynamodb.failing["put_item"] = refusal("ProvisionedThroughputExceededException", "PutItem")
    world.trouble[2] = FAILS
    assert world.deliver("abcbd") == [2, 4]
    assert counts() == {"FailedChanges": 1, "HeldChanges": 1, "RepeatsToCome": 2}
    line = log_lines()[-1]
    assert (line["message"], line["repeats"]) == ("the note cannot be written: what is done comes again", 2)
    assert "ProvisionedThroughputExceededException" in line["exception"]


@pytest.mark.parametrize("size", [1, 100, 10_000])
def test_a_note_is_read_as_it_was_written(size: int) -> None:
    generator = random.Random(size)
    sequence, states, clocks = 10**39, dict[int, str](), dict[int, float]()
    for _ in range(size):
        sequence += generator.randrange(1, 10**6)
        states[sequence] = generator.choice([UNDONE, DONE, DONE, DONE, PARKED])
        if states[sequence] == UNDONE and generator.random() < 0.5:
            clocks[sequence] = START + generator.randrange(1000)
    note = Note(states, clocks, START)
    packed = note.packed()
    assert Note.unpacked(packed, START) == note
    assert list(Note.unpacked(packed, START).states) == list(states)


def test_ten_thousand_records_fit_into_an_item() -> None:
    """An item holds 400 KB; here with clocks for all, on sequence numbers further apart than a stream's."""
    generator = random.Random(1)
    sequences = sorted({generator.randrange(10**25) for _ in range(10_000)})
    done = Note(dict.fromkeys(range(10**20, 10**20 + 5_000_000, 500), DONE))
    assert len(done.packed()) < 26_000
    full = Note(
        dict.fromkeys(sequences, UNDONE), {sequence: START + generator.random() * 900 for sequence in sequences}
    )
    assert len(full.packed()) < 200_000


def test_a_clock_is_never_read_as_older_than_it_is() -> None:
    assert Note.unpacked(Note({1: UNDONE}, {1: 10.2}).packed(), None).clocks == {1: 11}
