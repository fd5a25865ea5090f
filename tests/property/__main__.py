"""Simulates histories of the engine, or replays one history and prints it.

python -m tests.property --histories NUMBER [--first SEED]
python -m tests.property SEED CHANGES ITEMS BATCH [SUBJECT]
"""

import argparse
import sys
from difflib import get_close_matches

from sandbox.edges import run
from tests.property.history.history import History
from tests.property.history.writes import Sizes
from tests.property.laws import breaches
from tests.property.simulate import simulate
from tests.property.subjects.mutants import ENGINE, MUTANTS


def positive(text: str) -> int:
    """Return a whole number of at least 1. Raises argparse.ArgumentTypeError."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def main() -> int:
    """Simulate histories, or replay one; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.property", description=__doc__)
    parser.add_argument("--histories", type=positive, metavar="NUMBER", help="how many histories to simulate")
    parser.add_argument("--first", type=int, metavar="SEED", help="the first history's seed; default: a new one")
    parser.add_argument("--processes", type=positive, metavar="NUMBER", help="default: one a processor")
    parser.add_argument("--incidents", action="store_true", help="count each kind of incident, too")
    parser.add_argument("history", nargs="*", metavar="SEED CHANGES ITEMS BATCH [SUBJECT]")
    arguments = parser.parse_args()
    if arguments.histories:
        return simulate(arguments.histories, arguments.first, arguments.processes, is_detailed=arguments.incidents)
    try:
        seed, (changes, items, batch) = int(arguments.history[0]), map(positive, arguments.history[1:4])
    except (IndexError, ValueError, argparse.ArgumentTypeError):
        parser.error("a history needs SEED CHANGES ITEMS BATCH, four whole numbers, as a breach prints them")
    name = " ".join(arguments.history[4:])
    if name and name not in MUTANTS:
        near = get_close_matches(name, MUTANTS, n=1)
        parser.error(f"there is no subject {name}: " + (f"did you mean {near[0]}?" if near else ", ".join(MUTANTS)))
    subject = MUTANTS[name] if name else ENGINE
    lines: list[str] = []
    history = History(seed, Sizes(changes, items, batch), subject, lines.append).run()
    print(f"{subject.name}, {history.consumer_kind} consumer, {history.options}\n{history.faults}\n{history.settings}")
    print(*lines, *(breaches(history) or ["Every law holds."]), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
