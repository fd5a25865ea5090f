"""The progress bar of commands that take longer than a second."""

from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:,.0f}/s")


def progress(console: Console) -> Progress:
    """Return a progress bar with a rate and the time left; it shows nothing where no terminal is."""
    columns: tuple[Any, ...] = (
        *(TextColumn("{task.description:<9}"), BarColumn(20), MofNCompleteColumn(), _Rate(), TimeRemainingColumn()),
    )
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
