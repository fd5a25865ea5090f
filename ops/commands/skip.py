"""The command skip."""

from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli import DONE, LEFT_TO_DO, ConsumerArgument, Session, command

if TYPE_CHECKING:
    from ops.held.ledger import HeldItems


@command(executes=True)
def skip(
    session: Session,
    consumer: ConsumerArgument,
    *,
    item: Annotated[
        str, typer.Option("--item", help="The item's key, as in customer_id=c7,order_id=31, or its digest.")
    ],
) -> int:
    """Park the first waiting change of a held item. The failure bucket keeps it whole, and the item goes on.

    Exit code 0: the change is parked; 1: it is not, and the command says why; 2: the item is not held, or the function
    did not answer.
    """
    from ops.held.ledger import HeldItems

    return run(session, HeldItems(session.stack, consumer, session.stack.client), item)


def run(session: Session, reader: "HeldItems", text: str) -> int:
    """Print the first waiting change, ask, and park it."""
    import time

    from handler.stream.ledger.rows import HoldBrokenError
    from ops import OpsError
    from ops.function import request
    from ops.held.find import find_one
    from ops.held.screens import print_changes, print_item
    from ops.text.counts import waits

    console, name, now = session.console, reader.name, time.time()
    item = find_one(session.stack, reader, text)
    if item is None:
        raise OpsError(f"{name} holds no item {text}: python -m ops held {name}{session.options} shows the held items")
    print_item(console, name, item, reader.give_up_after_seconds(), now)
    try:
        first, *rest = reader.waiting(item)
    except HoldBrokenError as error:
        raise OpsError(f"the hold is broken ({error}): docs/runbook.md, Held, says how to restore it") from error
    print_changes(console, [first], 1, 1, now)
    following = max(len(rest), item.changes - 1)
    then = f"the next of {following:,} more changes runs" if following > 1 else "the next change runs"
    console.print("  This change is parked: the failure bucket keeps it whole, for redrive.")
    console.print(f"  Then {then if following else 'the item is released'}.")
    if not session.should_execute():
        return session.end_without_executing({"skipped": False, "reason": "nothing was changed"})

    again = reader.row(item.digest)
    if again is None or (again.next, again.redriven) != (item.row.next, item.row.redriven):
        raise OpsError("a retry run has moved the item on meanwhile: nothing was skipped; run the command again")
    answer = request(session.stack.client, reader.consumer, {"table-stream": "skip", "item": item.digest})
    if not answer["skipped"]:
        console.print(f"not skipped: {answer['reason']}", style="red")
    else:
        event = answer["change"]["event_id"]
        console.print(f"parked: {answer['change']['event_name']} {event}", style="green")
        if event != first.change.record.get("eventID"):
            console.print("  a retry run moved the item on meanwhile: this change was the first then")
        console.print(f"  python -m ops failures {name}{session.options}", style="cyan")
        row = reader.row(item.digest)
        left = row.waiting if row else 0
        console.print(f"  {left:,} more {waits(left)}, due now" if row else "  the item is released")
    session.print_json(answer)
    return DONE if answer["skipped"] else LEFT_TO_DO
