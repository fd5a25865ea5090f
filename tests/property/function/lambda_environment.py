"""One Lambda environment, which runs one invocation after the other and may crash at any step."""

from collections.abc import Callable
from random import Random
from typing import Any

from handler.stream.engine.workers import SimulatedCrash
from tests.fakes.aws import LambdaContext
from tests.property.function import threads
from tests.property.function.executor import InterleavingExecutor
from tests.property.history.faults import Faults
from tests.property.history.journal import Journal, Run
from tests.property.virtual_clock import VirtualClock

TIMEOUT_SECONDS = 60.0
"""The function's time-out."""
RESERVE_SECONDS = 2.0
"""Seconds that the contract reserves at an invocation's end, whatever the engine's constant is."""

EntryPoint = Callable[[dict[str, Any], Any], Any]
"""An environment's entry point: takes an event and a context, returns the answer."""


class LambdaEnvironment:
    """An environment with its own clock. All time in an invocation passes by `spend`."""

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
        """Return the time of this environment's clock, which may be skewed."""
        return self.clock.now + self._skew

    def begin(self, run: Run) -> LambdaContext:
        """Begin a run, and return its context."""
        self.run, self._is_on_deadline_running = run, False
        return LambdaContext(lambda: self.clock.now, run.deadline - self.clock.now)

    # Time

    def pause(self, seconds: float) -> None:
        """Wait as the engine's `sleep`; other items may take steps meanwhile."""
        if not self.faults.handlers.slow and self.run.kind == "batch":
            self.executor.step_others()
        self.spend(seconds)

    def spend(self, seconds: float, *, outstays: bool = False) -> None:
        """Let time pass. At the reserve `on_deadline` runs; at the deadline the function crashes."""
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
        """Run the engine's `on_deadline` beside the handlers that still run."""
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
        """Wait until `on_deadline` returns, because a batch does not end before it."""
        while self._is_on_deadline_running:
            self.spend(threads.WAIT_SECONDS)

    # Crashes

    def may_crash(self, where: str) -> None:
        """Crash the function with the history's probability."""
        crash = self.faults.lambdas.crash
        if crash and self.clock.now < self.faults.quiet_at and self.rng.random() < crash:
            self.journal.incidents[f"crash {where}"] += 1
            self.crash()

    def crash(self) -> None:
        """Crash the function."""
        run = self.run
        if not run.has_crashed:
            run.has_crashed = True
            run.running_at_crash |= run.running
        raise SimulatedCrash
