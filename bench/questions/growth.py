"""Measures how the time of a drain and of a redrive grows with its size. Run it with: python -m bench growth."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import median

from bench.question import QUICK_ROUNDS, ROUNDS, Row, at_most, growth
from bench.questions import drain, redrive
from bench.ways import cpu_seconds
from handler.stream.testing.dynamodb import MemoryDynamoDB

ITEMS, CHANGES, OBJECTS, LONG = 100, 1_000, 1_000, 4_000
"""The smallest of three sizes, of which each is twice the one before. One item has more than a page of changes."""
SIZES = (1, 2, 4)
GROWTH = 1.1
NOTE = """\
CPU seconds for a size, twice the size and four times the size, in memory, with the making of the rows: medians of
rounds in which all take their turn. `growth` is the exponent from the first size to the last within a round, also a
median: 1 is linear, 2 is quadratic. Good is at most 1.1. The second row also has the time of DynamoDB's double, which
looks at all changes of an item for each page."""


def drain_items(items: int, changes: int) -> None:
    """Drain so many items with so many changes each in one retry run."""
    dynamodb = MemoryDynamoDB()
    drain.changes_a_second(dynamodb, items, lambda row: dynamodb.put_item(TableName="ledger", Item=row), changes)


def put_back(changes: int) -> None:
    """Put so many changes back."""
    redrive.changes_a_second(MemoryDynamoDB(), changes, 10)


CASES: Mapping[str, tuple[int, Callable[[int], object]]] = {
    "drain: items, 36 changes each": (ITEMS, partial(drain_items, changes=drain.CHANGES)),
    "drain: changes of one item": (LONG, partial(drain_items, 1)),
    "redrive: changes put back": (CHANGES, put_back),
    "redrive: objects planned": (OBJECTS, redrive.plan),
}
GOALS = {f"{name}: growth": at_most(GROWTH) for name in CASES}


def measure(*, quick: bool = False) -> list[Row]:
    """Return a row for each case."""
    rows: list[Row] = []
    for name, (smallest, run) in CASES.items():
        sizes = [smallest * times for times in SIZES]
        run(smallest)  # imports and compiles
        rounds = [
            [cpu_seconds(partial(run, size), 1) for size in sizes] for _ in range(QUICK_ROUNDS if quick else 2 * ROUNDS)
        ]
        seconds = dict(zip(("n, s CPU", "2n, s CPU", "4n, s CPU"), map(median, zip(*rounds, strict=True)), strict=True))
        exponent = median(growth(sizes, took) for took in rounds)
        rows.append({"what": name, "n": smallest, **seconds, "growth": exponent})
    return rows


def figures(rows: Sequence[Row]) -> dict[str, float]:
    """Return the figures that have goals."""
    return {f"{row['what']}: growth": row["growth"] for row in rows}
