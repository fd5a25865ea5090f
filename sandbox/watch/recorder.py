"""Turns the invocations of functions, and the records that mappings give up, into facts."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from sandbox.mapping.invocation import ObservedInvocation
from sandbox.report import (
    BROKEN,
    HELD,
    PARKED,
    PROGRESS,
    RELEASED,
    RETRY_FAILED,
    Event,
    InvocationReport,
    LogEntry,
    Names,
    item_text,
    remaining_held,
    report_of,
)
from sandbox.watch.feed import Fact, Feed
from sandbox.watch.output import output_of

Change = dict[str, Any]


class Recorder:
    """Publishes each invocation of the program that is deployed."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._names = Names({}, {})
        self._keys: dict[str, Mapping[str, Any]] = {}  # by the item's digest, since some log entries lack the keys
        self._held_at: defaultdict[str, dict[str, float]] = defaultdict(dict)  # by consumer and digest

    def use(self, outputs: Mapping[str, Any]) -> None:
        """Take the names from a stack's outputs."""
        self._names = Names.from_outputs(outputs)

    def record(self, invocation: ObservedInvocation) -> Fact | None:
        """Publish an invocation and return the fact; a retry run that has tried nothing is none."""
        report = report_of(invocation, self._names)
        self._keys |= {entry.item: entry.keys for entry in report.entries if entry.keys}
        items = {each["eventID"]: item_text(_keys(each)) for each in invocation.records if "eventID" in each}
        output = [*output_of(invocation.log, items)]
        common: dict[str, Any] = {
            "consumer": report.consumer,
            "milliseconds": round(invocation.duration_seconds * 1000),
            "error": invocation.error,
            "output": output,
        }
        if invocation.scheduled is None:
            self._note_held(report)
            changes = [*_batch_changes(report)]
            common |= {"table": report.table, "attempt": invocation.attempt}
            return self._feed.publish("batch", at=invocation.ended_at, changes=changes, **common)
        released = self._released(report)
        self._note_held(report)
        if not (report.entries or released or invocation.error or output):
            return None
        common |= {"released": released, "held": remaining_held(invocation.response)}
        changes = [*self._retried_changes(report)]
        return self._feed.publish("retry", at=invocation.ended_at, changes=changes, **common)

    def record_discard(self, function: str, stream_arn: str, count: int, reason: str, destination: str | None) -> None:
        """Publish that a mapping has given up records; without a destination, they are lost."""
        names: dict[str, Any] = {"consumer": self._names.consumer(function), "table": self._names.table(stream_arn)}
        self._feed.publish("discarded", **names, count=count, reason=reason, destination=destination)

    def _note_held(self, report: InvocationReport) -> None:
        held = (*report.entries_of(HELD), *report.entries_of(RETRY_FAILED))
        self._held_at[report.consumer] |= {entry.item: report.invocation.ended_at for entry in held}

    def _released(self, report: InvocationReport) -> list[str]:
        """Return the released items; if none is held any more, also those that another run has released."""
        held_at = self._held_at[report.consumer]
        released = [entry.item for entry in report.entries_of(RELEASED)]
        if remaining_held(report.invocation.response) == 0:
            began_at = report.invocation.ended_at - report.invocation.duration_seconds
            released += [item for item, at in held_at.items() if at < began_at and item not in released]
        for item in released:
            held_at.pop(item, None)
        return [self._item(item) for item in released]

    def _item(self, digest: str) -> str:
        keys = self._keys.get(digest)
        return item_text(keys) if keys else digest

    def _retried_changes(self, report: InvocationReport) -> Iterator[Change]:
        """Yield the changes that a retry run has settled or tried, as far as the log names them."""
        for entry in report.entries:
            match entry.message:
                case m if m == RETRY_FAILED:
                    yield from self._done_changes(entry)
                    yield self._entry_change(entry, "held")
                case m if m in (PROGRESS, RELEASED):
                    yield from self._done_changes(entry)
                case m if m == PARKED:
                    yield self._entry_change(entry, "parked")
                case m if m == BROKEN:
                    yield self._entry_change(entry, "held") | {"error": "its hold is broken"}
                case _:
                    pass

    def _done_changes(self, entry: LogEntry) -> Iterator[Change]:
        for sequence in entry.sequences:
            event = entry.event_name if sequence == entry.sequence else ""
            done = {"event": event, "sequence": str(sequence), "outcome": "done", "error": None}
            keys = dict(self._keys.get(entry.item, {}))
            yield {"table": entry.table, "item": self._item(entry.item), "keys": keys, **done}

    def _entry_change(self, entry: LogEntry, outcome: str) -> Change:
        keys = entry.keys or self._keys.get(entry.item, {})
        sequence = str(entry.sequence) if entry.sequence is not None else None
        change = {"event": entry.event_name, "item": item_text(keys), "keys": dict(keys), "sequence": sequence}
        return {"table": entry.table, **change, "outcome": outcome, **_details(entry)}


def _batch_changes(report: InvocationReport) -> Iterator[Change]:
    """Yield each change of a batch with its outcome, in the order of the stream."""
    errors = {event["dynamodb"]["SequenceNumber"]: error for event, error in report.failed}
    outcomes: dict[str, str] = dict.fromkeys(errors, "failed")
    for outcome, events in (
        ("done", report.done),
        ("postponed", report.postponed),
        ("waiting", (*report.held, *report.waiting)),
    ):
        outcomes |= {event["dynamodb"]["SequenceNumber"]: outcome for event in events}
    entries = {entry.sequence: entry for entry in report.entries if entry.message in (HELD, PARKED)}
    for record in report.invocation.records:
        sequence, keys = record["dynamodb"]["SequenceNumber"], _keys(record)
        change = {"event": record["eventName"], "item": item_text(keys), "keys": keys, "sequence": str(int(sequence))}
        entry = None if report.invocation.error else entries.get(int(sequence))
        if entry is not None:
            yield {**change, "outcome": "held" if entry.message == HELD else "parked", **_details(entry)}
        else:
            yield {**change, "outcome": outcomes.get(sequence, "failed"), "error": errors.get(sequence)}


def _details(entry: LogEntry) -> Change:
    error = entry.error or entry.park_reason or None
    return {"error": error, "tries": entry.tries, "next_try": entry.next_try, "waiting": entry.waiting or entry.changes}


def _keys(record: Event) -> dict[str, Any]:
    return {name: _plain(value) for name, value in record["dynamodb"]["Keys"].items()}


def _plain(value: Mapping[str, Any]) -> Any:
    [(kind, text)] = value.items()
    return int(text) if kind == "N" and re.fullmatch(r"-?\d+", text) else text
