"""`@consumer` makes a function of a Change the entry point of a Lambda function."""

import functools
import gc
import json
import os
import time
from collections.abc import Callable
from typing import Any, cast, overload

from handler.stream import aws, environment
from handler.stream.change import Change
from handler.stream.codec import brief
from handler.stream.engine.attempt import pause
from handler.stream.engine.batch import Function, InvalidBatchError, is_unrun, refuse_async
from handler.stream.engine.invocation import Invocation
from handler.stream.engine.workers import Executor
from handler.stream.environment import Environment
from handler.stream.failures import FailureBucket
from handler.stream.ledger import Ledger
from handler.stream.processor import KeyOrderedProcessor
from handler.stream.telemetry import begin, logger, with_tracing

REQUEST = "table-stream"
"""The key of an event that is a request to the engine and not a batch."""


class NoLedgerError(Exception):
    """A consumer without a ledger claims its changes, or receives a request about held items."""


class UnknownRequestError(ValueError):
    """The event is neither a batch nor a known request."""


class _Unread:
    """Runs a handler, and says once in an execution environment that nothing reads what the handler returns."""

    def __init__(self, function: Function) -> None:
        self._function, self._has_warned = function, False

    def __repr__(self) -> str:
        return repr(self._function)

    def __call__(self, change: Change) -> Any:
        result = self._function(change)
        if result is not None and not self._has_warned and not is_unrun(result):
            self._has_warned = True
            logger.warning(
                "the handler returned a value, which nothing reads: raise an exception to report a failure, and write "
                "what must last",
                returned_type=type(result).__name__,
            )
        return result


class Engine:
    """A consumer's function with its processor and its claims, as one Lambda execution environment runs it.

    Parameters
    ----------
    function : callable
        The handler of one change.
    settings : Environment
        The function's environment variables.
    claim : bool
        Whether each change is claimed before the handler runs.
    client : callable
        Returns boto3's client of "dynamodb", "s3" or "lambda", or the ledger's own DynamoDB client for "ledger".
    executor, clock, sleep
        As in KeyOrderedProcessor.

    Raises
    ------
    NoLedgerError
        If changes are claimed, but there is no ledger.
    ClaimsDisabledError
        If changes are claimed, but a variable makes Powertools skip claims.
    """

    def __init__(
        self,
        function: Function,
        settings: Environment,
        *,
        claim: bool = False,
        client: Callable[[str], Any] = aws.client,
        executor: Executor | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = pause,
    ) -> None:
        name, table, bucket = settings.consumer, settings.ledger_table, settings.failure_bucket
        if claim and not table:
            raise NoLedgerError(f"{name} claims its changes, but LEDGER_TABLE is not set: give the consumer stores")
        self._function = _Unread(with_tracing(function) if settings.tracing else function)
        self._claims = None
        if claim:
            from handler.stream.claims import Claims  # this import takes 0.1 s, which only a claiming consumer pays

            self._claims = Claims(client("dynamodb"), table, name, settings.remember_seconds)
            self._function = self._claims.wrap(self._function)
        self._client = client
        self._processor = KeyOrderedProcessor(
            settings,
            ledger=Ledger(functools.partial(client, aws.LEDGER), table, name, sleep) if table else None,
            failures=FailureBucket(functools.partial(client, "s3"), bucket, name) if bucket else None,
            executor=executor,
            clock=clock,
            sleep=sleep,
            invoke=self._invoke if table else None,
        )

    def _invoke(self, context: Any, payload: dict[str, Any]) -> None:
        """Invoke this function again, asynchronously."""
        self._client("lambda").invoke(
            FunctionName=context.function_name, InvocationType="Event", Payload=json.dumps(payload).encode()
        )

    def __call__(self, event: Any, context: Any = None) -> dict[str, Any]:
        """Process a batch, or a `retry`, `skip` or `redrive` request.

        Parameters
        ----------
        event : dict
            `{"Records": [...]}` is a batch; the response lists the records that Lambda must deliver again.
            `{"table-stream": "retry"}` comes from the schedule: it runs the waiting changes of the held items that are
            due, or of all held items with `"now": true`; the response counts items. With `"item": digest`, the run
            is for this item only, as an operator asks for it.
            `{"table-stream": "skip", "item": digest}` parks the item's first waiting change.
            `{"table-stream": "redrive", "records": [...]}` puts stream records into the holds of their items.

        Raises
        ------
        InvalidBatchError
            If the batch is invalid; no handler has started.
        UnknownRequestError
            If the event is an unknown request.
        NoLedgerError
            If a consumer without stores receives a request.
        """
        if not isinstance(event, dict):
            raise InvalidBatchError(f"the event is {brief(event)}, not an object with Records")
        event = cast(dict[str, Any], event)
        begin(context)
        if self._claims:
            self._claims.begin(context)
        if REQUEST in event:
            return self._answer_request(event, context)
        self._processor(event.get("Records"), self._function, context).process()
        return self._processor.response()

    def _answer_request(self, event: dict[str, Any], context: Any) -> dict[str, Any]:
        from handler.stream.held_items import repair, retry  # a cold start with a batch does not pay for these

        ledger = self._processor.ledger
        if ledger is None:
            raise NoLedgerError("LEDGER_TABLE is not set: a consumer without stores holds no items")
        invocation = Invocation(context, self._processor.clock)
        match event:
            case {"table-stream": "retry"}:
                return retry.RetryRun(
                    *(self._processor, ledger, self._function, invocation),
                    invoke=self._invoke,
                    all_are_due=event.get("now") is True,
                    item_slice=_parse_slice(event.get("slice")),
                    item=_parse_item(event.get("item")),
                ).run()
            case {"table-stream": "skip", "item": str(digest)}:
                return repair.skip(self._processor, ledger, invocation, digest)
            case {"table-stream": "redrive", "records": records}:
                return repair.redrive(self._processor, ledger, invocation, records)
            case _:
                given = ", ".join(f"{name}: {brief(event[name])}" for name in sorted(event))
                raise UnknownRequestError(
                    f"{given} is not a request that a consumer answers; "
                    'the requests are {"table-stream": "retry"}, {"table-stream": "skip", "item": "<digest>"} and '
                    '{"table-stream": "redrive", "records": [...]}'
                )


