"""Everything that starts retry runs: the schedule once a minute, a run that asks for helpers, and an operator."""

import math
from collections.abc import Callable
from random import Random
from typing import Any

from sandbox.mapping.protocol import Returned
from tests.fakes.records import number_of
from tests.property.function.function import SimulatedFunction
from tests.property.function.services import records_in
from tests.property.history.faults import MINUTE, Faults, is_during
from tests.property.history.journal import Journal, Run
from tests.property.virtual_clock import VirtualClock

REQUEST = "table-stream"
CLOCKS_DIFFER = 5.0
"""Seconds by which an environment's due and lease times may differ from the true time: twice 2 s, and 1 s spare."""


class RetrySchedule:
    """Invokes the function with a retry request in every minute in which a hold could be due.

    Runs that would find no due hold are left out, because histories last for days.
    """

    def __init__(
        self,
        clock: VirtualClock,
        rng: Random,
        faults: Faults,
        journal: Journal,
        function: SimulatedFunction,
        until: float,
    ) -> None:
        self._clock, self._rng, self._faults, self._journal, self._function = clock, rng, faults, journal, function
        self._until = until
        self._next = math.inf
        self._offset = rng.uniform(0, MINUTE)
        function.dynamodb.observer.changed = self.look
        function.start_helper = lambda event: self._start("helper", event, rng.uniform(0, 2))
        if faults.operator:
            clock.at(clock.now + rng.uniform(0, faults.operator), self._operate)

    def look(self) -> None:
        """Schedule the next retry run that could find a due hold."""
        soonest = self._soonest()
        if soonest == math.inf:
            return
        after = max(soonest, self._clock.now + 1e-6) - self._offset
        tick = math.ceil(after / MINUTE) * MINUTE + self._offset
        if tick < self._next and tick <= self._until:
            self._next = tick
            self._clock.at(tick, lambda: self._tick(tick))

    def _soonest(self) -> float:
        held = self._function.dynamodb.observer.held().values()
        slack = CLOCKS_DIFFER if self._faults.lambdas.skewed else 0.0
        return min((max(row.get("due", 0), row.get("lease", 0)) for row in held), default=math.inf) - slack

    def _tick(self, when: float) -> None:
        if self._next != when:
            return
        self._next = math.inf
        if self._soonest() > when:
            self.look()
            return
        rng, lambdas, by_chance = self._rng, self._faults.lambdas, when < self._faults.quiet_at
        if rng.random() < self._faults.stores.purge:
            self._function.dynamodb.purge(when)
        if is_during(lambdas.throttled, when) or (by_chance and rng.random() < lambdas.tick_dropped):
            self._journal.incidents["retry run dropped"] += 1
        else:
            late = by_chance and rng.random() < lambdas.tick_late
            for _ in range(2 if by_chance and rng.random() < lambdas.tick_twice else 1):
                self._start("retry", {REQUEST: "retry"}, rng.uniform(0, MINUTE) if late else rng.uniform(0, 5))
        self._clock.at(when + 1e-3, self.look)

    def _start(self, kind: str, event: dict[str, Any], delay: float) -> None:
        self._clock.at(self._clock.now + delay, lambda: self._clock.start(lambda: self._run(kind, event)))

    def _run(self, kind: str, event: dict[str, Any]) -> None:
        self._function.invoke(kind, event, began=self._began)
        self.look()

    def _began(self, run: Run) -> None:
        for digest, row in self._function.dynamodb.observer.held().items():
            free_at = max(row.get("due", 0), row.get("lease", 0))
            if free_at + CLOCKS_DIFFER <= run.start:
                run.due_holds.add(digest)
            if free_at - CLOCKS_DIFFER <= run.start:
                run.waiting_since[digest] = row["since"]
                if row.get("deaths") or row.get("owner"):
                    run.suspects.add(digest)

    # An operator

    def _operate(self) -> None:
        action: Callable[[], None] = self._rng.choice([self._redrive, self._skip, self._make_all_due])
        action()
        if self._clock.now < self._faults.ended_at + self._faults.operator:
            self._clock.at(self._clock.now + self._faults.operator, self._operate)

    def _make_all_due(self) -> None:
        if self._function.dynamodb.observer.held():
            self._journal.incidents["everything made due"] += 1
            self._start("retry", {REQUEST: "retry", "now": True}, 0.0)

    def _skip(self) -> None:
        held = sorted(self._function.dynamodb.observer.held())
        if held:
            digest = self._rng.choice(held)
            self._journal.asked_to_skip.add(self._function.dynamodb.observer.item_of[digest])
            self._start("skip", {REQUEST: "skip", "item": digest}, 0.0)

    def _redrive(self) -> None:
        parked = dict(records_in(self._function.objects))
        if not parked:
            return
        keys = self._rng.sample(sorted(parked), self._rng.randint(1, len(parked)))
        records = [parked[key] for key in keys]
        numbers = [number_of(record) for record in records]
        self._journal.excuse(numbers, "a redrive")
        self._journal.asked_to_redrive.update(numbers)

        def redrive() -> None:
            run, outcome = self._function.invoke("redrive", {REQUEST: "redrive", "records": records})
            held = set(run.answer["held"]) if isinstance(outcome, Returned) else set[str]()
            for key, each, record in zip(keys, numbers, records, strict=True):
                if record["eventID"] in held:
                    self._function.objects.pop(key, None)
                    self._journal.redriven.setdefault(each, []).append(run.start)
            self.look()

        self._clock.start(redrive)
