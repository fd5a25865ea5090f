"""Many histories, on all processors: their breaches, each with the command that replays it, and what they incidents."""

import os
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


class Simulation(NamedTuple):
    """What some histories came to."""

    histories: int
    breaches: list[str]
    incidents: Counter[str]
    """Kinds of trouble, counted."""
    histories_with: Counter[str]
    """The same, counted by histories."""


def sizes_of(seed: int) -> Sizes:
    """The size of a history of this seed."""
    rng = Random(f"sizes {seed}")
    return Sizes(changes=rng.randint(1, 30), items=rng.randint(1, 6), batch=rng.randint(1, 10))


def breaches_of(seed: int, sizes: Sizes, subject: Subject = ENGINE) -> tuple[list[str], Counter[str]]:
    """The breaches of one history, each with the command that replays it; and its incidents."""
    replay = f"python -m tests.property {seed} {sizes.changes} {sizes.items} {sizes.batch}"
    try:
        history = History(seed, sizes, subject).run()
    except Exception as error:
        return [f"{type(error).__name__}: {error} -- {replay}"], Counter()
    incidents = history.journal.count_incidents()
    incidents[f"{history.consumer_kind} consumer"] += 1
    return [f"{breach} -- {replay}" for breach in breaches(history)], incidents


def shrink(seed: int, sizes: Sizes) -> list[str]:
    """The breaches of the smallest history of this seed that still breaks a law."""
    breach_lines = breaches_of(seed, sizes)[0]
    for changes in range(1, sizes.changes):
        smaller = Sizes(changes, min(sizes.items, changes), sizes.batch)
        if smaller_breaches := breaches_of(seed, smaller)[0]:
            return smaller_breaches
    return breach_lines


def simulate_seeds(seeds: list[int]) -> Simulation:
    """The histories of these seeds, one after the other."""
    breach_lines, incidents, histories_with = list[str](), Counter[str](), Counter[str]()
    for seed in seeds:
        seed_breaches, kinds = breaches_of(seed, sizes_of(seed))
        if seed_breaches:
            breach_lines += shrink(seed, sizes_of(seed))
        incidents += kinds
        histories_with.update(kinds.keys())
    return Simulation(len(seeds), breach_lines, incidents, histories_with)


def simulations(histories: int, first: int, processes: int) -> Iterator[Simulation]:
    """So many histories, in parts as they are done."""
    seeds = list(range(first, first + histories))
    chunks = [seeds[start : start + CHUNK] for start in range(0, histories, CHUNK)]
    if processes == 1:
        yield from map(simulate_seeds, chunks)
        return
    with ProcessPoolExecutor(processes) as pool:
        yield from pool.map(simulate_seeds, chunks)


def simulate(histories: int, first: int | None = None, processes: int | None = None) -> int:
    """Run histories, and print what they came to; the exit code."""
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
    print(f"\nincidents in {done} histories from seed {first}, in {time.monotonic() - began:.0f} s:")
    for kind, count in sorted(incidents.items()):
        print(f"{count:9}  in {histories_with[kind]:6}  {kind}")
    print(f"\n{len(breach_lines)} breaches" if breach_lines else "\nevery law holds in every history")
    return 1 if breach_lines else 0
