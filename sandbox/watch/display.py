"""Renders facts as lines for a terminal: each change while there are few, and one live line for what repeats."""

import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from rich.markup import escape

from sandbox.watch.feed import Fact
from sandbox.watch.output import shortened

LISTED = 5
"""Lines of one kind that the display shows of an invocation. One more line has the number of the others."""
BAD_LEVELS = ("traceback", "ERROR", "CRITICAL")
"""Levels of a handler's lines that the display shows in red."""
OUTPUT_LINES = 20
"""Lines of a handler that the display shows of an invocation."""
LISTED_A_SECOND = 20
"""More changes than these in a second are counted instead of listed."""
QUIET_SECONDS = 1.0
"""A burst of changes is over after this time without a change."""
REPEATED_SECONDS = 10.0
"""Seconds between two lines on a failure that repeats."""

Change = Mapping[str, Any]


@dataclass
class _Burst:
    """Changes that are counted instead of listed."""

    began_at: float
    last_at: float
    done: int = 0
    lines: int = 0
    """Number of lines that the handler has printed meanwhile."""


@dataclass
class _Failure:
    """A failure that repeats: the same error of one consumer."""

    shown_at: float = float("-inf")
    items: set[str] = field(default_factory=set[str])


class Display:
    """Renders one fact after the other; what a handler prints is cut to `width` characters."""

    def __init__(self, width: int = 160) -> None:
        self._width = width
        self._consumer_width = self._table_width = 1
        self._listed_at: deque[float] = deque()
        self._bursts: dict[tuple[str, str], _Burst] = {}
        self._failures: dict[tuple[str, str], _Failure] = {}  # by consumer and error
        self._tracebacks = set[str]()  # those that were shown since the last deployment
        self._held_since: dict[tuple[str, str], float] = {}  # by consumer and item
        self._states: Mapping[str, Any] = {}
        self._renderers: Mapping[str, Callable[[Fact], Iterator[str]]] = {
            "deployed": self._deployed,
            "problem": self._problem,
            "batch": self._batch,
            "retry": self._retry,
            "discarded": self._discarded,
            "mail": self._mail,
            "message": self._message,
            "refused": self._refused,
            "faults": self._faults,
            "state": self._state,
        }

    def render(self, fact: Fact) -> Iterator[str]:
        """Yield the lines of a fact, in rich's markup."""
        lines = self._renderers.get(fact["kind"])
        return lines(fact) if lines else iter(())

    def live(self) -> list[str]:
        """Return the lines that change in place: bursts, and consumers that are behind, hold items or fail."""
        lines = [f"{_name(*key)} {_burst(burst)} …" for key, burst in self._bursts.items()]
        for name, state in self._states.items():
            if state["level"] in ("held", "failing", "off") or state["state"].endswith("behind"):
                error = f" · {escape(_short(state['last_error']))}" if state["last_error"] else ""
                lines.append(f"{name} [yellow]{escape(state['state'])}[/]{error}")
        return lines

    def tick(self, now: float) -> Iterator[str]:
        """Yield a line for each burst that is over."""
        for key, burst in list(self._bursts.items()):
            behind = self._states.get(key[0], {}).get("lag_seconds", 0.0) > 0
            if now - burst.last_at > QUIET_SECONDS and (not behind or now - burst.last_at > REPEATED_SECONDS):
                del self._bursts[key]
                head = self._line_head(time.localtime(burst.last_at), *key)
                yield f"{head}[green]✔[/] {_burst(burst)}, {'still behind' if behind else 'caught up'}"

    def _deployed(self, fact: Fact) -> Iterator[str]:
        self._consumer_width = max(map(len, fact["consumers"]), default=1)
        self._table_width = max(map(len, fact["tables"]), default=1)
        self._failures.clear()
        self._tracebacks.clear()
        if not fact["first"]:
            changed = ", ".join(fact["changed"])
            yield (
                f"{_clock(fact)} [green]✔ redeployed:[/] {changed}"
                if changed
                else f"{_clock(fact)} nothing to redeploy"
            )

    def _problem(self, fact: Fact) -> Iterator[str]:
        first, *more = str(fact["text"]).splitlines() or [""]
        yield f"{_clock(fact)} [red]✖ not deployed:[/] {escape(first)}"
        yield from (f"         {escape(line)}" for line in more)

    def _discarded(self, fact: Fact) -> Iterator[str]:
        where = f"→ {fact['destination']}" if fact["destination"] else "→ lost"
        text = f"{_count(fact['count'], 'change')} given up: {escape(fact['reason'])}"
        yield f"{self._head(fact)}[red]✖ {text} {where}[/]"

    def _mail(self, fact: Fact) -> Iterator[str]:
        yield f"{self._head(fact)}✉ to {escape(', '.join(fact['to']))}: {escape(fact['subject'])}"

    def _message(self, fact: Fact) -> Iterator[str]:
        target = f"{fact['service']} {fact['target']}"
        yield f"{self._head(fact)}✉ to {escape(target)}: {escape(_short(fact['text']))}"

    def _refused(self, fact: Fact) -> Iterator[str]:
        yield f"{self._head(fact)}[red]⚠ {escape(fact['text'])}[/]"

    def _state(self, fact: Fact) -> Iterator[str]:
        self._states = fact["consumers"]
        return iter(())

    def _batch(self, fact: Fact) -> Iterator[str]:
        changes: list[Change] = fact["changes"]
        head = self._head(fact)
        if fact["error"]:
            if self._is_news(fact, fact["error"], (change["item"] for change in changes)):
                items = ", ".join(change["item"] for change in changes[:3]) + (", …" if len(changes) > 3 else "")
                retried = f"{_count(len(changes), 'change')} to retry ({escape(items)})"
                yield f"{head}[red]✖ {escape(_short(fact['error']))}[/] → {retried}"
                yield from self._output(fact)
            return
        done = [change for change in changes if change["outcome"] == "done"]
        is_listed = self._may_list(fact, done)
        if is_listed:
            yield from (f"{head}{_title(change)}  [green]✔[/] [dim]{fact['milliseconds']} ms[/]" for change in done)
        lines = [line for change in changes for line in self._trouble(fact, change)]
        yield from _shorten(f"{head}{line}" for line in lines)
        yield from self._waiting(fact, changes)
        if lines or is_listed:
            yield from self._output(fact)

    def _retry(self, fact: Fact) -> Iterator[str]:
        head = self._head(fact)
        if fact["error"] and self._is_news(fact, fact["error"], ()):
            yield f"{head}[red]✖ the retry run failed: {escape(_short(fact['error']))}[/]"
        trouble = [line for change in fact["changes"] for line in self._trouble(fact, change)]
        yield from _shorten(f"{head}{line}" for line in trouble)
        yield from _shorten(f"{head}{self._released(fact, item)}" for item in fact["released"])
        if trouble or fact["released"]:
            yield from self._output(fact)

    def _trouble(self, fact: Fact, change: Change) -> Iterator[str]:
        """Yield a line for a change that has failed, unless its item or many others have just failed so."""
        outcome, error = change["outcome"], change["error"] or "not tried"
        if outcome == "parked":
            yield f"{_title(change)}  [red]✖ {escape(error)}[/] → parked"
        elif outcome in ("held", "failed") and self._is_news(fact, error, [change["item"]]):
            if outcome == "held":
                next_try = change.get("next_try")
                wait = f", next try in {max(next_try - fact['at'], 1):.0f} s" if next_try else ""
                then = f"held{wait}"
            else:
                then = "Lambda delivers it again"
            yield f"{_title(change)}  [yellow]‖ {escape(error)}[/] → {then}"
        if outcome == "held":
            self._held_since.setdefault((fact["consumer"], change["item"]), fact["at"])

    def _waiting(self, fact: Fact, changes: Iterable[Change]) -> Iterator[str]:
        waiting = sorted(change["item"] for change in changes if change["outcome"] == "waiting")
        lines = [
            f"{escape(item)}  [yellow]‖[/] {_count(len([*each]), 'change')} waiting" for item, each in groupby(waiting)
        ]
        if lines and self._may_list_lines(fact["at"], len(lines)):
            yield from _shorten(f"{self._head(fact)}{line}" for line in lines)

    def _released(self, fact: Fact, item: str) -> str:
        since = self._held_since.pop((fact["consumer"], item), None)
        after = f" after {fact['at'] - since:.0f} s" if since else ""
        done = sum(change["item"] == item and change["outcome"] == "done" for change in fact["changes"])
        for key in [key for key in self._failures if key[0] == fact["consumer"]]:
            self._failures[key].items.discard(item)
            if not self._failures[key].items:
                del self._failures[key]
        return f"{escape(item)}  [green]▶ released{after}[/]" + (f", {_count(done, 'change')} done" if done else "")

    def _faults(self, fact: Fact) -> Iterator[str]:
        faults: Mapping[str, list[str]] = fact["faults"]
        text = "; ".join(f"{consumer}: {', '.join(each)}" for consumer, each in faults.items()) or "none"
        yield f"{_clock(fact)} faults: {escape(text)}"

    def _output(self, fact: Fact) -> Iterator[str]:
        lines: list[Mapping[str, str]] = []
        for line in fact["output"]:
            if line["level"] != "traceback" or line["text"] not in self._tracebacks:
                lines.append(line)
            if line["level"] == "traceback":
                self._tracebacks.add(line["text"])
        width = max(self._width - 11, 20)
        shown = (
            f"         [{'red' if line['level'] in BAD_LEVELS else 'dim'}]│ {escape(_short(line['text'], width))}[/]"
            for line in lines
        )
        yield from _shorten(shown, most=OUTPUT_LINES)

    def _is_news(self, fact: Fact, error: str, items: Iterable[str]) -> bool:
        """Whether an error is shown: at first, for each of the first LISTED items, and then every REPEATED_SECONDS."""
        failure = self._failures.setdefault((fact["consumer"], re.sub(r"\d+", "#", error)), _Failure())
        new_items = set(items) - failure.items
        is_of_few = bool(new_items) and len(failure.items) < LISTED
        is_news = is_of_few or fact["at"] - failure.shown_at >= REPEATED_SECONDS
        failure.items |= new_items
        if is_news:
            failure.shown_at = fact["at"]
        return is_news

    def _may_list(self, fact: Fact, done: list[Change]) -> bool:
        """Whether the changes are listed; else, they are counted."""
        key = (fact["consumer"], fact["table"])
        if key not in self._bursts and len(done) <= LISTED and self._may_list_lines(fact["at"], len(done)):
            return True
        if done:
            began_at = fact["at"] - fact["milliseconds"] / 1000
            burst = self._bursts.setdefault(key, _Burst(began_at, fact["at"]))
            burst.done += len(done)
            burst.lines += len(fact["output"])
            burst.last_at = fact["at"]
        return False

    def _may_list_lines(self, at: float, count: int) -> bool:
        while self._listed_at and self._listed_at[0] < at - 1:
            self._listed_at.popleft()
        if len(self._listed_at) + count > LISTED_A_SECOND:
            return False
        self._listed_at.extend([at] * count)
        return True

    def _head(self, fact: Fact) -> str:
        return self._line_head(time.localtime(fact["at"]), fact["consumer"], fact.get("table", ""))

    def _line_head(self, clock: time.struct_time, consumer: str, table: str) -> str:
        names = f"{consumer:<{self._consumer_width}} {table:<{self._table_width}}"
        return f"[dim]{time.strftime('%H:%M:%S', clock)}[/] {names} "


def _clock(fact: Fact) -> str:
    return f"[dim]{time.strftime('%H:%M:%S', time.localtime(fact['at']))}[/]"


def _name(consumer: str, table: str) -> str:
    return f"{consumer} {table}".strip()


def _title(change: Change) -> str:
    return escape(f"{change['event']:<6} {change['item']}".strip())


def _burst(burst: _Burst) -> str:
    seconds = max(burst.last_at - burst.began_at, 0.1)
    printed = f", {_count(burst.lines, 'line')} printed" if burst.lines else ""
    return f"{burst.done:,} changes in {seconds:.1f} s ({burst.done / seconds:,.0f}/s){printed}"


def _short(text: str, most: int = 160) -> str:
    return shortened(" ".join(text.split()) if "\n" in text else text, most)


def _count(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _shorten(lines: Iterable[str], most: int = LISTED) -> Iterator[str]:
    rest = 0
    for number, line in enumerate(lines):
        if number < most:
            yield line
        else:
            rest += 1
    if rest:
        yield f"           … and {rest} more"
