"""One shard in virtual time: its changes, the mapping that delivers them, and when each has its effect."""

import heapq
import itertools
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from random import Random
from typing import Any

from sandbox.mapping.configuration import Configuration
from sandbox.mapping.machine import MappingMachine
from sandbox.mapping.protocol import Action, Describe, Discard, InvocationResult, Invoke, Read, Returned

STREAM = "arn:aws:dynamodb:eu-central-1:111122223333:table/orders/stream/2026-01-01T00:00:00.000"
START = 1_800_000_000.0
"""When a simulation begins, in seconds since 1970."""
MOST_READ = 1_000
"""Records that one GetRecords returns at most."""
SETTLE_SECONDS = 2 * 3600.0
"""How long a simulation goes on after the last change for the sake of what is held."""
FIRST_SEQUENCE = 10**20

Planned = tuple[float, int]
"""A change to come: when it is made, in seconds since 1970, and the number of its item."""


def even_traffic(rate: float, seconds: float, items: int, seed: int = 1) -> Iterator[Planned]:
    """Changes at an even rate, each of some item or other."""
    rng = Random(seed)  # noqa: S311 - no secret
    return ((START + number / rate, rng.randrange(items)) for number in range(int(rate * seconds)))


def record(number: int, created: float, item: int) -> dict[str, Any]:
    """The stream record of a change, about 500 bytes."""
    keys = {"id": {"S": f"item-{item}"}}
    body = {
        "ApproximateCreationDateTime": int(created),
        "Keys": keys,
        "NewImage": {**keys, "n": {"N": str(number)}, "status": {"S": "paid"}},
        "SequenceNumber": str(FIRST_SEQUENCE + number),
        "StreamViewType": "NEW_AND_OLD_IMAGES",
    }
    names = {"eventID": f"e{number}", "eventName": "MODIFY", "eventSource": "aws:dynamodb", "eventSourceARN": STREAM}
    return {**names, "dynamodb": body}


def number_of(stream_record: Mapping[str, Any]) -> int:
    """A change's number in its simulation."""
    return int(stream_record["dynamodb"]["SequenceNumber"]) - FIRST_SEQUENCE


class Traffic:
    """The changes of a simulation, made as time goes by, and what became of them."""

    def __init__(self, *planned: Iterable[Planned]) -> None:
        self._planned = heapq.merge(*planned)
        self._next = next(self._planned, None)
        self.created, self.items = array("d"), array("q")
        self.effect = array("d")
        """When a change first had its effect; 0 before that."""
        self.lost = set[int]()
        """Changes that the mapping gave up and that had no effect."""

    @property
    def is_exhausted(self) -> bool:
        """Whether no change is still to be made or read."""
        return self._next is None

    def read(self, now: float) -> list[dict[str, Any]]:
        """What GetRecords gives: changes that are made by now and were not read."""
        records = list[dict[str, Any]]()
        while self._next is not None and self._next[0] <= now and len(records) < MOST_READ:
            created, item = self._next
            records.append(record(len(self.created), created, item))
            self.created.append(created)
            self.items.append(item)
            self.effect.append(0.0)
            self._next = next(self._planned, None)
        return records

    def apply(self, number: int, now: float) -> None:
        """A change has its effect."""
        if not self.effect[number]:
            self.effect[number] = now

    def lateness(self, is_healthy: Callable[[int], bool]) -> list[float]:
        """Seconds from each healthy change to its effect, ascending; infinite where it has none."""
        pairs = zip(self.created, self.effect, strict=True)
        return sorted(
            effect - created if effect else float("inf")
            for number, (created, effect) in enumerate(pairs)
            if is_healthy(number)
        )


InvokeFunction = Callable[[Sequence[Mapping[str, Any]], float], tuple[InvocationResult, float]]
"""Runs a batch that is delivered now; what came of it, and when."""


class MappingSimulation:
    """A mapping that delivers a shard's changes, and the schedule that retries once a minute.

    An invocation runs whole when it begins: the ledger shows its later writes too early. The mapping hears of it when
    it ends.
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
        """Deliver every change, and retry until all is settled or two hours have passed; the end."""
        now, rest_since = START, None
        next_retry = START + 60.0 if self._retry else float("inf")
        while True:
            for action in self._machine.advance(now):
                self._act(action, now)
            if self._traffic.is_exhausted and self._machine.is_idle():
                rest_since = rest_since or now
                if is_settled() or now - rest_since > SETTLE_SECONDS:
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

    def _act(self, action: Action, now: float) -> None:
        match action:
            case Describe():
                self._machine.discover([("shard", None)])
            case Read():
                self._machine.receive(action, self._traffic.read(now), now)
            case Invoke():
                result, end = self._invoke([each.event for each in action.records], now)
                heapq.heappush(self._running, (end, next(self._order), action, result))
            case Discard():
                numbers = (number_of(each.event) for each in action.records)
                self._traffic.lost.update(number for number in numbers if not self._traffic.effect[number])


MAPPING: dict[str, Any] = {
    "BatchSize": 100,
    "BisectBatchOnFunctionError": True,
    "FunctionResponseTypes": ("ReportBatchItemFailures",),
}
"""What the engine's mapping and the stock processor's have in common."""


def returned(answer: Mapping[str, Any], end: float) -> tuple[InvocationResult, float]:
    """A function's answer as the mapping hears of it."""
    return Returned(answer), end
