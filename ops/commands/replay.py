"""The command replay."""

from typing import Annotated

import typer

from ops.cli import ConsumerArgument, ItemOption, Session, command
from ops.commands.redrive import CanaryOption, OutOfOrderOption, RateOption


@command(executes=True)
def replay(
    session: Session,
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
) -> int:
    """Run the changes of a time again, from the stream itself.

    Each item's changes run in order. The mapping's position stays as it is. The stream has the changes of the last 24
    hours.

    Exit code 0: every change is done; 1: some are left, or have failed; 2: the command could not run.
    """
    from contextlib import closing

    from ops.failures.bucket import FailureObjects
    from ops.failures.flow import Limits, PutBack
    from ops.failures.plan_file import PlanFile
    from ops.failures.stream import read_stream
    from ops.items import item_digests

    items = None if item is None else frozenset(item_digests(item, session.stack, [consumer]))
    bucket = session.stack.stores.failures.bucket
    with closing(FailureObjects(session.stack.client, bucket)) as objects, closing(PlanFile()) as plan:
        began = objects.now()
        limits = Limits(canary, rate, out_of_order, force=False)
        put_back = PutBack(session, consumer, plan, objects, began, limits, is_replay=True)
        described = read_stream(session, consumer, plan, (since, until), items, began)
        put_back.screen()
        put_back.print_plan()
        return put_back.ask_and_execute(described)
