"""@consumer: a function of a Change → a Lambda entry point."""

import functools
import json
import os
import time
from collections.abc import Callable
from typing import Any, cast, overload

from handler.stream import aws, environment
from handler.stream.engine.attempt import pause
from handler.stream.engine.batch import Function, InvalidBatchError, refuse_async
from handler.stream.engine.invocation import Invocation
from handler.stream.engine.workers import Executor
from handler.stream.environment import Environment
from handler.stream.failures import Bucket
from handler.stream.ledger import Ledger
from handler.stream.processor import KeyOrderedProcessor
from handler.stream.telemetry import begin, traced

REQUEST = "table-stream"
"""The key of an event that is a request of ours, and no batch."""


class NoLedgerError(Exception):
    """A consumer has no ledger, and claims its changes or is asked about held items."""


class UnknownRequestError(ValueError):
    """The event is neither a batch nor a request that a consumer answers."""


class Engine:
    """A consumer's function with all that `settings` give it: what one Lambda environment runs.

    `client` gives the boto3 client of "dynamodb", "s3" and "lambda", and of "ledger" the ledger's own DynamoDB client,
    when first needed; executor, clock and sleep are the processor's. Raises NoLedgerError and ClaimsDisabledError where
    changes cannot be claimed.
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
        self._function = traced(function) if settings.tracing else function
        self._claims = None
        if claim:
            from handler.stream.claims import Claims  # 0.1 s, which only a consumer that claims pays

            self._claims = Claims(client("dynamodb"), table, name, settings.remember_seconds)
            self._function = self._claims.claimed(self._function)
        self._client = client
        self._processor = KeyOrderedProcessor(
            settings,
            ledger=Ledger(functools.partial(client, aws.LEDGER), table, name, sleep) if table else None,
            failures=Bucket(functools.partial(client, "s3"), bucket, name) if bucket else None,
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
        """Answer a batch, or a request: `retry`, `skip` or `redrive`.

        Parameters
        ----------
        event : dict
            `{"Records": [...]}`, a batch: the answer names the records that are to come again.
            `{"table-stream": "retry"}`, from the schedule: runs the changes of held items that are due, with
            `"now": true` of all; the answer counts items.
            `{"table-stream": "skip", "item": digest}`: parks the item's first waiting change.
            `{"table-stream": "redrive", "records": [...]}`: puts stream records into their items' holds.

        Raises
        ------
        InvalidBatchError
            Before anything runs.
        UnknownRequestError
            For any other event.
        NoLedgerError
            For a request to a consumer without stores.
        """
        if not isinstance(event, dict):
            raise InvalidBatchError(f"the event is {event!r}, not an object with Records")
        event = cast(dict[str, Any], event)
        begin(context)
        if self._claims:
            self._claims.begin(context)
        if REQUEST in event:
            return self._answer(event, context)
        self._processor(event.get("Records"), self._function, context).process()
        return self._processor.response()

    def _answer(self, event: dict[str, Any], context: Any) -> dict[str, Any]:
        from handler.stream.held_items import repair, retry  # a batch of a cold environment need not wait for them

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
                    item_slice=_item_slice(event.get("slice")),
                ).run()
            case {"table-stream": "skip", "item": str(digest)}:
                return repair.skip(self._processor, ledger, invocation, digest)
            case {"table-stream": "redrive", "records": records}:
                return repair.redrive(ledger, invocation, records)
            case _:
                raise UnknownRequestError(
                    f"{ {name: event[name] for name in sorted(event)}!r} is no request that a consumer answers: "
                    'they are {"table-stream": "retry"}, {"table-stream": "skip", "item": "<digest>"} and '
                    '{"table-stream": "redrive", "records": [...]}'
                )


def _item_slice(value: Any) -> tuple[int, int] | None:
    """A helper's share of the items: `[1, 3]` is the second of three. Raises UnknownRequestError."""
    match value:
        case None:
            return None
        case [int(number), int(of)] if 0 <= number < of:
            return number, of
        case _:
            raise UnknownRequestError(f"slice is {value!r}, not two numbers such as [1, 3]")


class Consumer:
    """What Lambda calls: `handler(event, context)`. The function itself stays at hand as `function`."""

    def __init__(self, function: Function, *, claim: bool = False) -> None:
        refuse_async(function)
        functools.update_wrapper(self, function)
        self.function, self.claims = function, claim
        if "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
            settings = Environment.read()
            environment.fix(settings)
            if settings.ledger_table:
                aws.client(aws.LEDGER)  # made while Lambda starts the environment, with a whole processor to itself

    @functools.cached_property
    def engine(self) -> Engine:
        """The engine of this environment."""
        return Engine(self.function, environment.current(), claim=self.claims)

    def __call__(self, event: Any, context: Any = None) -> dict[str, Any]:
        """Answer a batch or a request."""
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
        A plain function; whatever it raises means *try again*, a `PermanentError` means *never*.
    claim : bool
        For effects outside DynamoDB: each change is claimed in the ledger first, so that it is done once, and once more
        only for each time that the function dies in between.

    Raises
    ------
    AsyncHandlerError
        For an `async def`.
    """
    if function is None:
        return functools.partial(Consumer, claim=claim)
    return Consumer(function, claim=claim)
