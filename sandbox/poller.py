"""The event source mapping acts: reads streams, invokes functions and writes to destinations, all over the emulator."""

import base64
import json
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, cast

from botocore.exceptions import BotoCoreError, ClientError  # pyright: ignore[reportMissingTypeStubs] -- boto3 is untyped

from sandbox.actions import (
    RETENTION_PASSED,
    Action,
    Describe,
    Discard,
    Failed,
    Invoke,
    Outcome,
    Position,
    Read,
    Returned,
    Throttled,
)
from sandbox.configuration import Configuration, Switches
from sandbox.destinations import Client, failure_record, send
from sandbox.mapping import EventSourceMapping

POLL_SECONDS = 0.1
"""AWS polls four times a second; here somebody is watching."""
TAIL_BYTES = 4096
"""How much of its log an invocation answers with; AWS: Invoke, LogType."""
THREADS = 32
"""At most so many reads, invocations and deliveries at once."""

_log = logging.getLogger(__name__)


class MappingError(Exception):
    """A mapping that AWS refuses to create, by AWS's code: its stream or function is missing, or it exists already."""


@dataclass(frozen=True)
class Invocation:
    """One invocation of a function by a mapping, and what came of it."""

    uuid: str
    function: str
    stream_arn: str
    records: tuple[Mapping[str, Any], ...]
    attempt: int
    seconds: float
    response: Any
    error: str | None
    log: str


@dataclass
class _Attached:
    uuid: str
    mapping: EventSourceMapping
    function_arn: str
    log_group: str
    iterators: dict[str, tuple[Position, str]] = field(default_factory=dict[str, tuple[Position, str]])
    problems: dict[Literal["read", "invoke"], str] = field(default_factory=dict[Literal["read", "invoke"], str])
    sending: int = 0

    @property
    def function(self) -> str:
        return self.function_arn.rsplit(":", 1)[1]

    @property
    def stream_arn(self) -> str:
        return self.mapping.configuration.event_source_arn


def quick_back_off(tries: int) -> float:
    """Seconds until the next try: AWS's growth, sooner."""
    return min(0.1 * 2 ** min(tries - 1, 16), 5.0)


