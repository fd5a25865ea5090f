"""The command held."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.cli import DONE, LEFT_TO_DO, AnyConsumerArgument, ItemOption, Session, command

if TYPE_CHECKING:
    from ops.held.ledger import HeldItem, HeldItems

SLOW_ITEMS = 500
"""From so many held items on, reading them may take longer than a second and shows a progress bar."""


@command(executes=False)
def held(
    session: Session,
    consumer: AnyConsumerArgument = None,
    *,
    item: ItemOption = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Most changes of an item to show.")] = 10,
) -> int:
    """Show held items by their error, or one item's waiting changes.

    Exit code 0: nothing is held; 1: something is held; 2: the command could not run.
    """
    import time

    from ops.held.ledger import HeldItems

    names = [consumer] if consumer else [name for name, each in session.stack.consumers.items() if each.ledger_name]
    readers = [HeldItems(session.stack, name, session.stack.client) for name in names]
    if item is not None:
        return show_item(session, readers, item, limit, time.time())
    return show_groups(session, readers, time.time(), examples=1 if consumer is None else 3)


def show_groups(session: Session, readers: "list[HeldItems]", now: float, examples: int) -> int:
    """Print the groups of each consumer's held items."""
    from ops.held.groups import group_by_cause
    from ops.held.screens import print_groups

    result: dict[str, Any] = {}
    for reader in readers:
        items = _read(session, reader)
        groups = group_by_cause(items, reader.give_up_after_seconds(), now) if items else []
        if groups:
            print_groups(session.console, reader.name, groups, now, examples=examples, options=session.options)
        else:
            session.console.print(f"{reader.name} · nothing is held")
        result[reader.name] = {
            "items": len(items),
            "changes": sum(each.changes for each in items),
            "groups": [group.as_json(now) for group in groups],
        }
    session.print_json(result)
    return LEFT_TO_DO if any(each["items"] for each in result.values()) else DONE


def _read(session: Session, reader: "HeldItems") -> "list[HeldItem]":
    from ops.text.progress import progress

    rows = reader.rows()
    if len(rows) < SLOW_ITEMS:
        return reader.describe(rows)
    with progress(session.console) as bar:
        task = bar.add_task("reading", total=len(rows))
        return reader.describe(rows, lambda number: bar.advance(task, number))


def show_item(session: Session, readers: "list[HeldItems]", text: str, limit: int, now: float) -> int:
    """Print a held item with its waiting changes."""
    from handler.stream.ledger.rows import HoldBrokenError
    from ops.held.find import find_items
    from ops.held.screens import print_broken, print_changes, print_item

    found = find_items(session.stack, readers, text)
    result: list[dict[str, Any]] = []
    for reader, each in found:
        print_item(session.console, reader.name, each, reader.give_up_after_seconds(), now)
        entry: dict[str, Any] = {"consumer": reader.name, **each.as_json(now)}
        try:
            waiting = reader.waiting(each)
        except HoldBrokenError as error:
            print_broken(session.console, error)
            entry["broken"] = str(error)
        else:
            print_changes(session.console, waiting, max(each.changes, len(waiting)), limit, now)
            entry["waiting"] = [{"redriven": one.is_redriven, "record": one.change.record} for one in waiting[:limit]]
        result.append(entry)
    if not found:
        session.console.print(f"no item {text} is held by {', '.join(reader.name for reader in readers)}")
    session.print_json(result)
    return LEFT_TO_DO if found else DONE
