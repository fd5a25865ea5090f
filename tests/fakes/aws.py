"""AWS in memory for the engine's tests: clients with a record of their calls, a clock and Lambda's context."""

import contextlib
import json
import logging
import os
import time
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from botocore.exceptions import ClientError  # pyright: ignore[reportMissingTypeStubs] # botocore has none

from tests.fakes.dynamodb import ClockedDynamoDB, touched
from tests.fakes.records import START

Result = TypeVar("Result")
Hook = Callable[[Callable[[], Any]], Any]
"""Replaces a call: the hook receives the call, and may make it, refuse it, or act before or after it."""


class Clock:
    """Epoch seconds that pass when a test advances the clock."""

    def __init__(self, now: float = START) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass; also the engine's `sleep`."""
        self.now += seconds


class LambdaContext:
    """Lambda's context of one invocation, whose remaining time follows a test's clock."""

    function_name = "mirror"
    function_version = "$LATEST"

    def __init__(self, clock: Callable[[], float], seconds: float = 60, request: str = "request-1") -> None:
        self._clock, self._end = clock, clock() + seconds
        self.aws_request_id = request
        self.invoked_function_arn = "arn:aws:lambda:eu-central-1:111122223333:function:mirror"

    def get_remaining_time_in_millis(self) -> int:
        return int((self._end - self._clock()) * 1000)


def refusal(code: str, operation: str = "Call", **response: Any) -> ClientError:
    """Return the error that boto3 raises if AWS refuses a call."""
    return ClientError({"Error": {"Code": code, "Message": f"{code} by a fake"}, **response}, operation)


def refused(code: str = "InternalServerError") -> Hook:
    """Return a hook that refuses the call without effect."""

    def hook(act: Callable[[], Any]) -> Any:
        raise refusal(code)

    return hook


def unanswered(act: Callable[[], Any]) -> Any:
    """Make the call and lose its response."""
    act()
    raise refusal("RequestTimeout")


def answered(act: Callable[[], Any]) -> Any:
    """Make the call."""
    return act()


def in_turn(*hooks: Hook) -> Hook:
    """Return a hook that uses one of the hooks per call, and then makes the calls."""
    left = list(hooks)
    return lambda act: left.pop(0)(act) if left else act()


def before(do: Callable[[], Any]) -> Hook:
    """Return a hook that calls `do` before the first call."""

    def hook(act: Callable[[], Any]) -> Any:
        do()
        return act()

    return in_turn(hook)


class HookedDynamoDB(ClockedDynamoDB):
    """ClockedDynamoDB with a log of its calls, and hooks that replace calls.

    The name of a call is the operation and the kind of row or the table: "Query note", "UpdateItem hold",
    "BatchWriteItem change", "UpdateItem description", "PutItem mirror".

    Attributes
    ----------
    calls : list of str
        The names of all calls, in order.
    on : dict of Hook
        The hooks, by the name of the call.
    """

    def __init__(
        self, keys: Mapping[str, tuple[str, ...]] | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        super().__init__(keys, clock)
        self.calls: list[str] = []
        self.on: dict[str, Hook] = {}

    def perform(self, operation: str, request: Mapping[str, Any], act: Callable[[], Result]) -> Result:
        name = f"{operation} {touched(request)}"
        self.calls.append(name)
        perform = super().perform

        def run() -> Any:
            return perform(operation, request, act)

        return self.on[name](run) if name in self.on else run()


class S3:
    """boto3's S3 client with one bucket in memory. It imitates only a conditional `put_object`."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.puts = 0
        self.failing: Exception | None = None

    def put_object(self, **request: Any) -> dict[str, Any]:
        self.puts += 1
        assert set(request) - {"IfNoneMatch"} == {"Bucket", "Key", "Body", "ContentType"}
        assert request.get("IfNoneMatch", "*") == "*"
        if self.failing:
            raise self.failing
        if "IfNoneMatch" in request and request["Key"] in self.objects:
            raise refusal("PreconditionFailed", "PutObject")
        self.objects[request["Key"]] = request["Body"]
        return {}


class Lambda:
    """boto3's Lambda client, with a log of asynchronous invocations."""

    def __init__(self) -> None:
        self.invoked: list[tuple[str, Any]] = []
        self.failing: Exception | None = None

    def invoke(self, **request: Any) -> dict[str, Any]:
        assert request["InvocationType"] == "Event"
        if self.failing:
            raise self.failing
        self.invoked.append((request["FunctionName"], json.loads(request["Payload"])))
        return {"StatusCode": 202}


@contextlib.contextmanager
def silence() -> Generator[None]:
    """Drop the engine's log lines and metrics, which CloudWatch would receive."""
    logging.disable(logging.CRITICAL)
    try:
        with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
            yield
    finally:
        logging.disable(logging.NOTSET)
