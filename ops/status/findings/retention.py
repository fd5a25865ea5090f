"""Judges what a stream's retention has taken, or will take: how far a mapping has read, and what was written since.

CloudWatch has no position of a mapping. In each period with a batch, `IteratorAge` says how old the batch's last record
was, so the mapping had read up to the period's end minus this age. A claim of loss is about whole
periods that were certainly unread when the stream deleted them.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from ops.status.facts import (
    HISTORY_PERIOD,
    RECENT_PERIOD,
    RECENT_SECONDS,
    ConsumerFacts,
    MappingFacts,
    Series,
    TableFacts,
)
from ops.streams import RETENTION_SECONDS


@dataclass(frozen=True)
class Read:
    """A period in which a mapping read its stream."""

    began_at: float
    position: float
    """The mapping had read every record that was older than this."""


@dataclass(frozen=True)
class LostSpan:
    """A time whose changes the stream deleted before the mapping read them."""

    since: float
    until: float
    is_certain: bool
    """Whether CloudWatch shows writes to the table at that time; False if its metrics cannot be read."""


def reads(consumer: ConsumerFacts, mapping: MappingFacts, *, recent: bool = False) -> list[Read]:
    """Return the periods in which the mapping read its stream, ascending: of the last 48 hours, or `recent` ones.

    A function has one IteratorAge for all its mappings. So an age counts only for a period in which no other mapping
    of the function read its stream; for other periods, the age is taken to be 0. A mapping whose filters match no
    record has no age, and is taken to read as late as at its last batch.
    """
    period = RECENT_PERIOD if recent else HISTORY_PERIOD
    others = [each for each in consumer.mappings if each is not mapping]
    ages = dict((consumer.recent if recent else consumer.history).get("IteratorAge", ()))
    polled_by_others = {at for each in others for at in _polled(each, recent=recent)}
    polled = _polled(mapping, recent=recent)
    found: list[Read] = []
    age = 0.0
    for at in sorted(polled if others else {*polled, *ages}):
        age = 0.0 if at in polled_by_others else ages.get(at, age * 1000) / 1000
        found.append(Read(at, at + period - age))
    return found


def _polled(mapping: MappingFacts, *, recent: bool) -> set[float]:
    metrics = mapping.recent if recent else mapping.history
    return {at for at, count in metrics.get("PolledEventCount", ()) if count}


def lost_spans(consumer: ConsumerFacts, mapping: MappingFacts, table: TableFacts | None, now: float) -> list[LostSpan]:
    """Return the times whose changes were written and then deleted by the stream unread.

    `table` is None for a table of another account, whose writes CloudWatch does not show here.
    """
    found = reads(consumer, mapping)
    if not found:
        return []
    deleted_until = now - RETENTION_SECONDS
    if mapping.oldest_record_at is not None:  # the stream may delete later than it promises
        deleted_until = min(deleted_until, mapping.oldest_record_at)
    ends = [*(each.began_at - RETENTION_SECONDS for each in found[1:]), deleted_until]
    spans: list[LostSpan] = []
    for read, end in zip(found, ends, strict=True):
        if read.position >= end:
            continue
        if table is None:
            spans.append(LostSpan(read.position, end, is_certain=False))
        elif written := list(_written(table.history.get("ConsumedWriteCapacityUnits", ()), read.position, end)):
            since, until = written[0], min(written[-1] + HISTORY_PERIOD, end)
            spans.append(LostSpan(since, until, is_certain=True))
    return spans


def unread_since(consumer: ConsumerFacts, mapping: MappingFacts, table: TableFacts | None, now: float) -> float | None:
    """Return when the oldest change was written that a mapping which has stopped has not read; None if there is none.

    Without metrics of the table, the answer is a time at which that change may have been written.
    """
    found = reads(consumer, mapping, recent=True) or reads(consumer, mapping)
    position = max(found[-1].position if found else mapping.modified_at, mapping.oldest_record_at or 0.0)
    position = min(max(position, now - RETENTION_SECONDS), now)
    writes = _writes(table, now) if table else ()
    if not writes:
        return position if mapping.oldest_record_at is not None else None
    return next(_written(writes, position, now), None)


def _writes(table: TableFacts, now: float) -> Series:
    """Return the writes of 48 hours, minute by minute in the last hour."""
    name, hour_ago = "ConsumedWriteCapacityUnits", now - RECENT_SECONDS
    earlier = (point for point in table.history.get(name, ()) if point[0] + HISTORY_PERIOD <= hour_ago)
    return (*earlier, *table.recent.get(name, ()))


def _written(writes: Series, since: float, until: float) -> Iterator[float]:
    """Return the starts of the periods with writes that lie within the time."""
    return (at for at, units in writes if units and since <= at < until)
