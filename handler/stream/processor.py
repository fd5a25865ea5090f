"""KeyOrderedProcessor: it runs each item's changes in order and different items concurrently."""

import time
from collections.abc import Callable
from typing import Any, Self

from handler.stream.engine.attempt import pause
from handler.stream.engine.batch import Function, read_batch, refuse_async
from handler.stream.engine.batch_run import BatchRun, Invoke
from handler.stream.engine.health import LEAST_SLOW_SECONDS, Health
from handler.stream.engine.invocation import Invocation
from handler.stream.engine.workers import Executor, Workers
from handler.stream.environment import Environment
from handler.stream.failures import FailureStore
from handler.stream.ledger import Ledger


class KeyOrderedProcessor:
    """Processes one stream's batches, one at a time; Powertools' `process_partial_response` accepts it.

    Parameters
    ----------
    settings : Environment
        Time-outs and number of workers.
    ledger : Ledger or None
        Where failing items are held and progress is noted. Without a ledger, a failing change is reported with its
        item's later changes, and Lambda delivers changes again that are already done.
    failures : FailureStore or None
        Where changes are parked. Without a store, a PermanentError is an ordinary failure and no change is given up.
    executor : Executor or None
        Runs the items; by default threads of this execution environment.
    clock : callable
        Returns the time in seconds since 1970.
    sleep : callable
        Waits about so many seconds before a retry.
    invoke : callable or None
        Invokes this function asynchronously, with a context and a payload, for a retry run in another environment.

    Example
    -------
        >>> processor = KeyOrderedProcessor()
        >>> def handler(event, context):
        ...     return process_partial_response(event, record_handler, processor, context)
    """

    event_type = type("EventType", (), {"value": "DynamoDBStreams"})  # Powertools reads this attribute

    def __init__(
        self,
        settings: Environment | None = None,
        *,
        ledger: Ledger | None = None,
        failures: FailureStore | None = None,
        executor: Executor | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = pause,
        invoke: Invoke | None = None,
    ) -> None:
        self.settings = settings or Environment()
        self.ledger, self.failures, self.clock, self.sleep = ledger, failures, clock, sleep
        self.invoke = invoke
        self.executor = executor or Workers(self.settings.workers)
        self._checked: Function | None = None
        self.health = Health(max(self.settings.handler_timeout_seconds / 2, LEAST_SLOW_SECONDS))

    def __call__(self, records: Any, record_handler: Function, lambda_context: Any = None) -> Self:
        """Take a batch, to be run by `process`.

        Raises
        ------
        InvalidBatchError
            If the records are not a batch of one stream; no handler has started.
        """
        if record_handler is not self._checked:  # the check takes 15 µs, which a batch of one change would notice
            refuse_async(record_handler)
            self._checked = record_handler
        invocation = Invocation(lambda_context, self.clock)
        self._run = BatchRun(self, read_batch(records), record_handler, invocation)
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def process(self) -> None:
        """Run the changes that are not yet settled; return when every handler has ended."""
        self._run.run()

    def response(self) -> dict[str, list[dict[str, str]]]:
        """Return the response to Lambda: the sequence numbers to deliver again, ascending."""
        return {"batchItemFailures": [{"itemIdentifier": number} for number in self._run.undone_numbers()]}
