"""Ways to process a batch: ours, Powertools' and by hand. Each imports only what it needs, as its function would.

Run as `python -m bench.ways NAME`, a way reads lines with a number of times and a batch's text, in JSON, and prints the
seconds of CPU that processing the batch so often takes.
"""

import functools
import gc
import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

Run = Callable[[str], Any]
"""Processes a batch, as the text that Lambda's runtime receives."""


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


def keys(change: Any) -> None:
    """Read the keys."""
    _ = change.keys


def new_image(change: Any) -> None:
    """Read the new image."""
    _ = change.new_image


def stock_new_image(record: Any) -> None:
    """Read the new image of Powertools' data class."""
    _ = record.dynamodb.new_image


def ours(function: Callable[[Any], None]) -> Run:
    """Return a consumer with an empty ledger."""
    from handler.stream import aws, consumer, environment

    entry, context, clients = consumer(function), Context(), {aws.LEDGER: EmptyLedger()}
    former = environment.set_current(environment.Environment(ledger_table="ledger"))
    try:
        engine = entry.engine
    finally:
        environment.set_current(former)

    def run(text: str) -> Any:
        with aws.use_clients(clients):
            return engine(json.loads(text), context)

    return run


def by_hand() -> Run:
    """Return a loop that reads each new image, and reports the first record that fails."""
    from boto3.dynamodb.types import TypeDeserializer  # pyright: ignore[reportMissingTypeStubs] -- untyped

    deserialize = cast(Any, TypeDeserializer()).deserialize

    def run(text: str) -> dict[str, Any]:
        for each in json.loads(text)["Records"]:
            try:
                _ = {name: deserialize(value) for name, value in each["dynamodb"].get("NewImage", {}).items()}
            except Exception:
                return {"batchItemFailures": [{"itemIdentifier": each["dynamodb"]["SequenceNumber"]}]}
        return {"batchItemFailures": []}

    return run


def stock(function: Callable[[Any], None]) -> Run:
    """Return Powertools' `process_partial_response`."""
    from aws_lambda_powertools.utilities import batch

    respond = cast(Any, batch).process_partial_response  # its types are incomplete
    processor = batch.BatchProcessor(event_type=batch.EventType.DynamoDBStreams)
    return lambda text: respond(json.loads(text), function, processor)


def example() -> Run:
    """Return the example of Powertools' documentation; its log goes nowhere."""
    from aws_lambda_powertools import Logger
    from aws_lambda_powertools.utilities import batch

    respond = cast(Any, batch).process_partial_response
    processor = batch.BatchProcessor(event_type=batch.EventType.DynamoDBStreams)
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


EXAMPLE = "Powertools' example"
WAYS: dict[str, Callable[[], Run]] = {
    "json.loads": lambda: json.loads,
    "nothing: ours": lambda: ours(nothing),
    "keys: ours": lambda: ours(keys),
    "new_image: ours": lambda: ours(new_image),
    "new_image: by hand": by_hand,
    "nothing: Powertools": lambda: stock(nothing),
    "new_image: Powertools": lambda: stock(stock_new_image),
    EXAMPLE: example,
}


def cpu_seconds(run: Callable[[], Any], times: int) -> float:
    """Return the seconds of CPU that so many calls take, after a garbage collection."""
    gc.collect()
    began = time.process_time()
    for _ in range(times):
        run()
    return time.process_time() - began


def main(name: str) -> None:
    """Answer each line of standard input."""
    importlib.import_module("boto3")  # in the memory of every way, as in that of any function that calls AWS
    run = WAYS[name]()
    for line in sys.stdin:
        times, text = json.loads(line)
        once = functools.partial(run, text)
        once()
        print(cpu_seconds(once, times), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
