"""What tests see of the sandbox: one emulator for all of them, programs deployed in it, and what its functions did."""

import json
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from boto3.dynamodb import types  # pyright: ignore[reportMissingTypeStubs] -- boto3 is untyped

from sandbox.mapping.invocation import ObservedInvocation
from sandbox.program.deploy import Deployment, Sandbox
from sandbox.program.in_process import stack_config
from tests.consumers.project import SAMPLE

REGION = "eu-west-1"


class LocalAws:
    """The sandbox, with short words for what tests do. Items are plain Python; numbers are Decimal when read."""

    def __init__(self, environment: Mapping[str, str] | None = None, *, port: int | None = None) -> None:
        self._lock = threading.Lock()
        self._invocations: list[ObservedInvocation] = []
        self.sandbox = Sandbox(REGION, self._observe, port=port, environment=environment)

    def _observe(self, invocation: ObservedInvocation) -> None:
        with self._lock:
            self._invocations.append(invocation)

    def client(self, service: str) -> Any:
        """boto3 client of a service."""
        return self.sandbox.emulator.client(service)

    def deploy(
        self,
        program: Callable[[], None] | Path = SAMPLE,
        *,
        stack: str = "local",
        config: Mapping[str, str] | None = None,
    ) -> Deployment:
        """Deploy a program; `config` is the sample's stack file unless given. The caller destroys the deployment."""
        config = stack_config(stack, SAMPLE) if config is None else config
        return self.sandbox.deploy(program, stack=stack, config=config)

    def write(self, table: str, *items: Mapping[str, Any]) -> None:
        """Put items, one by one, so that their changes are in this order."""
        for item in items:
            self.client("dynamodb").put_item(TableName=table, Item=_encoded(item))

    def remove(self, table: str, **key: Any) -> None:
        """Delete one item."""
        self.client("dynamodb").delete_item(TableName=table, Key=_encoded(key))

    def items(self, table: str) -> list[dict[str, Any]]:
        """All items of a table, in no order."""
        decode = cast("Any", types.TypeDeserializer()).deserialize
        pages = self.client("dynamodb").get_paginator("scan").paginate(TableName=table, ConsistentRead=True)
        return [{name: decode(value) for name, value in item.items()} for page in pages for item in page["Items"]]

    def set_variables(self, function: str, **variables: str) -> None:
        """Change environment variables of a function (its physical name), between two of its invocations."""
        functions = self.client("lambda")
        there = functions.get_function_configuration(FunctionName=function)["Environment"]["Variables"]
        with self.sandbox.poller.pause(function):
            functions.update_function_configuration(FunctionName=function, Environment={"Variables": there | variables})

    def settle(self, within: float = 60.0, *, released: bool = True) -> None:
        """Wait until every mapping has read its stream to the end and nothing is in flight or waits for a retry.

        Nor is held, unless `released` is false.
        """
        self.sandbox.settle(within, released=released)

    def invocations(self, function: str) -> list[ObservedInvocation]:
        """What mappings have invoked of a function (its physical name), in the order of the answers."""
        return [each for each in self._observed(function) if each.scheduled is None]

    def retry_runs(self, function: str) -> list[ObservedInvocation]:
        """What its schedule has invoked of a function (its physical name), in the order of the answers."""
        return [each for each in self._observed(function) if each.scheduled is not None]

    def _observed(self, function: str) -> list[ObservedInvocation]:
        with self._lock:
            return [each for each in self._invocations if each.function == function]

    def log(self, group: str) -> list[str]:
        """The messages of a log group."""
        pages = self.client("logs").get_paginator("filter_log_events").paginate(logGroupName=group)
        return [event["message"] for page in pages for event in page["events"]]

    def log_entries(self, group: str, message: str) -> list[dict[str, Any]]:
        """What a function has logged as JSON under `message`."""
        entries = [json.loads(line) for line in self.log(group) if line.startswith("{")]
        return [entry for entry in entries if entry.get("message") == message]

    def objects(self, bucket: str, prefix: str = "") -> dict[str, bytes]:
        """Objects of a bucket by key."""
        s3 = self.client("s3")
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        keys = [item["Key"] for page in pages for item in page.get("Contents", ())]
        return {key: s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}

    def mails(self) -> list[dict[str, Any]]:
        """Every e-mail sent since the emulator started: Source, To, Subject, BodyText and more."""
        return self.sandbox.emulator.mails()

    def close(self) -> None:
        """Stop everything."""
        self.sandbox.close()


def wait_for(condition: Callable[[], object], what: str, within: float = 20.0) -> None:
    """Poll until `condition` holds; after `within` seconds an AssertionError that says `what` was waited for."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {within:.0f} s"
        time.sleep(0.02)


def _encoded(item: Mapping[str, Any]) -> dict[str, Any]:
    encode = cast("Any", types.TypeSerializer()).serialize
    return {name: encode(value) for name, value in item.items()}
