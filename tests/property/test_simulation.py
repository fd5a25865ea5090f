"""The laws hold in random histories; `make simulate` runs more histories, with other seeds each time.

Each breach is printed with the command that replays its history, step by step.
"""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.property.history.history import History
from tests.property.history.writes import Sizes
from tests.property.laws import LAWS
from tests.property.simulate import Simulation, breaches_of, simulate_seeds, totals
from tests.property.subjects.mutants import MUTANTS

HISTORIES = 120
SIZES = Sizes(changes=24, items=5, batch=8)

INCIDENTS = {
    *("plain consumer", "fenced consumer", "claimed consumer", "a note of the engine before holds"),
    *("handler: transient", "handler: poison", "handler: permanent", "handler: outage", "hang", "linger"),
    *("handler: undecodable", "batch throttled", "lost answer of a batch", "second delivery"),
    "record twice in a batch",
    *("mapping replaced mid-invocation", "batch size changed", "split of a shard", "time-out", "repeat by the SDK"),
    *("deadline with a handler running", "crash by the change itself", "crash between two changes"),
    *("crash before an effect", "crash after an effect", "crash before Query hold", "crash after Query hold"),
    *("crash before UpdateItem hold", "crash after UpdateItem hold", "crash before BatchWriteItem change"),
    *("crash after BatchWriteItem change", "crash after UpdateItem alone", "crash of a claim's holder"),
    *("lease after a crash", "UpdateItem hold: lost", "UpdateItem hold: answer lost", "UpdateItem hold: throttled"),
    *("BatchWriteItem change: answer lost", "BatchWriteItem change: done in part", "Query change: done in part"),
    *("Query hold: lost", "Query note: answer lost", "PutItem note: failed", "PutObject: refused"),
    *("hold: hold", "hold: append", "hold: lease", "hold: progress", "hold: hand back", "hold: release"),
    *("hold: redrive", "hold: removal", "retry run", "retry run dropped", "helper run", "redrive run", "skip run"),
    *("batch beside batch", "retry beside batch", "retry beside retry", "redrive beside retry", "everything made due"),
    *("parked: PermanentError", "parked: Undecodable", "parked: GivenUp", "parked: Skipped", "repeated effect"),
    *("discarded: RecordAgeExceeded", "expired"),
}
"""Incidents that must occur in this suite's histories: a kind that never occurs is not tested."""

LAW_BROKEN_BY = {
    "stock": "no_effect_is_repeated_or_reordered",
    "no ledger": "a_failure_causes_no_redelivery",
    "no notes": "no_effect_is_repeated_or_reordered",
    "notes of done only": "no_effect_is_repeated_or_reordered",
    "notes read eventually": "no_effect_is_repeated_or_reordered",
    "notes not carried": "no_effect_is_repeated_or_reordered",
    "notes call every change done": "no_change_is_lost",
    "no deadline": "no_handler_starts_without_enough_time",
    "no claims": "a_claimed_effect_happens_once",
    "no fences": "no_effect_is_repeated_or_reordered",
    "no lease": "an_item_has_one_handler_at_a_time",
    "a lease of a second": "an_item_has_one_handler_at_a_time",
    "release ignores the tail": "no_change_is_lost",
    "a released hold counts as settled": "no_change_is_lost",
    "row before changes": "no_change_is_lost",
    "deadline hold without a lease": "no_effect_is_repeated_or_reordered",
    "note before hold": "no_change_is_lost",
    "row deleted at release": "no_effect_is_repeated_or_reordered",
    "release on an empty read": "no_change_is_lost",
    "redrive compares with the tail": "a_redriven_change_is_done_or_parked_again",
    "hold keeps only the first change": "no_change_is_lost",
    "oldest first with a cut-off": "every_due_item_is_tried",
    "report a batch whose changes all fail": "a_failure_causes_no_redelivery",
    "digest of normalized numbers": "no_change_is_lost",
    "changes run past holds": "no_effect_is_repeated_or_reordered",
    "back-off of a day": "a_hold_is_due_within_its_back_off",
    "deaths are never counted": "no_change_is_lost",
}
"""Each mutant, and the law that it breaks."""

RARE = {
    "release ignores the tail": (122, Sizes(30, 2, 3)),
    "a released hold counts as settled": (154, Sizes(60, 2, 4)),
    "row deleted at release": (205, SIZES),
    "redrive compares with the tail": (93, SIZES),
    "a lease of a second": (74, SIZES),
    "oldest first with a cut-off": (53, SIZES),
    "notes read eventually": (24, SIZES),
    "release on an empty read": (27, SIZES),
}
"""Mutants that show in few histories, each with such a history, which is tried first: it spares the time of others."""


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    """The same histories each time, so that a failure comes from the code."""
    return simulate_seeds(list(range(HISTORIES)))


def test_every_law_holds_in_every_history(simulation: Simulation) -> None:
    assert simulation.breaches == []
    assert simulation.histories == HISTORIES


def test_every_kind_of_incident_occurs(simulation: Simulation) -> None:
    assert INCIDENTS - simulation.incidents.keys() == set()


def histories(mutant: str) -> Iterator[tuple[int, Sizes]]:
    """Yield the histories that a mutant runs in."""
    if mutant in RARE:
        yield RARE[mutant]
    yield from ((seed, SIZES) for seed in range(HISTORIES))


@pytest.mark.parametrize("mutant", MUTANTS)
def test_each_mutant_breaks_its_law(mutant: str) -> None:
    """The mutant breaks its law in a history in which the engine breaks none."""
    law = LAW_BROKEN_BY[mutant]
    for seed, sizes in histories(mutant):
        breaches, _ = breaches_of(seed, sizes, MUTANTS[mutant])
        if any(breach.startswith(law) for breach in breaches) and not breaches_of(seed, sizes)[0]:
            return
    pytest.fail(f"{mutant}: {law} held in {HISTORIES} histories")


def test_each_law_is_broken_by_a_mutant_or_named_here() -> None:
    """The engine's own tests guard the laws that no mutant here breaks."""
    assert LAW_BROKEN_BY.keys() == MUTANTS.keys()
    assert {law.__name__ for law in LAWS} - set(LAW_BROKEN_BY.values()) == {
        "no_change_near_its_age_limit_is_reported",
        "the_mirror_equals_its_source",
        "no_change_is_parked_without_a_reason",
        "no_change_is_held_without_a_reason",
        "no_change_is_tried_too_often",
        "no_item_is_tried_before_it_is_due",
        "held_items_recover_after_an_outage",
    }


@pytest.mark.parametrize("seed", range(12))
def test_a_seed_always_gives_the_same_history(seed: int) -> None:
    """The histories are the same even if runs overlap."""
    first, second = list[str](), list[str]()
    for lines in (first, second):
        History(seed, SIZES, trace=lines.append).run()
    assert first == second


def test_a_breach_is_replayed_by_the_command_that_is_printed_with_it() -> None:
    seed = next(seed for seed in range(HISTORIES) if breaches_of(seed, SIZES, MUTANTS["stock"])[0])
    breach, _, command = breaches_of(seed, SIZES, MUTANTS["stock"])[0][0].partition(" -- python ")
    replay = [sys.executable, *command.split(), "stock"]
    printed = subprocess.run(replay, capture_output=True, text=True, check=True).stdout.splitlines()
    assert breach in printed
    assert "stock, " in printed[0]


def test_every_kind_of_incident_that_people_ask_for_occurs(simulation: Simulation) -> None:
    assert [title for title, count in totals(simulation.incidents).items() if not count] == []
