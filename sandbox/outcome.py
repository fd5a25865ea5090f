"""What came of an invocation, told from its answer and its log: what is done, failed, held and parked, and why."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from rich.markup import escape

from sandbox.invocation import Invocation

Event = Mapping[str, Any]
LISTED = 5
"""Changes of one kind that are listed; of the others the number is told."""


@dataclass(frozen=True)
class Names:
    """The program's own names of functions and streams, by their physical ones."""

    consumers: Mapping[str, str]
    tables: Mapping[str, str]

    @classmethod
    def of(cls, outputs: Mapping[str, Any]) -> "Names":
        """From a stack's outputs."""
        return cls(
            {consumer["function"]: name for name, consumer in outputs.get("consumers", {}).items()},
            {table["streamArn"]: name for name, table in outputs.get("tables", {}).items()},
        )


@dataclass(frozen=True)
class Outcome:
    """What came of one invocation: each change is done, failed, held (an earlier one of its item failed) or parked."""

    consumer: str
    table: str
    changes: int
    attempt: int
    seconds: float
    error: str | None
    done: tuple[Event, ...]
    failed: tuple[tuple[Event, str], ...]
    held: tuple[Event, ...]
    parked: tuple[tuple[Event, str], ...]


def outcome(invocation: Invocation, names: Names) -> Outcome:
    """Sort the changes of an invocation. Where the function died, all of them come again and none is told apart."""
    logged = list(_entries(invocation.log))
    failed = {entry["sequence_number"]: _why(entry) for entry in logged if entry["message"] == "change failed"}
    parked = {entry["sequence_number"]: _why(entry) for entry in logged if entry["message"] == "change parked"}
    reported = {str(each.get("itemIdentifier")) for each in _failures(invocation.response)}
    records = {str(record["dynamodb"]["SequenceNumber"]): record for record in invocation.records}
    whole = invocation.error is not None
    return Outcome(
        consumer=names.consumers.get(invocation.function, invocation.function),
        table=names.tables.get(invocation.stream_arn, invocation.stream_arn.split("/")[1]),
        changes=len(records),
        attempt=invocation.attempt,
        seconds=invocation.seconds,
        error=invocation.error,
        done=tuple(each for at, each in records.items() if not whole and at not in reported and at not in parked),
        failed=tuple((each, failed[at]) for at, each in records.items() if at in failed and (whole or at in reported)),
        held=tuple(each for at, each in records.items() if at in reported and at not in failed),
        parked=tuple((each, parked[at]) for at, each in records.items() if at in parked),
    )


def lines(outcome: Outcome) -> Iterator[str]:
    """The outcome in rich's markup: a line for the invocation, one for each change that is not simply done."""
    told = [
        f"{outcome.changes} change{'s' if outcome.changes > 1 else ''}",
        f"[green]✔ {len(outcome.done)}[/]" if outcome.done else "",
        f"[red]✖ {len(outcome.failed)} failed[/]" if outcome.failed else "",
        f"[yellow]‖ {len(outcome.held)} held[/]" if outcome.held else "",
        f"[red]✖ {len(outcome.parked)} parked[/]" if outcome.parked else "",
        f"[red]✖ all come again: {escape(outcome.error)}[/]" if outcome.error else "",
        f"try {outcome.attempt}" if outcome.attempt > 1 else "",
        f"[dim]{outcome.seconds * 1000:.0f} ms[/]",
    ]
    yield f"{outcome.consumer:<14} {outcome.table:<12} " + "  ".join(part for part in told if part)
    yield from _listed([f"  [red]✖[/] {named(each)}: {escape(why)} → parked" for each, why in outcome.parked])
    yield from _listed([f"  [red]✖[/] {named(each)}: {escape(why)}" for each, why in outcome.failed])
    yield from _listed([f"  [yellow]‖[/] {named(each)} waits" for each in outcome.held])


def named(event: Event) -> str:
    """A change in a few words: MODIFY customer_id=c7 order_id=31."""
    keys = " ".join(f"{name}={next(iter(value.values()))}" for name, value in event["dynamodb"]["Keys"].items())
    return escape(f"{event['eventName']} {keys}")


def _listed(found: list[str]) -> Iterator[str]:
    yield from found[:LISTED]
    if len(found) > LISTED:
        yield f"    … and {len(found) - LISTED} more"


def _entries(log: str) -> Iterator[dict[str, Any]]:
    for line in log.splitlines():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue  # whatever else a function prints
        if isinstance(entry, dict) and {"message", "sequence_number"} <= cast("dict[str, Any]", entry).keys():
            yield cast("dict[str, Any]", entry)


def _why(entry: Mapping[str, Any]) -> str:
    error = entry.get("error", {})
    return f"{error.get('type')}: {error.get('text')}"


def _failures(response: Any) -> list[Mapping[str, Any]]:
    answer = cast("dict[str, Any]", response) if isinstance(response, dict) else {}
    return answer.get("batchItemFailures") or []
