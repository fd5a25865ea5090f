"""Mappings and schedules act: read streams, invoke functions and write to destinations, all over the emulator."""

import base64
import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from typing import Any, Literal, cast

from botocore.exceptions import BotoCoreError, ClientError  # pyright: ignore[reportMissingTypeStubs] -- boto3 is untyped

from sandbox.mapping.configuration import Assumptions, Configuration
from sandbox.mapping.destinations import failure_record, send
from sandbox.mapping.invocation import Client, FunctionRun, Invoker, LambdaFunction, ObservedInvocation, error_code
from sandbox.mapping.machine import MappingMachine
from sandbox.mapping.protocol import (
    RETENTION_PASSED,
    Action,
    Describe,
    Discard,
    Failed,
    InvocationResult,
    Invoke,
    Position,
    Read,
    Returned,
    Throttled,
)
from sandbox.schedule import Schedule

POLL_SECONDS = 0.1
"""AWS polls four times a second; here somebody is watching."""
THREADS = 32
"""At most so many reads, invocations and deliveries at once."""

_log = logging.getLogger(__name__)


class MappingError(Exception):
    """A mapping that AWS refuses to create, by AWS's code: its stream or function is missing, or it exists already."""


@dataclass
class _AttachedMapping:
    uuid: str
    mapping: MappingMachine
    function: LambdaFunction
    iterators: dict[str, tuple[Position, str]] = field(default_factory=dict[str, tuple[Position, str]])
    problems: dict[Literal["read", "invoke"], str] = field(default_factory=dict[Literal["read", "invoke"], str])
    sending: int = 0

    @property
    def stream_arn(self) -> str:
        return self.mapping.configuration.event_source_arn


@dataclass
class _Scheduled:
    schedule: Schedule
    function: LambdaFunction


def quick_back_off(tries: int) -> float:
    """Seconds until the next try: AWS's growth, sooner."""
    return min(0.1 * 2 ** min(tries - 1, 16), 5.0)


