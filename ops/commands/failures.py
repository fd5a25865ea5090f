"""The command failures."""

from pathlib import Path
from typing import Annotated

import typer

from ops.cli import DONE, LEFT_TO_DO, AnyConsumerArgument, ItemOption, Session, command
from ops.commands.redrive import CauseOption, SinceOption


@command(executes=False)
def failures(
    session: Session,
    consumer: AnyConsumerArgument = None,
    *,
    show: Annotated[
        str | None,
        typer.Option("--show", metavar="KEY", help="Show one failure whole, by its object's key or an event id."),
    ] = None,
    export: Annotated[
        Path | None, typer.Option("--export", metavar="FILE", help="Write each failed change as a line of JSON.")
    ] = None,
    cause: CauseOption = None,
    since: SinceOption = None,
    item: ItemOption = None,
) -> int:
    """Show parked and discarded changes, grouped by their cause.

    Exit code 0: there are no failures; 1: there are failures; 2: the command could not run.
    """
    from contextlib import closing

    from ops.failures import view
    from ops.failures.bucket import FailureObjects
    from ops.failures.plan_file import PlanFile
    from ops.failures.planning import Selection, read_plan

    everyone = {name: each for name, each in session.stack.consumers.items() if each.ledger_name}
    wanted = {consumer: session.stack.consumer(consumer)} if consumer else everyone
    selection = Selection.parse(cause, since, item, session.stack, wanted)
    bucket = session.stack.stores.failures.bucket
    with closing(FailureObjects(session.stack.client, bucket)) as objects, closing(PlanFile()) as plan:
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
