"""The engine in virtual time: workers, ledger and Lambda whose clock moves only when something takes time."""

import heapq
import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from botocore.exceptions import ClientError  # pyright: ignore[reportMissingTypeStubs] # botocore has none

from handler.stream.change import Change
from handler.stream.entry import Engine
from handler.stream.environment import Environment
from handler.stream.testing.dynamodb import MemoryDynamoDB
from tests.fakes.aws import Clock, LambdaContext

LEDGER_SECONDS = 0.005
"""One call of DynamoDB from a function in its Region: AWS promises single-digit milliseconds."""
TIMEOUT_SECONDS = 60.0
"""The time-out of a consumer's function unless set otherwise."""

Result = TypeVar("Result")
Tables = dict[str, dict[str, dict[str, dict[str, Any]]]]
Observe = Callable[[str, Mapping[str, Any], Tables], Callable[[Any], None]]
"""Sees a call before it is made; returns a function that takes the answer."""


class VirtualWorkers:
    """An executor whose workers each have their own time: the worker that is furthest behind takes the next step.

    A step (a handler, and what the engine does after it) is atomic: another worker sees its changes immediately.
    """

    def __init__(self, clock: Clock, number: int) -> None:
        self._clock, self._number = clock, number

    def __call__(
        self,
        items: Sequence[Iterator[None]],
        left: Callable[[], float] | None,
        on_deadline: Callable[[], None],  # noqa: ARG002 - no handler runs that long here
    ) -> None:
        """Run the items to their ends; set the clock to the end of the last worker."""
        clock, waiting = self._clock, deque(items)
        began = end = clock.now
        busy = [(began, worker, waiting.popleft()) for worker in range(min(self._number, len(waiting)))]
        while busy:
            clock.now, worker, item = busy[0]
            try:
                next(item)
            except StopIteration:
                end = max(end, clock.now)
                if not waiting:
                    heapq.heappop(busy)
                    continue
                item = waiting.popleft()
            if left is not None and left() <= 0:
                raise AssertionError("a handler runs into the deadline, which virtual workers do not imitate")
            heapq.heapreplace(busy, (clock.now, worker, item))
        clock.now = end


class VirtualDynamoDB(MemoryDynamoDB):
    """One environment's client of shared tables. Each call takes time, and `observe` sees each call first."""

    def __init__(self, tables: Tables, clock: Clock, observe: Observe | None = None) -> None:
        super().__init__()
        self.tables, self._clock, self._observe = tables, clock, observe

    def perform(self, operation: str, request: Mapping[str, Any], act: Callable[[], Result]) -> Result:
        """Make one call."""
        self._clock.advance(LEDGER_SECONDS)
        if self._observe is None:
            return act()
        answered = self._observe(operation, request, self.tables)
        try:
            result = act()
        except ClientError:
            answered({})  # a condition refused the write
            raise
        answered(result)
        return result


class _Services:
    """Lambda and S3 as the engine of one environment calls them."""

    def __init__(self, function: "VirtualFunction", clock: Clock) -> None:
        self._function, self._clock = function, clock

    def invoke(self, *, Payload: bytes, **_: Any) -> None:  # noqa: N803 - boto3's name
        """Invoke the function once more, asynchronously."""
        self._function.asked.append((self._clock.now, json.loads(Payload)))

    def put_object(self, **_: Any) -> None:
        """Count a parked change."""
        self._function.parked += 1


Handler = Callable[[Change, Clock], None]


class VirtualFunction:
    """A consumer's function: one environment for each concurrent invocation, each with its engine, on one ledger.

    Attributes
    ----------
    tables : dict
        The ledger's content.
    asked : list
        Invocations that the function asked for itself, each with its time.
    parked : int
        Objects that were put into the failure bucket.
    invocations, seconds : int, float
        How often it ran and how long.
    """

    def __init__(self, handler: Handler, observe: Observe | None = None, **settings: Any) -> None:
        self._handler, self._observe = handler, observe
        stores: dict[str, Any] = {"ledger_table": "ledger", "failure_bucket": "failures"}
        self._settings = Environment(**stores | settings)
        self.tables: Tables = {}
        self.asked: list[tuple[float, dict[str, Any]]] = []
        self.parked = self.invocations = 0
        self.seconds = 0.0
        self._environments: list[tuple[Clock, Engine]] = []

    def __call__(self, event: Mapping[str, Any], start: float) -> tuple[dict[str, Any], float]:
        """Run an invocation that begins at `start`; return its answer and its end."""
        clock, engine = self._environment(start)
        clock.now = start
        answer = engine(event, LambdaContext(clock, TIMEOUT_SECONDS))
        self.invocations += 1
        self.seconds += clock.now - start
        return answer, clock.now

    def retry(self, start: float) -> dict[str, Any]:
        """Run a scheduled retry run and its helpers; return the scheduled run's answer."""
        answer, _ = self({"table-stream": "retry"}, start)
        self.answer_asked()
        return answer

    def answer_asked(self) -> None:
        """Run the invocations that the function requested."""
        while self.asked:
            at, event = self.asked.pop(0)
            self(event, at)

    def _environment(self, start: float) -> tuple[Clock, Engine]:
        for clock, engine in self._environments:
            if clock.now <= start:
                return clock, engine
        clock = Clock(start)
        dynamodb, services = VirtualDynamoDB(self.tables, clock, self._observe), _Services(self, clock)
        clients = {"ledger": dynamodb, "dynamodb": dynamodb, "s3": services, "lambda": services}
        workers, client = VirtualWorkers(clock, self._settings.workers), clients.__getitem__
        times: dict[str, Any] = {"executor": workers, "clock": clock, "sleep": clock.advance}
        engine = Engine(lambda change: self._handler(change, clock), self._settings, client=client, **times)
        self._environments.append((clock, engine))
        return clock, engine
