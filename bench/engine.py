"""What does the engine cost and gain beside Powertools' BatchProcessor? Run it with: python -m bench engine."""

import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any, cast

from aws_lambda_powertools.utilities import batch as powertools

from handler.stream import KeyOrderedProcessor
from handler.stream.entry import Engine
from handler.stream.environment import Environment

Run = Callable[[dict[str, Any], Callable[[Any], None]], Any]
respond = cast(Any, powertools).process_partial_response  # its types leave gaps

RECORDS = 100
IO_SECONDS = 0.005
STARTS = 9
IMPORTS = {"ours": "import handler.stream", "stock": "import aws_lambda_powertools.utilities.batch"}
NOTE = """\
Good: at most 8 µs a record of 100, also with a ledger, whose client here answers at once and finds nothing; and an
import that takes no longer than the one before the last change of the engine (give bench.engine.import_ratio
another copy)."""
STREAM = "arn:aws:dynamodb:eu-central-1:111122223333:table/orders/stream/2026-01-01T00:00:00.000"


def batch(items: int, records: int = RECORDS) -> dict[str, Any]:
    """An event of some records over some items."""
    return {"Records": [_record(number, f"item-{number % items}") for number in range(records)]}


def _record(number: int, item: str) -> dict[str, Any]:
    image = {"id": {"S": item}, "n": {"N": str(number)}}
    body = {
        "ApproximateCreationDateTime": time.time(),
        "Keys": {"id": {"S": item}},
        "NewImage": image,
        "SequenceNumber": str(10**20 + number),
        "StreamViewType": "NEW_AND_OLD_IMAGES",
    }
    names = {"eventID": f"e{number}", "eventName": "MODIFY", "eventSource": "aws:dynamodb", "eventSourceARN": STREAM}
    return {**names, "dynamodb": body}


def wait(record: Any) -> None:  # noqa: ARG001 - Powertools passes it by this name
    """A handler that waits for somebody else."""
    time.sleep(IO_SECONDS)


def nothing(record: Any) -> None:
    """A handler that costs nothing."""


def ours() -> Run:
    """The engine, as the functions run it, without stores."""
    processor = KeyOrderedProcessor()
    return lambda event, handler: respond(event, handler, processor)


def stock() -> Run:
    """Powertools as its documentation shows it."""
    processor = powertools.BatchProcessor(event_type=powertools.EventType.DynamoDBStreams)
    return lambda event, handler: respond(event, handler, processor)


class EmptyLedger:
    """A client of a ledger in which nothing is held or noted. It has no other call, for a healthy batch makes none."""

    def query(self, **_: Any) -> dict[str, Any]:
        """An empty page."""
        return {"Items": []}


def with_ledger() -> Run:
    """The engine with stores, in which nothing is held."""
    engine: Engine | None = None
    client = EmptyLedger()

    def run(event: dict[str, Any], handler: Callable[[Any], None]) -> Any:
        nonlocal engine
        engine = engine or Engine(handler, Environment(ledger_table="ledger"), client=lambda _: client)
        return engine(event)

    return run


def import_ratio(first: str, second: str, *, paths: tuple[str, str] = (".", "."), starts: int = STARTS) -> float:
    """How many times as long a fresh process takes for one import as for another: the median of pairs of starts.

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
    """The least of several runs, after one that warms up: what the code takes when nothing else disturbs it."""
    run()
    timings = list[float]()
    for _ in range(times):
        start = timer()
        run()
        timings.append(timer() - start)
    return min(timings)


def overhead(run: Run, event: dict[str, Any], times: int) -> float:
    """CPU of a record beyond calling the function in a bare loop, in µs."""
    records = event["Records"]

    def bare() -> None:
        for record in records:
            nothing(record)

    beyond = seconds(lambda: run(event, nothing), times, time.process_time) - seconds(bare, times, time.process_time)
    return beyond / len(records) * 1e6


def measure() -> dict[str, float]:
    """Every figure of this question."""
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
