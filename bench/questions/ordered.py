"""Measures the changes a second of a handler that waits 5 ms, and how often an item's order breaks, beside Powertools.

Run it with: python -m bench ordered.
"""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any, cast

from aws_lambda_powertools.utilities import batch as powertools

from bench.question import QUICK_ROUNDS, ROUNDS, Row, at_least, at_most, in_turn, seconds_of
from handler.stream.entry import Engine
from handler.stream.environment import Environment
from handler.stream.testing.dynamodb import MemoryDynamoDB
from tests.fakes.aws import silence
from tests.fakes.records import number_of, record

CHANGES, ITEMS = 100, 1_000
IO_SECONDS = 0.005
WORKERS = 10
FAILING = 20
"""One change in this number fails whenever it is tried."""
OURS, STOCK, ASYNC, POOL = "table-stream", "Powertools", "Powertools, async", "a thread pool by hand"
FLOOR = "the waits alone"
SHARE = "share of the fastest that ten workers and the order allow"
DISTINCT, ZIPF, HOT = "distinct items", "Zipf over 1,000 items", "one hot item"
GOALS = {
    f"{DISTINCT}: times as fast as Powertools": at_least(9),
    f"{DISTINCT}: {SHARE}": at_least(0.9),
    f"{ZIPF}: {SHARE}": at_least(0.75),
    f"{HOT}: {SHARE}": at_least(0.9),
    "changes that run before an earlier one of their item": at_most(0),
}
NOTE = """\
A batch of 100 changes, whose handler waits 5 ms as for a call of another service; each figure is the median of five
rounds, in which all take their turn. The share compares with the waits alone of ten workers that keep
each item's order: the longer of the hottest item's waits and a tenth of all. `broken` counts the changes of one
batch that begin before an earlier change of their item has succeeded; in the last column one change in 20 fails
whenever it is tried. Powertools' async processor and the pool run changes at the same time without any order: they
show what order costs."""

Handle = Callable[[Mapping[str, Any]], None]
Run = Callable[[Mapping[str, Any], "Watch"], Any]


class HandlerError(Exception):
    """A failing change's handler raises this error."""


@dataclass
class Watch:
    """The handler of a batch, which sees what has not succeeded yet."""

    items: Sequence[str]
    """The item of each change."""
    failing: bool = False
    broken: set[int] = field(default_factory=set[int])
    """Changes that began before an earlier change of their item had succeeded."""
    _done: set[int] = field(default_factory=set[int])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, number: int) -> None:
        """Note that a change's handler begins."""
        with self._lock:
            item = self.items[number]
            if any(self.items[each] == item and each not in self._done for each in range(number)):
                self.broken.add(number)

    def end(self, number: int) -> None:
        """Note that a change's handler ends. Raises HandlerError if the change fails."""
        if self.failing and number % FAILING == 1:
            raise HandlerError
        with self._lock:
            self._done.add(number)

    def handle(self, body: Mapping[str, Any]) -> None:
        """Handle a change in a thread."""
        number = number_of(body)
        self.begin(number)
        time.sleep(IO_SECONDS)
        self.end(number)

    async def handle_async(self, record: Any) -> None:
        """Handle a change in an event loop."""
        number = number_of(record.raw_event)
        self.begin(number)
        await asyncio.sleep(IO_SECONDS)
        self.end(number)


def items_of(shape: str, changes: int = CHANGES) -> list[str]:
    """Return the item of each change."""
    if shape == HOT:
        return ["hot"] * changes
    if shape == DISTINCT:
        return [f"item-{number}" for number in range(changes)]
    weights = [1 / rank for rank in range(1, ITEMS + 1)]
    return [f"item-{rank}" for rank in Random(1).choices(range(ITEMS), weights, k=changes)]  # noqa: S311 - no secret


def event_of(items: Sequence[str]) -> dict[str, Any]:
    """Return the batch with these items' changes."""
    return {"Records": [record(number, item, at=time.time()) for number, item in enumerate(items)]}


