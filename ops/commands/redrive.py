"""The command redrive."""

from typing import Annotated

import typer

from ops.cli import ConsumerArgument, ItemOption, Session, command

CauseOption = Annotated[
    str | None, typer.Option("--cause", help="Only failures with this text in their cause or error.")
]
SinceOption = Annotated[
    str | None, typer.Option("--since", help="Only failures since then: 10m, 2h, 3d, or an ISO 8601 time.")
]
CanaryOption = Annotated[
    int, typer.Option("--canary", min=0, help="Whole items that go first, before the question; 0: none.")
]
RateOption = Annotated[
    float | None, typer.Option("--rate", min=0.1, help="Most changes a second that are put back; default: no limit.")
]
OutOfOrderOption = Annotated[
    bool, typer.Option("--out-of-order", help="Also put back changes although later ones of their items may have run.")
]
ForceOption = Annotated[
    bool, typer.Option("--force", help="Also put back changes that are older than claims and tombstones live.")
]


@command(executes=True)
def redrive(
    session: Session,
    consumer: ConsumerArgument,
    *,
    cause: CauseOption = None,
    since: SinceOption = None,
    item: ItemOption = None,
    canary: CanaryOption = 5,
    rate: RateOption = None,
    out_of_order: OutOfOrderOption = False,
    force: ForceOption = False,
) -> int:
    """Put failures back into the holds of their items, in order.

    The engine's retries do the rest. Some whole items go first. An object moves to redriven/ once its change is done.

    Exit code 0: every failure is done; 1: some are left, or have failed again; 2: the command could not run.
    """
    from contextlib import closing

    from ops.failures.bucket import FailureObjects
    from ops.failures.flow import Limits, PutBack
    from ops.failures.plan_file import PlanFile
    from ops.failures.planning import Selection, read_plan

    wanted = {consumer: session.stack.consumer(consumer)}
    selection = Selection.parse(cause, since, item, session.stack, wanted)
    bucket = session.stack.stores.failures.bucket
    with closing(FailureObjects(session.stack.client, bucket)) as objects, closing(PlanFile()) as plan:
        planner = read_plan(session, plan, objects, wanted, selection)
        limits = Limits(canary, rate, out_of_order, force)
        put_back = PutBack(session, consumer, plan, objects, planner.began, limits)
        put_back.screen()
        session.console.print(f"redrive · {consumer}")
        put_back.print_plan()
        planner.left_alone.print(session.console)
        return put_back.ask_and_execute({"left_alone": planner.left_alone.as_json()})
