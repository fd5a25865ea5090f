"""The sandbox for tests: one emulator, deployed programs, and the invocations of their functions."""

import io
import json
import os
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import pulumi_aws
from boto3.dynamodb import types  # pyright: ignore[reportMissingTypeStubs] -- boto3 is untyped

from sandbox import ROOT
from sandbox.emulator import HOST, Clients
from sandbox.mapping.invocation import ObservedInvocation
from sandbox.program.deploy import Deployment
from sandbox.program.in_process import Program, stack_config
from sandbox.program.sandbox import Sandbox
from tests.consumers.project import SAMPLE

REGION = "eu-west-1"


class LocalAws:
    """The sandbox with the operations of tests. Items are Python values; numbers that are read are Decimal."""

    def __init__(self, environment: Mapping[str, str] | None = None, *, emulator_port: int | None = None) -> None:
        self._lock = threading.Lock()
        self._invocations: list[ObservedInvocation] = []
        self.sandbox = Sandbox(REGION, self._observe, emulator_port=emulator_port, environment=environment)
        self.endpoint = self.sandbox.front.url
        self._front = Clients(self.endpoint, REGION)

    def _observe(self, invocation: ObservedInvocation) -> None:
        with self._lock:
            self._invocations.append(invocation)

    def client(self, service: str) -> Any:
        """Return the boto3 client of a service in the emulator."""
        return self.sandbox.emulator.client(service)

    def front_client(self, service: str) -> Any:
        """Return the boto3 client of a service that an operator's command has: its endpoint is the front.

        Wait until the emulator is up, for which the front does not wait.
        """
        self.sandbox.emulator.client(service)
        return self._front(service)

    def variables(self) -> dict[str, str]:
        """Return the environment variables that point a command at the front."""
        return self.sandbox.variables()

    def deploy(self, source: Callable[[], None] | Path = SAMPLE, **options: Any) -> Deployment:
        """Deploy `Program(source, **options)`, with the sample's stack file. The caller destroys the deployment."""
        options = {"config": stack_config(options.get("stack", "local"), SAMPLE)} | options
        return self.sandbox.deploy(Program(source, **options))

    def create_table(self, name: str, **specification: object) -> str:
        """Create a table with the key `id` outside Pulumi; return the ARN of its stream, if it has one."""
        response = self.client("dynamodb").create_table(
            TableName=name,
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            BillingMode="PAY_PER_REQUEST",
            **specification,
        )
        return response["TableDescription"].get("LatestStreamArn", "")

    def write(self, table: str, *items: Mapping[str, Any]) -> None:
        """Put items one after the other, so that the stream has their changes in this order."""
        for item in items:
            self.client("dynamodb").put_item(TableName=table, Item=_encoded(item))
        self.sandbox.poller.wake()

    def remove(self, table: str, **key: Any) -> None:
        """Delete one item."""
        self.client("dynamodb").delete_item(TableName=table, Key=_encoded(key))
        self.sandbox.poller.wake()

    def items(self, table: str) -> list[dict[str, Any]]:
        """Return all items of a table, in any order."""
        decode = cast("Any", types.TypeDeserializer()).deserialize
        pages = self.client("dynamodb").get_paginator("scan").paginate(TableName=table, ConsistentRead=True)
        return [{name: decode(value) for name, value in item.items()} for page in pages for item in page["Items"]]

    def held_items(self, ledger: str) -> list[str]:
        """Return the digests of the items that are held according to a ledger table."""
        rows = self.items(ledger)
        return [row["sk"] for row in rows if row["pk"].startswith("hold#") and row.get("state") == "held"]

    def set_variables(self, function: str, **variables: str) -> None:
        """Change environment variables of a function (physical name): invocations from now on have them."""
        functions = self.client("lambda")
        there = functions.get_function_configuration(FunctionName=function)["Environment"]["Variables"]
        with self.sandbox.poller.pause(function):
            functions.update_function_configuration(FunctionName=function, Environment={"Variables": there | variables})

    def wait_until_idle(self, timeout_seconds: float = 60.0, *, include_held: bool = True) -> None:
        """Wait until every change is processed, parked or discarded and, with `include_held`, no item is held."""
        self.sandbox.wait_until_idle(timeout_seconds, include_held=include_held)

    def invocations(self, function: str) -> list[ObservedInvocation]:
        """Return the invocations of a function (physical name) by mappings, in the order of their responses."""
        return [each for each in self._observed(function) if each.scheduled is None]

    def retry_runs(self, function: str) -> list[ObservedInvocation]:
        """Return the invocations of a function (physical name) by its schedule, in the order of the responses."""
        return [each for each in self._observed(function) if each.scheduled is not None]

    def _observed(self, function: str) -> list[ObservedInvocation]:
        with self._lock:
            return [each for each in self._invocations if each.function == function]

    def log(self, group: str) -> list[str]:
        """Return the messages of a log group."""
        pages = self.client("logs").get_paginator("filter_log_events").paginate(logGroupName=group)
        return [event["message"] for page in pages for event in page["events"]]

    def log_entries(self, group: str, message: str) -> list[dict[str, Any]]:
        """Return the JSON log entries of a function with this `message`."""
        entries = [json.loads(line) for line in self.log(group) if line.startswith("{")]
        return [entry for entry in entries if entry.get("message") == message]

    def objects(self, bucket: str, prefix: str = "") -> dict[str, bytes]:
        """Return the objects of a bucket by key."""
        s3 = self.client("s3")
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        keys = [item["Key"] for page in pages for item in page.get("Contents", ())]
        return {key: s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}

    def mails(self) -> list[dict[str, Any]]:
        """Return every e-mail since the start of the emulator: Source, To, Subject, BodyText and more."""
        return self.sandbox.emulator.mails()

    def close(self) -> None:
        """Stop the sandbox."""
        self.sandbox.close()


