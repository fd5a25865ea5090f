"""The command failures."""

from pathlib import Path
from typing import Annotated

import typer

from ops.cli import (
    DONE,
    LEFT_TO_DO,
    AnyConsumerArgument,
    ItemOption,
    JsonOption,
    OutputsOption,
    Session,
    StackOption,
    command,
)


@command
def failures(
    consumer: AnyConsumerArgument = None,
    *,
    show: Annotated[
        str | None,
        typer.Option("--show", metavar="KEY", help="Show one failure whole, by its object's key or an event id."),
    ] = None,
    export: Annotated[
        Path | None, typer.Option("--export", metavar="FILE", help="Write each failed change as a line of JSON.")
    ] = None,
    cause: Annotated[
        str | None, typer.Option("--cause", help="Only failures with this text in their cause or error.")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", help="Only failures since then: 10m, 2h, 3d, or an ISO 8601 time.")
    ] = None,
    item: ItemOption = None,
    stack: StackOption = None,
    outputs: OutputsOption = None,
    as_json: JsonOption = False,
) -> int:
    """Show what was parked, or discarded by a mapping, grouped by its cause.

    Exit code 0: there are no failures; 1: there are failures; 2: the command could not run.
    """
    from ops.failures import view
    from ops.failures.bucket import FailureObjects
    from ops.failures.plan_file import PlanFile
    from ops.failures.planning import Selection, item_digests, ledger_name, read_plan

    session = Session.open(stack, outputs, as_json=as_json)
    everyone = {name: each for name, each in session.stack.consumers.items() if each.ledger_name}
    wanted = {consumer: session.stack.consumer(consumer)} if consumer else everyone
    if consumer:
        ledger_name(consumer, wanted[consumer])
    selection = Selection.parse(cause, since, item_digests(item, session, wanted))
    objects, plan = FailureObjects(session.stack.client, session.stack.stores.failures.bucket), PlanFile()
    try:
        if show is not None and "/" in show:
            return view.show_object(session, objects, show)
        planner = read_plan(session, plan, objects, wanted, selection)
        if show is not None:
            return view.show_event(session, plan, objects, show)
        if export is not None:
            view.export(session, plan, export)
        else:
            view.print_groups(session, plan, planner.left_alone, wanted)
        return LEFT_TO_DO if plan.count() else DONE
    finally:
        objects.close()
        plan.close()
