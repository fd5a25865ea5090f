"""Makes the engine's JSON log lines readable, and selects those of an item or an event."""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

from rich.text import Text

from handler.stream.change import EVENT_NAMES
from handler.stream.ledger.rows import digest_of_key
from ops.items import KeyTypes
from ops.logs.tail import Line
from ops.text.causes import one_line
from ops.text.lines import WIDTH, cut, printable, wrapped

INDENT = " " * 9
FRAME = re.compile(r'File "(?:.*/)?(handler/(?!stream/).+)", line (\d+), in (.+)')
"""A frame of the user's handler in a traceback; --json prints the whole traceback."""
SHOWN_ELSEWHERE = {
    *("level", "message", "timestamp", "service", "location", "table", "keys", "event_name", "event_id", "error"),
    *("exception", "exception_name", "stack_trace", "function_request_id", "xray_trace_id", "sequence_number"),
    *("sequence_numbers", "stackTrace", "requestId"),
}
"""Fields that a readable line shows in another place, or not at all."""
STYLES = {"ERROR": "red", "CRITICAL": "bold red", "WARNING": "yellow"}


def parse(message: str) -> dict[str, Any] | None:
    """Return the fields of a JSON line; None for any other line."""
    if not message.lstrip().startswith("{"):
        return None
    try:
        value: Any = json.loads(message)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


@dataclass
class Selection:
    """Selects the lines of items, of one event, or of one kind of event.

    A handler's own lines have only the event id of their change. They are selected from the line on that names the
    item: the engine names it when a change fails, waits or is released.
    """

    digests: Collection[str] = ()
    """The items; empty for all."""
    event: str | None = None
    """An event id, or INSERT, MODIFY or REMOVE; None for all."""
    tables: Mapping[str, tuple[str, KeyTypes]] = field(default_factory=dict[str, tuple[str, KeyTypes]])
    """ARN and types of the key of each table, by its name in AWS; to find the item in a line's `keys`."""
    _event_ids: set[str] = field(default_factory=set[str])

    def __contains__(self, line: Line) -> bool:
        fields = parse(line.message) or {}
        is_selected = self._is_of_item(fields) and self._is_of_event(fields, line.message)
        event_id = fields.get("event_id")
        if is_selected and isinstance(event_id, str):
            self._event_ids.add(event_id)
        return is_selected

    def _is_of_item(self, fields: Mapping[str, Any]) -> bool:
        if not self.digests or fields.get("event_id") in self._event_ids:
            return True
        return fields.get("item") in self.digests or self._digest(fields) in self.digests

    def _digest(self, fields: Mapping[str, Any]) -> str | None:
        arn, types = self.tables.get(fields.get("table", ""), ("", {}))
        keys = fields.get("keys")
        if not isinstance(keys, dict) or keys.keys() != types.keys():
            return None
        key = {name: {types[name]: str(value)} for name, value in cast("dict[str, Any]", keys).items()}
        return digest_of_key(arn, key)

    def _is_of_event(self, fields: Mapping[str, Any], message: str) -> bool:
        if self.event is None:
            return True
        if self.event.upper() in EVENT_NAMES:
            return fields.get("event_name") == self.event.upper() or fields.get("event_id") in self._event_ids
        return self.event in message


def readable(line: Line) -> Iterator[Text]:
    """Yield a readable form of a line: time, consumer, level and message, then the change and the error."""
    at = datetime.fromtimestamp(line.at / 1000, UTC).strftime("%H:%M:%S")
    head = Text(f"{at} ", "dim").append(f"{line.consumer}  ", "cyan")
    fields = parse(line.message)
    if fields is None:
        first, *rest = line.message.rstrip().replace("\t", "  ").split("\n")
        yield head.append("\n".join(wrapped(printable(first), " " * len(head), INDENT)).lstrip())
        for each in rest:
            yield from _wrapped(each)
        return
    if "_aws" in fields:
        values = [f"{name} {_numbers(value)}" for name, value in fields.items() if isinstance(value, list)]
        yield head.append(f"metrics  {' · '.join(values)}", "dim")
        return
    if str(fields.get("type", "")).startswith("platform."):
        yield head.append(" · ".join(_platform(fields)), "dim")
        return
    level, message = str(fields.get("level", "")), fields.get("message", "")
    text = message if isinstance(message, str) else json.dumps(message, ensure_ascii=False)
    yield head.append(f"{level}  " if level else "", STYLES.get(level, "")).append(printable(text), "bold")
    yield from _details(fields)


def _details(fields: Mapping[str, Any]) -> Iterator[Text]:
    change = [str(fields[name]) for name in ("event_name", "table") if name in fields]
    keys = fields.get("keys")
    if isinstance(keys, dict):
        change.append(",".join(f"{name}={value}" for name, value in cast("dict[str, Any]", keys).items()))
    if "event_id" in fields:
        change.append(f"· {fields['event_id']}")
    yield from _wrapped(" ".join(change))
    error = fields.get("error")
    if isinstance(error, dict):
        described = cast("dict[str, Any]", error)
        yield from _wrapped(one_line(str(described.get("type", "")), str(described.get("text", ""))), "red")
    others = [f"{name} {_value(value)}" for name, value in fields.items() if name not in SHOWN_ELSEWHERE]
    yield from _wrapped(" · ".join(others), "dim")
    traceback = fields.get("exception") or fields.get("stackTrace") or ""
    text = "\n".join(map(str, cast("list[Any]", traceback))) if isinstance(traceback, list) else str(traceback)
    for path, number, name in FRAME.findall(text):
        yield Text(cut(f"{INDENT}at {path}:{number}, {printable(name)}", WIDTH), "dim")


def _wrapped(text: str, style: str = "") -> Iterator[Text]:
    return (Text(each, style) for each in wrapped(printable(text), INDENT) if text)


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _numbers(values: Any) -> str:
    return ", ".join(f"{value:,g}" if isinstance(value, int | float) else str(value) for value in values)


def _platform(fields: dict[str, Any]) -> Iterator[str]:
    """Yield the parts of a line that Lambda itself writes, such as platform.report."""
    yield fields["type"]
    record: Any = fields.get("record", {})
    if "status" in record:
        yield record["status"]
    for name, unit in (("durationMs", "ms"), ("maxMemoryUsedMB", "MB")):
        if name in record.get("metrics", ()):
            yield f"{record['metrics'][name]} {unit}"
