"""KeyOrderedProcessor: each item's changes in order, different items at once, failing items held."""

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
    """Processes one stream's batches, one at a time; with Powertools, `process_partial_response` takes it.

    Parameters
    ----------
    settings : Environment
        Times and number of workers.
    ledger : Ledger or None
        Where failing items are held and progress is noted. Without it a failing change is reported with its item's
        later changes, and a batch that is reported in part repeats what it had done.
    failures : FailureStore or None
        Where changes are parked; without it a PermanentError is an ordinary failure, and no change is given up.
    executor : Executor or None
        Runs the items; the environment's own threads unless given.
    clock : callable
        Seconds since 1970.
    sleep : callable
        Waits about so many seconds before a change is tried again.
    invoke : callable or None
        Invokes the function again, asynchronously, with a context and a payload: for retry runs beside the shard.

    Example
    -------
        >>> processor = KeyOrderedProcessor()
        >>> def handler(event, context):
        ...     return process_partial_response(event, record_handler, processor, context)
    """

    event_type = type("EventType", (), {"value": "DynamoDBStreams"})  # what Powertools looks at

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
        self.health = Health(max(self.settings.handler_timeout_seconds / 2, LEAST_SLOW_SECONDS))

    def __call__(self, records: Any, record_handler: Function, lambda_context: Any = None) -> Self:
        """Take a batch.

        Raises
        ------
        InvalidBatchError
            Where it is none; no handler has started.
        """
        refuse_async(record_handler)
        invocation = Invocation(lambda_context, self.clock)
        self._run = BatchRun(self, read_batch(records), record_handler, invocation)
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def process(self) -> None:
        """Run the changes that are not settled; return when no handler runs any more."""
        self._run.run()

    def response(self) -> dict[str, list[dict[str, str]]]:
        """The answer to Lambda: the sequence numbers that are to come again, ascending."""
        return {"batchItemFailures": [{"itemIdentifier": number} for number in self._run.undone_numbers()]}
