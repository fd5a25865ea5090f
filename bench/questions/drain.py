"""Measures how fast held changes drain after an outage. Run it with: python -m bench drain."""

import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from bench.question import at_least, at_most
from bench.questions.sizes import make_table
from bench.virtual import Tables, VirtualFunction
from handler.stream.change import Change
from handler.stream.entry import Engine
from handler.stream.environment import Environment
from handler.stream.ledger.rows import change_rows, digest_of, version_of
from handler.stream.testing.dynamodb import MemoryDynamoDB
from tests.fakes.aws import Clock, silence
from tests.fakes.records import START, number_of, record

ITEMS, CHANGES = 10_000, 36
"""The held changes after an outage of an hour with 100 changes a second of 10,000 items."""
HANDLERS = (0.005, 0.05)
"""Seconds that a handler takes in the simulation: one write to DynamoDB, and one call of another service."""
REAL_ITEMS, EMULATED_ITEMS = 500, 100
"""Items of one measurement in real time, which takes about a second."""
NOTE = """\
Good: 10,000 items with 36 changes each are released within 15 minutes of virtual time, all due at once, by retry
runs every minute and their helpers; 2,000 held changes a second in real time, in one process, with a handler that
does nothing. The embedded AWS is one process on this machine, which limits the last figure."""
OUTAGE_SECONDS = 3_600.0
RELEASED = "minutes until {:,} items with {} changes each are released, {:g} ms a change"
GOALS = {
    **{RELEASED.format(ITEMS, CHANGES, took * 1000): at_most(15) for took in HANDLERS},
    "held changes a second in memory": at_least(2_000),
}

Row = dict[str, Any]


def held(items: int, changes: int, now: float) -> Iterator[tuple[Row, list[Row]]]:
    """Yield the hold row and the change rows of each item after an outage of an hour; every hold is due."""
    for item in range(items):
        start = int(now - OUTAGE_SECONDS)
        records = (record(item * changes + each, f"item-{item}", at=start + each) for each in range(changes))
        waiting = list(map(Change, records))
        digest, last = digest_of(waiting[0]), waiting[-1]
        numbers = {"v": 1, "since": now - OUTAGE_SECONDS, "due": now, "lease": 0, "deaths": 0, "given_up": 0}
        numbers |= {"waiting": changes, "tail_at": last.record["dynamodb"]["ApproximateCreationDateTime"]}
        texts = {"pk": "hold#consumer", "sk": digest, "state": "held"}
        texts |= {"next": version_of(waiting[0]), "tail": version_of(last)}
        row: Row = {name: {"S": text} for name, text in texts.items()}
        row |= {name: {"N": str(number)} for name, number in numbers.items()}
        yield row, [each for change in waiting for each in change_rows(f"hold#consumer#{digest}", change, now)]


def fill(tables: Tables, items: int, changes: int, now: float) -> None:
    """Write held items to a ledger in memory."""
    ledger = tables.setdefault("ledger", {})
    for row, rows in held(items, changes, now):
        for each in (row, *rows):
            ledger.setdefault(each["pk"]["S"], {})[each["sk"]["S"]] = each


def simulated_minutes(handler_seconds: float, items: int = ITEMS, changes: int = CHANGES) -> float:
    """Return the virtual minutes until every change has run, in its item's order, and every item is released."""
    latest = START
    ran = [0] * items

    def handle(change: Change, clock: Clock) -> None:
        nonlocal latest
        clock.advance(handler_seconds)
        latest = max(latest, clock.now)
        item, number = divmod(number_of(change.record), changes)
        if ran[item] != number:
            raise AssertionError(f"change {number} of item {item} runs after {ran[item]} of its changes")
        ran[item] += 1

    function = VirtualFunction(handle)
    fill(function.tables, items, changes, START)
    start, left = START, items
    with silence():
        while left:
            function.retry(start)
            rows = function.tables["ledger"]["hold#consumer"].values()
            left = sum(row["state"]["S"] == "held" for row in rows)
            start += 60.0
    if set(ran) != {changes}:
        raise AssertionError("items were released before all of their changes ran")
    return (latest - START) / 60


def changes_a_second(client: Any, items: int, store: Callable[[Row], Any], changes: int = CHANGES) -> float:
    """Return the held changes that one retry run does in a second of real time, with a handler that does nothing."""
    for row, rows in held(items, changes, time.time()):
        for each in (*rows, row):
            store(each)
    done: list[None] = []
    engine = Engine(lambda _: done.append(None), Environment(ledger_table="ledger"), client=lambda _: client)
    with silence():
        began = time.perf_counter()
        answer = engine({"table-stream": "retry", "slice": [0, 1]})
        took = time.perf_counter() - began
    if (answer["released"], len(done)) != (items, items * changes):
        raise AssertionError(f"{answer}: {items} items were expected to be released")
    return items * changes / took


def in_memory() -> float:
    """Return the changes a second with DynamoDB in memory, the best of three runs."""

    def once() -> float:
        dynamodb = MemoryDynamoDB()
        return changes_a_second(dynamodb, REAL_ITEMS, lambda row: dynamodb.put_item(TableName="ledger", Item=row))

    return max(once() for _ in range(3))


def in_emulator() -> float:
    """Return the changes a second with the embedded AWS, which takes some milliseconds a call."""
    from sandbox.emulator import Emulator

    with Emulator("eu-central-1") as emulator:
        dynamodb = emulator.client("dynamodb")
        make_table(emulator, "ledger", "pk", "sk")
        return changes_a_second(dynamodb, EMULATED_ITEMS, lambda row: dynamodb.put_item(TableName="ledger", Item=row))


def profile() -> None:
    """Print a profile of a retry run in memory on one thread."""
    import cProfile
    import pstats

    dynamodb = MemoryDynamoDB()
    fill(dynamodb.tables, REAL_ITEMS, CHANGES, time.time())
    settings = Environment(ledger_table="ledger")

    def one_by_one(items: Any, left: Any, on_deadline: Any) -> None:  # noqa: ARG001 - an executor's arguments
        for item in items:
            for _ in item:
                pass

    engine = Engine(lambda _: None, settings, client=lambda _: dynamodb, executor=one_by_one)
    profiler = cProfile.Profile()
    with silence():
        profiler.runcall(engine, {"table-stream": "retry", "slice": [0, 1]})
    pstats.Stats(profiler, stream=sys.stdout).sort_stats("tottime").print_stats(25)


def measure(*, quick: bool = False) -> dict[str, float]:
    """Return every figure; if `quick`, of a tenth of the items."""
    items = ITEMS // 10 if quick else ITEMS
    simulated = {RELEASED.format(items, CHANGES, took * 1000): simulated_minutes(took, items) for took in HANDLERS}
    return simulated | {
        "held changes a second in memory": in_memory(),
        "held changes a second in the embedded AWS": in_emulator(),
    }
