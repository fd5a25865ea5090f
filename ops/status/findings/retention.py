"""Judges what a stream's retention has taken, or will take: how far a mapping has read, and what was written since.

CloudWatch has no position of a mapping. In each period with a batch, `IteratorAge` says how old the batch's last record
was, so the mapping had read up to the period's end minus this age. A claim of loss is about whole
periods that were certainly unread when the stream deleted them.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from ops.status.facts import HISTORY_PERIOD, RETENTION_SECONDS, ConsumerFacts, MappingFacts, Series, TableFacts


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
    """Whether the table was written at that time; if not, nobody knows."""


def reads(consumer: ConsumerFacts, mapping: MappingFacts) -> list[Read]:
    """Return the periods of the last 48 hours in which the mapping read its stream, ascending.

    A function has one IteratorAge for all its mappings. So an age counts only for a period in which no other mapping
    of the function read its stream; for other periods, the age is taken to be 0. A mapping whose filters match no
    record has no age, and is taken to read as late as at its last batch.
    """
    ages = dict(consumer.history.get("IteratorAge", ()))
    others = [each for each in consumer.mappings if each is not mapping]
    polled_by_others = {at for each in others for at, count in each.history.get("PolledEventCount", ()) if count}
    polled = [at for at, count in mapping.history.get("PolledEventCount", ()) if count]
    if not polled and others:
        return []
    found: list[Read] = []
    age = 0.0
    for at in sorted({*polled} if others else {*polled, *ages}):
        age = 0.0 if at in polled_by_others else ages.get(at, age * 1000) / 1000
        found.append(Read(at, at + HISTORY_PERIOD - age))
    return found


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
    found = reads(consumer, mapping)
    position = max(found[-1].position if found else 0.0, mapping.oldest_record_at or 0.0, now - RETENTION_SECONDS)
    if not found:
        position = max(position, mapping.modified_at)
    writes: Series = table.history.get("ConsumedWriteCapacityUnits", ()) if table else ()
    if not writes:
        return position if mapping.oldest_record_at is not None else None
    return next(_written(writes, position, now), None)


def _written(writes: Series, since: float, until: float) -> Iterator[float]:
    """Return the starts of the periods with writes that lie within the time."""
    return (at for at, units in writes if units and since <= at < until)
