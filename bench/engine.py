"""Compares the engine with Powertools' BatchProcessor. Run it with: python -m bench engine."""

import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any, cast

from aws_lambda_powertools.utilities import batch as powertools

from bench.question import at_least, at_most
from handler.stream import KeyOrderedProcessor
from handler.stream.entry import Engine
from handler.stream.environment import Environment
from tests.fakes.records import record

Run = Callable[[dict[str, Any], Callable[[Any], None]], Any]
respond = cast(Any, powertools).process_partial_response  # its types are incomplete

RECORDS = 100
IO_SECONDS = 0.005
STARTS = 9
IMPORTS = {"ours": "import handler.stream", "stock": "import aws_lambda_powertools.utilities.batch"}
NOTE = """\
Good: at most 8 µs a record of 100, also with a ledger, whose client answers immediately that it is empty; and an
import that takes no longer than the one before the last change of the engine (give bench.engine.import_ratio
another copy)."""

GOALS = {
    "distinct items, times as fast as stock": at_least(9),
    "one hot item, time against stock": at_most(1.05),
    **{f"overhead a record of {of}, µs CPU": at_most(8) for of in ("100", "100 with a ledger", "1,000")},
}


def batch(items: int, records: int = RECORDS) -> dict[str, Any]:
    """Return an event of `records` records of `items` items."""
    return {"Records": [record(number, f"item-{number % items}", at=time.time()) for number in range(records)]}


def wait(record: Any) -> None:  # noqa: ARG001 - Powertools passes it by this name
    """Wait, as for a call of another service."""
    time.sleep(IO_SECONDS)


def nothing(record: Any) -> None:
    """Do nothing."""


def ours() -> Run:
    """Return the engine without stores."""
    processor = KeyOrderedProcessor()
    return lambda event, handler: respond(event, handler, processor)


def stock() -> Run:
    """Return Powertools' processor as its documentation uses it."""
    processor = powertools.BatchProcessor(event_type=powertools.EventType.DynamoDBStreams)
    return lambda event, handler: respond(event, handler, processor)


class EmptyLedger:
    """A client of an empty ledger. It has no other call, because a healthy batch makes none."""

    def query(self, **_: Any) -> dict[str, Any]:
        """Return an empty page."""
        return {"Items": []}


def with_ledger() -> Run:
    """Return the engine with an empty ledger."""
    engine: Engine | None = None
    client = EmptyLedger()

    def run(event: dict[str, Any], handler: Callable[[Any], None]) -> Any:
        nonlocal engine
        engine = engine or Engine(handler, Environment(ledger_table="ledger"), client=lambda _: client)
        return engine(event)

    return run


def import_ratio(first: str, second: str, *, paths: tuple[str, str] = (".", "."), starts: int = STARTS) -> float:
    """Return the ratio of two import times in fresh processes: the median of pairs of starts.

    `paths` are the directories in which they start.
    """

    def start(code: str, path: str) -> float:
        timed = f"import time; t = time.perf_counter(); {code}; print(time.perf_counter() - t)"
        return float(subprocess.run([sys.executable, "-c", timed], cwd=path, check=True, capture_output=True).stdout)

    def ratio() -> float:
        return start(first, paths[0]) / start(second, paths[1])

    ratio()  # Python writes bytecode the first time
    return median(ratio() for _ in range(starts))


def seconds(run: Callable[[], Any], times: int, timer: Callable[[], float] = time.perf_counter) -> float:
    """Return the shortest of several runs after a warm-up run, which other load disturbs least."""
    run()
    timings = list[float]()
    for _ in range(times):
        start = timer()
        run()
        timings.append(timer() - start)
    return min(timings)


def overhead(run: Run, event: dict[str, Any], times: int) -> float:
    """Return the CPU time a record beyond a bare loop over the handler, in µs."""
    records = event["Records"]

    def bare() -> None:
        for each in records:
            nothing(each)

    beyond = seconds(lambda: run(event, nothing), times, time.process_time) - seconds(bare, times, time.process_time)
    return beyond / len(records) * 1e6


def measure(*, quick: bool = False) -> dict[str, float]:  # noqa: ARG001 - it is quick
    """Return every figure."""
    engine, peer = ours(), stock()
    spread, hot = batch(RECORDS), batch(1)
    return {
        "distinct items, times as fast as stock": seconds(lambda: peer(spread, wait), 3)
        / seconds(lambda: engine(spread, wait), 5),
        "one hot item, time against stock": seconds(lambda: engine(hot, wait), 3) / seconds(lambda: peer(hot, wait), 3),
        "overhead a record of 100, µs CPU": overhead(engine, spread, 200),
        "overhead a record of 100 with a ledger, µs CPU": overhead(with_ledger(), spread, 200),
        "overhead a record of 1,000, µs CPU": overhead(engine, batch(1_000, 1_000), 20),
        "stock's overhead a record of 100, µs CPU": overhead(peer, spread, 200),
        "cold import, times as long as stock's": import_ratio(IMPORTS["ours"], IMPORTS["stock"]),
    }