class Poller:
    """Does the work of every mapping and schedule given to it, on threads of its own, until it is closed.

    Parameters
    ----------
    client
        A service's name to its boto3 client, safe to share between threads. The Lambda client must not retry by itself
        and must wait longer than a function may run: each retry would be one more invocation that no mapping asked for.
    observe
        Called after each invocation, on any thread.
    assumptions
        The readings of what AWS does not document, the back-off among them.
    """

    def __init__(
        self, client: Client, observe: Callable[[ObservedInvocation], None], assumptions: Assumptions | None = None
    ) -> None:
        self._client = client
        self._invoker = Invoker(client)
        self._observe = observe
        self._assumptions = assumptions or Assumptions(back_off=quick_back_off)
        self._attached: dict[str, _AttachedMapping] = {}
        self._scheduled: dict[str, _Scheduled] = {}  # by the function's ARN
        self._changed = threading.Condition()
        self._closed = threading.Event()
        self._lost_records = 0
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
        mapping = MappingMachine(Configuration.model_validate(request), self._assumptions, POLL_SECONDS)
        attached = _AttachedMapping(uuid, mapping, self._function(mapping.configuration.function_name))
        try:
            self._client("dynamodbstreams").describe_stream(StreamArn=attached.stream_arn)
        except ClientError as error:
            raise MappingError(f"InvalidParameterValueException: Stream not found: {attached.stream_arn}") from error
        with self._changed:
            for other in self._attached.values():
                if (other.stream_arn, other.function.arn) == (attached.stream_arn, attached.function.arn):
                    raise MappingError(
                        f'ResourceConflictException: The event source arn (" {attached.stream_arn} ") and function '
                        f'(" {attached.function.name} ") provided mapping already exists. Please update or delete the '
                        f"existing mapping with UUID {other.uuid}"
                    )
            self._attached[uuid] = attached
            self._changed.notify()

    def update(self, uuid: str, request: Mapping[str, Any]) -> None:
        """Go on with another configuration from where the mapping stands; raises what `attach` raises."""
        configuration = Configuration.model_validate(request)
        function = self._function(configuration.function_name)
        with self._changed:
            attached = self._attached[uuid]
            attached.mapping.configure(configuration)
            attached.function = function
            self._changed.notify()

    def detach(self, uuid: str) -> None:
        """Stop the work of a mapping and forget its position; what runs is still observed."""
        with self._changed:
            del self._attached[uuid]

    def schedule(self, function_arn: str, input_text: str, *, enabled: bool) -> None:
        """Invoke a function with this input, a JSON object, as its schedule says. A second call changes the input.

        Raises
        ------
        MappingError
            The function does not exist.
        """
        function = self._function(function_arn)
        with self._changed:
            if function.arn in self._scheduled:
                self._scheduled[function.arn].schedule.configure(input_text, enabled=enabled)
            else:
                schedule = Schedule(input_text, time.time(), enabled=enabled)
                self._scheduled[function.arn] = _Scheduled(schedule, function)
            self._changed.notify()

    def unschedule(self, function_arn: str) -> None:
        """Invoke a function no more; what runs is still observed."""
        with self._changed:
            self._scheduled.pop(function_arn, None)

    def pause(self, function_name: str) -> AbstractContextManager[None]:
        """Begin no invocation of a function while it is updated, since the emulator would end it."""
        return self._invoker.pause(function_name)

    def make_all_due(self) -> None:
        """Let every function try everything that it holds at once, whatever the back-off."""
        with self._changed:
            for scheduled in self._scheduled.values():
                scheduled.schedule.make_all_due(time.time())
            self._changed.notify()

    def held(self) -> dict[str, int]:
        """The functions that may hold items, by name, and how many items each held after its last retry run."""
        with self._changed:
            schedules = self._scheduled.values()
            return {each.function.name: each.schedule.held for each in schedules if not each.schedule.is_idle()}

    def is_idle(self, *, released: bool = True) -> bool:
        """Whether every enabled mapping has, since this call, found its stream's end and has nothing to do.

        And, unless `released` is false, no function holds an item. It waits for the reads that tell, a second at most.
        """
        since = time.time()

        def busy() -> bool:
            if self._closed.is_set() or any(each.sending or not each.mapping.is_idle() for each in self._enabled()):
                return True
            return released and not all(each.schedule.is_idle() for each in self._scheduled.values())

        def caught_up() -> bool:
            return not busy() and all(each.mapping.is_drained(since) for each in self._enabled())

        with self._changed:
            self._changed.wait_for(lambda: busy() or caught_up(), timeout=1.0)
            return caught_up()

    def last_processing_result(self, uuid: str) -> str:
        """What AWS's GetEventSourceMapping shows as LastProcessingResult; the emulator's own cannot be set."""
        with self._changed:
            attached = self._attached[uuid]
            return next(iter(attached.problems.values()), attached.mapping.last_result)

    @property
    def lost_records(self) -> int:
        """How many records were discarded and reached no destination."""
        return self._lost_records

    def close(self) -> None:
        """Stop all work; waits for what is running."""
        with self._changed:
            self._closed.set()
            self._changed.notify_all()
        self._loop.join()
        self._pool.shutdown(cancel_futures=True)

    def _enabled(self) -> list[_AttachedMapping]:
        return [each for each in self._attached.values() if each.mapping.configuration.enabled]

    def _function(self, name: str) -> LambdaFunction:
        try:
            return self._invoker.describe(name)
        except ClientError as error:
            raise MappingError(f"ResourceNotFoundException: Function does not exist: {name}") from error

    def _run(self) -> None:
        with self._changed:
            while not self._closed.is_set():
                now = time.time()
                for attached in self._attached.values():
                    for action in attached.mapping.advance(now):
                        attached.sending += isinstance(action, Discard)
                        self._pool.submit(self._perform, attached, action)
                for scheduled in self._scheduled.values():
                    if (event := scheduled.schedule.advance(now)) is not None:
                        self._pool.submit(self._fire, scheduled, event)
                mappings = (each.mapping.due() for each in self._attached.values())
                schedules = (each.schedule.due() for each in self._scheduled.values())
                due = [moment for moment in chain(mappings, schedules) if moment is not None]
                self._changed.wait(max(min(due) - now, 0) if due else None)

    def _perform(self, attached: _AttachedMapping, action: Action) -> None:
        perform = {Describe: self._describe, Read: self._read, Invoke: self._invoke, Discard: self._discard}
        try:
            complete = cast("Callable[[_AttachedMapping, Action], Callable[[], None]]", perform[type(action)])(
                attached, action
            )
        except Exception:
            if not self._closed.is_set():  # when it is, AWS may have gone in the middle of an answer
                _log.exception("mapping %s stopped: %s failed", attached.uuid, type(action).__name__)
            return
        with self._changed:
            complete()
            self._changed.notify_all()

    def _describe(self, attached: _AttachedMapping, _: Describe) -> Callable[[], None]:
        shards: list[dict[str, Any]] = []
        try:  # one page: a stream of the emulator's has one shard
            found = self._client("dynamodbstreams").describe_stream(StreamArn=attached.stream_arn)
            shards = found["StreamDescription"]["Shards"]
        except (ClientError, BotoCoreError) as error:
            self._unreadable(attached, error)
        return lambda: attached.mapping.discover((each["ShardId"], each.get("ParentShardId")) for each in shards)

    def _read(self, attached: _AttachedMapping, action: Read) -> Callable[[], None]:
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
            if error_code(error) == "TrimmedDataAccessException":
                return lambda: mapping.skip_trimmed(action)
            self._unreadable(attached, error)
            vanished = error_code(error) == "ResourceNotFoundException"
            return lambda: mapping.receive(action, [], time.time(), ended=vanished)
        attached.problems.pop("read", None)
        events = [lambda_record(record, attached.stream_arn) for record in found["Records"]]
        after = action.position
        if events:
            after = Position("AFTER_SEQUENCE_NUMBER", events[-1]["dynamodb"]["SequenceNumber"])
        if following := found.get("NextShardIterator"):
            attached.iterators[action.shard] = (after, following)
        return lambda: mapping.receive(action, events, time.time(), ended=not following)

    def _invoke(self, attached: _AttachedMapping, action: Invoke) -> Callable[[], None]:
        records = tuple(record.event for record in action.records)
        run = self._invoker.invoke(attached.function, {"Records": records})
        result: InvocationResult = Failed() if run.failed else Returned(run.response)
        if run.refused:
            result = Throttled()
            if error_code(run.refused) != "TooManyRequestsException":
                problem = f"PROBLEM: {attached.function.name} cannot be invoked: {run.refused}"
                self._report(attached, "invoke", problem)
        else:
            attached.problems.pop("invoke", None)
        whence = (attached.uuid, attached.function.name, attached.stream_arn, records, action.attempt)
        self._observe(_invocation(*whence, run))

        def complete() -> None:
            attached.mapping.complete(action, result, time.time())
            if not run.refused and (scheduled := self._scheduled.get(attached.function.arn)):
                scheduled.schedule.record_batch(run.log, time.time(), failed=run.failed)

        return complete

    def _fire(self, scheduled: _Scheduled, event: Mapping[str, Any]) -> None:
        try:
            run = self._invoker.invoke(scheduled.function, event)
            self._observe(_invocation("", scheduled.function.name, "", (), 1, run, scheduled=event))
        except Exception:
            if not self._closed.is_set():
                _log.exception("schedule of %s stopped", scheduled.function.name)
            return
        with self._changed:
            scheduled.schedule.record_run(run.response, time.time(), failed=run.failed or run.refused is not None)
            self._changed.notify_all()

    def _discard(self, attached: _AttachedMapping, action: Discard) -> Callable[[], None]:
        configuration = attached.mapping.configuration
        destination = configuration.destination_config.on_failure.destination
        reason = None
        if action.condition == RETENTION_PASSED:
            reason = "the stream's retention has passed"
        elif destination is None:
            reason = "the mapping has no on-failure destination"
        else:
            arns = {"function_arn": attached.function.arn, "stream_arn": attached.stream_arn}
            try:
                send(self._client, destination, attached.uuid, action, failure_record(action, now=time.time(), **arns))
            except (ClientError, BotoCoreError) as error:
                reason = f"{destination} refused them: {error}"
        if reason:
            first, count = action.records[0].sequence, len(action.records)
            _log.error("mapping %s lost %d records from %s on: %s", attached.uuid, count, first, reason)
        return lambda: self._sent(attached, len(action.records) if reason else 0)

    def _sent(self, attached: _AttachedMapping, lost: int) -> None:
        attached.sending -= 1
        self._lost_records += lost

    def _unreadable(self, attached: _AttachedMapping, error: Exception) -> None:
        self._report(attached, "read", f"PROBLEM: {attached.stream_arn} cannot be read: {error}")

    def _report(self, attached: _AttachedMapping, doing: Literal["read", "invoke"], problem: str) -> None:
        if attached.problems.get(doing) != problem and not self._closed.is_set():
            attached.problems[doing] = problem
            _log.error("mapping %s: %s", attached.uuid, problem)


