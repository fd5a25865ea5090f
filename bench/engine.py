"""Measures the engine's CPU time a record, beside Powertools and a loop by hand: python -m bench engine."""

import gc
import json
import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities import batch as powertools
from boto3.dynamodb.types import TypeDeserializer  # pyright: ignore[reportMissingTypeStubs] -- untyped

from bench.question import QUICK_ROUNDS, ROUNDS, at_most, in_turn
from handler.stream.change import Change
from handler.stream.codec import decode_into
from handler.stream.entry import Engine
from handler.stream.environment import Environment
from tests.fakes.records import record

Run = Callable[[str], Any]
"""Processes a batch, as the text that Lambda's runtime receives."""
respond = cast(Any, powertools).process_partial_response  # its types are incomplete
deserialize = cast(Any, TypeDeserializer()).deserialize

BATCHES = (1, 10, 100, 1_000)
RECORDS, QUICK_RECORDS = 4_000, 1_000
"""Records that one measurement of a round processes."""
EXAMPLE = "Powertools' example"
GOALS = {
    "100 a batch, nothing: ours / Powertools' example": at_most(0.15),
    "100 a batch, new_image: ours / Powertools' example": at_most(0.30),
    "100 a batch, new_image: ours / by hand": at_most(1.0),
    "an image: ours / TypeDeserializer": at_most(0.5),
}
NOTE = """\
CPU time a record of 2 KB with 30 attributes, from the event's text to the response; the ratios compare times of the
same rounds. `json.loads` is the floor: it only parses the text. `by hand` is a loop with TypeDeserializer, which keeps
no order and takes binary as text. Powertools' example is the one for DynamoDB of its documentation, without its Tracer:
it also logs the new image. Ours has a ledger, whose client answers immediately that it is empty."""


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
    """Return the text of a batch of inserted items."""
    inserted = (
        record(number, f"item-{number}", name="INSERT", at=time.time(), NewImage=item(number))
        for number in range(records)
    )
    return json.dumps({"Records": list(inserted)}, separators=(",", ":"))


class Context:
    """What the engine and Powertools read of Lambda's context."""

    function_name = function_version = aws_request_id = "context"
    invoked_function_arn = "arn:aws:lambda:eu-central-1:111122223333:function:context"
    memory_limit_in_mb = 512

    def get_remaining_time_in_millis(self) -> int:
        """Return a minute."""
        return 60_000


class EmptyLedger:
    """A client of an empty ledger. It has no other call, because a healthy batch makes none."""

    def query(self, **_: Any) -> dict[str, Any]:
        """Return an empty page."""
        return {"Items": []}


def nothing(record: Any) -> None:
    """Do nothing."""


def keys(change: Change) -> None:
    """Read the keys."""
    _ = change.keys


def new_image(change: Change) -> None:
    """Read the new image."""
    _ = change.new_image


def ours(function: Callable[[Change], None]) -> Run:
    """Return the engine with an empty ledger."""
    client = EmptyLedger()
    engine = Engine(function, Environment(ledger_table="ledger"), client=lambda _: client)
    return lambda text: engine(json.loads(text), Context())


def by_hand(text: str) -> dict[str, Any]:
    """Read each new image, and report the first record that fails."""
    for each in json.loads(text)["Records"]:
        try:
            _ = {name: deserialize(value) for name, value in each["dynamodb"].get("NewImage", {}).items()}
        except Exception:
            return {"batchItemFailures": [{"itemIdentifier": each["dynamodb"]["SequenceNumber"]}]}
    return {"batchItemFailures": []}


def stock(function: Callable[[Any], None]) -> Run:
    """Return Powertools' `process_partial_response`."""
    processor = powertools.BatchProcessor(event_type=powertools.EventType.DynamoDBStreams)
    return lambda text: respond(json.loads(text), function, processor)


def stock_new_image(record: Any) -> None:
    """Read the new image of Powertools' data class."""
    _ = record.dynamodb.new_image


def example() -> Run:
    """Return the example of Powertools' documentation; its log goes nowhere."""
    processor = powertools.BatchProcessor(event_type=powertools.EventType.DynamoDBStreams)
    logger = Logger(service="example", stream=Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - for ever

    def record_handler(record: Any) -> None:
        if record.dynamodb and record.dynamodb.new_image:
            logger.info(record.dynamodb.new_image)
            message = record.dynamodb.new_image.get("message")
            if message:
                logger.info(json.loads(message))

    @logger.inject_lambda_context
    def handler(event: dict[str, Any], context: Any) -> Any:
        return respond(event=event, record_handler=record_handler, processor=processor, context=context)

    return lambda text: cast(Any, handler)(json.loads(text), Context())


def cpu_microseconds(runs: Mapping[str, Callable[[], Any]], records: int, times: int, rounds: int) -> dict[str, float]:
    """Return each one's CPU time a record, the median of rounds in which all take turns."""

    def once(run: Callable[[], Any]) -> float:
        gc.collect()
        began = time.process_time()
        for _ in range(times):
            run()
        return (time.process_time() - began) / times / records * 1e6

    for run in runs.values():
        run()
    return in_turn({name: partial(once, run) for name, run in runs.items()}, rounds)


def measure(*, quick: bool = False) -> dict[str, float]:
    """Return the figures by name: microseconds a record, and ratios."""
    rounds, records = (QUICK_ROUNDS, QUICK_RECORDS) if quick else (ROUNDS, RECORDS)
    ways: dict[str, Run] = {
        "json.loads": json.loads,
        "nothing: ours": ours(nothing),
        "keys: ours": ours(keys),
        "new_image: ours": ours(new_image),
        "new_image: by hand": by_hand,
        "nothing: Powertools": stock(nothing),
        "new_image: Powertools": stock(stock_new_image),
        EXAMPLE: example(),
    }
    figures = dict[str, float]()
    for size in BATCHES:
        text = payload(size)
        runs = {name: partial(run, text) for name, run in ways.items()}
        taken = cpu_microseconds(runs, size, records // size, rounds)
        figures |= {f"{size:,} a batch, {name}, µs": each for name, each in taken.items()}
        figures |= {
            f"{size:,} a batch, {name} / {EXAMPLE}": taken[name] / taken[EXAMPLE] for name in taken if "ours" in name
        }
        figures[f"{size:,} a batch, new_image: ours / by hand"] = taken["new_image: ours"] / taken["new_image: by hand"]
    return figures | decoding(records, rounds)


def decoding(records: int, rounds: int) -> dict[str, float]:
    """Return the ratio of the engine's decoding of an image alone to TypeDeserializer's."""
    image = item(1)
    taken = cpu_microseconds(
        {
            "ours": lambda: decode_into({}, image.items()),
            "peer": lambda: {name: deserialize(value) for name, value in image.items()},
        },
        1,
        records,
        rounds,
    )
    return {"an image: ours / TypeDeserializer": taken["ours"] / taken["peer"]}
