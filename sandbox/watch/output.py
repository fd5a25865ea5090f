"""What a handler has printed, logged and raised, from the log of an invocation."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from sandbox.report import MESSAGES

Line = dict[str, str]

STANDARD = {"level", "location", "message", "timestamp", "service", "function_request_id", "event_id", "event_name"}
"""Fields of a log line that the text does not repeat."""
MOST_CHARACTERS = 500
"""A longer line is cut."""
MOST_LINES = 100
"""More lines of an invocation are left out."""

_PLATFORM = re.compile(r"(START|END|REPORT|INIT_START|XRAY|EXTENSION) ")
_FRAME = re.compile(r'  File ".*?/code/(handler/(?!stream/)[^"]+)", line (\d+), in (\S+)\n    (.*)')


def output_of(log: str, items: Mapping[str, str]) -> Iterator[Line]:
    """Yield the lines of a log that are not the engine's own about changes; of those, only the traceback.

    Parameters
    ----------
    log
        The log of one invocation.
    items
        The items of the invocation's changes, by event id.
    """
    for count, line in enumerate(_lines(log, items)):
        if count == MOST_LINES:
            yield {"text": "… and more: python -m ops tail", "level": "print"}
            return
        yield {**line, "text": shortened(line["text"], MOST_CHARACTERS)}


def _lines(log: str, items: Mapping[str, str]) -> Iterator[Line]:
    for text in log.splitlines():
        entry = _parsed(text)
        if entry is None:
            if text.strip() and not _PLATFORM.match(text):
                yield {"text": text, "level": "print"}
            continue
        if "_aws" in entry:
            continue
        item = items.get(str(entry.get("event_id")))
        named = {"item": item} if item else {}
        if entry.get("message") not in MESSAGES:
            yield {"text": _text(entry), "level": str(entry.get("level", "INFO")), **named}
        for frame in traceback_of(str(entry.get("exception") or "")):
            yield {"text": frame, "level": "traceback", **named}


def traceback_of(exception: str) -> Sequence[str]:
    """Return the frames of a traceback that are in the user's modules, as `handler/a.py:12 in handler: call(x)`."""
    return [f"{path}:{line} in {name}: {code}" for path, line, name, code in _FRAME.findall(exception)]


def _parsed(text: str) -> dict[str, Any] | None:
    if not text.startswith("{"):
        return None
    try:
        entry = json.loads(text)
    except ValueError:
        return None
    entry = cast("dict[str, Any]", entry)
    return entry if "_aws" in entry or {"level", "message"} <= entry.keys() else None


def _text(entry: Mapping[str, Any]) -> str:
    more = {name: value for name, value in entry.items() if name not in STANDARD and not name.startswith("exception")}
    message = entry["message"] if isinstance(entry["message"], str) else json.dumps(entry["message"])
    return " ".join(
        [message, *(f"{name}={json.dumps(value)}" for name, value in more.items() if name != "stack_trace")]
    )


def shortened(text: str, most: int) -> str:
    """Return a text of at most so many characters; the end of a longer one is an ellipsis."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
