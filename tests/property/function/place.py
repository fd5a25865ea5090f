"""One Lambda environment: it lives from invocation to invocation, runs one at a time, and may die at any step."""

from collections.abc import Callable
from random import Random
from typing import Any

from handler.stream.engine.workers import SimulatedCrash
from tests.property.executor import Steps
from tests.property.function import threads
from tests.property.history.facts import Facts, Run
from tests.property.history.faults import Faults
from tests.property.kernel import Kernel

TIMEOUT = 60.0
"""The function's, in seconds."""
RESERVE = 2.0
"""Seconds kept at an invocation's end: what the contract promises, whatever the engine's constant is."""

Deliver = Callable[[dict[str, Any], Any], Any]
"""An environment's entry point: takes an event and a context, gives the answer."""


class Context:
    """Lambda's context, as far as the engine and Powertools look at it."""

    function_name = function_version = aws_request_id = "simulated"
    invoked_function_arn = "arn:aws:lambda:eu-central-1:000000000000:function:simulated"
    memory_limit_in_mb = 256

    def __init__(self, kernel: Kernel, deadline: float) -> None:
        self._kernel, self._deadline = kernel, deadline

    def get_remaining_time_in_millis(self) -> int:
        return max(0, int((self._deadline - self._kernel.now) * 1000))


class Place:
    """An environment with its clock. All time that passes in an invocation passes through `spend`."""

    def __init__(self, kernel: Kernel, rng: Random, faults: Faults, facts: Facts, workers: int) -> None:
        self.kernel, self.rng, self.faults, self.facts = kernel, rng, faults, facts
        self.steps = Steps(rng, workers)
        self.steps.before_step = lambda: self.may_die("between two changes")
        self.steps.at_end = self._join
        self.run = Run("none", [], 0.0, 0.0)
        self.deliver: Deliver = lambda event, context: None
        self.failures_in_a_row = 0
        self._skew = rng.uniform(-2, 2) if faults.lambdas.skewed else 0.0
        self._speaking = False

    def clock(self) -> float:
        """The time, as this environment knows it."""
        return self.kernel.now + self._skew

    def begin(self, run: Run) -> Context:
        """Take an invocation."""
        self.run, self._speaking = run, False
        return Context(self.kernel, run.deadline)

    # Time

    def pause(self, seconds: float) -> None:
        """How the engine waits: other items go on meanwhile."""
        if not self.faults.handlers.slow and self.run.kind == "batch":
            self.steps.others()
        self.spend(seconds)

    def spend(self, seconds: float, *, outstays: bool = False) -> None:
        """Let time pass; at the reserve the engine is told, at the deadline Lambda ends it."""
        kernel, run = self.kernel, self.run
        end = kernel.now + seconds
        last = run.deadline - RESERVE
        if self.steps.on_deadline is not None and end >= last:
            self._sleep(last - kernel.now)
            self._speak()
        if end >= run.deadline:
            self._sleep(run.deadline - kernel.now)
            if not outstays and not self.faults.stores.flaky:
                self.facts.overran |= run.inside - {run.first}
            self.facts.met["time-out"] += 1
            self.die()
        self._sleep(end - kernel.now)

    def _sleep(self, seconds: float) -> None:
        if seconds > 0:
            self.kernel.sleep(seconds)
        if self.run.is_dead:
            raise SimulatedCrash

    def _speak(self) -> None:
        """The engine's last chance, beside the handlers that still run."""
        on_deadline, self.steps.on_deadline = self.steps.on_deadline, None
        if on_deadline is None:
            return
        run = self.run
        run.told |= run.inside | run.claimed
        run.failed |= run.told
        for each in run.told:
            self.facts.failures[each].append((self.kernel.now, "still running"))
        self.facts.met["deadline with a handler running"] += bool(run.inside)
        self._speaking = True

        def speak() -> None:
            threads.current.place = self
            try:
                on_deadline()
            except SimulatedCrash:
                pass
            finally:
                self._speaking = False

        self.kernel.start(speak)

    def _join(self) -> None:
        """As in Lambda, the thread that waits for the others is the one that speaks."""
        while self._speaking:
            self.spend(threads.WAIT_SECONDS)

    # Death

    def may_die(self, where: str) -> None:
        """The function dies here, by a chance that the history has."""
        crash = self.faults.lambdas.crash
        if crash and self.kernel.now < self.faults.quiet_at and self.rng.random() < crash:
            self.facts.met[f"death {where}"] += 1
            self.die()

    def die(self) -> None:
        """The function ends here and now."""
        run = self.run
        if not run.is_dead:
            run.is_dead = True
            run.died_inside |= run.inside
        raise SimulatedCrash
