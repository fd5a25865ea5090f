"""The peer that the demo compares with: Powertools' own batch processor over the same changes and mapping."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from aws_lambda_powertools.utilities import batch

from sandbox.actions import Describe, Invoke, Read, Returned
from sandbox.configuration import Configuration
from sandbox.mapping import EventSourceMapping

Event = Mapping[str, Any]


class RefusedError(Exception):
    """The one write that fails once."""


def stock_writes(events: Sequence[Event], mapping: Mapping[str, Any], refuses: Callable[[Event], bool]) -> list[Event]:
    """The changes in the order in which a stock processor applies them, where the first write of one fails.

    Parameters
    ----------
    events
        What the stream holds, in its order.
    mapping
        The mapping, as create_event_source_mapping takes it.
    refuses
        Whether a change is the one whose first write fails.
    """
    applied: list[Event] = []
    refused: list[Event] = []

    def write(record: Any) -> None:
        if not refused and refuses(record.raw_event):
            refused.append(record.raw_event)
            raise RefusedError
        applied.append(record.raw_event)

    stock = cast("Any", batch)  # its types are partly unknown
    processor = stock.BatchProcessor(event_type=batch.EventType.DynamoDBStreams)
    machine = EventSourceMapping(Configuration.model_validate(mapping))
    now, unread = time.time(), list(events)
    while True:
        for action in machine.advance(now):
            match action:
                case Describe():
                    machine.discover([("shard", None)])
                case Read():
                    machine.read(action, unread, now)
                    unread = []
                case Invoke():
                    event = {"Records": [record.event for record in action.records]}
                    answer = stock.process_partial_response(event=event, record_handler=write, processor=processor)
                    machine.answer(action, Returned(answer), now)
                case _:
                    raise AssertionError(action)
        if not unread and machine.at_rest():
            return applied
        now = max(now, machine.due() or now)
