"""Simulates many histories on all processors; prints each breach with the command that replays it."""

import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from random import Random
from typing import NamedTuple

from tests.property.history.history import History
from tests.property.history.writes import Sizes
from tests.property.laws import breaches
from tests.property.subjects.engines import ENGINE, Subject

CHUNK = 50

TITLES = {
    "batches": "^batch run$",
    "retry runs, scheduled or asked for": "^(retry|helper) run$",
    "redrives and skips by operators": "^(redrive|skip) run$",
    "crashes of the function": "^crash (before|after|between|by) ",
    "deadlines and time-outs": "^(deadline with a handler running|time-out|hang)$",
    "calls of AWS that failed or were refused": "^[A-Z].*: (failed|refused)$",
    "calls of AWS that were throttled": "^[A-Z].*: throttled$",
    "calls of AWS done in part, or whose answer was lost": "^[A-Z].*: (lost|answer lost|done in part)$",
    "invocations that Lambda throttled": "^(batch throttled|retry run dropped)$",
    "redeliveries and repeated or early answers": "^(second delivery|lost answer of a batch|answer before the run's end"
    "|record twice in a batch|mapping replaced mid-invocation|repeat by the SDK)$",
    "runs beside another run of the consumer": " beside ",
    "tries that failed for a moment": "^handler: transient$",
    "tries that failed in an outage": "^handler: outage$",
    "tries of a change that always fails": "^handler: (poison|permanent|undecodable)$",
    "holds of an item": "^hold: (hold|redrive)$",
    "releases of an item": "^hold: release$",
    "parked changes": "^parked: ",
    "changes that the mapping discarded, or that expired": "^(discarded: |expired$)",
    "effects repeated, each with an excuse that the laws know": "^repeated effect$",
}
"""What a person asks for, each with the kinds of incidents that belong to it."""


class Simulation(NamedTuple):
    """The breaches and incidents of some histories."""

    histories: int
    breaches: list[str]
    incidents: Counter[str]
    """Counts of each kind of incident."""
    histories_with: Counter[str]
    """The number of histories with each kind of incident."""


def sizes_of(seed: int) -> Sizes:
    """Return the size of the history of a seed."""
    rng = Random(f"sizes {seed}")
    return Sizes(changes=rng.randint(1, 30), items=rng.randint(1, 6), batch=rng.randint(1, 10))


def breaches_of(seed: int, sizes: Sizes, subject: Subject = ENGINE) -> tuple[list[str], Counter[str]]:
    """Simulate a history; return its breaches, each with the command that replays it, and its incidents."""
    replay = f"python -m tests.property {seed} {sizes.changes} {sizes.items} {sizes.batch}"
    try:
        history = History(seed, sizes, subject).run()
    except Exception as error:
        return [f"{type(error).__name__}: {error} -- {replay}"], Counter()
    incidents = history.journal.count_incidents()
    incidents[f"{history.consumer_kind} consumer"] += 1
    return [f"{breach} -- {replay}" for breach in breaches(history)], incidents


def shrink(seed: int, sizes: Sizes) -> list[str]:
    """Return the breaches of the smallest history of a seed that still breaks a law."""
    breach_lines = breaches_of(seed, sizes)[0]
    for changes in range(1, sizes.changes):
        smaller = Sizes(changes, min(sizes.items, changes), sizes.batch)
        if smaller_breaches := breaches_of(seed, smaller)[0]:
            return smaller_breaches
    return breach_lines


def simulate_seeds(seeds: list[int]) -> Simulation:
    """Simulate the histories of these seeds, one after the other."""
    breach_lines, incidents, histories_with = list[str](), Counter[str](), Counter[str]()
    for seed in seeds:
        seed_breaches, kinds = breaches_of(seed, sizes_of(seed))
        if seed_breaches:
            breach_lines += shrink(seed, sizes_of(seed))
        incidents += kinds
        histories_with.update(kinds.keys())
    return Simulation(len(seeds), breach_lines, incidents, histories_with)


def simulations(histories: int, first: int, processes: int) -> Iterator[Simulation]:
    """Simulate histories on several processes; yield each part when it is done."""
    seeds = list(range(first, first + histories))
    chunks = [seeds[start : start + CHUNK] for start in range(0, histories, CHUNK)]
    if processes == 1:
        yield from map(simulate_seeds, chunks)
        return
    with ProcessPoolExecutor(processes) as pool:
        yield from pool.map(simulate_seeds, chunks)


def totals(incidents: Counter[str]) -> dict[str, int]:
    """Return what histories went through, by title: the sums of the kinds of incidents that a person thinks of."""
    return {
        title: sum(count for kind, count in incidents.items() if re.search(pattern, kind))
        for title, pattern in TITLES.items()
    }


def simulate(
    histories: int, first: int | None = None, processes: int | None = None, *, is_detailed: bool = False
) -> int:
    """Simulate histories, print their breaches and what they went through, and return the exit code.

    `is_detailed` prints each kind of incident, too.
    """
    began = time.monotonic()
    first = Random().randrange(2**40) if first is None else first
    incidents, histories_with, breach_lines, done = Counter[str](), Counter[str](), list[str](), 0
    for simulation in simulations(histories, first, processes or os.cpu_count() or 1):
        done += simulation.histories
        incidents += simulation.incidents
        histories_with += simulation.histories_with
        for breach in simulation.breaches:
            print(breach, flush=True)
        breach_lines += simulation.breaches
    print(f"\n{done:,} histories from seed {first}, in {time.monotonic() - began:.0f} s, went through:")
    for title, count in totals(incidents).items():
        print(f"{count:11,}  {title}")
    if is_detailed:
        print("\nEach kind of incident, and the number of histories with it:")
        for kind, count in sorted(incidents.items()):
            print(f"{count:11,}  in {histories_with[kind]:7,}  {kind}")
    print(f"\n{len(breach_lines)} breaches" if breach_lines else "\nEvery law holds in every history.")
    return 1 if breach_lines else 0
