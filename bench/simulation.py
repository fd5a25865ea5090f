"""One shard in virtual time: its changes, the mapping that delivers them, and the time of each effect."""

import heapq
import itertools
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from random import Random
from typing import Any

from sandbox.mapping.configuration import Configuration
from sandbox.mapping.machine import MappingMachine
from sandbox.mapping.protocol import InvocationResult, Invoke, Read, Returned
from tests.fakes.records import START, STREAM, number_of, record
from tests.fakes.stream import PAGE, drive

SETTLE_SECONDS = 2 * 3600.0
"""How long a simulation runs after the last change, so that held items are released."""

PlannedChange = tuple[float, int]
"""A change to come: its time in seconds since 1970, and the number of its item."""


def even_traffic(rate: float, seconds: float, items: int, seed: int = 1) -> Iterator[PlannedChange]:
    """Yield changes at an even rate, each of a random item."""
    rng = Random(seed)  # noqa: S311 - no secret
    return ((START + number / rate, rng.randrange(items)) for number in range(int(rate * seconds)))


class Traffic:
    """The changes of a simulation, made as time passes, and what became of them."""

    def __init__(self, *planned: Iterable[PlannedChange]) -> None:
        self._planned = heapq.merge(*planned)
        self._next = next(self._planned, None)
        self.created, self.items = array("d"), array("q")
        self.effect = array("d")
        """The time of a change's first effect; 0 before the effect."""
        self.lost = set[int]()
        """Changes that the mapping discarded before they had an effect."""

    @property
    def is_exhausted(self) -> bool:
        """Whether every change is made and read."""
        return self._next is None

    def lineage(self) -> list[tuple[str, str | None]]:
        """Return the one shard."""
        return [("shard", None)]

    def page(self, read: Read, now: float) -> tuple[list[dict[str, Any]], bool]:  # noqa: ARG002 - one shard
        """Return the changes that are made by now and not read yet; the shard never ends."""
        records = list[dict[str, Any]]()
        while self._next is not None and self._next[0] <= now and len(records) < PAGE:
            created, item = self._next
            records.append(record(len(self.created), f"item-{item}", at=int(created)))
            self.created.append(created)
            self.items.append(item)
            self.effect.append(0.0)
            self._next = next(self._planned, None)
        return records, False

    def apply(self, number: int, now: float) -> None:
        """Note that a change has its effect."""
        if not self.effect[number]:
            self.effect[number] = now

    def lateness(self, is_healthy: Callable[[int], bool]) -> list[float]:
        """Return the seconds from each healthy change to its effect, ascending; infinite without an effect."""
        pairs = zip(self.created, self.effect, strict=True)
        return sorted(
            effect - created if effect else float("inf")
            for number, (created, effect) in enumerate(pairs)
            if is_healthy(number)
        )


InvokeFunction = Callable[[Sequence[Mapping[str, Any]], float], tuple[InvocationResult, float]]
"""Runs a batch that is delivered now; returns the invocation's result and end."""


class MappingSimulation:
    """A mapping that delivers a shard's changes, and the schedule that starts a retry run once a minute.

    An invocation runs as a whole when it begins, so the ledger shows the invocation's later writes too early. The
    mapping receives the result when the invocation ends.
    """

    def __init__(
        self,
        traffic: Traffic,
        mapping: Mapping[str, Any],
        invoke: InvokeFunction,
        retry: Callable[[float], Any] | None = None,
    ) -> None:
        request = {"EventSourceArn": STREAM, "FunctionName": "f", "StartingPosition": "TRIM_HORIZON", **mapping}
        self._traffic, self._invoke, self._retry = traffic, invoke, retry
        self._machine = MappingMachine(Configuration.model_validate(request))
        self._running: list[tuple[float, int, Invoke, InvocationResult]] = []  # by end
        self._order = itertools.count()

    def run(self, is_settled: Callable[[], bool] = lambda: True) -> float:
        """Deliver every change, retry until all is settled or two hours have passed, and return the end."""
        now, idle_since = START, None
        next_retry = START + 60.0 if self._retry else float("inf")
        while True:
            self._advance(now)
            if self._traffic.is_exhausted and self._machine.is_idle():
                idle_since = idle_since or now
                if is_settled() or now - idle_since > SETTLE_SECONDS:
                    return now
            due = self._machine.due()
            end = self._running[0][0] if self._running else float("inf")
            now = max(now, min(next_retry, end, now + 1 if due is None else due))
            while self._running and self._running[0][0] <= now:
                _, _, action, result = heapq.heappop(self._running)
                self._machine.complete(action, result, now)
            if self._retry and next_retry <= now:
                self._retry(next_retry)
                next_retry += 60.0

    def _advance(self, now: float) -> None:
        for action in drive(self._machine, self._traffic, now):
            if isinstance(action, Invoke):
                result, end = self._invoke([each.event for each in action.records], now)
                heapq.heappush(self._running, (end, next(self._order), action, result))
            else:
                numbers = (number_of(each.event) for each in action.records)
                self._traffic.lost.update(number for number in numbers if not self._traffic.effect[number])


MAPPING: dict[str, Any] = {
    "BatchSize": 100,
    "BisectBatchOnFunctionError": True,
    "FunctionResponseTypes": ("ReportBatchItemFailures",),
}
"""The options that the engine's mapping and the stock processor's mapping share."""


def returned(answer: Mapping[str, Any], end: float) -> tuple[InvocationResult, float]:
    """Return a function's answer as the mapping receives it."""
    return Returned(answer), end
