"""The command smoke."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli import DONE, LEFT_TO_DO, Session, command

if TYPE_CHECKING:
    from ops.smoke import Effect


@command(executes=True)
def smoke(
    session: Session,
    *,
    within: Annotated[float, typer.Option("--within", help="Seconds to wait after each change.")] = 120,
) -> int:
    """Change marked items, and wait until the consumers process them.

    Exit code 0: every effect was seen; 1: effects are missing; 2: the test could not run.
    """
    from ops.smoke import SmokeTest

    console, run = session.console, SmokeTest(session.stack, session.stack.client)
    console.print(f"smoke · marker {run.marker}")
    for item in run.items.values():
        console.print(f"  {item.name}: write, update and delete an item;")
        console.print(f"    read by {', '.join(item.readers)}")
    for consumer in run.untried_consumers:
        console.print(f"  {consumer} is not tried: {run.why_untried(consumer)},")
        console.print(f"    with python -m ops tail {consumer}{session.options}")
    if not session.should_execute():
        return session.end_without_executing(
            {"marker": run.marker, "seen": [], "missing": [], "untried": run.untried_consumers}
        )

    seconds: dict[Effect, float] = {}

    def on_effect(effect: "Effect", after: float) -> None:
        seconds[effect] = after
        console.print(f"✔ {effect.consumer:<12} {effect.table:<12} {effect.event}  {after:5.1f} s")

    with console.status("waiting for the consumers"):
        missing = run.run(within, on_effect)
    for effect in missing:
        console.print(f"✖ {effect.consumer:<12} {effect.table:<12} {effect.event}  not within {within:g} s")
    for consumer in sorted({effect.consumer for effect in missing}):
        group, bucket = session.stack.consumers[consumer].log_group, session.stack.stores.failures.bucket
        console.print(f"{consumer}: check log group {group}, its mappings, and the failure bucket {bucket}")
    verdict = verdict_of(sorted({consumer for consumer, _ in run.pairs}), missing, run.untried_consumers)
    console.print(verdict)
    session.print_json(
        {
            "marker": run.marker,
            "verdict": verdict,
            "seen": [{**effect._asdict(), "seconds": round(after, 1)} for effect, after in seconds.items()],
            "missing": [effect._asdict() for effect in missing],
            "untried": run.untried_consumers,
        }
    )
    return LEFT_TO_DO if missing else DONE


def verdict_of(tried: Sequence[str], missing: Sequence["Effect"], untried: Sequence[str]) -> str:
    """Return the result of the test in a line."""
    rest = f"; not tried: {', '.join(untried)}" if untried else ""
    if not tried:
        return f"nothing was tried{rest}"
    if missing:
        late = sorted({effect.consumer for effect in missing})
        return f"✖ not as it should be: {', '.join(late)}; see above{rest}"
    return f"✔ all is well with {' and '.join(tried)}{rest}"
