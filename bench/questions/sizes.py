"""Measures the CPU time of a change, and derives how many changes a function of some memory does in a second.

Run it with: python -m bench sizes. The function runs in a process of its own, as in Lambda, against the embedded AWS,
whose process is not counted.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from bench.question import Row, at_most
from handler.stream import Change, put_if_newer
from handler.stream.entry import Consumer, consumer
from handler.stream.telemetry import logger
from infra.rules.sizes import changes_a_second
from sandbox import ROOT
from sandbox.emulator import CREDENTIAL, Emulator
from tests.fakes.aws import LambdaContext
from tests.fakes.records import record

BATCH = 100
BATCHES, QUICK_BATCHES = 20, 4
MEMORIES = (128, 256, 512, 1024, 1769, 3538)
LEDGER, MIRROR = "ledger", "mirror"
NOTE = """\
Changes per second for one of a shard's concurrent batches, by the function's memory. The mapping's parallelization
factor is the number of these batches. A batch has 100 changes of 100 items, and the handler never waits. Lambda gives
one vCPU for 1,769 MB, and Python uses at most one. A shard takes up to 1,000 writes a second. The CPU time is the least
of several batches on this machine. Good is at most 0.2 ms for a log line, 3.3 ms for put_if_newer and 6.7 ms for a
claim (infra/rules/sizes.py)."""

GOALS = {
    f"{kind}: ms CPU a change": at_most(bound)
    for kind, bound in (("log line", 0.2), ("put_if_newer", 3.3), ("claim", 6.7))
}


def _nothing(change: Any) -> None:
    """Have no effect."""


def _log(change: Change) -> None:
    logger.info("change", event_id=change.event_id, event_name=change.event_name, dynamodb=change.raw["dynamodb"])


def _mirror(change: Change) -> None:
    put_if_newer(change, MIRROR)


KINDS: dict[str, Callable[[], Consumer]] = {
    "nothing": lambda: consumer(_nothing),
    "log line": lambda: consumer(_log),
    "put_if_newer": lambda: consumer(_mirror),
    "claim": lambda: consumer(claim=True)(_nothing),
}
"""Consumers by their effect; each one has a ledger."""


def least_seconds(kind: str, batches: int) -> float:
    """Return this process's CPU seconds a change, in the cheapest of some batches after a warm-up batch."""
    handler = KINDS[kind]()
    context = LambdaContext(lambda: 0.0)  # time does not pass, so no batch comes near a deadline
    took = list[float]()
    for batch in range(batches + 1):
        changes = range(batch * BATCH, (batch + 1) * BATCH)
        event = {"Records": [record(number, f"item-{number % BATCH}", at=int(time.time())) for number in changes]}
        start = time.process_time()
        answer = handler(event, context)
        took.append(time.process_time() - start)
        if answer != {"batchItemFailures": []}:
            raise AssertionError(f"{kind}: {answer}: a change failed")
    return min(took[1:]) / BATCH


def batch_seconds(kind: str, emulator: Emulator, batches: int) -> float:
    """Return `least_seconds` of a new process with the environment variables of a function."""
    variables = {
        "AWS_LAMBDA_FUNCTION_NAME": "sizes",
        "AWS_ENDPOINT_URL": emulator.endpoint,
        "AWS_REGION": emulator.region,
        "AWS_DEFAULT_REGION": emulator.region,
        "AWS_ACCESS_KEY_ID": CREDENTIAL,
        "AWS_SECRET_ACCESS_KEY": CREDENTIAL,
        "POWERTOOLS_SERVICE_NAME": f"sizes-{kind}",
        "LEDGER_TABLE": LEDGER,
    }
    command = [sys.executable, "-m", __name__, kind, str(batches)]
    ran = subprocess.run(
        command, cwd=ROOT, env=os.environ | variables, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    return float(json.loads(ran.stderr.splitlines()[-1]))


def make_table(emulator: Emulator, table: str, *keys: str) -> None:
    """Create a table with these key attributes, all of them strings."""
    emulator.client("dynamodb").create_table(
        TableName=table,
        KeySchema=[
            {"AttributeName": name, "KeyType": kind} for name, kind in zip(keys, ("HASH", "RANGE"), strict=False)
        ],
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in keys],
        BillingMode="PAY_PER_REQUEST",
    )


def make_tables(emulator: Emulator) -> None:
    """Create the ledger and the table that the mirror writes."""
    make_table(emulator, LEDGER, "pk", "sk")
    make_table(emulator, MIRROR, "id")


def measure(*, quick: bool = False) -> list[Row]:
    """Return the table's rows."""
    rows: list[Row] = []
    with Emulator("eu-central-1") as emulator:
        make_tables(emulator)
        for kind in KINDS:
            cpu = batch_seconds(kind, emulator, QUICK_BATCHES if quick else BATCHES)
            rates = {f"{memory:,} MB": changes_a_second(memory, cpu) for memory in MEMORIES}
            rows.append({"for each change": kind, "ms CPU": cpu * 1000, **rates})
    return rows


def figures(rows: Sequence[Row]) -> dict[str, float]:
    """Return the figures that have goals."""
    return {f"{row['for each change']}: ms CPU a change": row["ms CPU"] for row in rows}


if __name__ == "__main__":
    print(json.dumps(least_seconds(sys.argv[1], int(sys.argv[2]))), file=sys.stderr)
