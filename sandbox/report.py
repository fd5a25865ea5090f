"""Sorts the changes of an invocation by its answer and log: done, failed, postponed, held, waiting or parked."""

import json
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sandbox.mapping.invocation import ObservedInvocation

Event = Mapping[str, Any]
FAILED, HELD, WAIT, PARKED = "change failed", "item held", "changes wait", "change parked"
RETRY_FAILED, PROGRESS, RELEASED, BROKEN = "retry failed", "changes done", "item released", "hold broken"
MESSAGES = (FAILED, HELD, WAIT, PARKED, RETRY_FAILED, PROGRESS, RELEASED, BROKEN)
"""The engine's log messages about an item."""


@dataclass(frozen=True)
class Names:
    """The program's names of functions and tables, by physical name; those of tables also by stream ARN."""

    consumers: Mapping[str, str]
    tables: Mapping[str, str]

    @classmethod
    def from_outputs(cls, outputs: Mapping[str, Any]) -> "Names":
        """Take the names from a stack's outputs."""
        tables = outputs.get("tables", {}).items()
        return cls(
            {consumer["function"]: name for name, consumer in outputs.get("consumers", {}).items()},
            {table[key]: name for name, table in tables for key in ("name", "streamArn") if key in table},
        )

    def consumer(self, function: str) -> str:
        """Return a function's name in the program; its physical name if the outputs lack it."""
        return self.consumers.get(function, function)

    def table(self, name: str) -> str:
        """Return a table's name in the program, by its physical name or stream ARN; its physical name as above."""
        return self.tables.get(name, name.split("/")[1] if "/" in name else name)


@dataclass(frozen=True)
class LogEntry:
    """A log entry of the engine about an item. A field that the entry lacks is empty, 0 or None."""

    message: str
    item: str
    table: str
    event_name: str
    keys: Mapping[str, Any]
    sequence: int | None
    sequences: tuple[int, ...]
    changes: int
    waiting: int
    tries: int
    error: str
    park_reason: str
    next_try: float | None
    held_seconds: float

    @property
    def change(self) -> str:
        """Short title of the change, such as MODIFY customer_id=c7 order_id=31."""
        return f"{self.event_name} {item_text(self.keys)}".strip()


@dataclass(frozen=True)
class InvocationReport:
    """The result of one invocation, by a mapping or by a schedule.

    Each change of a batch is in one place:

    - done;
    - failed: Lambda delivers it again;
    - postponed: Lambda delivers it again for another reason;
    - held: the change, or an earlier one of its item in this batch, has failed;
    - waiting: its item was held before;
    - parked.

    A retry run has log entries only.
    """

    invocation: ObservedInvocation
    consumer: str
    table: str
    done: tuple[Event, ...]
    failed: tuple[tuple[Event, str], ...]
    postponed: tuple[Event, ...]
    held: tuple[Event, ...]
    waiting: tuple[Event, ...]
    entries: tuple[LogEntry, ...]

    def entries_of(self, message: str) -> list[LogEntry]:
        """Return the entries with this message."""
        return [entry for entry in self.entries if entry.message == message]


def report_of(invocation: ObservedInvocation, names: Names) -> InvocationReport:
    """Sort the changes of an invocation. If the invocation failed, Lambda delivers all of them again: none is done."""
    entries = tuple(_entries(invocation.log, names))
    records = {int(record["dynamodb"]["SequenceNumber"]): record for record in invocation.records}
    reported = {int(each["itemIdentifier"]) for each in _failures(invocation.response)}
    errors = {entry.sequence: entry.error for entry in entries if entry.message == FAILED}
    parked = {entry.sequence for entry in entries if entry.message == PARKED}
    held = set(_from_first_on(records, entries, HELD)) - parked
    waiting = set(_from_first_on(records, entries, WAIT)) - parked - held
    batch_failed = invocation.error is not None
    failed = records.keys() & errors.keys() & (records.keys() if batch_failed else reported)

    def pick(sequences: Container[int]) -> tuple[Event, ...]:
        return tuple(record for sequence, record in records.items() if sequence in sequences)

    return InvocationReport(
        invocation=invocation,
        consumer=names.consumer(invocation.function),
        table=names.table(invocation.stream_arn),
        done=pick(set[int]() if batch_failed else records.keys() - reported - parked - held - waiting),
        failed=tuple((record, errors[sequence]) for sequence, record in records.items() if sequence in failed),
        postponed=pick(reported - errors.keys()),
        held=pick(held),
        waiting=pick(waiting),
        entries=entries,
    )


def item_text(keys: Mapping[str, Any]) -> str:
    """Return a key as people read it, such as customer_id=c7 order_id=31."""
    return " ".join(f"{name}={value}" for name, value in keys.items())


def remaining_held(answer: Any) -> int | None:
    """Return the number of items that are held after a retry run, from its answer; None for any other answer."""
    if not isinstance(answer, dict) or "held" not in answer:
        return None
    counts = cast("dict[str, Any]", answer)  # the items that were held when the run began, and those that it released
    return max(int(counts["held"]) - int(counts.get("released", 0)), 0)


def _from_first_on(records: Mapping[int, Event], entries: Iterable[LogEntry], message: str) -> Iterator[int]:
    """Yield the changes of each entry's item, from the entry's first change on: an entry names at most 100 changes."""
    for entry in entries:
        named = {entry.sequence, *entry.sequences} & records.keys() if entry.message == message else ()
        if named:
            first = min(cast("set[int]", named))
            keys = records[first]["dynamodb"]["Keys"]
            yield from (at for at, each in records.items() if at >= first and each["dynamodb"]["Keys"] == keys)


def _entries(log: str, names: Names) -> Iterator[LogEntry]:
    for line in log.splitlines():
        try:
            entry = json.loads(line)
        except (json.JSONDecodeError, RecursionError):
            continue  # functions print other lines as well
        if isinstance(entry, dict) and cast("dict[str, Any]", entry).get("message") in MESSAGES:
            yield _entry(cast("dict[str, Any]", entry), names)


def _entry(entry: Mapping[str, Any], names: Names) -> LogEntry:
    keys: dict[str, Any] = entry.get("keys") or {}
    error: dict[str, Any] = entry.get("error") or {}
    sequence, next_try = entry.get("sequence_number"), entry.get("next_try")
    sequences: list[str] = entry.get("sequence_numbers") or []
    return LogEntry(
        message=entry["message"],
        item=str(entry.get("item") or json.dumps([entry.get("table"), keys])),
        table=names.table(str(entry.get("table", ""))),
        event_name=str(entry.get("event_name") or ""),
        keys=keys,
        sequence=int(sequence) if sequence else None,
        sequences=tuple(map(int, sequences)),
        changes=int(entry.get("changes") or 0),
        waiting=int(entry.get("waiting") or 0),
        tries=int(entry.get("tries") or entry.get("attempts") or 0),
        error=f"{error.get('type')}: {error.get('text')}" if error else "",
        park_reason=str(entry.get("reason") or ""),
        next_try=datetime.fromisoformat(next_try).timestamp() if next_try else None,
        held_seconds=float(entry.get("held_seconds") or 0),
    )


def _failures(response: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the batch item failures that have a sequence number. The mapping decides about any other answer."""
    answer = cast("dict[str, Any]", response) if isinstance(response, dict) else {}
    for each in cast("list[Any]", answer.get("batchItemFailures") or []):
        if isinstance(each, dict) and str(cast("dict[str, Any]", each).get("itemIdentifier")).isdecimal():
            yield cast("dict[str, Any]", each)
