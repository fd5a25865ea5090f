"""python -m sandbox: the program on this machine, to be watched (demo), used (up, serve) and fed (put)."""

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

from rich.console import Console

from sandbox import SandboxError

if TYPE_CHECKING:
    from sandbox.program.deploy import Deployment, Sandbox

# Commands import what they need: put waits for no Pulumi, and what a command takes is measured with its imports.


def demo(started: float) -> int:
    """Show the whole system at work; 1 when a promise is not kept."""
    from sandbox.demo.run import Demo

    return 0 if Demo(Console(), started).run() else 1


def up(port: int | None, outputs: Path | None) -> int:
    """Deploy the program, again after each change of its files, and tell of every invocation until interrupted.

    Its outputs go to a file where asked for.
    """
    from sandbox.display import Display
    from sandbox.mapping.invocation import ObservedInvocation
    from sandbox.program.deploy import STACK, Sandbox
    from sandbox.program.in_process import stack_config, versions
    from sandbox.report import Names, report_of

    console = Console(highlight=False, soft_wrap=True)
    observed: queue.SimpleQueue[ObservedInvocation] = queue.SimpleQueue()
    config, deployed = stack_config(STACK), versions(STACK)
    with Sandbox(config["aws:region"], observed.put, port=port) as sandbox:
        deployment = sandbox.deploy(config=config)
        names, display = Names.from_outputs(deployment.outputs), Display()
        write(outputs, deployment.outputs)
        told = tell(deployment)
        export(sandbox.emulator.variables())
        print("ready", flush=True)
        while True:
            with contextlib.suppress(queue.Empty):
                for line in display.render(report_of(observed.get(timeout=1), names)):
                    console.print(line)
            sandbox.emulator.check()
            if (now := versions(STACK)) == deployed:
                continue
            deployed, done = now, redeployed(sandbox, deployment)
            names = Names.from_outputs(deployment.outputs)
            display.forget_failures()
            write(outputs, deployment.outputs)
            told = tell(deployment, told)
            print(done, flush=True)


def serve() -> int:
    """Serve the sandbox's resources to the Pulumi CLI in another terminal, until interrupted."""
    from sandbox.program.deploy import STACK, Sandbox
    from sandbox.program.in_process import stack_config
    from sandbox.program.provider import serving

    config = stack_config(STACK)
    with Sandbox(config["aws:region"], lambda _: None) as sandbox, serving(sandbox.aws) as address:
        sandbox.verify_sender(config)
        export(
            sandbox.emulator.variables()
            | {"PULUMI_DEBUG_PROVIDERS": address, "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true"}
        )
        print("ready", flush=True)
        while True:
            sandbox.emulator.check()
            time.sleep(1)


def export(variables: Mapping[str, str]) -> None:
    """Print the lines that a second terminal needs."""
    print("# in a second terminal:")
    for name, value in variables.items():
        print(f"export {name}={shlex.quote(value)}")


def tell(deployment: "Deployment", before: str = "") -> str:
    """Print one line on what the program asks for and the sandbox does not imitate, where it is another than before.

    Returns
    -------
    str
        The line.
    """
    if deployment.not_imitated not in ("", before):
        print(deployment.not_imitated)
    return deployment.not_imitated


def redeployed(sandbox: "Sandbox", deployment: "Deployment") -> str:
    """Deploy the program again; a line on what came of it. What is wrong with it is for its author to mend."""
    try:
        done = sandbox.redeploy(deployment)
    except Exception as error:
        return f"not redeployed: {type(error).__name__}: {' '.join(str(error).split())}"
    return f"redeployed: {', '.join(done)}" if done else "nothing to redeploy"


def write(path: Path | None, outputs: Mapping[str, Any]) -> None:
    """Write a stack's outputs as JSON, if anywhere."""
    if path:
        path.write_text(json.dumps(outputs, indent=2), encoding="utf-8")


def put(table: str, path: Path) -> int:
    """Write a file's items to a table; 1 when a line could not be."""
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
            f"nothing answers at {endpoint}: is python -m sandbox up running? Its port is a new one after each start: "
            "run the export lines that it prints again"
        ) from error
    for number, why in report.refused:
        print(f"{path}:{number}: {why}", file=sys.stderr)
    print(f"{report.written} items written to {report.table}")
    return 1 if report.refused else 0


def main() -> int:
    """Run the command that the arguments name; its exit code."""
    started = time.monotonic()
    parser = argparse.ArgumentParser(prog="python -m sandbox", description="AWS on this machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("demo", help="deploy everything, write changes, make some fail, and check every promise")
    upper = commands.add_parser("up", help="deploy the program and stay, telling of every invocation")
    upper.add_argument("--port", type=int, help="port of the emulator on loopback (a free one)")
    upper.add_argument("--outputs", type=Path, help="write the stack's outputs here, for python -m ops")
    commands.add_parser("serve", help="serve the embedded AWS to the Pulumi CLI, and stay")
    putter = commands.add_parser("put", help="write items to a table of the sandbox that is up")
    putter.add_argument("--table", required=True, help="its name, or its name in the program: users")
    putter.add_argument("file", type=Path, help="JSON lines: a table export's or plain ones, gzipped or not")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.dont_write_bytecode = False  # the provider's modules take 3 s longer without, each time
    try:
        match arguments.command:
            case "demo":
                return demo(started)
            case "up":
                return up(arguments.port, arguments.outputs)
            case "serve":
                return serve()
            case _:
                return put(arguments.table, arguments.file)
    except SandboxError as error:
        print(error, file=sys.stderr)
        return 1
    except Exception as error:
        from pulumi import RunError

        if not isinstance(error, RunError):
            raise
        print(error, file=sys.stderr)  # the program's own words, such as all that is wrong with its configuration
        return 1
    except KeyboardInterrupt:
        return 0 if arguments.command in ("up", "serve") else 130  # it is how these are ended


if __name__ == "__main__":
    sys.exit(main())
