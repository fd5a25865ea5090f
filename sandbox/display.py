"""Renders invocations as lines for a terminal. A failure that repeats is shown every 10 s only."""

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
    remaining_held,
)

LISTED = 5
"""Lines of one kind that the display shows of an invocation. One more line has the number of the others."""
REPEATED_SECONDS = 10.0
"""Seconds between two lines that say that an item is still held."""


class Display:
    """Renders one invocation after the other.

    A retry run that tries nothing has no line. When an item fails again for the same reason, the display shows it after
    `REPEATED_SECONDS`, in one line with all other such items of its consumer.
    """

    def __init__(self) -> None:
        self._last_failure: dict[str, str] = {}  # by item
        self._held_at: dict[str, dict[str, float]] = {}  # when each item was last shown as held, by consumer
        self._keys: dict[str, str] = {}  # by item, since some entries lack the keys
        self._last_error: dict[str, str] = {}  # the error of the last retry run, by consumer
        self._shown_at: dict[str, float] = {}  # when a held item was last shown, by consumer

    def forget_failures(self) -> None:
        """Show every failure again, since the code has changed."""
        self._last_failure.clear()
        self._last_error.clear()

    def render(self, report: InvocationReport) -> Iterator[str]:
        """Yield the lines of an invocation, in rich's markup."""
        self._keys |= {entry.item: entry.key for entry in report.entries if entry.keys}
        now, is_batch = report.invocation.ended_at, report.invocation.scheduled is None
        lines = list(self._batch(report, now) if is_batch else self._retry_run(report, now))
        held_at = self._held_at.setdefault(report.consumer, {})
        failures = [*report.entries_of(HELD), *report.entries_of(RETRY_FAILED)]
        for entry in failures:
            self._last_failure[entry.item] = entry.error
            held_at[entry.item] = now
        for entry in report.entries_of(RELEASED):
            self._release(report.consumer, entry.item)
        if not is_batch and remaining_held(report.invocation.response) == 0:
            lines += self._released_elsewhere(report, held_at)
        if lines and failures:
            self._shown_at[report.consumer] = now
        yield from lines

    def _released_elsewhere(self, report: InvocationReport, held_at: dict[str, float]) -> Iterator[str]:
        """Show the items that an unobserved retry run has released: one that the function itself has invoked."""
        began_at = report.invocation.ended_at - report.invocation.duration_seconds
        released = [item for item, at in held_at.items() if at < began_at]
        yield from _shorten([_row(report, f"[green]▶[/] {self._name(item)}: released") for item in released])
        for item in released:
            self._release(report.consumer, item)

    def _release(self, consumer: str, item: str) -> None:
        self._last_failure.pop(item, None)
        self._held_at[consumer].pop(item, None)

    def _batch(self, report: InvocationReport, now: float) -> Iterator[str]:
        """Yield a line for the batch, and one for each of its changes and items that is not simply done."""
        invocation, parked = report.invocation, report.entries_of(PARKED)
        parts = [
            _changes(len(invocation.records)),
            f"[green]✔ {len(report.done)}[/]" if report.done else "",
            f"[red]✖ {len(report.failed)} failed[/]" if report.failed else "",
            f"[yellow]↻ {len(report.postponed)} to retry[/]" if report.postponed else "",
            f"[yellow]‖ {len(report.held)} held[/]" if report.held else "",
            f"[yellow]‖ {len(report.waiting)} waiting[/]" if report.waiting else "",
            f"[red]✖ {len(parked)} parked[/]" if parked else "",
            f"[red]✖ all to retry: {escape(invocation.error)}[/]" if invocation.error else "",
            f"try {invocation.attempt}" if invocation.attempt > 1 else "",
            f"[dim]{invocation.duration_seconds * 1000:.0f} ms[/]",
        ]
        yield f"{report.consumer:<14} {report.table:<12} " + "  ".join(part for part in parts if part)
        failed = [f"[red]✖[/] {_title(event)}: {escape(error)} → Lambda retries" for event, error in report.failed]
        held = [_held(entry, now) for entry in report.entries_of(HELD)]
        waiting = [self._waiting(entry) for entry in report.entries_of(WAIT)]
        for lines in ([_parked(entry) for entry in parked], failed, held, waiting):
            yield from _shorten([f"  {line}" for line in lines])

    def _retry_run(self, report: InvocationReport, now: float) -> Iterator[str]:
        error, failed = report.invocation.error, report.entries_of(RETRY_FAILED)
        repeated = [entry for entry in failed if self._last_failure.get(entry.item) == entry.error]
        broken = [f"[red]✖[/] {self._name(entry.item)}: its hold is broken" for entry in report.entries_of(BROKEN)]
        lines = [
            *_shorten([self._released(entry) for entry in report.entries_of(RELEASED)]),
            *_shorten([self._progress(entry) for entry in report.entries_of(PROGRESS)]),
            *_shorten([_parked(entry) for entry in report.entries_of(PARKED)]),
            *_shorten(broken),
            *_shorten([_still_held(entry, now) for entry in failed if entry not in repeated]),
        ]
        if repeated and now >= self._shown_at.get(report.consumer, 0.0) + REPEATED_SECONDS:
            lines.append(_repeated(repeated, now))
        if error and error != self._last_error.get(report.consumer):
            lines.append(f"[red]✖ the retry run failed: {escape(error)}[/]")
        self._last_error[report.consumer] = error or ""
        yield from (_row(report, line) for line in lines)

    def _name(self, item: str) -> str:
        return escape(self._keys.get(item, item))

    def _waiting(self, entry: LogEntry) -> str:
        return (
            f"[yellow]‖[/] {self._name(entry.item)}: {_changes(entry.changes, 'more ')} waiting, {entry.waiting} in all"
        )

    def _released(self, entry: LogEntry) -> str:
        done = f"{_changes(entry.changes)} done" if entry.changes else "no change was waiting"
        return f"[green]▶[/] {self._name(entry.item)}: released after {entry.held_seconds:.0f} s, {done}"

    def _progress(self, entry: LogEntry) -> str:
        return f"[green]✔[/] {self._name(entry.item)}: {_changes(entry.changes)} done, {entry.waiting} still waiting"


