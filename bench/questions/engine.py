"""Measures the engine's CPU time a record, beside Powertools and a loop by hand: python -m bench engine."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, cast

from boto3.dynamodb.types import TypeDeserializer  # pyright: ignore[reportMissingTypeStubs] -- untyped

from bench.question import QUICK_ROUNDS, ROUNDS, at_most, in_turn
from bench.ways import EXAMPLE, WAYS, cpu_seconds
from handler.stream.codec import decode_into
from tests.fakes.records import record

deserialize = cast(Any, TypeDeserializer()).deserialize
OURS = [way for way in WAYS if way.endswith("ours")]

BATCHES = (1, 10, 100, 1_000)
RECORDS, QUICK_RECORDS = 4_000, 1_000
"""Records that one measurement of a round processes."""
GOALS = {
    "100 a batch, nothing: ours / Powertools' example": at_most(0.15),
    "100 a batch, new_image: ours / Powertools' example": at_most(0.30),
    "100 a batch, new_image: ours / by hand": at_most(1.0),
    "an image: ours / TypeDeserializer": at_most(0.5),
}
NOTE = """\
CPU time a record of 2 KB with 30 attributes, from the event's text to the response; each way has a process of its own,
and the ratios compare times of the same rounds. `json.loads` is the floor: it only parses the text. `by hand` is a loop
with TypeDeserializer, which keeps no order and takes binary as text. Powertools' example is the one for DynamoDB of its
documentation, without its Tracer: it also logs the new image. Ours has a ledger, whose client answers immediately that
it is empty."""


def item(number: int) -> dict[str, Any]:
    """Return an item of 30 attributes in DynamoDB's JSON."""
    return {
        "id": {"S": f"item-{number}"},
        **{f"text_{each}": {"S": f"some words of text {each}, about forty bytes"} for each in range(13)},
        **{f"number_{each}": {"N": f"{number * 37 + each}{'.25' * (each % 2)}"} for each in range(7)},
        **{f"flag_{each}": {"BOOL": each == 1} for each in range(3)},
        "nothing": {"NULL": True},
        "tags": {"SS": ["red", "green", "blue"]},
        "sizes": {"NS": ["1", "2", "3"]},
        "address": {"M": {"street": {"S": "1 Main Street"}, "city": {"S": "Springfield"}, "zip": {"N": "12345"}}},
        "customer": {"M": {"name": {"S": "Ada Lovelace"}, "vip": {"BOOL": False}, "since": {"N": "1815"}}},
        "lines": {"L": [{"M": {"sku": {"S": "A-1"}, "count": {"N": "2"}, "price": {"N": "9.99"}}}]},
    }


def payload(records: int) -> str:
    """Return the text of a batch of inserted items.

    They are from an hour later: the ledger counts the deliveries of an old record that is alone in its batch.
    """
    inserted = (
        record(number, f"item-{number}", name="INSERT", at=time.time() + 3_600, NewImage=item(number))
        for number in range(records)
    )
    return json.dumps({"Records": list(inserted)}, separators=(",", ":"))


@contextmanager
def process(way: str) -> Generator[Callable[[int, str], float]]:
    """Start a way's process; yield a function that returns its seconds of CPU for a batch so many times."""
    command = [sys.executable, "-m", "bench.ways", way]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as started:
        stdin, stdout = cast(Any, started.stdin), cast(Any, started.stdout)

        def seconds(times: int, text: str) -> float:
            print(json.dumps([times, text]), file=stdin, flush=True)
            return float(stdout.readline())

        yield seconds


def measure(*, quick: bool = False) -> dict[str, float]:
    """Return the figures by name: microseconds a record, and ratios."""
    rounds, records = (QUICK_ROUNDS, QUICK_RECORDS) if quick else (ROUNDS, RECORDS)
    figures = dict[str, float]()
    with ExitStack() as stack:
        processes = {way: stack.enter_context(process(way)) for way in WAYS}
        for size in BATCHES:
            text, times = payload(size), records // size
            taken = in_turn({way: partial(seconds, times, text) for way, seconds in processes.items()}, rounds)
            figures |= {f"{size:,} a batch, {way}, µs": each / times / size * 1e6 for way, each in taken.items()}
            figures |= {f"{size:,} a batch, {way} / {EXAMPLE}": taken[way] / taken[EXAMPLE] for way in OURS}
            ratio = taken["new_image: ours"] / taken["new_image: by hand"]
            figures[f"{size:,} a batch, new_image: ours / by hand"] = ratio
    return figures | _decoding(records, rounds)


def _decoding(times: int, rounds: int) -> dict[str, float]:
    """Return the ratio of the engine's decoding of an image alone to TypeDeserializer's."""
    image = item(1)
    ours = partial(cpu_seconds, lambda: decode_into({}, image.items()), times)
    peer = partial(cpu_seconds, lambda: {name: deserialize(value) for name, value in image.items()}, times)
    taken = in_turn({"ours": ours, "peer": peer}, rounds)
    return {"an image: ours / TypeDeserializer": taken["ours"] / taken["peer"]}