def declare_table(name: str, **options: Any) -> pulumi_aws.dynamodb.Table:
    """Declare, in a program, a table with the key `id` and these arguments of the provider."""
    key: dict[str, Any] = {"attributes": [{"name": "id", "type": "S"}], "hash_key": "id"}
    return pulumi_aws.dynamodb.Table(name, billing_mode="PAY_PER_REQUEST", **key | options)


def wait_for(
    condition: Callable[[], object], what: str, timeout_seconds: float = 20.0, pause_seconds: float = 0.02
) -> None:
    """Poll until `condition` is true; after `timeout_seconds`, raise an AssertionError that names `what`."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {timeout_seconds:.0f} s"
        time.sleep(pause_seconds)


def environment_without_aws() -> dict[str, str]:
    """Return the variables of this process for a command, without those of AWS and Pulumi."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PULUMI_"))}


def start_ops(variables: Mapping[str, str], *arguments: str) -> "subprocess.Popen[str]":
    """Start a command of `python -m ops` with these AWS variables, for 80 columns and without a terminal."""
    own = {"AWS_EC2_METADATA_DISABLED": "true", "COLUMNS": "80", "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "ops", *arguments],
        cwd=ROOT,
        env=environment_without_aws() | own | dict(variables),
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def run_ops(
    variables: Mapping[str, str], command: str, *arguments: str, outputs: Mapping[str, Any] | None = None
) -> tuple[int, str, str]:
    """Run a command of `python -m ops`; return its exit code, output and errors.

    It reads these outputs of a stack from standard input, or else finds the stack as its arguments say.
    """
    source = [] if outputs is None else ["--outputs", "-"]
    process = start_ops(variables, command, *source, *arguments)
    out, error = process.communicate("" if outputs is None else json.dumps(outputs), timeout=200)
    return process.returncode, out, error


def zip_module(source: str) -> bytes:
    """Return a zip file with the module `m`."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("m.py", source)
    return content.getvalue()


def is_listening(port: int) -> bool:
    """Whether a process listens on a port of loopback."""
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def _encoded(item: Mapping[str, Any]) -> dict[str, Any]:
    encode = cast("Any", types.TypeSerializer()).serialize
    return {name: encode(value) for name, value in item.items()}