def ours(event: Mapping[str, Any], watch: Watch) -> None:
    """Run the engine with a ledger in memory, which is empty."""
    dynamodb = MemoryDynamoDB()
    settings = Environment(ledger_table="ledger", workers=WORKERS)
    Engine(lambda change: watch.handle(change.record), settings, client=lambda _: dynamodb)(event)


def stock(event: Mapping[str, Any], watch: Watch) -> None:
    """Run Powertools as its documentation uses it."""
    stock = cast(Any, powertools)  # some of its types are unknown
    processor = stock.BatchProcessor(event_type=powertools.EventType.DynamoDBStreams)

    def handle(record: Any) -> None:
        watch.handle(record.raw_event)

    stock.process_partial_response(event, handle, processor)


def stock_async(event: Mapping[str, Any], watch: Watch) -> None:
    """Run Powertools' async processor, which runs all changes at the same time."""
    stock = cast(Any, powertools)
    processor = stock.AsyncBatchProcessor(event_type=powertools.EventType.DynamoDBStreams)
    stock.async_process_partial_response(event, watch.handle_async, processor)


def pool(event: Mapping[str, Any], watch: Watch) -> None:
    """Run ten threads by hand, which take the changes as they come."""
    with ThreadPoolExecutor(WORKERS) as workers:
        running = [workers.submit(watch.handle, body) for body in event["Records"]]
    for each in running:
        each.exception()  # a failing change is reported, in whichever way


RUNS: Mapping[str, Run] = {OURS: ours, STOCK: stock, ASYNC: stock_async, POOL: pool}


def floor(items: Sequence[str]) -> None:
    """Wait as often as one of ten workers does at least if they keep each item's order and do nothing else."""
    for _ in range(max(*Counter(items).values(), -(-len(items) // WORKERS))):
        time.sleep(IO_SECONDS)


def broken(run: Run, items: Sequence[str], *, failing: bool) -> int:
    """Return how many changes of a batch break the order."""
    watch = Watch(items, failing=failing)
    run(event_of(items), watch)
    return len(watch.broken)


def measure(*, quick: bool = False) -> list[Row]:
    """Return a row for each shape of traffic and each way to process it."""
    rows: list[Row] = []
    with silence():
        for shape in (DISTINCT, ZIPF, HOT):
            items = items_of(shape)
            event = event_of(items)
            for run in RUNS.values():  # the first run imports and compiles
                run(event, Watch(items))
            timed = {name: partial(seconds_of, partial(_once, run, event, items)) for name, run in RUNS.items()}
            timed[FLOOR] = partial(seconds_of, partial(floor, items))
            took = in_turn(timed, QUICK_ROUNDS if quick else ROUNDS)
            for name, run in RUNS.items():
                rows.append(
                    {"traffic": shape, "processed by": name, "changes/s": len(items) / took[name]}
                    | {"times Powertools": took[STOCK] / took[name]}
                    | {"share of the fastest": took[FLOOR] / took[name]}
                    | {"broken": broken(run, items, failing=False)}
                    | {"broken, 5 % fail": broken(run, items, failing=True)}
                )
    return rows


def _once(run: Run, event: Mapping[str, Any], items: Sequence[str]) -> None:
    run(event, Watch(items))


def figures(rows: Sequence[Row]) -> dict[str, float]:
    """Return the figures that have goals."""
    mine = {row["traffic"]: row for row in rows if row["processed by"] == OURS}
    shares = {f"{shape}: {SHARE}": row["share of the fastest"] for shape, row in mine.items()}
    return {
        f"{DISTINCT}: times as fast as Powertools": mine[DISTINCT]["times Powertools"],
        **shares,
        "changes that run before an earlier one of their item": sum(
            row["broken"] + row["broken, 5 % fail"] for row in mine.values()
        ),
    }
