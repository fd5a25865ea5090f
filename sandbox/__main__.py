"""python -m sandbox: the program on this machine.

`demo` shows it, `up` keeps it running, `new` and `add-dependency` extend it, and the others are for a second terminal.
"""

import gc
import signal

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # Until `main` runs, Ctrl-C ends this process at once: the imports take a while, and each has its traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sandbox import ROOT, SandboxError, edges
from sandbox.new import commands as new

if TYPE_CHECKING:
    from sandbox.running import RunningSandbox

# Each command imports its own modules, so that put does not import Pulumi and the demo measures its imports too.


def run_demo(started_at: float) -> int:
    """Show the whole system at work; return 1 if a promise is broken."""
    gc.disable()  # the demo lives for seconds, and garbage collection makes its imports take a quarter longer
    from rich.console import Console

    from sandbox.demo.run import Demo

    return 0 if Demo(Console(), started_at).run() else 1


def run_up(port: int | None, outputs: Path | None, *, keep: bool, invent_tables: bool) -> int:
    """Deploy the program, deploy it again after each edit, and show everything that happens, until interrupted.

    Each deployment writes the stack's outputs to the file `outputs`, if it is not None.
    """
    from rich.console import Console

    from sandbox.program.in_process import Program
    from sandbox.watch.terminal import (
        REFRESH_SECONDS,
        Terminal,
        ask,
        exports,
        keys,
        pressed_key,
        print_program,
        print_stop,
    )
    from sandbox.workbench import Workbench

    console = Console(highlight=False)
    with console.status("starting AWS, deploying the program"):
        workbench = Workbench(
            Program(), port, partial(ask, console, sys.stdin), keep_tables=keep, invent_tables=invent_tables
        )
    with workbench, workbench.feed.read() as reader, keys(sys.stdin):
        terminal = Terminal(console)
        with terminal.live():
            while True:
                edges.raise_if_unread()
                workbench.sandbox.emulator.raise_if_dead()
                if pressed_key(sys.stdin) == "r":
                    workbench.redeploy()
                else:
                    workbench.look_for_edits()
                deadline = time.monotonic() + REFRESH_SECONDS
                while (left := deadline - time.monotonic()) > 0:
                    fact = reader.next(left)
                    if fact is None:
                        break
                    terminal.show(fact)
                    if fact["kind"] == "deployed":
                        write_outputs(outputs, workbench.deployment.outputs)
                        if fact["first"]:
                            print_program(console, fact, workbench.running, workbench.deployment.outputs)
                            print_stop(console)
                            print("\n".join(exports(workbench.sandbox.variables())))
                            print("ready", flush=True)
                terminal.tick()


def run_serve() -> int:
    """Serve the sandbox's resources to the Pulumi CLI, which runs in another terminal, until interrupted."""
    from sandbox.program.in_process import STACK, stack_config
    from sandbox.program.provider import serve_provider
    from sandbox.program.sandbox import Sandbox
    from sandbox.watch.terminal import exports

    config = stack_config(STACK)
    with Sandbox(config["aws:region"], lambda _: None) as sandbox, serve_provider(sandbox.aws) as address:
        sandbox.verify_sender(config)
        plugin = {"PULUMI_DEBUG_PROVIDERS": address, "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true"}
        print("# in a second terminal:", *exports(sandbox.variables() | plugin), "ready", sep="\n", flush=True)
        while True:
            edges.raise_if_unread()
            sandbox.emulator.raise_if_dead()
            time.sleep(1)


def run_env(running: "RunningSandbox") -> int:
    """Print the commands that point a terminal at the sandbox."""
    from sandbox.emulator import client_variables
    from sandbox.watch.terminal import exports

    print("\n".join(exports(client_variables(running.endpoint, running.region))))
    return 0


def run_status(running: "RunningSandbox") -> int:
    """Print what is up, and the state of each consumer; return 1 if one holds items or fails."""
    from rich.console import Console

    from sandbox.watch.client import latest_facts
    from sandbox.watch.terminal import print_program, print_states

    facts, console = latest_facts(running), Console(highlight=False)
    print_program(console, facts["deployed"], running, json.loads(running.outputs_path.read_text(encoding="utf-8")))
    states = facts["state"]["consumers"]
    print_states(console, states)
    return 1 if any(state["level"] in ("held", "failing", "off") for state in states.values()) else 0


def run_watch(running: "RunningSandbox", *, as_json: bool) -> int:
    """Show the latest facts and each new one, as lines or as JSON lines, until interrupted or the sandbox stops."""
    from sandbox.watch.client import facts_of

    if as_json:
        for fact in facts_of(running):
            print(json.dumps(fact), flush=True)
        return 0
    from rich.console import Console

    from sandbox.watch.terminal import Terminal

    terminal = Terminal(Console(highlight=False))
    for fact in facts_of(running):
        terminal.show(fact)
        terminal.tick()
    return 0


