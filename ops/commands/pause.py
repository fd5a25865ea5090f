"""The commands pause and resume."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.cli import DONE, ConsumerArgument, Session, command

if TYPE_CHECKING:
    from ops.pause import State, Switches

Steps = dict[str, Callable[[], Any]]
"""The steps of a command in order, by the text that the operator reads about each."""
MUTE, SETTLE = "mute the alarms", "let the alarms settle"


@command(executes=True)
def pause(
    session: Session,
    consumer: ConsumerArgument,
    *,
    mute_for: Annotated[
        str, typer.Option("--for", help="How long its alarms are muted, as in 90m, 4h or 1d; at most 15d.")
    ] = "4h",
) -> int:
    """Switch a consumer's mappings and retry schedule off.

    Its alarms are muted for a time. The mappings keep their positions. The streams keep changes for 24 hours: resume
    before.

    Exit code 0: the consumer is paused; 2: the command could not run.
    """
    from ops.pause import Switches

    return run_pause(session, Switches(consumer, session.stack.consumer(consumer), session.stack.client), mute_for)


@command(executes=True)
def resume(session: Session, consumer: ConsumerArgument) -> int:
    """Switch a paused consumer's mappings and retry schedule on again.

    Its alarms stay muted until they have settled.

    Exit code 0: the consumer runs; 2: the command could not run.
    """
    from ops.pause import Switches

    return run_resume(session, Switches(consumer, session.stack.consumer(consumer), session.stack.client))


def run_pause(session: Session, switches: "Switches", mute_for: str) -> int:
    """Print the plan, ask, and switch the consumer off."""
    from datetime import timedelta

    from ops import OpsError
    from ops.pause import LONGEST_MUTE
    from ops.text.times import duration_text, iso_minute, parse_duration

    duration = parse_duration(mute_for)
    if not timedelta(minutes=1) <= duration <= LONGEST_MUTE:
        raise OpsError(f"--for {mute_for}: CloudWatch mutes alarms for 1 minute to 15 days")
    console, name, now, state = session.console, switches.name, switches.now(), switches.state()
    console.print(f"pause · {name}", style="bold")
    _print_switches(session, state, "off")
    alarms, until = len(switches.consumer.alarms), now + duration
    text = f"{alarms} muted until {iso_minute(until)} (--for)" if alarms else "none"
    console.print(f"  {'alarms':<22} {text}")
    left = (state.lost_at - now).total_seconds()
    behind = (now - state.oldest).total_seconds()
    if behind > 60:
        console.print(f"Its oldest unprocessed change is up to {duration_text(behind)} old.")
    if left > 0:
        console.print(f"Changes are lost after {iso_minute(state.lost_at)}, in {duration_text(left)}: resume before.")
    else:
        console.print("Its oldest unprocessed changes may be lost already: resume at once.", style="bold red")
    if alarms and until > state.lost_at:
        console.print("The alarms are muted beyond that time, so none tells you.", style="bold red")
    console.print("pulumi up leaves it off; pulumi up --refresh switches it on, unless its tuning")
    console.print("has enabled: false.")
    if not session.should_execute():
        return session.end_without_executing(
            {"consumer": name, "lost_at": state.lost_at, "muted_until": None, "executed": False}
        )
    steps: Steps = {}
    if alarms:
        steps[MUTE] = lambda: switches.mute(duration)
    if state.schedule is not None:
        steps["switch the schedule off"] = lambda: switches.set_schedule(enabled=False)
    steps["switch the mappings off"] = lambda: _switch_mappings(session, switches, enabled=False)
    muted_until = _execute(session, steps).get(MUTE)
    console.print(f"{name} is paused", style="bold")
    console.print(f"  python -m ops resume {name}{session.options}", style="cyan")
    session.print_json({"consumer": name, "lost_at": state.lost_at, "muted_until": muted_until, "executed": True})
    return DONE


def run_resume(session: Session, switches: "Switches") -> int:
    """Print the plan, ask, and switch the consumer on."""
    from datetime import timedelta

    from ops.streams import RETENTION_SECONDS
    from ops.text.times import duration_text, iso_minute

    console, name, now, state = session.console, switches.name, switches.now(), switches.state()
    console.print(f"resume · {name}", style="bold")
    _print_switches(session, state, "on")
    behind = (now - state.oldest).total_seconds()
    if state.lost_at < now:
        oldest_kept = iso_minute(now - timedelta(seconds=RETENTION_SECONDS))
        console.print(f"Its oldest unprocessed change may be {duration_text(behind)} old:", style="bold red")
        console.print(f"unprocessed changes from before {oldest_kept} are lost.", style="bold red")
    elif not state.is_on():
        console.print(f"It is up to {duration_text(behind)} behind, and catches up in order.")
    if not session.should_execute():
        return session.end_without_executing({"consumer": name, "behind_seconds": round(behind), "executed": False})
    steps: Steps = {"switch the mappings on": lambda: _switch_mappings(session, switches, enabled=True)}
    if state.schedule is not None:
        steps["switch the schedule on"] = lambda: switches.set_schedule(enabled=True)
    if switches.consumer.alarms:
        steps[SETTLE] = switches.unmute
    muted_until = _execute(session, steps).get(SETTLE)
    console.print(f"{name} runs", style="bold")
    if muted_until:
        console.print(f"  its alarms stay muted until {iso_minute(muted_until)}, so that they settle")
    console.print(f"  python -m ops status{session.options}", style="cyan")
    result = {"consumer": name, "behind_seconds": round(behind), "muted_until": muted_until, "executed": True}
    session.print_json(result)
    return DONE


def _print_switches(session: Session, state: "State", wanted: str) -> None:
    on = {"Enabled": "on", "Disabled": "off"}
    rows = {f"mapping of {table}": on.get(each, each) for table, each in state.mappings.items()}
    if state.schedule is not None:
        rows["retry schedule"] = "on" if state.schedule else "off"
    for label, each in rows.items():
        session.console.print(f"  {label:<22} {each if each == wanted else f'{each} → {wanted}'}")


def _switch_mappings(session: Session, switches: "Switches", *, enabled: bool) -> None:
    with session.console.status("Lambda switches the mappings, which takes a minute or two") as status:
        for states in switches.set_mappings(enabled=enabled):
            status.update(", ".join(f"{table} is {state}" for table, state in states.items()))


def _execute(session: Session, steps: Steps) -> dict[str, Any]:
    """Take the steps in order and return their results; if one fails, print which are done and which are not."""
    results: dict[str, Any] = {}
    try:
        for step, take in steps.items():
            results[step] = take()
            session.console.print(f"✔ {step}", style="green")
    except (Exception, KeyboardInterrupt):
        for step in list(steps)[len(results) :]:
            session.console.print(f"✖ {step}: not finished", style="red")
        session.console.print("Run the command again: it completes what is left.")
        raise
    return results