def _parse_slice(value: Any) -> tuple[int, int] | None:
    """Return a helper's slice of the held items: `[1, 3]` is the second of three. Raises UnknownRequestError."""
    match value:
        case None:
            return None
        case [int(index), int(slices)] if 0 <= index < slices:
            return index, slices
        case _:
            raise UnknownRequestError(f"slice is {brief(value)}, not two numbers such as [1, 3]")


def _parse_item(value: Any) -> str | None:
    """Return the digest of the only item of a retry run, None for all items. Raises UnknownRequestError."""
    if value is None or (isinstance(value, str) and value):
        return value
    raise UnknownRequestError(f"item is {brief(value)}, not the digest of an item")


class Consumer:
    """The entry point that Lambda calls as `handler(event, context)`; `function` is the decorated function."""

    def __init__(self, function: Function, *, claim: bool = False) -> None:
        refuse_async(function)
        functools.update_wrapper(self, function)
        self.function, self.claims = function, claim
        if "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
            settings = Environment.read()
            environment.set_current(settings)
            if settings.ledger_table:
                aws.client(aws.LEDGER)  # Lambda gives the start of an environment a full CPU

    @functools.cached_property
    def engine(self) -> Engine:
        """The engine of this execution environment."""
        engine = Engine(self.function, environment.current(), claim=self.claims)
        gc.freeze()  # a full garbage collection, which many records cause, then skips everything imported
        return engine

    def __call__(self, event: Any, context: Any = None) -> dict[str, Any]:
        """Process a batch or a request; see Engine."""
        return self.engine(event, context)


@overload
def consumer(function: Function, /) -> Consumer: ...
@overload
def consumer(*, claim: bool = False) -> Callable[[Function], Consumer]: ...
def consumer(function: Function | None = None, /, *, claim: bool = False) -> Consumer | Callable[[Function], Consumer]:
    """Make a function of one `Change` the entry point of a Lambda function.

    Parameters
    ----------
    function : callable
        A plain function. A `PermanentError` parks the change; after any other exception the engine retries it.
    claim : bool
        Whether to claim each change in the ledger before the handler runs, for effects outside DynamoDB. The effect
        happens once, and again only if the function dies before it marks the claim.

    Raises
    ------
    AsyncHandlerError
        If the function is a coroutine or a generator function.
    """
    if function is None:
        return functools.partial(Consumer, claim=claim)
    return Consumer(function, claim=claim)
