"""What came of an invocation, from its answer and its log: what is done, failed, held, waits, is released or parked."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sandbox.mapping.invocation import ObservedInvocation

Event = Mapping[str, Any]
FAILED, HELD, WAIT, PARKED = "change failed", "item held", "changes wait", "change parked"
RETRY_FAILED, PROGRESS, RELEASED, BROKEN = "retry failed", "changes done", "item released", "hold broken"
MESSAGES = (FAILED, HELD, WAIT, PARKED, RETRY_FAILED, PROGRESS, RELEASED, BROKEN)
"""What the engine logs of an item."""


@dataclass(frozen=True)
class Names:
    """The program's own names of functions and tables, by the physical ones; a table's also by its stream."""

    consumers: Mapping[str, str]
    tables: Mapping[str, str]

    @classmethod
    def from_outputs(cls, outputs: Mapping[str, Any]) -> "Names":
        """From a stack's outputs."""
        tables = outputs.get("tables", {}).items()
        return cls(
            {consumer["function"]: name for name, consumer in outputs.get("consumers", {}).items()},
            {table[key]: name for name, table in tables for key in ("name", "streamArn") if key in table},
        )

    def consumer(self, function: str) -> str:
        """A function's name in the program; the physical one where the program does not tell."""
        return self.consumers.get(function, function)

    def table(self, name: str) -> str:
        """A table's name in the program, by its physical name or its stream."""
        return self.tables.get(name, name.split("/")[1] if "/" in name else name)


@dataclass(frozen=True)
class LogEntry:
    """What the engine logged of an item; what it did not say is empty, 0 or None."""

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
        """The change in a few words: MODIFY customer_id=c7 order_id=31."""
        keys = " ".join(f"{name}={value}" for name, value in self.keys.items())
        return f"{self.event_name} {keys}".strip()


@dataclass(frozen=True)
class InvocationReport:
    """What came of one invocation, by a mapping or by the schedule.

    Of a batch, each change is done; failed, and comes again for that; comes again for another reason; is held (it, or
    an earlier change of its item in this batch, failed); waits, since its item is held already; or is parked. Of a
    retry run, only what it has logged is known.
    """

    consumer: str
    table: str
    scheduled: bool
    changes: int
    attempt: int
    ended_at: float
    duration_seconds: float
    error: str | None
    done: tuple[Event, ...]
    failed: tuple[tuple[Event, str], ...]
    postponed: tuple[Event, ...]
    held: tuple[Event, ...]
    waiting: tuple[Event, ...]
    entries: tuple[LogEntry, ...]
    still_held: int | None
    """How many items a retry run has left held; None where it did not say."""

    def entries_of(self, message: str) -> list[LogEntry]:
        """The entries with that message."""
        return [entry for entry in self.entries if entry.message == message]


def report_of(invocation: ObservedInvocation, names: Names) -> InvocationReport:
    """Sort the changes of an invocation. Where the function died, all of them come again and none is told apart."""
    entries = tuple(_entries(invocation.log, names))
    records = {int(record["dynamodb"]["SequenceNumber"]): record for record in invocation.records}
    reported = {int(each["itemIdentifier"]) for each in _failures(invocation.response)}
    failed = {entry.sequence: entry.error for entry in entries if entry.message == FAILED}
    parked = {entry.sequence for entry in entries if entry.message == PARKED}
    held = set(_from_first_on(records, entries, HELD)) - parked
    waiting = set(_from_first_on(records, entries, WAIT)) - parked - held
    batch_failed = invocation.error is not None
    done = set[int]() if batch_failed else records.keys() - reported - parked - held - waiting
    return InvocationReport(
        consumer=names.consumer(invocation.function),
        table=names.table(invocation.stream_arn),
        scheduled=invocation.scheduled is not None,
        changes=len(records),
        attempt=invocation.attempt,
        ended_at=invocation.ended_at,
        duration_seconds=invocation.duration_seconds,
        error=invocation.error,
        done=tuple(each for at, each in records.items() if at in done),
        failed=tuple(
            (each, failed[at]) for at, each in records.items() if at in failed and (batch_failed or at in reported)
        ),
        postponed=tuple(each for at, each in records.items() if at in reported and at not in failed),
        held=tuple(each for at, each in records.items() if at in held),
        waiting=tuple(each for at, each in records.items() if at in waiting),
        entries=entries,
        still_held=still_held(invocation.response) if invocation.scheduled is not None else None,
    )


def still_held(answer: Any) -> int | None:
    """How many items a retry run has left held, by its answer; None where that is none."""
    if not isinstance(answer, dict) or "held" not in answer:
        return None
    counts = cast("dict[str, Any]", answer)  # the items held when the run began, and those released in it
    return max(int(counts["held"]) - int(counts.get("released", 0)), 0)


def _from_first_on(records: Mapping[int, Event], entries: Iterable[LogEntry], message: str) -> Iterator[int]:
    """The changes of each such entry's item from its first on: an entry names only the first hundred."""
    for entry in entries:
        named = {entry.sequence, *entry.sequences} & records.keys() if entry.message == message else ()
        if named:
            first = min(cast("set[int]", named))
            keys = records[first]["dynamodb"]["Keys"]
            yield from (at for at, each in records.items() if at >= first and each["dynamodb"]["Keys"] == keys)


def _entries(log: str, names: Names) -> Iterator[LogEntry]:
    for line in log.splitlines():
        try:
            logged = json.loads(line)
        except json.JSONDecodeError:
            continue  # whatever else a function prints
        if isinstance(logged, dict) and cast("dict[str, Any]", logged).get("message") in MESSAGES:
            yield _entry(cast("dict[str, Any]", logged), names)


def _entry(logged: Mapping[str, Any], names: Names) -> LogEntry:
    keys: dict[str, Any] = logged.get("keys") or {}
    error: dict[str, Any] = logged.get("error") or {}
    sequence, next_try = logged.get("sequence_number"), logged.get("next_try")
    sequences: list[str] = logged.get("sequence_numbers") or []
    return LogEntry(
        message=logged["message"],
        item=str(logged.get("item") or json.dumps([logged.get("table"), keys])),
        table=names.table(str(logged.get("table", ""))),
        event_name=str(logged.get("event_name") or ""),
        keys=keys,
        sequence=int(sequence) if sequence else None,
        sequences=tuple(map(int, sequences)),
        changes=int(logged.get("changes") or 0),
        waiting=int(logged.get("waiting") or 0),
        tries=int(logged.get("tries") or logged.get("attempts") or 0),
        error=f"{error.get('type')}: {error.get('text')}" if error else "",
        park_reason=str(logged.get("reason") or ""),
        next_try=datetime.fromisoformat(next_try).timestamp() if next_try else None,
        held_seconds=float(logged.get("held_seconds") or 0),
    )


def _failures(response: Any) -> Iterator[Mapping[str, Any]]:
    """What an answer reports, where it names changes; anything else is for the mapping to judge."""
    answer = cast("dict[str, Any]", response) if isinstance(response, dict) else {}
    for each in cast("list[Any]", answer.get("batchItemFailures") or []):
        if isinstance(each, dict) and str(cast("dict[str, Any]", each).get("itemIdentifier")).isdecimal():
            yield cast("dict[str, Any]", each)
