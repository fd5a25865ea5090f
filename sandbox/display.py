"""Shows invocations in lines for a terminal; a failure that only repeats itself is shown every 10 s."""

from collections.abc import Iterator

from rich.markup import escape

from sandbox.report import BROKEN, HELD, PARKED, PROGRESS, RELEASED, RETRY_FAILED, WAIT, Entry, Event, InvocationReport

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
        self._why: dict[str, str] = {}  # the failure that was shown last, by item
        self._held: dict[str, dict[str, float]] = {}  # when each item was shown as held, by consumer
        self._keys: dict[str, str] = {}  # the keys of each item: some entries lack them
        self._errors: dict[str, str] = {}  # the error of the last retry run, by consumer
        self._shown_at: dict[str, float] = {}  # when a held item was shown last, by consumer

    def forget(self) -> None:
        """Show every failure again, since the code has changed."""
        self._why.clear()
        self._errors.clear()

    def lines(self, outcome: InvocationReport) -> Iterator[str]:
        """The outcome in rich's markup."""
        self._keys |= {entry.item: _keys(entry) for entry in outcome.entries if entry.keys}
        lines = list(self._retry_run(outcome) if outcome.scheduled else self._batch(outcome))
        held = self._held.setdefault(outcome.consumer, {})
        for entry in (*outcome.logged(HELD), *outcome.logged(RETRY_FAILED)):
            self._why[entry.item] = entry.why
            held[entry.item] = outcome.at
        for entry in outcome.logged(RELEASED):
            self._forget_item(outcome.consumer, entry.item)
        lines += self._released_elsewhere(outcome, held)
        if lines and (outcome.logged(HELD) or outcome.logged(RETRY_FAILED)):
            self._shown_at[outcome.consumer] = outcome.at
        yield from lines

    def _released_elsewhere(self, outcome: InvocationReport, held: dict[str, float]) -> Iterator[str]:
        """The items that were released by a retry run that the function itself has invoked, which nobody observes."""
        if outcome.still_held == 0:
            gone = [item for item, at in held.items() if at < outcome.at - outcome.seconds]
            yield from _listed([_retry(outcome, f"[green]▶[/] {self._name(item)}: held no longer") for item in gone])
            for item in gone:
                self._forget_item(outcome.consumer, item)

    def _forget_item(self, consumer: str, item: str) -> None:
        self._why.pop(item, None)
        self._held[consumer].pop(item, None)

    def _batch(self, outcome: InvocationReport) -> Iterator[str]:
        """A line for the batch, and one for each change and item of it that is not simply done."""
        parked = outcome.logged(PARKED)
        parts = [
            f"{outcome.changes} change{'s' if outcome.changes > 1 else ''}",
            f"[green]✔ {len(outcome.done)}[/]" if outcome.done else "",
            f"[red]✖ {len(outcome.failed)} failed[/]" if outcome.failed else "",
            f"[yellow]↻ {_come(len(outcome.again))} again[/]" if outcome.again else "",
            f"[yellow]‖ {len(outcome.held)} held[/]" if outcome.held else "",
            f"[yellow]‖ {_wait(len(outcome.waiting))}[/]" if outcome.waiting else "",
            f"[red]✖ {len(parked)} parked[/]" if parked else "",
            f"[red]✖ all come again: {escape(outcome.error)}[/]" if outcome.error else "",
            f"try {outcome.attempt}" if outcome.attempt > 1 else "",
            f"[dim]{outcome.seconds * 1000:.0f} ms[/]",
        ]
        yield f"{outcome.consumer:<14} {outcome.table:<12} " + "  ".join(part for part in parts if part)
        yield from _listed([f"  {_parked(entry)}" for entry in parked])
        failed = (f"{named(event)}: {escape(why)}" for event, why in outcome.failed)
        yield from _listed([f"  [red]✖[/] {each} → comes again" for each in failed])
        yield from _listed([f"  {_held(entry, outcome.at)}" for entry in outcome.logged(HELD)])
        yield from _listed([f"  {self._waits(entry)}" for entry in outcome.logged(WAIT)])

    def _retry_run(self, outcome: InvocationReport) -> Iterator[str]:
        failed = outcome.logged(RETRY_FAILED)
        repeated = [entry for entry in failed if self._why.get(entry.item) == entry.why]
        lines = [
            *_listed([self._released(entry) for entry in outcome.logged(RELEASED)]),
            *_listed([self._progress(entry) for entry in outcome.logged(PROGRESS)]),
            *_listed([_parked(entry) for entry in outcome.logged(PARKED)]),
            *_listed([f"[red]✖[/] {self._name(entry.item)}: its hold is broken" for entry in outcome.logged(BROKEN)]),
            *_listed([_still(entry, outcome.at) for entry in failed if entry not in repeated]),
        ]
        if repeated and outcome.at >= self._shown_at.get(outcome.consumer, 0.0) + REPEATED_SECONDS:
            lines.append(_repeats(repeated, outcome.at))
        if outcome.error and outcome.error != self._errors.get(outcome.consumer):
            lines.append(f"[red]✖ nothing is tried: {escape(outcome.error)}[/]")
        self._errors[outcome.consumer] = outcome.error or ""
        yield from (_retry(outcome, line) for line in lines)

    def _name(self, item: str) -> str:
        return escape(self._keys.get(item, item))

    def _waits(self, entry: Entry) -> str:
        more = f"{_changes(entry.changes, 'more')} {_verb(entry.changes)}"
        return f"[yellow]‖[/] {self._name(entry.item)}: {more}, {entry.waiting} in all"

    def _released(self, entry: Entry) -> str:
        done = f"{_changes(entry.changes)} done" if entry.changes else "nothing waits"
        return f"[green]▶[/] {self._name(entry.item)}: released after {entry.held_seconds:.0f} s, {done}"

    def _progress(self, entry: Entry) -> str:
        done = f"{_changes(entry.changes)} done"
        return f"[green]✔[/] {self._name(entry.item)}: {done}, {entry.waiting} still {_verb(entry.waiting)}"


