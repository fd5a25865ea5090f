"""The baseline of the demo: the stock batch processor of Powertools, with the same changes and the same mapping."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from aws_lambda_powertools.utilities import batch
from aws_lambda_powertools.utilities.batch.exceptions import BatchProcessingError

from sandbox.mapping.configuration import Configuration
from sandbox.mapping.machine import MappingMachine
from sandbox.mapping.poller import POLL_SECONDS
from sandbox.mapping.protocol import Describe, Failed, InvocationResult, Invoke, Read, Returned

Event = Mapping[str, Any]
TimedEvent = tuple[float, Event]
"""A time in epoch seconds, and the change of that time."""


class WriteRefusedError(Exception):
    """A write has failed."""


def run_baseline(
    events: Sequence[TimedEvent],
    mapping: Mapping[str, Any],
    refuses: Callable[[Event, float], bool],
    refused_write_seconds: float = 0.0,
) -> list[TimedEvent]:
    """Return the changes as the stock processor applies them, with the time of each; only failing writes take time.

    Parameters
    ----------
    events
        The changes in the order of the stream, with the time of each.
    mapping
        The arguments of create_event_source_mapping. Retries follow the back-off that was recorded on AWS.
    refuses
        Whether the write of a change fails at a time.
    refused_write_seconds
        The duration of a failing write, with the SDK's retries.
    """
    applied: list[TimedEvent] = []
    unread = list(events)
    now = unread[0][0]

    def write(record: Any) -> None:
        nonlocal now
        if refuses(record.raw_event, now):
            now += refused_write_seconds
            raise WriteRefusedError
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
    stock = cast("Any", batch)  # some of its types are unknown
    processor = stock.BatchProcessor(event_type=batch.EventType.DynamoDBStreams)
    event = {"Records": [record.event for record in action.records]}
    try:
        return Returned(stock.process_partial_response(event=event, record_handler=write, processor=processor))
    except BatchProcessingError:  # every record has failed
        return Failed()
