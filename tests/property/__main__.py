"""Replays one history and tells it: python -m tests.property SEED CHANGES ITEMS BATCH [SUBJECT]."""

import sys

from tests.property.engines import ENGINE, MUTANTS
from tests.property.laws import breaches
from tests.property.world import Sizes, World

seed, changes, items, batch = (int(argument) for argument in sys.argv[1:5])
subject = MUTANTS[" ".join(sys.argv[5:])] if sys.argv[5:] else ENGINE
told: list[str] = []
world = World(seed, Sizes(changes, items, batch), subject, told.append).happen()
print(f"{subject.name}, {world.kind} consumer, {world.options}\n{world.faults}\n{world.settings}")
print(*told, *(breaches(world) or ["every law holds"]), sep="\n")
