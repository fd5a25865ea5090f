"""Simulates histories of the engine, or replays one history and prints it.

python -m tests.property --histories NUMBER [--first SEED]
python -m tests.property SEED CHANGES ITEMS BATCH [SUBJECT]
"""

import argparse
import sys

from tests.property.history.history import History
from tests.property.history.writes import Sizes
from tests.property.laws import breaches
from tests.property.simulate import simulate
from tests.property.subjects.mutants import ENGINE, MUTANTS

parser = argparse.ArgumentParser(prog="python -m tests.property", description=__doc__)
parser.add_argument("--histories", type=int, metavar="NUMBER")
parser.add_argument("--first", type=int, metavar="SEED")
parser.add_argument("--processes", type=int, metavar="NUMBER")
parser.add_argument("history", nargs="*", metavar="SEED CHANGES ITEMS BATCH [SUBJECT]")
arguments = parser.parse_args()
if arguments.histories:
    sys.exit(simulate(arguments.histories, arguments.first, arguments.processes))
if len(arguments.history) < 4:
    parser.error("a history needs SEED CHANGES ITEMS BATCH, as a breach prints them")
seed, changes, items, batch = (int(argument) for argument in arguments.history[:4])
name = " ".join(arguments.history[4:])
subject = MUTANTS[name] if name else ENGINE
lines: list[str] = []
history = History(seed, Sizes(changes, items, batch), subject, lines.append).run()
print(f"{subject.name}, {history.consumer_kind} consumer, {history.options}\n{history.faults}\n{history.settings}")
print(*lines, *(breaches(history) or ["Every law holds."]), sep="\n")