def _row(report: InvocationReport, line: str) -> str:
    return f"{report.consumer:<14} {'retry':<12} {line}"


def _title(event: Event) -> str:
    keys = " ".join(f"{name}={next(iter(value.values()))}" for name, value in event["dynamodb"]["Keys"].items())
    return escape(f"{event['eventName']} {keys}")


def _parked(entry: LogEntry) -> str:
    is_expected = entry.park_reason in {"", "PermanentError", "Undecodable"}
    aside = "" if is_expected or not entry.error else f" ({escape(entry.park_reason)})"
    return f"[red]✖[/] {escape(entry.change)}: {escape(entry.error or entry.park_reason)} → parked{aside}"


def _held(entry: LogEntry, now: float) -> str:
    later = f"; {_changes(entry.changes - 1, 'later ')} waiting" if entry.changes > 1 else ""
    return (
        f"[yellow]‖[/] {escape(entry.change)}: {escape(entry.error) or 'not tried'} → held, {_next(entry, now)}{later}"
    )


def _still_held(entry: LogEntry, now: float) -> str:
    held = f"still held, try {entry.tries}, {_next(entry, now)}; {_changes(entry.waiting)} waiting"
    return f"[yellow]‖[/] {escape(entry.change)}: {escape(entry.error)} → {held}"


def _repeated(entries: list[LogEntry], now: float) -> str:
    first = min(entries, key=lambda entry: entry.next_try or now)
    one = f"{escape(first.change)}: still held, try {first.tries}"
    return f"[yellow]‖[/] {one if len(entries) == 1 else f'{len(entries)} items still held'}, {_next(first, now)}"


def _next(entry: LogEntry, now: float) -> str:
    return "next try soon" if entry.next_try is None else f"next try in {max(entry.next_try - now, 1):.0f} s"


def _changes(count: int, which: str = "") -> str:
    return f"{count} {which}change{'' if count == 1 else 's'}"


def _shorten(lines: list[str]) -> Iterator[str]:
    yield from lines[:LISTED]
    if len(lines) > LISTED:
        yield f"    … and {len(lines) - LISTED} more"
