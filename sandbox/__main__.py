"""python -m sandbox: show the program on this machine (demo), keep it running (up, serve), write items to it (put).

Two commands add to the program: new and add-dependency.
"""

import argparse
import contextlib
import json
import os
import queue
import shlex
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sandbox import SandboxError
from sandbox.new import commands as new

if TYPE_CHECKING:
    from sandbox.program.deploy import Deployment, Sandbox

# Each command imports its own modules, so that put does not import Pulumi and the demo measures its imports too.


def run_demo(started_at: float) -> int:
    """Show the whole system at work; return 1 if a promise is broken."""
    from rich.console import Console

    from sandbox.demo.run import Demo

    return 0 if Demo(Console(), started_at).run() else 1


def run_up(port: int | None, outputs: Path | None) -> int:
    """Deploy the program, redeploy it after each change of its files, and print every invocation, until interrupted.

    Each deployment writes the stack's outputs to the file `outputs`, if it is not None.
    """
    from rich.console import Console

    from sandbox.display import Display
    from sandbox.mapping.invocation import ObservedInvocation
    from sandbox.program.deploy import Sandbox
    from sandbox.program.in_process import STACK, Program, source_timestamps
    from sandbox.report import Names, report_of

    console = Console(highlight=False, soft_wrap=True)
    observed: queue.SimpleQueue[ObservedInvocation] = queue.SimpleQueue()
    program, deployed = Program(), source_timestamps(STACK)
    with Sandbox(program.config["aws:region"], observed.put, port=port) as sandbox:
        deployment = sandbox.deploy(program)
        names, display = Names.from_outputs(deployment.outputs), Display()
        write_outputs(outputs, deployment.outputs)
        unsupported = print_unsupported(deployment)
        print_exports(sandbox.variables())
        print("ready", flush=True)
        while True:
            with contextlib.suppress(queue.Empty):
                for line in display.render(report_of(observed.get(timeout=1), names)):
                    console.print(line)
            sandbox.emulator.raise_if_dead()
            if (now := source_timestamps(STACK)) == deployed:
                continue
            deployed, result = now, redeploy(sandbox, deployment)
            names = Names.from_outputs(deployment.outputs)
            display.forget_failures()
            write_outputs(outputs, deployment.outputs)
            unsupported = print_unsupported(deployment, unsupported)
            print(result, flush=True)


def run_serve() -> int:
    """Serve the sandbox's resources to the Pulumi CLI, which runs in another terminal, until interrupted."""
    from sandbox.program.deploy import Sandbox
    from sandbox.program.in_process import STACK, stack_config
    from sandbox.program.provider import serve_provider

    config = stack_config(STACK)
    with Sandbox(config["aws:region"], lambda _: None) as sandbox, serve_provider(sandbox.aws) as address:
        sandbox.verify_sender(config)
        print_exports(
            sandbox.variables()
            | {"PULUMI_DEBUG_PROVIDERS": address, "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true"}
        )
        print("ready", flush=True)
        while True:
            sandbox.emulator.raise_if_dead()
            time.sleep(1)


def print_exports(variables: Mapping[str, str]) -> None:
    """Print the commands that point a second terminal at the sandbox."""
    print("# in a second terminal:")
    for name, value in variables.items():
        print(f"export {name}={shlex.quote(value)}")


def print_unsupported(deployment: "Deployment", before: str = "") -> str:
    """Print the line on what the sandbox does not support, unless it is equal to `before`, and return the line."""
    if deployment.unsupported_line not in ("", before):
        print(deployment.unsupported_line)
    return deployment.unsupported_line


def redeploy(sandbox: "Sandbox", deployment: "Deployment") -> str:
    """Deploy the program again and return a line on the result; an error of the program is such a line, too."""
    from sandbox.program.in_process import Program

    try:
        changes = sandbox.redeploy(deployment, Program())
    except Exception as error:
        return f"not redeployed: {type(error).__name__}: {' '.join(str(error).split())}"
    return f"redeployed: {', '.join(changes)}" if changes else "nothing to redeploy"


def write_outputs(path: Path | None, outputs: Mapping[str, Any]) -> None:
    """Write a stack's outputs as JSON, if there is a path."""
    if path:
        path.write_text(json.dumps(outputs, indent=2), encoding="utf-8")


def run_put(table: str, path: Path) -> int:
    """Write a file's items to a table; return 1 if a line is rejected."""
    from botocore.exceptions import EndpointConnectionError  # pyright: ignore[reportMissingTypeStubs] -- untyped

    from sandbox.emulator import Clients
    from sandbox.put import PutError
    from sandbox.put import put as put_items

    endpoint, region = os.environ.get("AWS_ENDPOINT_URL"), os.environ.get("AWS_REGION")
    if not endpoint or not region:
        raise PutError(
            "AWS_ENDPOINT_URL and AWS_REGION are not set: run the export lines that python -m sandbox up prints"
        )
    try:
        report = put_items(Clients(endpoint, region)("dynamodb"), table, path)
    except EndpointConnectionError as error:
        raise PutError(
            f"nothing answers at {endpoint}: is python -m sandbox up running? It uses another port after each start: "
            "run the export lines that it prints again"
        ) from error
    for number, reason in report.rejected:
        print(f"{path}:{number}: {reason}", file=sys.stderr)
    items = "item" if report.written == 1 else "items"
    print(f"{report.written} {items} written to {report.table}")
    return 1 if report.rejected else 0


def main() -> int:
    """Run the command that the arguments name and return its exit code."""
    started_at = time.monotonic()
    parser = argparse.ArgumentParser(prog="python -m sandbox", description="AWS on this machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("demo", help="deploy everything, write changes, make some fail, and check every promise")
    upper = commands.add_parser("up", help="deploy the program, keep it running, and print every invocation")
    upper.add_argument("--port", type=int, help="port of the sandbox on loopback (default: a free port)")
    upper.add_argument("--outputs", type=Path, help="write the stack's outputs to this file, for python -m ops")
    commands.add_parser("serve", help="serve the embedded AWS to the Pulumi CLI, until interrupted")
    putter = commands.add_parser("put", help="write items to a table of the running sandbox")
    putter.add_argument("--table", required=True, help="the table's name, or its name in the program: users")
    putter.add_argument(
        "file", type=Path, help="plain JSON lines, or DynamoDB JSON lines of a table export; gzipped or not"
    )
    new.add_parsers(commands)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.dont_write_bytecode = False  # without compiled modules, importing pulumi_aws takes 3 s longer each time
    try:
        match arguments.command:
            case "demo":
                return run_demo(started_at)
            case "up":
                return run_up(arguments.port, arguments.outputs)
            case "serve":
                return run_serve()
            case "new" | "add-dependency":
                return new.run(arguments)
            case _:
                return run_put(arguments.table, arguments.file)
    except SandboxError as error:
        print(error, file=sys.stderr)
        return 1
    except Exception as error:
        from pulumi import RunError

        if not isinstance(error, RunError):
            raise
        print(error, file=sys.stderr)  # the program's own message, such as all errors of its configuration
        return 1
    except KeyboardInterrupt:
        return 0 if arguments.command in ("up", "serve") else 130  # an interrupt is the regular end of these commands


if __name__ == "__main__":
    sys.exit(main())
