"""The command tail."""

from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli import DONE, AnyConsumerArgument, ItemOption, Session, command

if TYPE_CHECKING:
    from ops.logs.lines import Selection
    from ops.stack import Stack


@command(executes=False)
def tail(
    session: Session,
    consumer: AnyConsumerArgument = None,
    *,
    item: ItemOption = None,
    event: Annotated[
        str | None, typer.Option("--event", help="Only lines of this event id, or of INSERT, MODIFY or REMOVE.")
    ] = None,
    since: Annotated[str, typer.Option("--since", help="First lines: 10m, 2h or 3d ago, or an ISO 8601 time.")] = "1m",
    until_now: Annotated[bool, typer.Option("--no-follow", help="Stop after the lines so far.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the lines as they are in the log.")] = False,
) -> int:
    """Print the log lines of a consumer, or of all, as they come.

    --item selects the lines in which the engine names the item: when its change fails, waits, or is released. From such
    a line on, it selects also the handler's own lines about the same change. Times are UTC. Ctrl-C ends the command.
    """
    from datetime import UTC, datetime

    from ops.logs.lines import readable
    from ops.logs.tail import Tail
    from ops.text.times import parse_time

    start = parse_time(since, datetime.now(UTC)).timestamp()
    names = [consumer] if consumer else sorted(session.stack.consumers)
    groups = {name: session.stack.consumer(name).log_group for name in names}
    selection = select(session.stack, names, item, event)
    lines = Tail(groups, session.stack.client, start)
    try:
        for line in lines.look() if until_now else lines.follow():
            if line not in selection:
                continue
            if as_json:
                print(line.message.rstrip(), flush=True)
            else:
                for each in readable(line):
                    session.console.print(each)
    except KeyboardInterrupt:
        return DONE  # the way to end it
    return DONE


def select(stack: "Stack", names: list[str], item: str | None, event: str | None) -> "Selection":
    """Return which lines to print. Raises OpsError if no consumer reads a table with such an item."""
    from ops.items import item_digests, key_types
    from ops.logs.lines import Selection

    if item is None:
        return Selection(event=event)
    digests = item_digests(item, stack, names)
    read = {table for name in names for table in stack.consumer(name).mappings if table in stack.tables}
    tables = {stack.tables[table].name: stack.tables[table].arn for table in read}
    return Selection(digests, event, {name: (arn, key_types(stack.client, name)) for name, arn in tables.items()})
