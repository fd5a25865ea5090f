"""python -m ops: commands for a stack that is deployed. AWS_ENDPOINT_URL points them at the sandbox."""

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
"""Exit codes."""


def run_smoke_test(arguments: argparse.Namespace) -> int:
    """Plan, print, confirm, execute; with --json the result alone goes to the standard output."""
    stack = Stack.load(arguments.outputs, arguments.stack)
    run = SmokeTest(stack, stack.client)
    console = Console(stderr=arguments.json, highlight=False, soft_wrap=True, markup=False)
    console.print(f"smoke · marked {run.marker}")
    for item in run.items.values():
        console.print(f"  {item.name}: write, update and delete an item; read by {', '.join(item.readers)}")
    for consumer in run.untried_consumers:
        console.print(f"  {consumer} is not tried")
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
        console.print(f"{consumer}: see its log group {group}, its mappings, and what is parked in {bucket}")
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
    """Whether the person at the terminal agrees.

    Raises
    ------
    OpsError
        There is no terminal to ask at.
    """
    if not sys.stdin.isatty():
        raise OpsError("nobody can be asked: say --yes, or --dry-run to see the plan alone")
    return console.input("Go on? [y/N] ", markup=False).strip().lower() in ("y", "yes")


def main() -> int:
    """Run the command that the arguments name; its exit code."""
    parser = argparse.ArgumentParser(prog="python -m ops", description="Commands for a stack that is deployed.")
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser(
        "smoke",
        help="change a marked item, wait for what the consumers make of it, and clean up",
        description="Exit code 0: every effect was seen; 1: some were missing; 2: it could not be tried.",
    )
    command.set_defaults(run=run_smoke_test)
    source = command.add_mutually_exclusive_group()
    source.add_argument("--stack", help="which stack's outputs to ask the Pulumi CLI for (the selected one)")
    source.add_argument("--outputs", type=Path, help="its outputs as a file of JSON, - for the standard input")
    command.add_argument(
        "--within",
        dest="timeout_seconds",
        type=float,
        default=120,
        help="seconds to wait after each change (%(default)s)",
    )
    command.add_argument("--dry-run", action="store_true", help="print the plan, which only reads, and stop")
    command.add_argument("--yes", action="store_true", help="do not ask")
    command.add_argument("--json", action="store_true", help="print the result as JSON")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what a cancelled job gets: clean up all the same
    try:
        return arguments.run(arguments)
    except (OpsError, BotoCoreError, ClientError) as error:
        print(error, file=sys.stderr)
        return COULD_NOT_RUN
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
