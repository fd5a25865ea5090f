"""The laws in histories drawn at random; `make simulate` looks at more of them, other ones each time.

A history that breaks a law is printed with the command that replays it, step by step.
"""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.property.history.writes import Sizes
from tests.property.laws import LAWS
from tests.property.simulate import Simulation, broken, some
from tests.property.subjects.mutants import MUTANTS
from tests.property.world import World

HISTORIES = 300
SIZES = Sizes(changes=24, items=5, batch=8)

MET = {
    *("plain consumer", "fenced consumer", "claimed consumer", "a note of the engine before holds"),
    *("handler: transient", "handler: poison", "handler: permanent", "handler: outage", "hang", "linger"),
    *("batch throttled", "lost answer of a batch", "second delivery", "mapping replaced mid-invocation"),
    *("split of a shard", "batches cut anew", "time-out", "deadline with a handler running", "repeat by the SDK"),
    *("death of the change itself", "death between two changes", "death before an effect", "death after an effect"),
    *("death before read of holds", "death after read of holds", "death before write of a hold"),
    *("death after write of a hold", "death before write of changes", "death after write of changes"),
    *("death after count of a delivery", "death of a claim's holder", "lease after a death"),
    *("write of a hold: lost", "write of a hold: answer lost", "write of a hold: throttled"),
    *("write of changes: answer lost", "write of changes: done in part", "read of changes: done in part"),
    *("read of holds: lost", "read of a note: answer lost", "write of a note: failed", "park: refused"),
    *("hold: hold", "hold: append", "hold: lease", "hold: progress", "hold: hand back", "hold: release"),
    *("hold: redrive", "hold: removal", "retry run", "retry run dropped", "helper run", "redrive run", "skip run"),
    *("batch beside batch", "retry beside batch", "retry beside retry", "redrive beside retry", "everything made due"),
    *("parked: PermanentError", "parked: Undecodable", "parked: GivenUp", "parked: Skipped", "repeated effect"),
    *("discarded: RecordAgeExceeded", "expired"),
}
"""Kinds of trouble that the histories of this suite must meet: a kind that is never met is not put to the test."""

NOTICED = {
    "stock": "nothing_is_repeated_or_turned_back",
    "no ledger": "a_failure_makes_no_batch_come_again",
    "no notes": "nothing_is_repeated_or_turned_back",
    "notes of done only": "nothing_is_repeated_or_turned_back",
    "notes read eventually": "nothing_is_repeated_or_turned_back",
    "notes not carried": "nothing_is_repeated_or_turned_back",
    "notes of lies": "nothing_is_lost",
    "no deadline": "no_handler_begins_without_its_time",
    "no claims": "a_claimed_effect_happens_once",
    "no fences": "nothing_is_repeated_or_turned_back",
    "no lease": "one_item_has_one_handler",
    "a lease of a second": "one_item_has_one_handler",
    "release without the tail": "nothing_is_lost",
    "gone counts as settled": "nothing_is_lost",
    "row before changes": "nothing_is_lost",
    "last words without lease": "nothing_is_repeated_or_turned_back",
    "note before hold": "nothing_is_lost",
    "row deleted at release": "nothing_is_repeated_or_turned_back",
    "release on an empty read": "nothing_is_lost",
    "redriven changes look at tails": "what_is_redriven_is_done_or_parked_again",
    "held changes only the first": "nothing_is_lost",
    "due oldest first with a cut": "every_due_item_is_tried",
    "report when all items of a batch fail": "a_failure_makes_no_batch_come_again",
    "digests of normalised numbers": "nothing_is_lost",
    "changes run past holds": "nothing_is_repeated_or_turned_back",
    "back-off of a day": "a_hold_is_due_within_its_back_off",
    "never suspect": "nothing_is_lost",
}
"""Each planted mistake, and the law that notices it."""

RARE = {"release without the tail": (122, Sizes(30, 2, 3)), "gone counts as settled": (154, Sizes(60, 2, 4))}
"""Mistakes that show only where a retry run and a batch meet within milliseconds, each with a history that has that."""


@pytest.fixture(scope="module")
def proof() -> Simulation:
    """The same histories each time: the suite judges the change at hand."""
    return some(list(range(HISTORIES)))


def test_every_law_holds_in_every_history(proof: Simulation) -> None:
    assert proof.breaches == []
    assert proof.histories == HISTORIES


def test_the_histories_meet_every_kind_of_trouble(proof: Simulation) -> None:
    assert MET - proof.met.keys() == set()


def histories(mistake: str) -> Iterator[tuple[int, Sizes]]:
    """The histories in which a mistake is looked for."""
    if mistake in RARE:
        yield RARE[mistake]
    yield from ((seed, SIZES) for seed in range(HISTORIES))


@pytest.mark.parametrize("mistake", MUTANTS)
def test_a_planted_mistake_is_noticed(mistake: str) -> None:
    """By its law, in a history in which the engine itself breaks none."""
    law = NOTICED[mistake]
    for seed, sizes in histories(mistake):
        breaches, _ = broken(seed, sizes, MUTANTS[mistake])
        if any(breach.startswith(law) for breach in breaches) and not broken(seed, sizes)[0]:
            return
    pytest.fail(f"{mistake}: {law} held in {HISTORIES} histories")


def test_each_law_notices_a_mistake_or_is_named() -> None:
    """The others are kept by the engine's own tests, and watched here."""
    assert NOTICED.keys() == MUTANTS.keys()
    assert {law.__name__ for law in LAWS} - set(NOTICED.values()) == {
        "nothing_that_is_about_to_be_discarded_is_reported",
        "the_mirror_equals_its_source",
        "nothing_is_parked_without_its_reason",
        "nothing_is_held_without_a_reason",
        "a_change_is_tried_as_often_as_promised",
        "nothing_is_tried_before_it_is_due",
        "an_outage_ends_without_a_hand",
    }


@pytest.mark.parametrize("seed", range(12))
def test_a_seed_is_one_history(seed: int) -> None:
    """Also where runs overlap."""
    first, second = list[str](), list[str]()
    for lines in (first, second):
        World(seed, SIZES, tell=lines.append).happen()
    assert first == second


def test_a_breach_is_replayed_by_the_command_that_is_printed_with_it() -> None:
    seed = next(seed for seed in range(HISTORIES) if broken(seed, SIZES, MUTANTS["stock"])[0])
    breach, _, command = broken(seed, SIZES, MUTANTS["stock"])[0][0].partition(" -- python ")
    replay = [sys.executable, *command.split(), "stock"]
    printed = subprocess.run(replay, capture_output=True, text=True, check=True).stdout.splitlines()
    assert breach in printed
    assert "stock, " in printed[0]
