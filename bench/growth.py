"""Measures how the time of a drain and of a redrive grows with its size. Run it with: python -m bench growth."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from bench import drain, redrive
from bench.question import QUICK_ROUNDS, ROUNDS, Row, at_most, growth, in_turn
from handler.stream.testing.dynamodb import MemoryDynamoDB

ITEMS, CHANGES, OBJECTS, LONG = 100, 1_000, 1_000, 1_000
"""The smallest of three sizes, of which each is twice the one before."""
SIZES = (1, 2, 4)
GROWTH = 1.1
NOTE = """\
Seconds for a size, twice the size and four times the size, in memory: the least of rounds in which all take their turn,
which other load disturbs least. `growth` is the exponent from the first size to the last: 1 is linear, 2 is quadratic.
Good is at most 1.1."""


def drained(items: int, changes: int) -> float:
    """Return the seconds in which one retry run drains so many items with so many changes each."""
    dynamodb = MemoryDynamoDB()
    rate = drain.changes_a_second(dynamodb, items, lambda row: dynamodb.put_item(TableName="ledger", Item=row), changes)
    return items * changes / rate


def put_back(changes: int) -> float:
    """Return the seconds in which a redrive puts so many changes back."""
    return changes / redrive.changes_a_second(MemoryDynamoDB(), changes, 10)


def planned(objects: int) -> float:
    """Return the seconds in which a redrive of so many objects is planned."""
    return redrive.plan(objects)["seconds"]


CASES: Mapping[str, tuple[int, Callable[[int], float]]] = {
    "drain: items, 36 changes each": (ITEMS, partial(drained, changes=drain.CHANGES)),
    "drain: changes of one item": (LONG, partial(drained, 1)),
    "redrive: changes put back": (CHANGES, put_back),
    "redrive: objects planned": (OBJECTS, planned),
}
GOALS = {f"{name}: growth": at_most(GROWTH) for name in CASES}


def measure(*, quick: bool = False) -> list[Row]:
    """Return a row for each case."""
    rows: list[Row] = []
    for name, (smallest, run) in CASES.items():
        sizes = [smallest * times for times in SIZES]
        run(smallest)  # imports and compiles
        runs = {f"{size}": partial(run, size) for size in sizes}
        took = list(in_turn(runs, QUICK_ROUNDS if quick else ROUNDS, min).values())
        seconds = dict(zip(("n, s", "2n, s", "4n, s"), took, strict=True))
        rows.append({"what": name, "n": smallest, **seconds, "growth": growth(sizes, took)})
    return rows


def figures(rows: Sequence[Row]) -> dict[str, float]:
    """Return the figures that have goals."""
    return {f"{row['what']}: growth": row["growth"] for row in rows}
