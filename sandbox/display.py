"""Shows invocations in lines for a terminal; a failure that only repeats itself is shown every 10 s."""

from collections.abc import Iterator

from rich.markup import escape

from sandbox.report import (
    BROKEN,
    HELD,
    PARKED,
    PROGRESS,
    RELEASED,
    RETRY_FAILED,
    WAIT,
    Event,
    InvocationReport,
    LogEntry,
)

LISTED = 5
"""Lines of one kind that the display shows of an invocation; of the others it shows the number."""
REPEATED_SECONDS = 10.0
"""How often the display says that an item is still held."""


class Display:
    """Shows one invocation after the other.

    A retry run that tries nothing has no line. An item that fails again for the same reason is shown again after
    `REPEATED_SECONDS`, in one line with all other such items of its consumer.
    """

    def __init__(self) -> None:
        self._last_error: dict[str, str] = {}  # the failure that was shown last, by item
        self._held: dict[str, dict[str, float]] = {}  # when each item was shown as held, by consumer
        self._keys: dict[str, str] = {}  # the keys of each item: some entries lack them
        self._errors: dict[str, str] = {}  # the error of the last retry run, by consumer
        self._shown_at: dict[str, float] = {}  # when a held item was shown last, by consumer

    def forget(self) -> None:
        """Show every failure again, since the code has changed."""
        self._last_error.clear()
        self._errors.clear()

    def render(self, report: InvocationReport) -> Iterator[str]:
        """The report in rich's markup."""
        self._keys |= {entry.item: _keys(entry) for entry in report.entries if entry.keys}
        lines = list(self._retry_run(report) if report.scheduled else self._batch(report))
        held = self._held.setdefault(report.consumer, {})
        for entry in (*report.entries_of(HELD), *report.entries_of(RETRY_FAILED)):
            self._last_error[entry.item] = entry.error
            held[entry.item] = report.ended_at
        for entry in report.entries_of(RELEASED):
            self._forget_item(report.consumer, entry.item)
        lines += self._released_elsewhere(report, held)
        if lines and (report.entries_of(HELD) or report.entries_of(RETRY_FAILED)):
            self._shown_at[report.consumer] = report.ended_at
        yield from lines

    def _released_elsewhere(self, report: InvocationReport, held: dict[str, float]) -> Iterator[str]:
        """The items that were released by a retry run that the function itself has invoked, which nobody observes."""
        if report.still_held == 0:
            released = [item for item, at in held.items() if at < report.ended_at - report.duration_seconds]
            yield from _first_lines(
                [_retry(report, f"[green]▶[/] {self._name(item)}: held no longer") for item in released]
            )
            for item in released:
                self._forget_item(report.consumer, item)

    def _forget_item(self, consumer: str, item: str) -> None:
        self._last_error.pop(item, None)
        self._held[consumer].pop(item, None)

    def _batch(self, report: InvocationReport) -> Iterator[str]:
        """A line for the batch, and one for each change and item of it that is not simply done."""
        parked = report.entries_of(PARKED)
        parts = [
            f"{report.changes} change{'s' if report.changes > 1 else ''}",
            f"[green]✔ {len(report.done)}[/]" if report.done else "",
            f"[red]✖ {len(report.failed)} failed[/]" if report.failed else "",
            f"[yellow]↻ {_come(len(report.postponed))} again[/]" if report.postponed else "",
            f"[yellow]‖ {len(report.held)} held[/]" if report.held else "",
            f"[yellow]‖ {_wait(len(report.waiting))}[/]" if report.waiting else "",
            f"[red]✖ {len(parked)} parked[/]" if parked else "",
            f"[red]✖ all come again: {escape(report.error)}[/]" if report.error else "",
            f"try {report.attempt}" if report.attempt > 1 else "",
            f"[dim]{report.duration_seconds * 1000:.0f} ms[/]",
        ]
        yield f"{report.consumer:<14} {report.table:<12} " + "  ".join(part for part in parts if part)
        yield from _first_lines([f"  {_parked(entry)}" for entry in parked])
        failed = (f"{named(event)}: {escape(why)}" for event, why in report.failed)
        yield from _first_lines([f"  [red]✖[/] {each} → comes again" for each in failed])
        yield from _first_lines([f"  {_held(entry, report.ended_at)}" for entry in report.entries_of(HELD)])
        yield from _first_lines([f"  {self._waits(entry)}" for entry in report.entries_of(WAIT)])

    def _retry_run(self, report: InvocationReport) -> Iterator[str]:
        failed = report.entries_of(RETRY_FAILED)
        repeated = [entry for entry in failed if self._last_error.get(entry.item) == entry.error]
        lines = [
            *_first_lines([self._released(entry) for entry in report.entries_of(RELEASED)]),
            *_first_lines([self._progress(entry) for entry in report.entries_of(PROGRESS)]),
            *_first_lines([_parked(entry) for entry in report.entries_of(PARKED)]),
            *_first_lines(
                [f"[red]✖[/] {self._name(entry.item)}: its hold is broken" for entry in report.entries_of(BROKEN)]
            ),
            *_first_lines([_still(entry, report.ended_at) for entry in failed if entry not in repeated]),
        ]
        if repeated and report.ended_at >= self._shown_at.get(report.consumer, 0.0) + REPEATED_SECONDS:
            lines.append(_repeats(repeated, report.ended_at))
        if report.error and report.error != self._errors.get(report.consumer):
            lines.append(f"[red]✖ nothing is tried: {escape(report.error)}[/]")
        self._errors[report.consumer] = report.error or ""
        yield from (_retry(report, line) for line in lines)

    def _name(self, item: str) -> str:
        return escape(self._keys.get(item, item))

    def _waits(self, entry: LogEntry) -> str:
        more = f"{_changes(entry.changes, 'more')} {_verb(entry.changes)}"
        return f"[yellow]‖[/] {self._name(entry.item)}: {more}, {entry.waiting} in all"

    def _released(self, entry: LogEntry) -> str:
        done = f"{_changes(entry.changes)} done" if entry.changes else "nothing waits"
        return f"[green]▶[/] {self._name(entry.item)}: released after {entry.held_seconds:.0f} s, {done}"

    def _progress(self, entry: LogEntry) -> str:
        done = f"{_changes(entry.changes)} done"
        return f"[green]✔[/] {self._name(entry.item)}: {done}, {entry.waiting} still {_verb(entry.waiting)}"


