"""What the demo prints: steps, events and checks, one line each where the terminal is wide enough."""

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from sandbox.demo.workload import sequence_of, version_of_event
from sandbox.report import HELD, PARKED, RELEASED, WAIT, InvocationReport, LogEntry


class DemoOutput:
    """Prints the steps, events and checks of the demo, one line each; a narrow terminal loses no word."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._versions: dict[tuple[str, int], int] = {}  # by table and sequence number

    def print_line(self, *parts: str) -> None:
        """Print the parts in one line, or each in lines of its own if the terminal is too narrow."""
        line = " ".join(parts)
        first, *others = [line] if self._fits(line) else parts
        for text in (first.rstrip(), *(f"    {other.lstrip()}" for other in others)):
            self.console.print(text, highlight=False)

    def _fits(self, text: str) -> bool:
        return Text.from_markup(text.rstrip()).cell_len <= self.console.width

    def print_step(self, what: str, seconds: float, aside: str = "") -> None:
        """Print a step and its duration."""
        self.print_line(f"[bold green]✔[/] {what:<26} {seconds:5.1f} s", *([f"  [dim]{aside}[/]"] if aside else []))

    def print_check(self, name: str, text: str, aside: str = "", *, holds: bool) -> bool:
        """Print a promise and whether it holds; return `holds`."""
        mark = "[bold green]✔[/]" if holds else "[bold red]✖[/]"
        self.print_line(f"{mark} {name:<10} {text:<26}", *([f"[dim]{aside}[/]"] if aside else []))
        return holds

    def print_report(self, report: InvocationReport) -> None:
        """Print the failures of a batch, the changes that wait for them, and the releases.

        Failures of retries are not printed, since their number depends on the machine.
        """
        for event in (*report.done, *report.held, *report.waiting):
            self._versions[report.table, sequence_of(event)] = version_of_event(event)[1]
        for entry in report.entries_of(PARKED):
            reason = escape(entry.error.partition(": ")[2].partition(";")[0])
            self._print_entry(report, entry, f"[red]✖ {reason} → parked[/]")
        for entry in report.entries_of(HELD):
            self._print_held(report, entry)
        for entry in report.entries_of(WAIT):
            self._print_entry(report, entry, f"[yellow]‖ {self._version_names(entry, entry.sequences)} wait[/]")
        for entry in report.entries_of(RELEASED):
            done = self._version_names(entry, entry.sequences)
            self._print_entry(report, entry, f"[green]▶ released: {done} done[/]")

    def _print_held(self, report: InvocationReport, entry: LogEntry) -> None:
        """Print a held item, its waiting changes, and one later change of another item."""
        first = self._version_names(entry, entry.sequences[:1])
        self._print_entry(report, entry, f"[red]✖ {_error(entry)} ({first}) → held[/]")
        if later := entry.sequences[1:]:
            wait = "waits" if len(later) == 1 else "wait"
            self._print_entry(report, entry, f"[yellow]‖ {self._version_names(entry, later)} {wait} for {first}[/]")
        others = [event for event in report.done if sequence_of(event) > (entry.sequence or 0)]
        for event in others[:1]:
            keys = {name: next(iter(value.values())) for name, value in event["dynamodb"]["Keys"].items()}
            text = f"[green]✔ v{version_of_event(event)[1]}[/]  [dim]other items go on[/]"
            self._print_row(report, event["eventName"], keys, text)

    def _version_names(self, entry: LogEntry, sequences: Iterable[int]) -> str:
        return ", ".join(f"v{self._versions[entry.table, each]}" for each in sequences)

    def _print_entry(self, report: InvocationReport, entry: LogEntry, text: str) -> None:
        self._print_row(report, entry.event_name or "MODIFY", entry.keys, text, entry.table)

    def _print_row(
        self, report: InvocationReport, event_name: str, keys: Mapping[str, Any], text: str, table: str = ""
    ) -> None:
        item = f"#{keys.get('order_id') or keys['id']}"
        line = f"  {table or report.table:<7} {item:<4} {event_name:<7} {report.consumer:<14} {text}"
        self.print_line(line if self._fits(line) else f"  {item} {report.consumer} {text}")


def _error(entry: LogEntry) -> str:
    return escape(entry.error.partition(":")[0])
