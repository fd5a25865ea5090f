"""Invokes functions in the emulator, and returns their answer, error and whole log."""

import base64
import contextlib
import json
import logging
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from botocore.exceptions import BotoCoreError, ClientError  # pyright: ignore[reportMissingTypeStubs] -- boto3 is untyped

Client = Callable[[str], Any]
"""Returns the boto3 client of a service, by the service's name."""
LOG_TAIL_BYTES = 4096
"""Length of the log's tail in an answer, in bytes (AWS: Invoke, LogType)."""

_log = logging.getLogger(__name__)


class RefusalError(Exception):
    """AWS refuses to create a mapping or schedule: the message begins with AWS's error code."""


@dataclass(frozen=True)
class LambdaFunction:
    """A function that exists, identified by its ARN."""

    arn: str
    log_group: str = field(compare=False)

    @property
    def name(self) -> str:
        """Physical name."""
        return self.arn.rsplit(":", 1)[1]


@dataclass(frozen=True)
class ObservedInvocation:
    """One invocation of a function by a mapping or by its schedule, with its result.

    An invocation by the schedule has no mapping, stream or records; `scheduled` is its input. `ended_at` is the time of
    the answer, in epoch seconds. `error` is the failure of the function, or of Lambda, which then has a `refusal`: the
    function did not run.
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
    refusal: Exception | None = None


class Invoker:
    """Invokes functions with a client of the emulator, on the caller's thread."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._pauses = Counter[str]()
        self._changed = threading.Condition()

    def describe(self, name: str) -> LambdaFunction:
        """Return the function of a name or ARN; raises RefusalError if it does not exist."""
        try:
            described = self._client("lambda").get_function_configuration(FunctionName=name)
        except ClientError as error:
            raise RefusalError(f"ResourceNotFoundException: Function does not exist: {name}") from error
        group = described.get("LoggingConfig", {}).get("LogGroup") or f"/aws/lambda/{described['FunctionName']}"
        return LambdaFunction(described["FunctionArn"], group)

    @contextlib.contextmanager
    def pause(self, name: str) -> Generator[None]:
        """Start no invocation until the context ends; those that run continue, with the code that they began with."""
        with self._changed:
            self._pauses[name] += 1
        try:
            yield
        finally:
            with self._changed:
                self._pauses[name] -= 1
                self._changed.notify_all()

    def invoke(
        self, function: LambdaFunction, event: Mapping[str, Any], uuid: str = "", stream_arn: str = "", attempt: int = 1
    ) -> ObservedInvocation:
        """Invoke a function as soon as it is not paused, and wait for its answer.

        An event without records is the input of a schedule. The other arguments say which mapping delivers the records.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._pauses[function.name])
        result = self._result(function, event, time.time())
        records = tuple(event.get("Records", ()))
        scheduled = None if "Records" in event else event
        return ObservedInvocation(uuid, function.name, stream_arn, records, attempt, scheduled=scheduled, **result)

    def _result(self, function: LambdaFunction, event: Mapping[str, Any], started_at: float) -> dict[str, Any]:
        try:
            answer = self._client("lambda").invoke(FunctionName=function.arn, Payload=json.dumps(event), LogType="Tail")
        except (ClientError, BotoCoreError) as refusal:
            now = time.time()
            times = {"ended_at": now, "duration_seconds": now - started_at}
            return {**times, "response": None, "error": str(refusal), "log": "", "refusal": refusal}
        response = json.loads(answer["Payload"].read() or b"null")
        failed = bool(answer.get("FunctionError"))
        error = f"{response.get('errorType')}: {response.get('errorMessage')}" if failed else None
        now = time.time()
        log = _whole_log(self._client, function.log_group, base64.b64decode(answer.get("LogResult", "")), started_at)
        return {"ended_at": now, "duration_seconds": now - started_at, "response": response, "error": error, "log": log}


def _whole_log(client: Client, group: str, tail: bytes, started: float) -> str:
    """Return an invocation's log: the tail, or the log in CloudWatch Logs if the tail is cut and the log is there."""
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
        _log.warning("a log is cut to its last %d bytes: %s cannot be read: %s", LOG_TAIL_BYTES, group, error)
        return text
    logs = ("\n".join(lines) for lines in streams.values())
    return next((log for log in logs if end in log), text)


def error_code(error: Exception | None) -> str | None:
    """Return AWS's code of an error; None if it has none."""
    return cast("dict[str, Any]", error.response)["Error"]["Code"] if isinstance(error, ClientError) else None
