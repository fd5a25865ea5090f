"""The first deployment over the former engine, which reported what failed: its notes and claims are read on."""

import re
import zlib
from typing import Any

import pytest

from handler.stream.ledger.notes import DONE, HELD, UNDONE
from tests.fakes.aws import in_turn, refused
from tests.fakes.records import START, STREAM
from tests.handler.harness import FAILS, ConsumerHarness

BATCH = "abacde"
UNDER_1 = "0000000000000000000100000000000000000001"
NOTE: dict[str, Any] = {
    "pk": {"S": f"note#consumer#{STREAM}"},
    "sk": {"S": UNDER_1},
    # 100000000000000000001.1799996400,1+,1.,1x,1+,1.-20
    "records": {
        "B": b"x\x9c34\xc0\x04\x86z\x86\xe6\x96@`fb`\xa0c\xa8\xadc\xa8\xa7cX\x01a\xe8\x1a\x19\x00\x00\xf5\xf8\t\xc1"
    },
    "expiry": {"N": "1800172800"},
    "alone": {"N": "1799992800"},
}
"""As the former engine wrote it: 2 and 5 are done, 4 is parked, the clocks of 1 and 6 have run for an hour, 3 waits
behind 1; `alone` says that the first reported change has failed for two hours, whatever else did."""
FORMER_PARSER = re.compile(r"(\d+)([.+x])(-?\d*)")


@pytest.fixture
def harness() -> ConsumerHarness:
    """The former engine has reported 1, 3 and 6 of the batch; the new one is deployed."""
    harness = ConsumerHarness()
    harness.dynamodb.put_item(TableName="ledger", Item=NOTE)
    harness.dynamodb.calls.clear()
    return harness


def test_a_batch_that_the_former_engine_reported_in_part_goes_on_where_it_was(harness: ConsumerHarness) -> None:
    assert harness.deliver(BATCH) == []
    assert harness.applied == [1, 6, 3]
    assert harness.dynamodb.calls == ["Query note", "Query hold"]


def test_what_fails_is_held_anew_whatever_the_former_clocks_say(harness: ConsumerHarness) -> None:
    harness.trouble = {1: FAILS, 6: FAILS}
    assert harness.deliver(BATCH) == []
    assert (harness.waiting("a"), harness.waiting("e"), harness.parked()) == ([1, 3], [6], [])
    assert harness.held_row("a").since >= START
    harness.trouble.clear()
    assert harness.retry_later(1)["released"] == 2
    assert sorted(harness.applied) == [1, 3, 6]


def test_halves_of_the_batch_read_the_note_and_carry_it_on_without_clocks(harness: ConsumerHarness) -> None:
    assert harness.deliver("aba") == []
    assert harness.note(under=4) == {4: HELD, 5: DONE, 6: UNDONE}
    new = harness.ledger(f"note#consumer#{STREAM}")["0000000000000000000100000000000000000004"]
    assert set(new) == {"pk", "sk", "v", "records", "expiry"}
    assert harness.deliver("cde", start=4) == []
    assert harness.applied == [1, 3, 6]


def test_a_batch_that_is_reported_again_has_a_new_note(harness: ConsumerHarness) -> None:
    assert harness.deliver(BATCH, seconds=1) == [3, 6]
    assert harness.note(under=3) == {3: UNDONE, 4: HELD, 5: DONE, 6: UNDONE}
    assert harness.deliver("acde", start=3) == []
    assert harness.applied == [1, 3, 6]


def test_the_former_engine_can_read_a_new_note() -> None:
    """For a moment of the deployment both are at work: what is held is as settled for the former as what is parked."""
    harness = ConsumerHarness({1: FAILS, 2: FAILS}, on={"UpdateItem hold": in_turn(refused())})
    assert harness.deliver("abc") == [1]
    text = zlib.decompress(harness.ledger(f"note#consumer#{STREAM}")[UNDER_1]["records"]["B"]).decode()
    read = [FORMER_PARSER.fullmatch(part) for part in text.split(",")]
    assert [match and match.groups() for match in read] == [
        ("100000000000000000001", ".", ""),
        ("1", "x", ""),
        ("1", "+", ""),
    ]


def test_what_the_former_engine_claimed_is_not_done_again() -> None:
    harness = ConsumerHarness(claim=True)
    claim = {
        "pk": {"S": "claim#consumer#event-1"},
        "sk": {"S": "claim"},
        "expiry": {"N": str(int(START) + 100_000)},
        "in_progress_expiration": {"N": str(int(START) * 1000)},
        "status": {"S": "COMPLETED"},
        "data": {"S": "null"},
    }
    harness.dynamodb.put_item(TableName="ledger", Item=claim)
    assert harness.deliver("ab") == []
    assert harness.applied == [2]
