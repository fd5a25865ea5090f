"""How late are the changes of healthy items while others fail? In virtual time, beside a stock processor.

Run it with: python -m bench lateness.
"""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from statistics import median
from typing import Any

from bench.shard import MAPPING, START, Delivery, Outcome, Planned, Shard, place_of, returned, traffic
from bench.virtual import TIMEOUT_SECONDS, Clock, Function, silence
from handler.stream.change import Change
from sandbox.actions import Failed

ITEMS = 1_000
HANDLER_SECONDS, HANG_SECONDS = 0.005, 10.0
WORKERS = 10
BAD_FROM = START + 10.0
"""Before that everything goes well."""
FLOOD_SECONDS = 2.0
RAISE_GOAL, HANG_GOAL = 2.0, 60.0
"""The latest healthy change, in seconds: while bad items only raise, and while they hang or flood."""
OURS: Mapping[str, Any] = {"MaximumRecordAgeInSeconds": 82_800}
STOCK: Mapping[str, Any] = {"MaximumRetryAttempts": 3}


class HandlerError(Exception):
    """What a handler raises for a bad item."""


@dataclass(frozen=True)
class Scenario:
    """What fails, at which rate of changes a second and for how many seconds of traffic."""

    name: str
    rate: float
    seconds: float
    goal: float
    bad: int = 0
    """So many of the items fail from the tenth second on."""
    hangs: bool = False
    flood: int = 0
    """So many further items, one change each, that fail and come within 2 s."""
    outage: float = 0.0
    """So many seconds, from the tenth on, in which every handler raises."""
    batch: int = 100
    lanes: int = 1

    @property
    def mapping(self) -> dict[str, Any]:
        """What the mapping is created with beside the common settings."""
        return {"BatchSize": self.batch, "ParallelizationFactor": self.lanes}

    def shard(self) -> Shard:
        """The changes to be made."""
        items, when = count(ITEMS), (BAD_FROM + FLOOD_SECONDS * place / self.flood for place in range(self.flood))
        flood: list[Planned] = list(zip(when, items, strict=False))
        return Shard(traffic(self.rate, self.seconds, ITEMS), flood)

    def is_healthy(self, shard: Shard, place: int) -> bool:
        """Whether nothing is wrong with a change's item; in an outage, whether it was made after the end."""
        if self.outage:
            return shard.created[place] >= BAD_FROM + self.outage
        return self.bad <= shard.items[place] < ITEMS

    def seconds_of(self, item: int, now: float) -> tuple[float, bool]:
        """How long a handler takes, and whether it fails."""
        if now < BAD_FROM or not (item < self.bad or item >= ITEMS or (self.outage and now < BAD_FROM + self.outage)):
            return HANDLER_SECONDS, False
        return (HANG_SECONDS if self.hangs else HANDLER_SECONDS), True


SCENARIOS = [
    scenario
    for rate, seconds, outage in ((20.0, 600.0, 3_600.0), (1_000.0, 120.0, 120.0))
    for scenario in (
        Scenario("nothing fails", rate, seconds, RAISE_GOAL),
        *(Scenario(f"{bad} of 1,000 items raise", rate, seconds, RAISE_GOAL, bad) for bad in (1, 10, 100)),
        *(
            Scenario(f"{bad} of 1,000 items hang 10 s", rate, seconds, HANG_GOAL, bad, hangs=True)
            for bad in (1, 10, 100)
        ),
        Scenario("2,000 bad items within 2 s", rate, seconds, HANG_GOAL, flood=2_000),
        Scenario(f"outage of {outage / 60:.0f} minutes", rate, outage + seconds, HANG_GOAL, outage=outage),
    )
]


def ours(scenario: Scenario) -> tuple[Shard, Function]:
    """The engine, with retry runs every minute, until each change that can have its effect has it."""
    shard = scenario.shard()

    def handle(change: Change, clock: Clock) -> None:
        place = place_of(change.record)
        seconds, fails = scenario.seconds_of(shard.items[place], clock.now)
        clock.advance(seconds)
        if fails:
            raise HandlerError
        shard.apply(place, clock.now)

    function = Function(handle, workers=WORKERS)

    def invoke(records: Sequence[Mapping[str, Any]], now: float) -> tuple[Outcome, float]:
        return returned(*function({"Records": list(records)}, now))

    def is_settled() -> bool:
        left = (place for place, effect in enumerate(shard.effect) if not effect)
        return not any(scenario.outage or scenario.is_healthy(shard, place) for place in left)

    with silence():
        Delivery(shard, {**MAPPING, **OURS, **scenario.mapping}, invoke, function.retry).run(is_settled)
    return shard, function


def stock(scenario: Scenario) -> Shard:
    """Powertools' BatchProcessor as the sandbox runs it: it goes on after a failure, and reports the failures.

    It is given ten workers, which it does not have: one after the other it could not follow 1,000 changes a second.
    """
    shard = scenario.shard()

    def invoke(records: Sequence[Mapping[str, Any]], now: float) -> tuple[Outcome, float]:
        free, failures = [now] * WORKERS, list[dict[str, str]]()
        for record in records:
            place = place_of(record)
            began = free[0]
            if began >= now + TIMEOUT_SECONDS:
                return Failed(), now + TIMEOUT_SECONDS
            seconds, fails = scenario.seconds_of(shard.items[place], began)
            heapq.heapreplace(free, began + seconds)
            if fails:
                failures.append({"itemIdentifier": record["dynamodb"]["SequenceNumber"]})
            else:
                shard.apply(place, began + seconds)
        return returned({"batchItemFailures": failures}, max(free))

    Delivery(shard, {**MAPPING, **STOCK, **scenario.mapping}, invoke).run()
    return shard


def measure(scenario: Scenario) -> dict[str, Any]:
    """One row of the table."""
    mine, function = ours(scenario)
    peer = stock(scenario)
    late = mine.lateness(lambda place: scenario.is_healthy(mine, place))
    peers = [
        seconds for seconds in peer.lateness(lambda place: scenario.is_healthy(peer, place)) if seconds != float("inf")
    ]
    last = max(mine.effect) - (BAD_FROM + scenario.outage) if scenario.outage else None
    return {
        "scenario": scenario.name,
        "changes a second": scenario.rate,
        "latest": late[-1],
        "median": median(late),
        "goal": scenario.goal,
        "stock's latest": peers[-1] if peers else None,
        "stock's median": median(peers) if peers else None,
        "stock lost": len(peer.lost),
        "stock lost of healthy items": sum(scenario.is_healthy(peer, place) for place in peer.lost),
        "all released after": last,
        "parked": function.parked,
    }
