"""The peer that the demo compares with: Powertools' own batch processor over the same changes and the same mapping."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from aws_lambda_powertools.utilities import batch
from aws_lambda_powertools.utilities.batch.exceptions import BatchProcessingError

from sandbox.mapping.configuration import Configuration
from sandbox.mapping.machine import MappingMachine
from sandbox.mapping.poller import POLL_SECONDS
from sandbox.mapping.protocol import Describe, Failed, InvocationResult, Invoke, Read, Returned

Event = Mapping[str, Any]
Timed = tuple[float, Event]
"""A change with a moment, in epoch seconds."""


class RefusedError(Exception):
    """A write that fails."""


def stock_writes(
    events: Sequence[Timed],
    mapping: Mapping[str, Any],
    refuses: Callable[[Event, float], bool],
    refused_seconds: float = 0.0,
) -> list[Timed]:
    """The changes as a stock processor applies them, each with when it does: it takes time only for what is refused.

    Parameters
    ----------
    events
        What is written to the stream and when, in its order.
    mapping
        The mapping, as create_event_source_mapping takes it. It retries with AWS's recorded back-off.
    refuses
        Whether the write of a change fails at a moment.
    refused_seconds
        How long such a write takes, with the SDK's own retries.
    """
    applied: list[Timed] = []
    unread = list(events)
    now = unread[0][0]

    def write(record: Any) -> None:
        nonlocal now
        if refuses(record.raw_event, now):
            now += refused_seconds
            raise RefusedError
        applied.append((now, record.raw_event))

    machine = MappingMachine(Configuration.model_validate(mapping), poll_seconds=POLL_SECONDS)
    while unread or not machine.is_idle():
        while actions := machine.advance(now):
            for action in actions:
                match action:
                    case Describe():
                        machine.discover([("shard", None)])
                    case Read():
                        page = [event for at, event in unread if at <= now]
                        del unread[: len(page)]
                        machine.receive(action, page, now)
                    case Invoke():
                        answer = _process(action, write)
                        machine.complete(action, answer, now)
                    case _:
                        raise AssertionError(action)
        now = max(now, machine.due() or now)
    return applied


def _process(action: Invoke, write: Callable[[Any], None]) -> InvocationResult:
    stock = cast("Any", batch)  # its types are partly unknown
    processor = stock.BatchProcessor(event_type=batch.EventType.DynamoDBStreams)
    event = {"Records": [record.event for record in action.records]}
    try:
        return Returned(stock.process_partial_response(event=event, record_handler=write, processor=processor))
    except BatchProcessingError:  # every change has failed
        return Failed()
