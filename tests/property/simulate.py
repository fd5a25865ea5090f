"""Many histories, on all processors: their breaches, each with the command that replays it, and what they met."""

import os
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from random import Random
from typing import NamedTuple

from tests.property.history.writes import Sizes
from tests.property.laws import breaches
from tests.property.subjects.engines import ENGINE, Subject
from tests.property.world import World

CHUNK = 50


class Simulation(NamedTuple):
    """What some histories came to."""

    histories: int
    breaches: list[str]
    met: Counter[str]
    """Kinds of trouble, counted."""
    met_in: Counter[str]
    """The same, counted by histories."""


def sizes_of(seed: int) -> Sizes:
    """The size of a history of this seed."""
    rng = Random(f"sizes {seed}")
    return Sizes(changes=rng.randint(1, 30), items=rng.randint(1, 6), batch=rng.randint(1, 10))


def broken(seed: int, sizes: Sizes, subject: Subject = ENGINE) -> tuple[list[str], Counter[str]]:
    """The breaches of one history, each with the command that replays it; and what it met."""
    replay = f"python -m tests.property {seed} {sizes.changes} {sizes.items} {sizes.batch}"
    try:
        world = World(seed, sizes, subject).happen()
    except Exception as error:
        return [f"{type(error).__name__}: {error} -- {replay}"], Counter()
    met = world.facts.kinds()
    met[f"{world.kind} consumer"] += 1
    return [f"{breach} -- {replay}" for breach in breaches(world)], met


def smallest(seed: int, sizes: Sizes) -> list[str]:
    """The breaches of the smallest history of this seed that still breaks a law."""
    found = broken(seed, sizes)[0]
    for changes in range(1, sizes.changes):
        smaller = Sizes(changes, min(sizes.items, changes), sizes.batch)
        if smaller_found := broken(seed, smaller)[0]:
            return smaller_found
    return found


def some(seeds: list[int]) -> Simulation:
    """The histories of these seeds, one after the other."""
    found, met, met_in = list[str](), Counter[str](), Counter[str]()
    for seed in seeds:
        breached, kinds = broken(seed, sizes_of(seed))
        if breached:
            found += smallest(seed, sizes_of(seed))
        met += kinds
        met_in.update(kinds.keys())
    return Simulation(len(seeds), found, met, met_in)


def proofs(histories: int, first: int, processes: int) -> Iterator[Simulation]:
    """So many histories, in parts as they are done."""
    seeds = list(range(first, first + histories))
    chunks = [seeds[start : start + CHUNK] for start in range(0, histories, CHUNK)]
    if processes == 1:
        yield from map(some, chunks)
        return
    with ProcessPoolExecutor(processes) as pool:
        yield from pool.map(some, chunks)


def simulate(histories: int, first: int | None = None, processes: int | None = None) -> int:
    """Run histories, and print what they came to; the exit code."""
    began = time.monotonic()
    first = Random().randrange(2**40) if first is None else first
    met, met_in, found, done = Counter[str](), Counter[str](), list[str](), 0
    for proof in proofs(histories, first, processes or os.cpu_count() or 1):
        done += proof.histories
        met += proof.met
        met_in += proof.met_in
        for breach in proof.breaches:
            print(breach, flush=True)
        found += proof.breaches
    print(f"\nmet in {done} histories from seed {first}, in {time.monotonic() - began:.0f} s:")
    for kind, count in sorted(met.items()):
        print(f"{count:9}  in {met_in[kind]:6}  {kind}")
    print(f"\n{len(found)} breaches" if found else "\nevery law holds in every history")
    return 1 if found else 0
