"""python -m ops: commands for a deployed stack. AWS_ENDPOINT_URL directs them to the sandbox."""

import argparse
import json
import signal
import sys
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError  # pyright: ignore[reportMissingTypeStubs] -- untyped
from rich.console import Console

from ops import OpsError
from ops.smoke import Effect, SmokeTest
from ops.stack import Stack

DONE, MISSING, COULD_NOT_RUN, INTERRUPTED = 0, 1, 2, 130
"""Exit codes; 130 is the convention for a program that a signal interrupted."""


def run_smoke_test(arguments: argparse.Namespace) -> int:
    """Print the plan, ask to confirm it, and execute it. With --json, standard output contains only the result."""
    stack = Stack.load(arguments.outputs, arguments.stack)
    run = SmokeTest(stack, stack.client)
    console = Console(stderr=arguments.json, highlight=False, soft_wrap=True, markup=False)
    console.print(f"smoke · marker {run.marker}")
    for item in run.items.values():
        console.print(f"  {item.name}: write, update and delete an item; read by {', '.join(item.readers)}")
    for consumer in run.untried_consumers:
        console.print(f"  {consumer} is not tested")
    if arguments.dry_run:
        return DONE
    if not arguments.yes and not ask_to_confirm(console):
        return COULD_NOT_RUN

    seconds: dict[Effect, float] = {}

    def on_effect(effect: Effect, after: float) -> None:
        seconds[effect] = after
        console.print(f"✔ {effect.consumer:<12} {effect.table:<12} {effect.event}  {after:5.1f} s")

    with console.status("waiting for the consumers"):
        missing = run.run(arguments.timeout_seconds, on_effect)
    seconds_waited = f"{arguments.timeout_seconds:g} s"
    for effect in missing:
        console.print(f"✖ {effect.consumer:<12} {effect.table:<12} {effect.event}  not within {seconds_waited}")
    for consumer in sorted({effect.consumer for effect in missing}):
        group, bucket = stack.consumers[consumer].log_group, stack.stores.failures.bucket
        console.print(f"{consumer}: check log group {group}, its mappings, and the failure bucket {bucket}")
    if arguments.json:
        result = {
            "marker": run.marker,
            "seen": [{**effect._asdict(), "seconds": round(after, 1)} for effect, after in seconds.items()],
            "missing": [effect._asdict() for effect in missing],
            "untried": run.untried_consumers,
        }
        print(json.dumps(result))
    return MISSING if missing else DONE


def ask_to_confirm(console: Console) -> bool:
    """Ask the person at the terminal, and return whether the answer is yes.

    Raises
    ------
    OpsError
        Standard input is not a terminal.
    """
    if not sys.stdin.isatty():
        raise OpsError(
            "standard input is not a terminal: pass --yes to execute the plan, or --dry-run to only print it"
        )
    return console.input("Continue? [y/N] ", markup=False).strip().lower() in ("y", "yes")


def main() -> int:
    """Run the command that the arguments name, and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m ops", description="Commands for a deployed stack.")
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser(
        "smoke",
        help="change marked items, wait until the consumers have processed them, and clean up",
        description="Exit code 0: every effect was seen; 1: effects are missing; 2: the test could not run.",
    )
    command.set_defaults(run=run_smoke_test)
    source = command.add_mutually_exclusive_group()
    source.add_argument("--stack", help="stack whose outputs to read with the Pulumi CLI (default: the selected stack)")
    source.add_argument("--outputs", type=Path, help="file with the stack's outputs as JSON; - is standard input")
    command.add_argument(
        "--within",
        dest="timeout_seconds",
        type=float,
        default=120,
        help="seconds to wait after each change (default: %(default)s)",
    )
    command.add_argument("--dry-run", action="store_true", help="print the plan and stop; nothing is written")
    command.add_argument("--yes", action="store_true", help="do not ask to confirm")
    command.add_argument("--json", action="store_true", help="print the result as JSON")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a cancelled job gets SIGTERM; clean up as after Ctrl-C
    try:
        return arguments.run(arguments)
    except (OpsError, BotoCoreError, ClientError) as error:
        print(error, file=sys.stderr)
        return COULD_NOT_RUN
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
