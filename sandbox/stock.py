"""The peer that the demo compares with: Powertools' own batch processor over the same changes and the same mapping."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from aws_lambda_powertools.utilities import batch
from aws_lambda_powertools.utilities.batch.exceptions import BatchProcessingError

from sandbox.actions import Describe, Failed, Invoke, Outcome, Read, Returned
from sandbox.configuration import Configuration
from sandbox.mapping import EventSourceMapping
from sandbox.poller import POLL_SECONDS

Event = Mapping[str, Any]
Timed = tuple[float, Event]
"""A change with a moment, in epoch seconds."""


class RefusedError(Exception):
    """A write that fails."""


def stock_writes(
    events: Sequence[Timed], mapping: Mapping[str, Any], refuses: Callable[[Event, float], bool]
) -> list[Timed]:
    """The changes as a stock processor applies them, each with when it does; it takes no time for them.

    Parameters
    ----------
    events
        What is written to the stream and when, in its order.
    mapping
        The mapping, as create_event_source_mapping takes it. It retries with AWS's recorded back-off.
    refuses
        Whether the write of a change fails at a moment.
    """
    applied: list[Timed] = []
    unread = list(events)
    now = unread[0][0]

    def write(record: Any) -> None:
        if refuses(record.raw_event, now):
            raise RefusedError
        applied.append((now, record.raw_event))

    machine = EventSourceMapping(Configuration.model_validate(mapping), poll=POLL_SECONDS)
    while True:
        for action in machine.advance(now):
            match action:
                case Describe():
                    machine.discover([("shard", None)])
                case Read():
                    page = [event for at, event in unread if at <= now]
                    del unread[: len(page)]
                    machine.read(action, page, now)
                case Invoke():
                    machine.answer(action, _process(action, write), now)
                case _:
                    raise AssertionError(action)
        if not unread and machine.at_rest():
            return applied
        now = max(now, machine.due() or now)


def _process(action: Invoke, write: Callable[[Any], None]) -> Outcome:
    stock = cast("Any", batch)  # its types are partly unknown
    processor = stock.BatchProcessor(event_type=batch.EventType.DynamoDBStreams)
    event = {"Records": [record.event for record in action.records]}
    try:
        return Returned(stock.process_partial_response(event=event, record_handler=write, processor=processor))
    except BatchProcessingError:  # every change has failed
        return Failed()
