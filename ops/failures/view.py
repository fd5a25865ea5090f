"""The screens of the command failures: groups by cause, one failure whole, and all of them as lines of JSON."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from handler.stream.change import Change, parse_stream
from handler.stream.failures import UnreadableFailureError, read_failure
from ops import OpsError
from ops.cli import LEFT_TO_DO, Session
from ops.failures.bucket import FailureObjects
from ops.failures.flow import code_sentence
from ops.failures.plan_file import Group, PlanFile
from ops.failures.planning import LeftAlone
from ops.function import FunctionState
from ops.items import item_text
from ops.stack import ConsumerOutputs
from ops.text.causes import one_line
from ops.text.counts import count
from ops.text.images import image_lines
from ops.text.lines import WIDTH, cut, printable, wrapped
from ops.text.times import minute_at, span_text

CAUSES = 12
"""Causes of a consumer that a screen shows; --json has all."""
CHANGES = 20
"""Changes of a failure that a screen shows; --export and --json have all."""


def print_groups(
    session: Session, plan: PlanFile, left_alone: LeftAlone, consumers: Mapping[str, ConsumerOutputs]
) -> None:
    """Print the failures of each consumer by cause, and what is left alone."""
    say, groups = session.console.print, plan.groups()
    result: dict[str, Any] = {"consumers": {}, "left_alone": left_alone.as_json()}
    for name, consumer in consumers.items():
        own = [group for group in groups if group.consumer == name]
        entry: dict[str, Any] = {
            "changes": sum(group.changes for group in own),
            "causes": [_as_json(each) for each in own],
        }
        result["consumers"][name] = entry
        if not own:
            say(f"{name} · no failures")
            continue
        say(f"{name} · {count(entry['changes'], 'change')} failed", style="bold")
        for group in own[:CAUSES]:
            _print_group(session, group)
        if len(own) > CAUSES:
            say(f"  and {count(len(own) - CAUSES, 'more cause')}: --json prints all")
        function = FunctionState.read(session.stack.client, consumer)
        if function is None:
            say("  the function is gone")
        else:
            say(f"  {code_sentence(function.changed_at, max(group.last for group in own))}")
        entry["function_changed"] = function and function.changed_at.isoformat()
        say(f"  python -m ops redrive {name}{session.options}", style="cyan")
    left_alone.print(session.console)
    session.print_json(result)


def _print_group(session: Session, group: Group) -> None:
    left = f"{group.changes:>7,}  "
    indent = " " * len(left)
    session.console.print(left + cut(printable(group.cause), WIDTH - len(left)))
    session.console.print(f"{indent}{count(group.items, 'item')} · {span_text(group.first, group.last)}", style="dim")
    session.console.print(f"{indent}python -m ops failures --show {group.event_id}{session.options}", style="cyan")


def _as_json(group: Group) -> dict[str, Any]:
    return {
        "cause": group.cause,
        "changes": group.changes,
        "items": group.items,
        "first": minute_at(group.first),
        "last": minute_at(group.last),
        "example": group.example,
        "error": group.error,
    }


def show_event(session: Session, plan: PlanFile, objects: FailureObjects, event_id: str) -> int:
    """Print the failure of a change. Raises OpsError if there is none."""
    key = plan.object_of_event(event_id)
    if key is None:
        raise OpsError(f"no failed change has the event id {event_id}: failures --export FILE lists them all")
    return show_object(session, objects, key, only=event_id)


def show_object(session: Session, objects: FailureObjects, key: str, only: str | None = None) -> int:
    """Print a failure record whole. Raises OpsError if there is none, or if the object is none."""
    body = objects.read(key)
    if body is None:
        raise OpsError(f"the failure bucket has no object {key}: failures --export FILE lists the keys")
    try:
        failure = read_failure(body.text)
    except UnreadableFailureError as error:
        raise OpsError(f"{key} is {error}") from error
    records = [record for record in failure.records if only is None or record.get("eventID") == only]
    say = session.console.print
    for line in wrapped(printable(key)):
        say(line, style="bold")
    say(f"  condition   {failure.condition}")
    error = printable(one_line(failure.error or "none in the record", ""))
    say("\n".join(wrapped(error, "  error       ")))
    say(f"  written     {failure.at}")
    stream = parse_stream(failure.stream_arn)
    say(f"  stream      {f'{stream.table_name}, {stream.label}' if stream else failure.stream_arn}")
    for record in records[:CHANGES]:
        change = Change(record, "redrive")
        keys = record.get("dynamodb", {}).get("Keys", {})
        title = f"  {record.get('eventName', '?'):<7} {item_text(keys)}  {record.get('eventID')}"
        say(cut(printable(title), WIDTH), style="bold")
        for line in image_lines(change, None, WIDTH - 4):
            say(f"    {line}")
    if len(records) > CHANGES:
        say(f"  and {count(len(records) - CHANGES, 'more change')}: --json prints all")
    session.print_json(
        {
            "key": key,
            "condition": failure.condition,
            "error": failure.error,
            "at": failure.at,
            "stream": failure.stream_arn,
            "records": records,
        }
    )
    return LEFT_TO_DO


def export(session: Session, plan: PlanFile, path: Path) -> None:
    """Write each failed change as a line of JSON. Raises OpsError if the file cannot be written."""
    number = 0
    try:
        with path.open("w", encoding="utf-8") as file:
            for change in plan.exported():
                number += 1
                file.write(json.dumps({**change, "at": minute_at(change["at"])}, ensure_ascii=False) + "\n")
    except OSError as error:
        raise OpsError(f"{path} cannot be written: {error.strerror}") from error
    session.console.print(f"{count(number, 'change')} written to {path}")
    session.print_json({"changes": number, "file": str(path)})