def write_outputs(path: Path | None, outputs: Mapping[str, Any]) -> None:
    """Write a stack's outputs as JSON, if there is a path."""
    if path:
        path.write_text(json.dumps(outputs, indent=2), encoding="utf-8")


def run_put(table: str, path: Path, port: int | None) -> int:
    """Write a file's items to a table; return 1 if a line is rejected.

    Without a port, the sandbox is the one that the variables name, or the only one that runs.
    """
    from sandbox.emulator import Clients
    from sandbox.put import outputs_at
    from sandbox.put import put as put_items
    from sandbox.running import the_running_one

    endpoint, region = os.environ.get("AWS_ENDPOINT_URL"), os.environ.get("AWS_REGION")
    if port or not endpoint or not region:
        running = the_running_one(port)
        endpoint, region = running.endpoint, running.region
    outputs = outputs_at(endpoint)
    report = put_items(Clients(endpoint, region)("dynamodb"), table, path, outputs)
    for number, reason in report.rejected:
        print(f"{path}:{number}: {reason}", file=sys.stderr)
    items = "item" if report.written == 1 else "items"
    deleted = f", {report.deleted} deleted" if report.deleted else ""
    print(f"{report.written} {items} written to {report.table}{deleted}")
    return 1 if report.rejected else 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(prog="python -m sandbox", description="AWS on this machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("demo", help="deploy everything, write changes, make some fail, and check every promise")
    upper = commands.add_parser("up", help="deploy the program, keep it running, and show everything that happens")
    upper.add_argument(
        "--port", type=edges.port, help="port of the sandbox on loopback (default: 4566, or the next free one)"
    )
    upper.add_argument("--outputs", type=edges.output_file, help="write the stack's outputs to this file as well")
    upper.add_argument("--keep", action="store_true", help="keep tables and items for the next start with --keep")
    upper.add_argument("--invent-tables", action="store_true", help="make tables that sandbox/seed does not describe")
    commands.add_parser("serve", help="serve the embedded AWS to the Pulumi CLI, until interrupted")
    for name, text in (
        ("env", "print the export lines for another terminal again"),
        ("status", "say what is up, and what each consumer does"),
        ("watch", "show what happens, as the terminal of up does"),
    ):
        reader = commands.add_parser(name, help=text)
        reader.add_argument("--port", type=edges.port, help="port of the sandbox, if several run")
        if name == "watch":
            reader.add_argument("--json", action="store_true", help="print each fact as a line of JSON")
    putter = commands.add_parser("put", help="write items to a table of the running sandbox")
    putter.add_argument("--table", required=True, help="the table's name, or its name in the program: users")
    putter.add_argument("--port", type=edges.port, help="port of the sandbox, if several run")
    putter.add_argument(
        "file",
        type=Path,
        help="plain JSON lines, a full or incremental table export, or what aws dynamodb scan prints; gzipped or not; "
        "- is standard input",
    )
    new.add_parsers(commands)
    return parser


def run(arguments: argparse.Namespace, started_at: float) -> int:
    """Run the command that the arguments name and return its exit code."""
    match arguments.command:
        case "demo":
            return run_demo(started_at)
        case "up":
            keep, invent_tables = arguments.keep, arguments.invent_tables
            return run_up(arguments.port, arguments.outputs, keep=keep, invent_tables=invent_tables)
        case "serve":
            return run_serve()
        case "put":
            return run_put(arguments.table, arguments.file, arguments.port)
        case "new" | "add-dependency":
            return new.run(arguments)
        case _:
            from sandbox.running import the_running_one

            running = the_running_one(arguments.port)
            match arguments.command:
                case "env":
                    return run_env(running)
                case "status":
                    return run_status(running)
                case _:
                    return run_watch(running, as_json=arguments.json)


def main() -> int:
    """Run a command and return its exit code; an error that is the user's is a line."""
    started_at = time.monotonic()
    arguments = parser().parse_args()
    sys.dont_write_bytecode = False  # without compiled modules, importing pulumi_aws takes 3 s longer each time
    try:
        return run(arguments, started_at)
    except SandboxError as error:
        print(error, file=sys.stderr)
        return 1
    except Exception as error:
        from sandbox.edits.problems import describe, is_of_program

        if not is_of_program(error, ROOT):
            raise
        print(describe(error, ROOT), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        is_regular_end = arguments.command in ("up", "serve", "watch")
        return 0 if is_regular_end else edges.INTERRUPTED


if __name__ == "__main__":
    sys.exit(edges.run(main))
