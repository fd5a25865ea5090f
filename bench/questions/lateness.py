"""Measures the lateness of healthy items' changes while others fail, in virtual time, beside the baseline.

Run it with: python -m bench lateness.
"""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from statistics import median
from typing import Any

from bench.question import Row, at_most
from bench.simulation import (
    MAPPING,
    InvocationResult,
    MappingSimulation,
    PlannedChange,
    Traffic,
    even_traffic,
    returned,
)
from bench.virtual import TIMEOUT_SECONDS, VirtualFunction
from handler.stream.change import Change
from sandbox.mapping.protocol import Failed
from tests.fakes.aws import Clock, silence
from tests.fakes.records import START, number_of

HANDLER_SECONDS, HANG_SECONDS = 0.005, 10.0
WORKERS = 10
FAILING_SECONDS = 30.0
BAD_FROM = START + 10.0
"""Nothing fails before this time."""
FLOOD_SECONDS = 2.0
RAISE_GOAL, HANG_GOAL = 2.0, 60.0
"""The latest healthy change, in seconds: while bad items only raise, and while they hang or flood."""
NOTE = """\
Latest and median: seconds from a healthy item's change to its effect, in virtual time. Others fail from the tenth
second on, during 600 s of changes at 20/s and 120 s at 1,000/s. Good is at most 2 s while bad items only raise, and
60 s while they hang or flood. In an outage every item is held, so that no change is a healthy one: the figures are
of changes after its end, and good is a quarter of the outage, at least 2 minutes, and a minute to drain. At 1,000/s
the outage is 2 minutes long, since an hour would take this machine half an hour. Stock is Powertools'
BatchProcessor on the same mapping with bisect and three retries, and with ten workers, although it has one. Lost
changes are those that its mapping discarded before a handler succeeded."""
RAISE, HANG = "latest healthy change while others raise, s", "latest healthy change while others hang or flood, s"
OUTAGE = "latest change after an outage, times the goal"
GOALS = {RAISE: at_most(RAISE_GOAL), HANG: at_most(HANG_GOAL), OUTAGE: at_most(1)}
OURS: Mapping[str, Any] = {"MaximumRecordAgeInSeconds": 86_100}
STOCK: Mapping[str, Any] = {"MaximumRetryAttempts": 3}


class HandlerError(Exception):
    """The handler of a bad item raises this error."""


@dataclass(frozen=True)
class Scenario:
    """A scenario: the failures, the rate in changes per second, and the seconds of traffic."""

    name: str
    rate: float
    seconds: float
    goal: float
    bad: int = 0
    """The number of items that fail from the tenth second on."""
    hangs: bool = False
    one_of: int = 0
    """One change in this number fails for 30 s."""
    flood: int = 0
    """The number of further items, with one failing change each, within 2 s."""
    outage: float = 0.0
    """Seconds, from the tenth on, in which every handler raises."""
    items: int = 1_000
    batch: int = 100
    concurrent_batches: int = 1

    @property
    def mapping(self) -> dict[str, Any]:
        """Options of the mapping in addition to the common ones."""
        return {"BatchSize": self.batch, "ParallelizationFactor": self.concurrent_batches}


class ScenarioRun:
    """One run of a scenario: its changes, and the handler's behaviour."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        when = (BAD_FROM + FLOOD_SECONDS * number / scenario.flood for number in range(scenario.flood))
        flood: list[PlannedChange] = list(zip(when, count(scenario.items), strict=False))
        self.traffic = Traffic(even_traffic(scenario.rate, scenario.seconds, scenario.items), flood)
        self._first_tries: dict[int, float] = {}
        self._failing_items = set[int]()

    def handle(self, number: int, now: float) -> tuple[float, bool]:
        """Run a change's handler; return its end and whether it fails."""
        scenario, fails = self.scenario, self._fails(number, now)
        end = now + (HANG_SECONDS if fails and scenario.hangs else HANDLER_SECONDS)
        if not fails:
            self.traffic.apply(number, end)
        return end, fails

    def _fails(self, number: int, now: float) -> bool:
        scenario, item = self.scenario, self.traffic.items[number]
        if scenario.one_of and number % scenario.one_of == 0:
            self._failing_items.add(item)
            return now < self._first_tries.setdefault(number, now) + FAILING_SECONDS
        is_bad = item < scenario.bad or item >= scenario.items or now < BAD_FROM + scenario.outage
        return now >= BAD_FROM and is_bad

    def is_healthy(self, number: int) -> bool:
        """Whether a change's item never fails; in an outage, whether the change was made after the end."""
        if self.scenario.outage:
            return self.traffic.created[number] >= BAD_FROM + self.scenario.outage
        item = self.traffic.items[number]
        return self.scenario.bad <= item < self.scenario.items and item not in self._failing_items

    def is_settled(self) -> bool:
        """Whether every change that can have its effect has it."""
        left = (number for number, effect in enumerate(self.traffic.effect) if not effect)
        return not any(self.scenario.outage or self.is_healthy(number) for number in left)


