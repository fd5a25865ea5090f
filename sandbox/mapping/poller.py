"""Performs the actions of mappings over the emulator: reads streams, invokes functions, writes to destinations."""

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from botocore.exceptions import BotoCoreError, ClientError  # pyright: ignore[reportMissingTypeStubs] -- boto3 is untyped

from sandbox.mapping.configuration import Assumptions, Configuration
from sandbox.mapping.destinations import failure_record, send
from sandbox.mapping.invocation import Client, Invoker, LambdaFunction, ObservedInvocation, RefusalError, error_code
from sandbox.mapping.loop import Loop
from sandbox.mapping.machine import MappingMachine
from sandbox.mapping.protocol import (
    RETENTION_PASSED,
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
from sandbox.mapping.records import lambda_record

POLL_SECONDS = 0.1
"""Seconds between two reads at a shard's end. AWS takes 0.25 s; a user of the sandbox watches and waits."""
BUSY_SECONDS, IDLE_POLL_SECONDS = 5.0, 2.0
"""Seconds without a record after which a mapping is idle, and seconds between two reads of an idle mapping. A write
that the sandbox sees has every mapping read at once."""

Count = Callable[[Mapping[str, str], Mapping[str, int]], None]
"""Takes CloudWatch's counts of AWS/Lambda by metric, with the dimensions of all of them."""
ObserveDiscard = Callable[[str, str, int, str, str | None], None]
"""Takes discarded records: the function, the stream's ARN, their number, the reason, and the destination or None."""

_log = logging.getLogger(__name__)


@dataclass
class _AttachedMapping:
    uuid: str
    mapping: MappingMachine
    function: LambdaFunction
    iterators: dict[str, tuple[Position, str]] = field(default_factory=dict[str, tuple[Position, str]])
    problems: dict[Literal["read", "invoke"], str] = field(default_factory=dict[Literal["read", "invoke"], str])
    busy_at: float = field(default_factory=time.time)
    unsent: int = 0
    """Discards that are not yet at their destination."""

    @property
    def stream_arn(self) -> str:
        return self.mapping.configuration.event_source_arn

    @property
    def result(self) -> str:
        return next(iter(self.problems.values()), self.mapping.last_result)


def quick_back_off(attempts: int) -> float:
    """Return the seconds until the next attempt: they grow as on AWS, from 0.1 s to 5 s, since a user waits."""
    return min(0.1 * 2 ** min(attempts - 1, 16), 5.0)


class Poller:
    """Performs the actions of every mapping attached to it, on threads of its own, until it is closed.

    Parameters
    ----------
    client
        Returns the boto3 client of a service; threads share the clients. The Lambda client must not retry by itself,
        since each retry is an invocation that no mapping asked for, and must wait longer than a function may run.
    observe
        Called after each invocation, on any thread.
    assumptions
        The readings of AWS's undocumented behaviour, the back-off among them.

    Attributes
    ----------
    loop, invoker, observers
        Shared with other callers of the same functions, such as a scheduler.
    counters
        Called with the counts of a mapping with EventCount metrics, and with failed deliveries, on any thread.
    discard_observers
        Called with the records that a mapping has given up, on any thread.
    """

    def __init__(
        self, client: Client, observe: Callable[[ObservedInvocation], None], assumptions: Assumptions | None = None
    ) -> None:
        self.loop = Loop()
        self.invoker = Invoker(client)
        self.observers = [observe]
        self.counters: list[Count] = []
        self.discard_observers: list[ObserveDiscard] = []
        self._client = client
        self._assumptions = assumptions or Assumptions(back_off=quick_back_off)
        self._attached: dict[str, _AttachedMapping] = {}
        self.lost_records = 0
        """Number of discarded records that reached no destination."""
        self.loop.add(self._advance)

    def attach(self, uuid: str, request: Mapping[str, Any]) -> None:
        """Start a mapping, created with `request`, at its starting position.

        Raises
        ------
        RefusalError
            The stream or the function does not exist, or another mapping of both is attached.
        pydantic.ValidationError
            A value of the request is out of bounds, or the sandbox does not imitate it.
        FilterError
            A filter pattern is invalid or not imitated.
        """
        mapping = MappingMachine(Configuration.model_validate(request), self._assumptions, POLL_SECONDS)
        attached = _AttachedMapping(uuid, mapping, self.invoker.describe(mapping.configuration.function_name))
        try:
            self._client("dynamodbstreams").describe_stream(StreamArn=attached.stream_arn)
        except ClientError as error:
            raise RefusalError(f"InvalidParameterValueException: Stream not found: {attached.stream_arn}") from error
        with self.loop.changed:
            for other in self._attached.values():
                if (other.stream_arn, other.function.arn) == (attached.stream_arn, attached.function.arn):
                    raise RefusalError(
                        f'ResourceConflictException: The event source arn (" {attached.stream_arn} ") and function '
                        f'(" {attached.function.name} ") provided mapping already exists. Please update or delete the '
                        f"existing mapping with UUID {other.uuid}"
                    )
            self._attached[uuid] = attached
            self.loop.changed.notify_all()

    def update(self, uuid: str, changes: Mapping[str, Any]) -> None:
        """Change these arguments of a mapping, which continues from its checkpoints; raises what `attach` raises.

        An argument that is None gets its default.
        """
        with self.loop.changed:
            attached = self._attached[uuid]
        request = attached.mapping.configuration.model_dump(by_alias=True, exclude_unset=True) | dict(changes)
        configuration = Configuration.model_validate({name: each for name, each in request.items() if each is not None})
        function = self.invoker.describe(configuration.function_name)
        with self.loop.changed:
            attached.mapping.configure(configuration)
            attached.function = function
            self.loop.changed.notify_all()

    def describe(self, uuid: str) -> dict[str, Any] | None:
        """Return a mapping's arguments, FunctionArn, State and LastProcessingResult; None if it is not attached.

        As on AWS, the State is Disabling until the last invocation ends.
        """
        with self.loop.changed:
            attached = self._attached.get(uuid)
            if attached is None:
                return None
            configuration, mapping = attached.mapping.configuration, attached.mapping
            arguments = configuration.model_dump(mode="json", by_alias=True, exclude_none=True)
            if not configuration.patterns:
                del arguments["FilterCriteria"]
            off = "Disabling" if mapping.is_invoking() else "Disabled"
            state = {"State": "Enabled" if configuration.enabled else off, "LastProcessingResult": attached.result}
            return {**arguments, **state, "FunctionArn": attached.function.arn}

    def wake(self) -> None:
        """Read every stream now, since a table may have been written to."""
        with self.loop.changed:
            for attached in self._attached.values():
                attached.busy_at, attached.mapping.poll_seconds = time.time(), POLL_SECONDS
                attached.mapping.read_now()
            self.loop.changed.notify_all()

    def detach(self, uuid: str) -> None:
        """Stop a mapping and forget its checkpoints; observers still see the invocations that run."""
        with self.loop.changed:
            del self._attached[uuid]

    def pause(self, function_name: str) -> AbstractContextManager[None]:
        """Start no invocation of a function during an update of its code and its configuration, which are two calls."""
        return self.invoker.pause(function_name)

    def observe(self, invocation: ObservedInvocation) -> None:
        """Show an invocation to every observer."""
        for observer in self.observers:
            observer(invocation)

    def is_idle(self, *conditions: Callable[[], bool]) -> bool:
        """Return whether every enabled mapping is drained by reads that began after this call.

        All `conditions` must hold at the same time; they are called under the loop's lock. The call waits up to 1 s for
        the reads.
        """
        since = time.time()

        def is_busy() -> bool:
            working = any(each.unsent or not each.mapping.is_idle() for each in self._enabled())
            return self.loop.closed or working or not all(condition() for condition in conditions)

        def is_drained() -> bool:
            return not is_busy() and all(each.mapping.is_drained(since) for each in self._enabled())

        with self.loop.changed:
            self.loop.changed.wait_for(lambda: is_busy() or is_drained(), timeout=1.0)
            return is_drained()

    def lags(self) -> dict[str, float]:
        """Return the age in seconds of each function's oldest record that is not settled, by the function's name.

        Records that a mapping had read before it was switched off count, too. A function without such a record is left
        out.
        """
        with self.loop.changed:
            oldest = [(each.function.name, each.mapping.oldest_record()) for each in self._attached.values()]
        lags: dict[str, float] = {}
        for function, created_at in oldest:
            if created_at is not None:
                lags[function] = max(lags.get(function, 0.0), time.time() - created_at)
        return lags

    def switched_off(self) -> set[str]:
        """Return the names of the functions of which a mapping is switched off."""
        with self.loop.changed:
            return {each.function.name for each in self._attached.values() if not each.mapping.configuration.enabled}

    def last_processing_result(self, uuid: str) -> str:
        """Return AWS's LastProcessingResult (GetEventSourceMapping), which cannot be set in the emulator."""
        with self.loop.changed:
            return self._attached[uuid].result

    def close(self) -> None:
        """Stop all work, that of the loop's other sources included, and wait for the work that runs."""
        self.loop.close()

    def _enabled(self) -> list[_AttachedMapping]:
        return [each for each in self._attached.values() if each.mapping.configuration.enabled]

    def _advance(self, now: float) -> float | None:
        perform: Any = {Describe: self._describe, Read: self._read, Invoke: self._invoke, Discard: self._discard}
        for attached in self._attached.values():
            for action in attached.mapping.advance(now):
                attached.unsent += isinstance(action, Discard)
                name = f"mapping {attached.uuid}: {type(action).__name__}"
                self.loop.submit(name, partial(perform[type(action)], attached, action))
        due = (each.mapping.due() for each in self._attached.values())
        return min((moment for moment in due if moment is not None), default=None)

    def _describe(self, attached: _AttachedMapping, action: Describe) -> Callable[[], None]:
        mapping, shards = attached.mapping, list[dict[str, Any]]()
        try:  # one page, since a stream of the emulator has one shard
            response = self._client("dynamodbstreams").describe_stream(StreamArn=attached.stream_arn)
            shards = response["StreamDescription"]["Shards"]
        except (ClientError, BotoCoreError) as error:
            self._report_unreadable(attached, error)
            if error_code(error) != "ResourceNotFoundException":
                return lambda: mapping.retry(action, time.time())
        return lambda: mapping.discover((each["ShardId"], each.get("ParentShardId")) for each in shards)

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
            response = streams.get_records(ShardIterator=iterator)
        except (ClientError, BotoCoreError) as error:
            if error_code(error) == "TrimmedDataAccessException":
                return lambda: mapping.skip_trimmed(action)
            self._report_unreadable(attached, error)
            if error_code(error) == "ResourceNotFoundException":
                return lambda: mapping.receive(action, [], time.time(), ended=True)
            return lambda: mapping.retry(action, time.time())
        attached.problems.pop("read", None)
        events = [lambda_record(record, attached.stream_arn) for record in response["Records"]]
        after = action.position
        if events:
            after = Position("AFTER_SEQUENCE_NUMBER", events[-1]["dynamodb"]["SequenceNumber"])
        if following := response.get("NextShardIterator"):
            attached.iterators[action.shard] = (after, following)
        return partial(self._receive, attached, action, events, ended=not following)

    def _receive(self, attached: _AttachedMapping, action: Read, events: list[dict[str, Any]], *, ended: bool) -> None:
        now, filtered = time.time(), attached.mapping.filtered_out
        if events:
            attached.busy_at = now
        attached.mapping.poll_seconds = POLL_SECONDS if now < attached.busy_at + BUSY_SECONDS else IDLE_POLL_SECONDS
        attached.mapping.receive(action, events, now, ended=ended)
        if events:
            out = attached.mapping.filtered_out - filtered
            self._count(attached, PolledEventCount=len(events), FilteredOutEventCount=out)

    def _invoke(self, attached: _AttachedMapping, action: Invoke) -> Callable[[], None]:
        event = {"Records": [record.event for record in action.records]}
        origin = (attached.uuid, attached.stream_arn, action.attempt)
        invocation = self.invoker.invoke(attached.function, event, *origin)
        result: InvocationResult = Failed() if invocation.error else Returned(invocation.response)
        if not invocation.refusal:
            attached.problems.pop("invoke", None)
        else:
            result = Throttled()
            if error_code(invocation.refusal) != "TooManyRequestsException":
                name = attached.function.name
                self._report(attached, "invoke", f"PROBLEM: {name} cannot be invoked: {invocation.refusal}")
        self.observe(invocation)
        return partial(self._complete, attached, action, result)

    def _complete(self, attached: _AttachedMapping, action: Invoke, result: InvocationResult) -> None:
        failed = attached.mapping.complete(action, result, time.time())
        self._count(attached, InvokedEventCount=len(action.records), FailedInvokeEventCount=failed)

    def _discard(self, attached: _AttachedMapping, action: Discard) -> Callable[[], None]:
        destination = attached.mapping.configuration.destination_config.on_failure.destination
        reason = None if destination else "the mapping has no on-failure destination"
        if action.condition == RETENTION_PASSED:
            reason = "the stream's retention has passed"
        elif destination:
            arns = {"function_arn": attached.function.arn, "stream_arn": attached.stream_arn}
            try:
                send(self._client, destination, attached.uuid, action, failure_record(action, now=time.time(), **arns))
            except (ClientError, BotoCoreError) as error:
                reason = f"{destination} refused them: {error}"
                for counter in self.counters:
                    counter({"FunctionName": attached.function.name}, {"DestinationDeliveryFailures": 1})
        count = len(action.records)
        for observer in self.discard_observers:
            why = f"{action.condition}: {reason}" if reason else action.condition
            observer(attached.function.name, attached.stream_arn, count, why, None if reason else destination)
        if reason:
            first = action.records[0].sequence
            _log.error("mapping %s lost %d records from %s on: %s", attached.uuid, count, first, reason)
        if not reason:
            self._count(attached, OnFailureDestinationDeliveredEventCount=count)
        elif action.condition != RETENTION_PASSED:
            self._count(attached, DroppedEventCount=count)
        return lambda: self._count_sent(attached, count if reason else 0)

    def _count_sent(self, attached: _AttachedMapping, lost: int) -> None:
        attached.unsent -= 1
        self.lost_records += lost

    def _count(self, attached: _AttachedMapping, **counts: int) -> None:
        """Count events of a mapping, if its MetricsConfig says so (AWS: event source mapping metrics)."""
        if "EventCount" in attached.mapping.configuration.metrics_config.get("Metrics", ()):
            for counter in self.counters:
                counter({"EventSourceMappingUUID": attached.uuid}, counts)

    def _report_unreadable(self, attached: _AttachedMapping, error: Exception) -> None:
        self._report(attached, "read", f"PROBLEM: {attached.stream_arn} cannot be read: {error}")

    def _report(self, attached: _AttachedMapping, operation: Literal["read", "invoke"], problem: str) -> None:
        if attached.problems.get(operation) != problem and not self.loop.closed:
            attached.problems[operation] = problem
            _log.error("mapping %s: %s", attached.uuid, problem)
