"""The command redrive."""

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


@command
def redrive(
    consumer: ConsumerArgument,
    *,
    cause: Annotated[
        str | None, typer.Option("--cause", help="Only failures with this text in their cause or error.")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", help="Only failures since then: 10m, 2h, 3d, or an ISO 8601 time.")
    ] = None,
    item: ItemOption = None,
    canary: CanaryOption = 5,
    rate: RateOption = None,
    out_of_order: OutOfOrderOption = False,
    force: ForceOption = False,
    stack: StackOption = None,
    outputs: OutputsOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> int:
    """Put failures back into the holds of their items, in order; the engine's retries do the rest.

    Some whole items go first. An object moves to redriven/ once its change is done.

    Exit code 0: every failure is done; 1: some are left, or have failed again; 2: the command could not run.
    """
    from ops.failures.bucket import FailureObjects
    from ops.failures.flow import Limits, PutBack
    from ops.failures.plan_file import DONE_BEFORE, PLANNED, PlanFile
    from ops.failures.planning import Selection, item_digests, ledger_name, read_plan

    session = Session.open(stack, outputs, as_json=as_json, assume_yes=yes, dry_run=dry_run)
    wanted = {consumer: session.stack.consumer(consumer)}
    ledger_name(consumer, wanted[consumer])
    selection = Selection.parse(cause, since, item_digests(item, session, wanted))
    objects, plan = FailureObjects(session.stack.client, session.stack.stores.failures.bucket), PlanFile()
    try:
        planner = read_plan(session, plan, objects, wanted, selection)
        limits = Limits(canary, rate, out_of_order, force)
        put_back = PutBack(session, consumer, plan, objects, planner.began, limits)
        put_back.screen()
        session.console.print(f"redrive · {consumer}")
        put_back.print_plan()
        planner.left_alone.print(session.console)
        described = put_back.plan_json() | {"left_alone": planner.left_alone.as_json()}
        code, result = LEFT_TO_DO if plan.count() else DONE, None
        if not plan.count(PLANNED, DONE_BEFORE):
            session.console.print("there is nothing to put back")
        elif session.should_execute():
            code, result = put_back.execute()
        elif dry_run:
            code = DONE
        session.print_json({"plan": described, "result": result})
        return code
    finally:
        objects.close()
        plan.close()
