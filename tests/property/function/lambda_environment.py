"""One Lambda environment: it lives from invocation to invocation, runs one at a time, and may die at any step."""

from collections.abc import Callable
from random import Random
from typing import Any

from handler.stream.engine.workers import SimulatedCrash
from tests.property.function import threads
from tests.property.function.executor import InterleavingExecutor
from tests.property.history.faults import Faults
from tests.property.history.journal import Journal, Run
from tests.property.virtual_clock import VirtualClock

TIMEOUT_SECONDS = 60.0
"""The function's, in seconds."""
RESERVE_SECONDS = 2.0
"""Seconds kept at an invocation's end: what the contract promises, whatever the engine's constant is."""

EntryPoint = Callable[[dict[str, Any], Any], Any]
"""An environment's entry point: takes an event and a context, gives the answer."""


class LambdaContext:
    """Lambda's context, as far as the engine and Powertools look at it."""

    function_name = function_version = aws_request_id = "simulated"
    invoked_function_arn = "arn:aws:lambda:eu-central-1:000000000000:function:simulated"
    memory_limit_in_mb = 256

    def __init__(self, clock: VirtualClock, deadline: float) -> None:
        self._clock, self._deadline = clock, deadline

    def get_remaining_time_in_millis(self) -> int:
        return max(0, int((self._deadline - self._clock.now) * 1000))


class LambdaEnvironment:
    """An environment with its clock. All time that passes in an invocation passes through `spend`."""

    def __init__(self, clock: VirtualClock, rng: Random, faults: Faults, journal: Journal, workers: int) -> None:
        self.clock, self.rng, self.faults, self.journal = clock, rng, faults, journal
        self.executor = InterleavingExecutor(rng, workers)
        self.executor.before_step = lambda: self.may_crash("between two changes")
        self.executor.at_end = self._join
        self.run = Run("none", [], 0.0, 0.0)
        self.entry_point: EntryPoint = lambda event, context: None
        self.failures_in_a_row = 0
        self._skew = rng.uniform(-2, 2) if faults.lambdas.skewed else 0.0
        self._is_on_deadline_running = False

    def local_time(self) -> float:
        """The time, as this environment knows it."""
        return self.clock.now + self._skew

    def begin(self, run: Run) -> LambdaContext:
        """Take an invocation."""
        self.run, self._is_on_deadline_running = run, False
        return LambdaContext(self.clock, run.deadline)

    # Time

    def pause(self, seconds: float) -> None:
        """How the engine waits: other items go on meanwhile."""
        if not self.faults.handlers.slow and self.run.kind == "batch":
            self.executor.step_others()
        self.spend(seconds)

    def spend(self, seconds: float, *, outstays: bool = False) -> None:
        """Let time pass; at the reserve the engine is told, at the deadline Lambda ends it."""
        clock, run = self.clock, self.run
        end = clock.now + seconds
        last = run.deadline - RESERVE_SECONDS
        if self.executor.on_deadline is not None and end >= last:
            self._sleep(last - clock.now)
            self._run_on_deadline()
        if end >= run.deadline:
            self._sleep(run.deadline - clock.now)
            if not outstays and not self.faults.stores.flaky:
                self.journal.overran |= run.running - {run.first}
            self.journal.incidents["time-out"] += 1
            self.crash()
        self._sleep(end - clock.now)

    def _sleep(self, seconds: float) -> None:
        if seconds > 0:
            self.clock.sleep(seconds)
        if self.run.has_crashed:
            raise SimulatedCrash

    def _run_on_deadline(self) -> None:
        """The engine's last chance, beside the handlers that still run."""
        on_deadline, self.executor.on_deadline = self.executor.on_deadline, None
        if on_deadline is None:
            return
        run = self.run
        run.interrupted |= run.running | run.claimed
        run.failed |= run.interrupted
        for each in run.interrupted:
            self.journal.failures[each].append((self.clock.now, "still running"))
        self.journal.incidents["deadline with a handler running"] += bool(run.running)
        self._is_on_deadline_running = True

        def speak() -> None:
            threads.current.environment = self
            try:
                on_deadline()
            except SimulatedCrash:
                pass
            finally:
                self._is_on_deadline_running = False

        self.clock.start(speak)

    def _join(self) -> None:
        """As in Lambda, the thread that waits for the others is the one that speaks."""
        while self._is_on_deadline_running:
            self.spend(threads.WAIT_SECONDS)

    # SimulatedCrash

    def may_crash(self, where: str) -> None:
        """The function dies here, by a chance that the history has."""
        crash = self.faults.lambdas.crash
        if crash and self.clock.now < self.faults.quiet_at and self.rng.random() < crash:
            self.journal.incidents[f"death {where}"] += 1
            self.crash()

    def crash(self) -> None:
        """The function ends here and now."""
        run = self.run
        if not run.has_crashed:
            run.has_crashed = True
            run.running_at_crash |= run.running
        raise SimulatedCrash