def _retry(outcome: InvocationReport, line: str) -> str:
    return f"{outcome.consumer:<14} {'retry':<12} {line}"


def _keys(entry: Entry) -> str:
    return " ".join(f"{name}={value}" for name, value in entry.keys.items())


def named(event: Event) -> str:
    """A change in a few words: MODIFY customer_id=c7 order_id=31."""
    keys = " ".join(f"{name}={next(iter(value.values()))}" for name, value in event["dynamodb"]["Keys"].items())
    return escape(f"{event['eventName']} {keys}")


def _parked(entry: Entry) -> str:
    expected = entry.reason in {"", "PermanentError", "Undecodable"}
    return f"[red]✖[/] {escape(entry.change)}: {escape(entry.why or entry.reason)} → parked" + (
        "" if expected or not entry.why else f" ({escape(entry.reason)})"
    )


def _held(entry: Entry, now: float) -> str:
    later = f"; {_changes(entry.changes - 1, 'later')} {_verb(entry.changes - 1)}" if entry.changes > 1 else ""
    why = escape(entry.why) or "not tried"
    return f"[yellow]‖[/] {escape(entry.change)}: {why} → held, {_next(entry, now)}{later}"


def _still(entry: Entry, now: float) -> str:
    held = f"still held, try {entry.tries}, {_next(entry, now)}"
    waits = f"{_changes(entry.waiting)} {_verb(entry.waiting)}"
    return f"[yellow]‖[/] {escape(entry.change)}: {escape(entry.why)} → {held}; {waits}"


def _repeats(entries: list[Entry], now: float) -> str:
    if len(entries) == 1:
        return f"[yellow]‖[/] {escape(entries[0].change)}: still held, try {entries[0].tries}, {_next(entries[0], now)}"
    soonest = min(entries, key=lambda entry: entry.next_try or now)
    return f"[yellow]‖[/] {len(entries)} items still held, {_next(soonest, now)}"


def _next(entry: Entry, now: float) -> str:
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


def _listed(found: list[str]) -> Iterator[str]:
    yield from found[:LISTED]
    if len(found) > LISTED:
        yield f"    … and {len(found) - LISTED} more"
