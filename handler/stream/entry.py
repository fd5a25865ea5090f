"""@consumer: a function of a Change → a Lambda entry point."""

import functools
import os
import time
from collections.abc import Callable
from typing import Any, cast, overload

from handler.stream import aws
from handler.stream.batch import Function, InvalidBatchError, refuse_async
from handler.stream.environment import Environment
from handler.stream.failures import Bucket
from handler.stream.processor import KeyOrderedProcessor
from handler.stream.progress import Notes
from handler.stream.telemetry import begin, traced
from handler.stream.workers import Executor


class NoLedgerError(Exception):
    """A consumer claims its changes and has no ledger to keep the claims in."""


class Engine:
    """A consumer's function with all that `settings` give it: what one Lambda environment runs.

    `client` gives the boto3 client of "dynamodb" and "s3" when first needed; executor and clock are the processor's.
    Raises NoLedgerError and ClaimsDisabledError where changes cannot be claimed.
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
    ) -> None:
        name, ledger, bucket = settings.powertools_service_name, settings.ledger_table, settings.failure_bucket
        if claim and not ledger:
            raise NoLedgerError(f"{name} claims its changes, but LEDGER_TABLE is not set: give the consumer stores")
        self._function = traced(function) if settings.tracing else function
        self._claims = None
        if claim:
            from handler.stream.claims import Claims  # 0.1 s, which only a consumer that claims pays

            self._claims = Claims(client("dynamodb"), ledger, name, settings.remember_seconds)
            self._function = self._claims.claimed(self._function)
        self._processor = KeyOrderedProcessor(
            settings,
            notes=Notes(functools.partial(client, "dynamodb"), ledger, name) if ledger else None,
            failures=Bucket(functools.partial(client, "s3"), bucket, name) if bucket else None,
            executor=executor,
            clock=clock,
        )

        self.needs_ledger = bool(ledger)

    def __call__(self, event: Any, context: Any = None) -> dict[str, Any]:
        """Process one batch; the answer names what is to come again. Raises InvalidBatchError before anything runs."""
        if not isinstance(event, dict):
            raise InvalidBatchError(f"the event is {event!r}, not an object with Records")
        begin(context)
        if self._claims:
            self._claims.begin(context)
        self._processor(cast(dict[str, Any], event).get("Records"), self._function, context).process()
        return self._processor.response()


class Consumer:
    """What Lambda calls: `handler(event, context)`. The function itself stays at hand as `function`."""

    def __init__(self, function: Function, *, claim: bool = False) -> None:
        refuse_async(function)
        functools.update_wrapper(self, function)
        self.function, self._claim = function, claim
        if "AWS_LAMBDA_FUNCTION_NAME" in os.environ and self.engine.needs_ledger:
            aws.client("dynamodb")  # made while Lambda starts the environment, with a whole processor to itself

    @functools.cached_property
    def engine(self) -> Engine:
        """The engine of this environment."""
        return Engine(self.function, Environment.read(), claim=self._claim)

    def __call__(self, event: Any, context: Any = None) -> dict[str, Any]:
        """Process one batch."""
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
