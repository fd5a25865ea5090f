"""Invokes functions in the emulator, and keeps what came of it: the answer, the error, the whole log."""

import base64
import contextlib
import json
import logging
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from botocore.exceptions import BotoCoreError, ClientError  # pyright: ignore[reportMissingTypeStubs] -- boto3 is untyped

Client = Callable[[str], Any]
"""A service's name to its boto3 client."""
LOG_TAIL_BYTES = 4096
"""How much of its log an invocation answers with; AWS: Invoke, LogType."""
PAUSE_SECONDS = 5.0
"""How long an update waits for running invocations. After that the emulator ends them; AWS would let them go on."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LambdaFunction:
    """A function that exists: its ARN and its log group."""

    arn: str
    log_group: str

    @property
    def name(self) -> str:
        """Its physical name."""
        return self.arn.rsplit(":", 1)[1]


@dataclass(frozen=True)
class FunctionRun:
    """One run of a function; `failed` where the function itself did, `refused` where Lambda did not run it."""

    ended_at: float
    duration_seconds: float
    response: Any
    failed: bool
    refused: Exception | None
    error: str | None
    log: str


@dataclass(frozen=True)
class ObservedInvocation:
    """One invocation of a function by a mapping or by its schedule, with its result.

    An invocation by the schedule has no mapping, no stream and no records; `scheduled` is its input. `ended_at` is
    the moment of the answer, in epoch seconds.
    """

    uuid: str
    function: str
    stream_arn: str
    records: tuple[Mapping[str, Any], ...]
    attempt: int
    ended_at: float
    duration_seconds: float
    response: Any
    error: str | None
    log: str
    scheduled: Mapping[str, Any] | None = None


class Invoker:
    """Invokes functions over a client of the emulator's, on the caller's thread."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._running = Counter[str]()
        self._paused = Counter[str]()
        self._changed = threading.Condition()

    def describe(self, name: str) -> LambdaFunction:
        """The function of that name or ARN; raises ClientError where there is none."""
        found = self._client("lambda").get_function_configuration(FunctionName=name)
        group = found.get("LoggingConfig", {}).get("LogGroup") or f"/aws/lambda/{found['FunctionName']}"
        return LambdaFunction(found["FunctionArn"], group)

    @contextlib.contextmanager
    def pause(self, name: str) -> Generator[None]:
        """Wait for the running invocations, for PAUSE_SECONDS at most, and begin none until the context ends."""
        with self._changed:
            self._paused[name] += 1
            self._changed.wait_for(lambda: not self._running[name], PAUSE_SECONDS)
        try:
            yield
        finally:
            with self._changed:
                self._paused[name] -= 1
                self._changed.notify_all()

    def invoke(self, function: LambdaFunction, event: Mapping[str, Any]) -> FunctionRun:
        """Invoke a function as soon as it is not paused, and wait for its answer."""
        with self._changed:
            self._changed.wait_for(lambda: not self._paused[function.name])
            self._running[function.name] += 1
        try:
            return self._invoke(function, event)
        finally:
            with self._changed:
                self._running[function.name] -= 1
                self._changed.notify_all()

    def _invoke(self, function: LambdaFunction, event: Mapping[str, Any]) -> FunctionRun:
        started = time.time()
        try:
            answer = self._client("lambda").invoke(FunctionName=function.arn, Payload=json.dumps(event), LogType="Tail")
        except (ClientError, BotoCoreError) as refused:
            now = time.time()
            return FunctionRun(now, now - started, None, failed=False, refused=refused, error=str(refused), log="")
        response = json.loads(answer["Payload"].read() or b"null")
        failed = bool(answer.get("FunctionError"))
        error = f"{response.get('errorType')}: {response.get('errorMessage')}" if failed else None
        seconds = time.time() - started
        tail = base64.b64decode(answer.get("LogResult", ""))
        log = _whole_log(self._client, function.log_group, tail, started)
        return FunctionRun(started + seconds, seconds, response, failed=failed, refused=None, error=error, log=log)


def _whole_log(client: Client, group: str, tail: bytes, started: float) -> str:
    """An invocation's log; from CloudWatch Logs where the answer's tail was cut, the tail if it is not there."""
    text = tail.decode(errors="replace")
    if len(tail) < LOG_TAIL_BYTES:
        return text
    _, _, end = text.rstrip().partition("\n")
    pages = client("logs").get_paginator("filter_log_events")
    streams: defaultdict[str, list[str]] = defaultdict(list)
    try:
        for page in pages.paginate(logGroupName=group, startTime=int(started * 1000)):
            for event in page["events"]:
                streams[event["logStreamName"]].append(event["message"])
    except (ClientError, BotoCoreError) as error:
        _log.warning("only the end of a log is there: %s cannot be read: %s", group, error)
        return text
    logs = ("\n".join(lines) for lines in streams.values())
    return next((log for log in logs if end in log), text)


def error_code(error: Exception | None) -> str | None:
    """AWS's code of an error; None where it has none."""
    return cast("dict[str, Any]", error.response)["Error"]["Code"] if isinstance(error, ClientError) else None
