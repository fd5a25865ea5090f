"""The laws in histories drawn at random; the number of histories is the environment variable HISTORIES.

A history that breaks a law is printed with the command that replays it, step by step.
"""

import os
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.property.engines import ENGINE, MUTANTS, Subject
from tests.property.laws import LAWS, breaches
from tests.property.world import Sizes, World

DEFAULT = 300
HISTORIES = int(os.environ.get("HISTORIES", DEFAULT))
SIZES = st.builds(Sizes, changes=st.integers(1, 30), items=st.integers(1, 6), batch=st.integers(1, 10))
met: Counter[str] = Counter()


def broken(seed: int, sizes: Sizes, subject: Subject = ENGINE) -> list[str]:
    """The breaches of one history; each says how to replay it."""
    world = World(seed, sizes, subject).happen()
    met.update(world.facts.kinds() | {f"a {world.kind} consumer"})
    replay = f"python -m tests.property {seed} {sizes.changes} {sizes.items} {sizes.batch}"
    return [f"{breach} -- {replay}" for breach in breaches(world)]


@pytest.mark.timeout(0 if HISTORIES > DEFAULT else 120)
@settings(
    max_examples=HISTORIES,
    derandomize=HISTORIES == DEFAULT,  # the test suite judges the change at hand; make prove looks further each time
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(seed=st.integers(0, 2**40), sizes=SIZES)
def test_every_law_holds_in_every_history(seed: int, sizes: Sizes) -> None:
    assert broken(seed, sizes) == []


def test_the_histories_meet_every_kind_of_trouble() -> None:
    """What was never met was not put to the proof."""
    met.clear()
    assert [breach for seed in range(150) for breach in broken(seed, Sizes(changes=24, items=5, batch=8))] == []
    assert met.keys() >= {
        *("a plain consumer", "a fenced consumer", "a claimed consumer"),
        *("transient", "poison", "permanent", "outage", "hang", "linger", "crash"),
        *("throttling", "lost answer", "second delivery", "replaced mid-invocation", "recut", "a split"),
        *("a read refused", "a note refused", "a park refused", "a claim refused", "a mark refused"),
        *("parked: PermanentError", "parked: RecordAgeExceeded"),
        *("parked: GiveUpAfterExceeded", "parked: GiveUpAloneAfterExceeded", "given up with one try"),
        *("discarded: RetryAttemptsExhausted", "discarded: RecordAgeExceeded", "refused by the destination"),
        *("expired", "a failed mark", "a holder's death", "a repeated effect", "at the outage's begin"),
    }


# Which law each mutant breaks first, and so what shows that this law can be broken at all.
BROKEN = {
    "stock": "nothing_is_repeated_or_turned_back",
    "no notes": "nothing_is_repeated_or_turned_back",
    "notes of done only": "nothing_is_repeated_or_turned_back",
    "notes read eventually": "nothing_is_repeated_or_turned_back",
    "notes not carried": "nothing_is_repeated_or_turned_back",
    "notes without clocks": "nothing_holds_its_lane_for_long",
    "notes without the lone clock": "nothing_holds_its_lane_for_long",
    "notes of long ago": "recovery_parks_nothing_sound",
    "notes of lies": "nothing_is_lost",
    "no patience": "nothing_is_parked_before_its_time",
    "no deadline": "nothing_overruns_for_want_of_time",
    "no claims": "a_claimed_effect_happens_once",
    "no fences": "the_mirror_equals_its_source",
}


@pytest.mark.parametrize("name", MUTANTS)
def test_what_leaves_a_rule_out_breaks_a_law(name: str) -> None:
    """Within as many histories as the default run has."""
    law = BROKEN[name]
    for seed in range(DEFAULT):
        if any(breach.startswith(law) for breach in broken(seed, Sizes(24, 5, 8), MUTANTS[name])):
            return
    pytest.fail(f"{name}: {law} held in {DEFAULT} histories")


def test_each_law_has_a_mutant_that_breaks_it() -> None:
    assert BROKEN.keys() == MUTANTS.keys()
    assert set(BROKEN.values()) == {law.__name__ for law in LAWS}


@pytest.mark.parametrize("seed", range(12))
def test_a_seed_is_one_history(seed: int) -> None:
    """Also where runs overlap."""
    first, second = list[str](), list[str]()
    for told in (first, second):
        World(seed, Sizes(24, 5, 8), tell=told.append).happen()
    assert first == second


def test_a_breach_is_replayed_by_the_command_that_is_printed_with_it() -> None:
    sizes = Sizes(24, 5, 8)
    seed = next(seed for seed in range(DEFAULT) if broken(seed, sizes, MUTANTS["stock"]))
    breach, _, command = broken(seed, sizes, MUTANTS["stock"])[0].partition(" -- python ")
    told = subprocess.run(
        [sys.executable, *command.split(), "stock"], capture_output=True, text=True, check=True
    ).stdout
    assert breach in told.splitlines()
    assert "stock, " in told.splitlines()[0]
