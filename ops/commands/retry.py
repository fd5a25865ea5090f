"""The command retry."""

from typing import TYPE_CHECKING, Any

from ops.cli import DONE, LEFT_TO_DO, ConsumerArgument, ItemOption, Session, command

if TYPE_CHECKING:
    from handler.stream.ledger.rows import HoldRow
    from ops.held.ledger import HeldItems
    from ops.held.retrying import Retry


@command(executes=True)
def retry(session: Session, consumer: ConsumerArgument, *, item: ItemOption = None) -> int:
    """Retry a consumer's held items now, or one of them. The screen shows how far it is.

    Exit code 0: nothing of it is held any more; 1: something is still held; 2: the function did not answer.
    """
    from ops.held.ledger import HeldItems

    reader = HeldItems(session.stack, consumer, session.stack.client)
    return run(session, reader, item)


def run(session: Session, reader: "HeldItems", item: str | None) -> int:
    """Print the plan, ask, and retry."""
    from ops.held.find import find_one
    from ops.held.retrying import Retry
    from ops.text.counts import are, count, waits

    console = session.console
    if item is None:
        rows = reader.rows()
        what = f"{reader.name} · {are(len(rows), 'item')} held"
    else:
        found = find_one(session.stack, reader, item)
        rows = [found.row] if found else []
        what = f"{reader.name} · {found.name if found else item} is {'' if found else 'not '}held"
    changes = sum(row.waiting for row in rows)
    if not rows:
        console.print(what if item else f"{reader.name} · nothing is held")
        session.print_json({"items": 0, "released": 0, "held": [], "failure": None, "executed": True})
        return DONE
    console.print(f"{what}, {count(changes, 'change')} {waits(changes)}")
    console.print("  the function runs them now, each item's in order; an item that fails waits on")
    if not session.should_execute():
        return session.end_without_executing({"items": len(rows), "changes": changes, "executed": False})

    attempt = Retry(reader, session.stack.client, {row.digest: row for row in rows}, is_whole=item is None)
    try:
        _follow(session, attempt, changes)
    except KeyboardInterrupt:
        console.print(
            f"the function's run goes on; python -m ops held {reader.name}{session.options} shows what is left"
        )
        raise
    return _report(session, attempt, reader)


def _follow(session: Session, attempt: "Retry", changes: int) -> None:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    note = TextColumn("{task.fields[note]}")
    columns = TextColumn("{task.description:<13}"), BarColumn(24), MofNCompleteColumn(), note
    with Progress(*columns, TimeRemainingColumn(), console=session.console) as progress:
        tried = progress.add_task("items tried", total=len(attempt.rows), note="")
        done = progress.add_task("changes done", total=changes, note="")
        for each in attempt.run():
            rate = each.changes / max(progress.tasks[done].elapsed or 1, 1)
            progress.update(tried, completed=each.tried, note=f"{each.released:,} released")
            progress.update(done, completed=each.changes, note=f"{rate:,.0f}/s")


def _report(session: Session, attempt: "Retry", reader: "HeldItems") -> int:
    import time

    from ops.held.groups import group_by_cause
    from ops.held.screens import print_groups

    left: list[HoldRow] = attempt.still_held()
    new = sum(row.digest not in attempt.rows for row in left)
    released = len(attempt.rows) - (len(left) - new)
    if attempt.failure and not released:
        raise attempt.failure
    now = time.time()
    items = reader.describe(left)
    groups = group_by_cause(items, reader.give_up_after_seconds(), now) if items else []
    session.console.print(f"{reader.name} · {released:,} of {len(attempt.rows):,} items released")
    if attempt.failure:
        session.console.print(str(attempt.failure), style="red")
    if groups:
        print_groups(session.console, reader.name, groups, now, examples=3, options=session.options)
    result: dict[str, Any] = {
        "items": len(attempt.rows),
        "released": released,
        "held": [group.as_json(now) for group in groups],
        "failure": str(attempt.failure) if attempt.failure else None,
        "executed": True,
    }
    session.print_json(result)
    return LEFT_TO_DO if left else DONE
