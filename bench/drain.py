"""How fast does the ledger drain when what was down is up again? Run it with: python -m bench drain."""

import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from bench.simulation import FIRST_SEQUENCE, START, record
from bench.virtual import Clock, Tables, VirtualFunction, silence
from handler.stream.change import Change
from handler.stream.entry import Engine
from handler.stream.environment import Environment
from handler.stream.ledger.rows import change_rows, digest_of, version_of
from handler.stream.testing.dynamodb import MemoryDynamoDB

ITEMS, CHANGES = 10_000, 36
"""What an outage of an hour leaves of 100 changes a second over 10,000 items."""
HANDLERS = (0.005, 0.05)
"""Seconds that a handler takes in the simulation: one write to DynamoDB, and one call of somebody else's API."""
REAL_ITEMS, EMULATED_ITEMS = 500, 100
"""Items of one measurement in real time: about a second's work."""
NOTE = """\
Good: 10,000 items with 36 changes each are released within 15 minutes of virtual time, all due at once, by retry
runs every minute and their helpers; 2,000 held changes a second in real time, in one process, with a handler that
does nothing. The embedded AWS is one process on this machine, and bounds its own figure."""
OUTAGE_SECONDS = 3_600.0

Row = dict[str, Any]


def held(items: int, changes: int, now: float) -> Iterator[tuple[Row, list[Row]]]:
    """Hold rows of items that are due, each with the rows of its changes, as an hour's outage leaves them."""
    for item in range(items):
        waiting = [
            Change(record(item * changes + number, now - OUTAGE_SECONDS + number, item)) for number in range(changes)
        ]
        digest, last = digest_of(waiting[0]), waiting[-1]
        numbers = {"v": 1, "since": now - OUTAGE_SECONDS, "due": now, "lease": 0, "deaths": 0, "given_up": 0}
        numbers |= {"waiting": changes, "tail_at": last.record["dynamodb"]["ApproximateCreationDateTime"]}
        texts = {"pk": "hold#consumer", "sk": digest, "state": "held"}
        texts |= {"next": version_of(waiting[0]), "tail": version_of(last)}
        row: Row = {name: {"S": text} for name, text in texts.items()}
        row |= {name: {"N": str(number)} for name, number in numbers.items()}
        yield row, [each for change in waiting for each in change_rows(f"hold#consumer#{digest}", change, now)]


def fill(tables: Tables, items: int, changes: int, now: float) -> None:
    """Put held items into a ledger in memory."""
    ledger = tables.setdefault("ledger", {})
    for row, rows in held(items, changes, now):
        for each in (row, *rows):
            ledger.setdefault(each["pk"]["S"], {})[each["sk"]["S"]] = each


def simulated_minutes(handler_seconds: float, items: int = ITEMS, changes: int = CHANGES) -> float:
    """Minutes of virtual time in which every change has run, in its item's order, and every item is released."""
    latest = START
    ran = [0] * items

    def handle(change: Change, clock: Clock) -> None:
        nonlocal latest
        clock.advance(handler_seconds)
        latest = max(latest, clock.now)
        item, number = divmod(int(change.sequence_number) - FIRST_SEQUENCE, changes)
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
    """Held changes that one retry run does in a second of real time, with its threads and a handler of nothing."""
    for row, rows in held(items, changes, time.time()):
        for each in (*rows, row):
            store(each)
    done: list[None] = []
    engine = Engine(
        lambda _: done.append(None),
        Environment(ledger_table="ledger"),
        client=lambda _: client,
    )
    with silence():
        began = time.perf_counter()
        answer = engine({"table-stream": "retry", "slice": [0, 1]})
        took = time.perf_counter() - began
    if (answer["released"], len(done)) != (items, items * changes):
        raise AssertionError(f"{answer}: {items} items were to be released")
    return items * changes / took


def in_memory() -> float:
    """Changes a second on DynamoDB in memory, the best of three."""

    def once() -> float:
        dynamodb = MemoryDynamoDB()
        return changes_a_second(dynamodb, REAL_ITEMS, lambda row: dynamodb.put_item(TableName="ledger", Item=row))

    return max(once() for _ in range(3))


def in_emulator() -> float:
    """Changes a second on the embedded AWS, which does a call in some milliseconds of this machine's own time."""
    from sandbox.emulator import Emulator

    with Emulator("eu-central-1") as emulator:
        dynamodb = emulator.client("dynamodb")
        dynamodb.create_table(
            TableName="ledger",
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
            BillingMode="PAY_PER_REQUEST",
        )
        return changes_a_second(dynamodb, EMULATED_ITEMS, lambda row: dynamodb.put_item(TableName="ledger", Item=row))


def profile() -> None:
    """Print where a retry run in memory spends its time, on one thread."""
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
    """Every figure of this question; quickly with a tenth of the items."""
    items = ITEMS // 10 if quick else ITEMS
    released = f"minutes until {items:,} items with {CHANGES} changes each are released"
    simulated = {f"{released}, {took * 1000:g} ms a change": simulated_minutes(took, items) for took in HANDLERS}
    return simulated | {
        "held changes a second in memory": in_memory(),
        "held changes a second in the embedded AWS": in_emulator(),
    }