def _invocation(
    uuid: str,
    function: str,
    stream_arn: str,
    records: tuple[Mapping[str, Any], ...],
    attempt: int,
    run: FunctionRun,
    scheduled: Mapping[str, Any] | None = None,
) -> ObservedInvocation:
    answered = (run.ended_at, run.duration_seconds, run.response, run.error, run.log)
    return ObservedInvocation(uuid, function, stream_arn, records, attempt, *answered, scheduled)


def lambda_record(record: Mapping[str, Any], stream_arn: str) -> dict[str, Any]:
    """A record of GetRecords, as boto3 returns it, in the shape that Lambda gives to functions."""
    event = cast("dict[str, Any]", _json_value(record))
    if identity := event.get("userIdentity"):
        event["userIdentity"] = {name[0].lower() + name[1:]: value for name, value in identity.items()}
    return {**event, "eventSource": "aws:dynamodb", "eventSourceARN": stream_arn}


def _json_value(value: object) -> object:
    match value:
        case dict():
            return {key: _json_value(each) for key, each in cast("dict[str, Any]", value).items()}
        case list():
            return [_json_value(each) for each in cast("list[Any]", value)]
        case bytes():
            return base64.b64encode(value).decode()
        case datetime():
            return int(value.timestamp())
        case _:
            return value
