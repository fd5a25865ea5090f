"""The screens of the command held: groups of held items, and one item with its waiting changes."""

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from handler.stream.change import Change
from handler.stream.ledger.rows import WaitingChange
from ops.held.groups import Group
from ops.held.ledger import HeldItem
from ops.text.counts import are, count, times, waits
from ops.text.images import image_lines
from ops.text.lines import WIDTH, cut, printable, wrapped
from ops.text.times import ago, ahead, duration_text, minute_at

if TYPE_CHECKING:
    from rich.console import Console

GROUPS, EXAMPLES = 12, 3
"""How many groups, and how many items of each group, a screen shows; --json has all."""


def print_groups(
    console: "Console", name: str, groups: Sequence[Group], now: float, *, examples: int = 1, options: str = ""
) -> None:
    """Print the groups of a consumer's held items, and the commands that help."""
    items, changes = sum(len(group.items) for group in groups), sum(group.changes for group in groups)
    console.print(Text(f"{name} · {are(items, 'item')} held, {count(changes, 'change')} {waits(changes)}", "bold"))
    for group in groups[:GROUPS]:
        _print_group(console, group, now, examples)
    if len(groups) > GROUPS:
        console.print(f"  and {count(len(groups) - GROUPS, 'more group')}: --json prints all")
    example = shlex.quote(groups[0].items[0].name)
    console.print(f"  python -m ops held {name} --item {example}{options}", style="cyan")
    console.print(f"  python -m ops retry {name}{options}", style="cyan")


def _print_group(console: "Console", group: Group, now: float, examples: int) -> None:
    left = f"{len(group.items):>5,} {'item ' if len(group.items) == 1 else 'items'}  "
    indent = " " * len(left)
    console.print(Text(left, "bold").append(cut(printable(group.cause), WIDTH - len(left)), "red"))
    times = f"for up to {duration_text(now - group.since)} · {count(group.changes, 'change')} {waits(group.changes)}"
    console.print(f"{indent}{times} · next try {_next_try(group.due, now)}")
    gives_up = group.gives_up_at()
    if gives_up is not None and group.gives_up_soon(now):
        console.print(f"{indent}the engine gives up the first item {ahead(gives_up - now)}", style="bold red")
    if deadly := group.deadly_items(now):
        console.print(f"{indent}the function died while {count(deadly, 'of these items', '')} ran", style="yellow")
    label = "such as " if examples == 1 < len(group.items) else ""
    for item in group.items[:examples]:
        console.print(Text(indent + cut(label + item.name, WIDTH - len(indent)), "dim"))
    if len(group.items) > examples > 1:
        console.print(Text(f"{indent}and {len(group.items) - examples:,} more", "dim"))


def print_item(console: "Console", name: str, item: HeldItem, give_up_after_seconds: float | None, now: float) -> None:
    """Print what the ledger says about a held item, without its changes."""
    row = item.row
    table = f" of {item.table_name}" if item.table_name else ""
    console.print(Text(cut(f"{name} · {item.name}{table}", WIDTH), "bold"))
    console.print(f"  digest      {item.digest}")
    redriven = f" and redriven ones ({count(row.redriven, 'request')})" if row.redriven else ""
    console.print(f"  held        {count(item.changes, 'change')} {waits(item.changes)}{redriven}")
    console.print(f"  failing     for {duration_text(now - row.since)}, since {minute_at(row.since)}")
    tried = f", the last {ago(now - item.tried_at)}" if item.tried_at is not None else ""
    console.print(f"  tries       {item.tries:,}{tried}")
    _print_wrapped(console, "  last error  ", printable(item.error), "red")
    if row.lease > now:
        console.print(f"  being tried now, by a run that ends by {minute_at(row.lease)}", style="yellow")
    else:
        console.print(f"  next try    {_next_try(row.due, now)}")
    if give_up_after_seconds is None:
        console.print("  gives up    unknown: the function is gone", style="yellow")
    else:
        left = row.since + give_up_after_seconds - now
        console.print(f"  gives up    {ahead(left)}: then the first change is parked, the next one runs")
    if deaths := item.deaths(now):
        text = f"  suspect: the function died {times(deaths)} in a row while the first change ran"
        console.print(text, style="yellow")
    if item.is_newer:
        console.print("  a newer version of the engine holds this item: only its function runs it", style="yellow")


def print_changes(console: "Console", waiting: Sequence[WaitingChange], total: int, limit: int, now: float) -> None:
    """Print waiting changes one by one, with what they changed."""
    earlier: Change | None = None
    for number, each in enumerate(waiting[:limit], 1):
        change = each.change
        title = Text(f"{number:>4}  ", "bold")
        title.append(f"{change.record.get('eventName', '?'):<7}", "bold")
        created = change.created_seconds
        title.append(f"{ago(now - created):<20}" if created is not None else " " * 20)
        title.append(printable(str(change.record.get("eventID"))), "dim")
        console.print(title)
        note = " · redriven" if each.is_redriven else ""
        console.print(Text(f"      sequence {change.sequence_number}{note}", "dim"))
        for line in image_lines(change, earlier, WIDTH - 6):
            console.print(f"      {line}")
        earlier = change
    if total > limit:
        console.print(f"      and {count(total - limit, 'more change')}: --limit N shows more")


def print_broken(console: "Console", problem: Exception) -> None:
    """Print that the ledger lacks a waiting change of the item."""
    _print_wrapped(console, "  broken      ", printable(str(problem)), "bold red")
    _print_wrapped(
        console,
        "              ",
        "None of the item's changes runs, since later ones must not overtake a missing one. Restore the missing rows "
        "from a backup of the ledger; docs/runbook.md, Held, says how.",
    )


def _print_wrapped(console: "Console", label: str, text: str, style: str = "") -> None:
    for each in wrapped(text, label, most=6):
        console.print(Text(each[: len(label)]).append(each[len(label) :], style))


def _next_try(due: float, now: float) -> str:
    return ahead(due - now) if due - now >= 0.5 else "due now"