class Poller:
    """Does the work of every mapping attached to it, on threads of its own, until it is closed.

    Parameters
    ----------
    client
        A service's name to its boto3 client, safe to share between threads. The Lambda client must not retry by itself
        and must wait longer than a function may run: each retry would be one more invocation that no mapping asked for.
    observe
        Called after each invocation, on any thread.
    switches
        The readings of what AWS does not document, the back-off among them.
    """

    def __init__(self, client: Client, observe: Callable[[Invocation], None], switches: Switches | None = None) -> None:
        self._client = client
        self._observe = observe
        self._switches = switches or Switches(back_off=quick_back_off)
        self._attached: dict[str, _Attached] = {}
        self._scheduled: dict[str, tuple[str, bool]] = {}
        self._changed = threading.Condition()
        self._closed = threading.Event()
        self._lost = 0
        self._pool = ThreadPoolExecutor(THREADS, "mapping")
        self._loop = threading.Thread(target=self._run, name="poller", daemon=True)
        self._loop.start()

    def attach(self, uuid: str, request: Mapping[str, Any]) -> None:
        """Begin the work of a mapping, created with `request`, from its starting position.

        Raises
        ------
        MappingError
            The stream or the function does not exist, or a mapping of both is attached already.
        pydantic.ValidationError
            The request holds something out of bounds, or something that the sandbox does not imitate.
        FilterError
            A filter pattern is invalid or not imitated.
        """
        mapping = EventSourceMapping(Configuration.model_validate(request), self._switches, POLL_SECONDS)
        attached = _Attached(uuid, mapping, *self._function(mapping.configuration.function_name))
        try:
            self._client("dynamodbstreams").describe_stream(StreamArn=attached.stream_arn)
        except ClientError as error:
            raise MappingError(f"InvalidParameterValueException: Stream not found: {attached.stream_arn}") from error
        with self._changed:
            for other in self._attached.values():
                if (other.stream_arn, other.function_arn) == (attached.stream_arn, attached.function_arn):
                    raise MappingError(
                        f"ResourceConflictException: The event source arn ({attached.stream_arn}) and function "
                        f"({attached.function}) provided mapping already exists: update or delete the existing "
                        f"mapping with UUID {other.uuid}"
                    )
            self._attached[uuid] = attached
            self._changed.notify()

    def update(self, uuid: str, request: Mapping[str, Any]) -> None:
        """Go on with another configuration from where the mapping stands; raises what `attach` raises."""
        configuration = Configuration.model_validate(request)
        function_arn, log_group = self._function(configuration.function_name)
        with self._changed:
            attached = self._attached[uuid]
            attached.mapping.configure(configuration)
            attached.function_arn, attached.log_group = function_arn, log_group
            self._changed.notify()

    def detach(self, uuid: str) -> None:
        """Stop the work of a mapping and forget its position; what runs is still observed."""
        with self._changed:
            del self._attached[uuid]

    def schedule(self, function_arn: str, input_text: str, *, enabled: bool) -> None:
        """Remember what a function is invoked with for its retries, and whether it is."""
        with self._changed:
            self._scheduled[function_arn] = (input_text, enabled)

    def unschedule(self, function_arn: str) -> None:
        """Forget a function's schedule; there may be none."""
        with self._changed:
            self._scheduled.pop(function_arn, None)

    def idle(self) -> bool:
        """Whether every enabled mapping has, since this call, found its stream's end and has nothing to do.

        It waits for the reads that tell, a second at most.
        """
        since = time.time()

        def busy() -> bool:
            return self._closed.is_set() or any(each.sending or not each.mapping.at_rest() for each in self._enabled())

        def caught_up() -> bool:
            return not busy() and all(each.mapping.caught_up(since) for each in self._enabled())

        with self._changed:
            self._changed.wait_for(lambda: busy() or caught_up(), timeout=1.0)
            return caught_up()

    def last_result(self, uuid: str) -> str:
        """What AWS's GetEventSourceMapping shows as LastProcessingResult; the emulator's own cannot be set."""
        with self._changed:
            attached = self._attached[uuid]
            return next(iter(attached.problems.values()), attached.mapping.last_result)

    @property
    def lost(self) -> int:
        """How many records were discarded and reached no destination."""
        return self._lost

    def close(self) -> None:
        """Stop all work; waits for what is running."""
        with self._changed:
            self._closed.set()
            self._changed.notify_all()
        self._loop.join()
        self._pool.shutdown(cancel_futures=True)

    def _enabled(self) -> list[_Attached]:
        return [each for each in self._attached.values() if each.mapping.configuration.enabled]

    def _function(self, name: str) -> tuple[str, str]:
        try:
            found = self._client("lambda").get_function_configuration(FunctionName=name)
        except ClientError as error:
            raise MappingError(f"ResourceNotFoundException: Function does not exist: {name}") from error
        group = found.get("LoggingConfig", {}).get("LogGroup") or f"/aws/lambda/{found['FunctionName']}"
        return found["FunctionArn"], group

    def _run(self) -> None:
        with self._changed:
            while not self._closed.is_set():
                now = time.time()
                for attached in self._attached.values():
                    for action in attached.mapping.advance(now):
                        attached.sending += isinstance(action, Discard)
                        self._pool.submit(self._perform, attached, action)
                due = [moment for each in self._attached.values() if (moment := each.mapping.due()) is not None]
                self._changed.wait(max(min(due) - now, 0) if due else None)

    def _perform(self, attached: _Attached, action: Action) -> None:
        perform = {Describe: self._describe, Read: self._read, Invoke: self._invoke, Discard: self._discard}
        try:
            tell = cast("Callable[[_Attached, Action], Callable[[], None]]", perform[type(action)])(attached, action)
        except Exception:
            if not self._closed.is_set():  # when it is, AWS may have gone in the middle of an answer
                _log.exception("mapping %s stopped: %s failed", attached.uuid, type(action).__name__)
            return
        with self._changed:
            tell()
            self._changed.notify_all()

    def _describe(self, attached: _Attached, _: Describe) -> Callable[[], None]:
        shards: list[dict[str, Any]] = []
        try:  # one page: a stream of the emulator's has one shard
            found = self._client("dynamodbstreams").describe_stream(StreamArn=attached.stream_arn)
            shards = found["StreamDescription"]["Shards"]
        except (ClientError, BotoCoreError) as error:
            self._unreadable(attached, error)
        return lambda: attached.mapping.discover((each["ShardId"], each.get("ParentShardId")) for each in shards)

    def _read(self, attached: _Attached, action: Read) -> Callable[[], None]:
        streams, mapping = self._client("dynamodbstreams"), attached.mapping
        position, iterator = attached.iterators.pop(action.shard, (None, ""))
        try:
            if position != action.position:
                sequence = {"SequenceNumber": action.position.sequence} if action.position.sequence else {}
                iterator = streams.get_shard_iterator(
                    StreamArn=attached.stream_arn,
                    ShardId=action.shard,
                    ShardIteratorType=action.position.kind,
                    **sequence,
                )["ShardIterator"]
            found = streams.get_records(ShardIterator=iterator)
        except (ClientError, BotoCoreError) as error:
            if _code(error) == "TrimmedDataAccessException":
                return lambda: mapping.trimmed(action)
            self._unreadable(attached, error)
            vanished = _code(error) == "ResourceNotFoundException"
            return lambda: mapping.read(action, [], time.time(), ended=vanished)
        attached.problems.pop("read", None)
        events = [lambda_record(record, attached.stream_arn) for record in found["Records"]]
        after = action.position
        if events:
            after = Position("AFTER_SEQUENCE_NUMBER", events[-1]["dynamodb"]["SequenceNumber"])
        if following := found.get("NextShardIterator"):
            attached.iterators[action.shard] = (after, following)
        return lambda: mapping.read(action, events, time.time(), ended=not following)

    def _invoke(self, attached: _Attached, action: Invoke) -> Callable[[], None]:
        started = time.time()
        records = tuple(record.event for record in action.records)
        response, error, log = None, None, ""
        outcome: Outcome = Throttled()
        try:
            answer = self._client("lambda").invoke(
                FunctionName=attached.function_arn, Payload=json.dumps({"Records": records}), LogType="Tail"
            )
        except (ClientError, BotoCoreError) as failure:
            error = str(failure)
            if _code(failure) != "TooManyRequestsException":
                self._report(attached, "invoke", f"PROBLEM: {attached.function} cannot be invoked: {failure}")
        else:
            attached.problems.pop("invoke", None)
            response = json.loads(answer["Payload"].read() or b"null")
            outcome = Returned(response)
            if answer.get("FunctionError"):
                outcome = Failed()
                error = f"{response.get('errorType')}: {response.get('errorMessage')}"
            tail = base64.b64decode(answer.get("LogResult", ""))
            log = self._whole_log(attached.log_group, tail, started)
        seconds, names = time.time() - started, (attached.uuid, attached.function, attached.stream_arn)
        self._observe(Invocation(*names, records, action.attempt, seconds, response, error, log))
        return lambda: attached.mapping.answer(action, outcome, time.time())

    def _whole_log(self, group: str, tail: bytes, started: float) -> str:
        """An invocation's log; from CloudWatch Logs where the answer's tail was cut, the tail if it is not there."""
        text = tail.decode(errors="replace")
        if len(tail) < TAIL_BYTES:
            return text
        _, _, end = text.rstrip().partition("\n")
        pages = self._client("logs").get_paginator("filter_log_events")
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

    def _discard(self, attached: _Attached, action: Discard) -> Callable[[], None]:
        configuration = attached.mapping.configuration
        destination = configuration.destination_config.on_failure.destination
        reason = None
        if action.condition == RETENTION_PASSED:
            reason = "the stream's retention has passed"
        elif destination is None:
            reason = "the mapping has no on-failure destination"
        else:
            arns = {"function_arn": attached.function_arn, "stream_arn": attached.stream_arn}
            try:
                send(self._client, destination, attached.uuid, action, failure_record(action, now=time.time(), **arns))
            except (ClientError, BotoCoreError) as error:
                reason = f"{destination} refused them: {error}"
        if reason:
            first, count = action.records[0].sequence, len(action.records)
            _log.error("mapping %s lost %d records from %s on: %s", attached.uuid, count, first, reason)
        return lambda: self._sent(attached, len(action.records) if reason else 0)

    def _sent(self, attached: _Attached, lost: int) -> None:
        attached.sending -= 1
        self._lost += lost

    def _unreadable(self, attached: _Attached, error: Exception) -> None:
        self._report(attached, "read", f"PROBLEM: {attached.stream_arn} cannot be read: {error}")

    def _report(self, attached: _Attached, doing: Literal["read", "invoke"], problem: str) -> None:
        if attached.problems.get(doing) != problem and not self._closed.is_set():
            attached.problems[doing] = problem
            _log.error("mapping %s: %s", attached.uuid, problem)


def _code(error: Exception) -> str | None:
    return cast("dict[str, Any]", error.response)["Error"]["Code"] if isinstance(error, ClientError) else None


def lambda_record(record: Mapping[str, Any], stream_arn: str) -> dict[str, Any]:
    """A record of GetRecords, as boto3 returns it, in the shape that Lambda gives to functions."""
    event = cast("dict[str, Any]", _plain(record))
    if identity := event.get("userIdentity"):
        event["userIdentity"] = {name[0].lower() + name[1:]: value for name, value in identity.items()}
    return {**event, "eventSource": "aws:dynamodb", "eventSourceARN": stream_arn}


def _plain(value: object) -> object:
    match value:
        case dict():
            return {key: _plain(each) for key, each in cast("dict[str, Any]", value).items()}
        case list():
            return [_plain(each) for each in cast("list[Any]", value)]
        case bytes():
            return base64.b64encode(value).decode()
        case datetime():
            return int(value.timestamp())
        case _:
            return value