def _retry(report: InvocationReport, line: str) -> str:
    return f"{report.consumer:<14} {'retry':<12} {line}"


def _keys(entry: LogEntry) -> str:
    return " ".join(f"{name}={value}" for name, value in entry.keys.items())


def named(event: Event) -> str:
    """A change in a few words: MODIFY customer_id=c7 order_id=31."""
    keys = " ".join(f"{name}={next(iter(value.values()))}" for name, value in event["dynamodb"]["Keys"].items())
    return escape(f"{event['eventName']} {keys}")


def _parked(entry: LogEntry) -> str:
    expected = entry.park_reason in {"", "PermanentError", "Undecodable"}
    return f"[red]✖[/] {escape(entry.change)}: {escape(entry.error or entry.park_reason)} → parked" + (
        "" if expected or not entry.error else f" ({escape(entry.park_reason)})"
    )


def _held(entry: LogEntry, now: float) -> str:
    later = f"; {_changes(entry.changes - 1, 'later')} {_verb(entry.changes - 1)}" if entry.changes > 1 else ""
    why = escape(entry.error) or "not tried"
    return f"[yellow]‖[/] {escape(entry.change)}: {why} → held, {_next(entry, now)}{later}"


def _still(entry: LogEntry, now: float) -> str:
    held = f"still held, try {entry.tries}, {_next(entry, now)}"
    waits = f"{_changes(entry.waiting)} {_verb(entry.waiting)}"
    return f"[yellow]‖[/] {escape(entry.change)}: {escape(entry.error)} → {held}; {waits}"


def _repeats(entries: list[LogEntry], now: float) -> str:
    if len(entries) == 1:
        return f"[yellow]‖[/] {escape(entries[0].change)}: still held, try {entries[0].tries}, {_next(entries[0], now)}"
    soonest = min(entries, key=lambda entry: entry.next_try or now)
    return f"[yellow]‖[/] {len(entries)} items still held, {_next(soonest, now)}"


def _next(entry: LogEntry, now: float) -> str:
    if entry.next_try is None:
        return "next try soon"
    return f"next try in {max(entry.next_try - now, 1):.0f} s"


def _changes(count: int, which: str = "") -> str:
    return f"{count} {which} change{'' if count == 1 else 's'}".replace("  ", " ")


def _verb(count: int) -> str:
    return "waits" if count == 1 else "wait"


def _wait(count: int) -> str:
    return f"{count} {_verb(count)}"


def _come(count: int) -> str:
    return f"{count} come{'s' if count == 1 else ''}"


def _first_lines(lines: list[str]) -> Iterator[str]:
    yield from lines[:LISTED]
    if len(lines) > LISTED:
        yield f"    … and {len(lines) - LISTED} more"