def scenarios(*, quick: bool = False) -> list[Scenario]:
    """Return the table's scenarios; if `quick`, without outages and with less traffic."""
    rows: list[Scenario] = []
    for rate, seconds, outage in ((20.0, 600.0, 3_600.0), (1_000.0, 120.0, 120.0)):
        some = seconds / 4 if quick else seconds
        rows += [
            Scenario("nothing fails", rate, some, RAISE_GOAL),
            *(Scenario(f"{bad} of 1,000 items raise", rate, some, RAISE_GOAL, bad) for bad in (1, 10, 100)),
            Scenario("0.1 % of changes raise for 30 s", rate, some, RAISE_GOAL, one_of=1_000, items=100_000),
            Scenario("5 % of changes raise for 30 s", rate, some, RAISE_GOAL, one_of=20, items=100_000),
            *(
                Scenario(f"{bad} of 1,000 items hang 10 s", rate, some, HANG_GOAL, bad, hangs=True)
                for bad in (1, 10, 100)
            ),
            Scenario("2,000 bad items within 2 s", rate, some, HANG_GOAL, flood=2_000),
        ]
        if not quick:
            goal = max(outage / 4, 120.0) + 60.0
            name = f"outage of {outage / 60:.0f} minutes"
            rows.append(Scenario(name, rate, outage + some, goal, outage=outage))
    return rows


def ours(scenario: Scenario) -> ScenarioRun:
    """Run the engine, with a retry run every minute, until each change that can have its effect has it."""
    scenario_run = ScenarioRun(scenario)

    def handle(change: Change, clock: Clock) -> None:
        clock.now, fails = scenario_run.handle(number_of(change.record), clock.now)
        if fails:
            raise HandlerError

    function = VirtualFunction(handle, workers=WORKERS)

    def invoke(records: Sequence[Mapping[str, Any]], now: float) -> tuple[InvocationResult, float]:
        answer = returned(*function({"Records": list(records)}, now))
        function.answer_asked()
        return answer

    with silence():
        simulation = MappingSimulation(
            scenario_run.traffic, {**MAPPING, **OURS, **scenario.mapping}, invoke, function.retry
        )
        simulation.run(scenario_run.is_settled)
    return scenario_run


def stock(scenario: Scenario) -> ScenarioRun:
    """Run Powertools' BatchProcessor, which continues after a failure and reports the failures.

    The simulation gives it ten workers, because one worker is too slow for 1,000 changes a second.
    """
    scenario_run = ScenarioRun(scenario)

    def invoke(records: Sequence[Mapping[str, Any]], now: float) -> tuple[InvocationResult, float]:
        free, failures = [now] * WORKERS, list[dict[str, str]]()
        for record in records:
            if free[0] >= now + TIMEOUT_SECONDS:
                return Failed(), now + TIMEOUT_SECONDS
            end, fails = scenario_run.handle(number_of(record), free[0])
            heapq.heapreplace(free, end)
            if fails:
                failures.append({"itemIdentifier": record["dynamodb"]["SequenceNumber"]})
        return returned({"batchItemFailures": failures}, max(free))

    MappingSimulation(scenario_run.traffic, {**MAPPING, **STOCK, **scenario.mapping}, invoke).run()
    return scenario_run


def measure(*, quick: bool = False) -> list[Row]:
    """Return the table's rows."""
    return list(map(measure_one, scenarios(quick=quick)))


def figures(rows: Sequence[Row]) -> dict[str, float]:
    """Return the figures that have goals."""
    latest = {
        RAISE: [row["latest, s"] for row in rows if row["good, s"] == RAISE_GOAL],
        HANG: [row["latest, s"] for row in rows if row["good, s"] == HANG_GOAL],
        OUTAGE: [row["latest, s"] / row["good, s"] for row in rows if row["good, s"] > HANG_GOAL],
    }
    return {name: max(each) for name, each in latest.items() if each}


def measure_one(scenario: Scenario) -> Row:
    """Return one row of the table."""
    mine, peer = ours(scenario), stock(scenario)
    late = mine.traffic.lateness(mine.is_healthy)
    peers = [seconds for seconds in peer.traffic.lateness(peer.is_healthy) if seconds != float("inf")]
    return {
        "what fails": scenario.name,
        "changes/s": scenario.rate,
        "latest, s": late[-1],
        "median, s": median(late),
        "good, s": scenario.goal,
        "stock: latest, s": peers[-1] if peers else None,
        "stock: median, s": median(peers) if peers else None,
        "stock: lost": len(peer.traffic.lost),
    }
