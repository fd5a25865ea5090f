"""What asks for retry runs: the schedule of every minute, runs that ask for helpers, and an operator."""

import math
from collections.abc import Callable
from random import Random
from typing import Any

from sandbox.mapping.protocol import Returned
from tests.property.function.function import Function
from tests.property.function.services import records_in
from tests.property.history.facts import Facts, Run
from tests.property.history.faults import MINUTE, Faults, within
from tests.property.kernel import Kernel
from tests.property.stream import number

REQUEST = "table-stream"
CLOCKS_DIFFER = 5.0
"""Seconds by which what an environment takes to be due, or leased, may differ from the truth."""


class Schedule:
    """Invokes the function with retry requests, every minute in which anything could be due.

    A run that would find nothing due does nothing, and is left out: histories last for days.
    """

    def __init__(
        self, kernel: Kernel, rng: Random, faults: Faults, facts: Facts, function: Function, until: float
    ) -> None:
        self._kernel, self._rng, self._faults, self._facts, self._function = kernel, rng, faults, facts, function
        self._until = until
        self._next = math.inf
        self._offset = rng.uniform(0, MINUTE)
        function.table.rows.changed = self.look
        function.help = lambda event: self._start("helper", event, rng.uniform(0, 2))
        if faults.operator:
            kernel.at(kernel.now + rng.uniform(0, faults.operator), self._operate)

    def look(self) -> None:
        """See when a retry run could find anything due."""
        soonest = self._soonest()
        if soonest == math.inf:
            return
        after = max(soonest, self._kernel.now + 1e-6) - self._offset
        tick = math.ceil(after / MINUTE) * MINUTE + self._offset
        if tick < self._next and tick <= self._until:
            self._next = tick
            self._kernel.at(tick, lambda: self._tick(tick))

    def _soonest(self) -> float:
        held = self._function.table.rows.held().values()
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
            self._function.table.purge(when)
        if within(lambdas.throttled, when) or (by_chance and rng.random() < lambdas.tick_dropped):
            self._facts.met["retry run dropped"] += 1
        else:
            late = by_chance and rng.random() < lambdas.tick_late
            for _ in range(2 if by_chance and rng.random() < lambdas.tick_twice else 1):
                self._start("retry", {REQUEST: "retry"}, rng.uniform(0, MINUTE) if late else rng.uniform(0, 5))
        self._kernel.at(when + 1e-3, self.look)

    def _start(self, kind: str, event: dict[str, Any], delay: float) -> None:
        self._kernel.at(
            self._kernel.now + delay,
            lambda: self._kernel.start(lambda: self._run(kind, event)),
        )

    def _run(self, kind: str, event: dict[str, Any]) -> None:
        self._function.invoke(kind, event, began=self._began)
        self.look()

    def _began(self, run: Run) -> None:
        for digest, row in self._function.table.rows.held().items():
            free_at = max(row.get("due", 0), row.get("lease", 0))
            if free_at + CLOCKS_DIFFER <= run.start:
                run.due.add(digest)
            if free_at - CLOCKS_DIFFER <= run.start:
                run.line[digest] = row["since"]
                if row.get("deaths") or row.get("owner"):
                    run.suspects.add(digest)

    # An operator

    def _operate(self) -> None:
        action: Callable[[], None] = self._rng.choice([self._redrive, self._skip, self._make_all_due])
        action()
        if self._kernel.now < self._faults.over_at + self._faults.operator:
            self._kernel.at(self._kernel.now + self._faults.operator, self._operate)

    def _make_all_due(self) -> None:
        if self._function.table.rows.held():
            self._facts.met["everything made due"] += 1
            self._start("retry", {REQUEST: "retry", "now": True}, 0.0)

    def _skip(self) -> None:
        held = sorted(self._function.table.rows.held())
        if held:
            digest = self._rng.choice(held)
            self._facts.asked_to_skip.add(self._function.table.rows.item_of[digest])
            self._start("skip", {REQUEST: "skip", "item": digest}, 0.0)

    def _redrive(self) -> None:
        parked = dict(records_in(self._function.objects))
        if not parked:
            return
        keys = self._rng.sample(sorted(parked), self._rng.randint(1, len(parked)))
        records = [parked[key] for key in keys]
        numbers = [number(record) for record in records]
        self._facts.excuse(numbers, "a redrive")
        self._facts.asked_to_redrive.update(numbers)

        def redrive() -> None:
            run, outcome = self._function.invoke("redrive", {REQUEST: "redrive", "records": records})
            held = set(run.answer["held"]) if isinstance(outcome, Returned) else set[str]()
            for key, each, record in zip(keys, numbers, records, strict=True):
                if record["eventID"] in held:
                    self._function.objects.pop(key, None)
                    self._facts.redriven.setdefault(each, []).append(run.start)
            self.look()

        self._kernel.start(redrive)
