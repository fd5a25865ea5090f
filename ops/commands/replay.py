"""The command replay."""

from typing import Annotated

import typer

from ops.cli import (
    DONE,
    LEFT_TO_DO,
    ConsumerArgument,
    DryRunOption,
    ItemOption,
    JsonOption,
    OutputsOption,
    Session,
    StackOption,
    YesOption,
    command,
)
from ops.commands.redrive import CanaryOption, OutOfOrderOption, RateOption


@command
def replay(
    consumer: ConsumerArgument,
    *,
    since: Annotated[
        str, typer.Option("--since", help="The first time to replay: 10m, 2h, 3d ago, or an ISO 8601 time.")
    ],
    until: Annotated[str | None, typer.Option("--until", help="The last time to replay; default: now.")] = None,
    item: ItemOption = None,
    canary: CanaryOption = 5,
    rate: RateOption = None,
    out_of_order: OutOfOrderOption = False,
    stack: StackOption = None,
    outputs: OutputsOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> int:
    """Run the changes of a time again, from the stream itself, in the order of each item.

    The mapping's position stays as it is. The stream has the changes of the last 24 hours.

    Exit code 0: every change is done; 1: some are left, or have failed; 2: the command could not run.
    """
    from ops.failures.bucket import FailureObjects
    from ops.failures.flow import Limits, PutBack
    from ops.failures.plan_file import PlanFile
    from ops.failures.planning import item_digests
    from ops.failures.stream import read_stream

    session = Session.open(stack, outputs, as_json=as_json, assume_yes=yes, dry_run=dry_run)
    wanted = {consumer: session.stack.consumer(consumer)}
    items = item_digests(item, session, wanted)
    objects, plan = FailureObjects(session.stack.client, session.stack.stores.failures.bucket), PlanFile()
    try:
        session.console.print(f"replay · {consumer}")
        began = objects.now()
        limits = Limits(canary, rate, out_of_order, force=False)
        put_back = PutBack(session, consumer, plan, objects, began, limits, is_replay=True)
        described = read_stream(session, consumer, plan, (since, until), items, began)
        put_back.screen()
        put_back.print_plan()
        code, result = LEFT_TO_DO if plan.count() else DONE, None
        if not plan.count():
            session.console.print("  there is nothing to replay")
        elif session.should_execute():
            code, result = put_back.execute()
        elif dry_run:
            code = DONE
        session.print_json({"plan": put_back.plan_json() | described, "result": result})
        return code
    finally:
        objects.close()
        plan.close()
