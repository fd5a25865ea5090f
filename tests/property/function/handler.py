"""The consumer's own code in a history: what it does in the history, and what goes wrong there."""

from collections import defaultdict
from collections.abc import Callable

from handler.stream.change import Change, PermanentError
from handler.stream.effects import put_if_newer
from tests.fakes.stream import number
from tests.property.function.lambda_environment import RESERVE_SECONDS, TIMEOUT_SECONDS, LambdaEnvironment
from tests.property.function.names import TARGET
from tests.property.history.faults import is_during
from tests.property.history.journal import Effect, Overlap, Run

SLOW_SECONDS = 4.5
"""A failure that takes nearly half a handler's time; the engine's clock may differ from the clock's."""


class TroubleError(Exception):
    """Something that a handler needs fails."""


class SimulatedHandler:
    """The function of a change; `consumer_kind` is what protects its effects: plain (nothing), fenced or claimed."""

    def __init__(self, consumer_kind: str, trace: Callable[[str], None]) -> None:
        self._consumer_kind, self._trace = consumer_kind, trace
        self._inside: defaultdict[str, list[tuple[Run, int]]] = defaultdict(list)
        """By item: handlers that have begun and not ended."""

    def __call__(self, environment: LambdaEnvironment, changed: Change) -> None:
        """Handle a change in an environment."""
        journal, run, each = environment.journal, environment.run, number(changed.raw)
        item = journal.item_of[each]
        self._watch_overlap(environment, item, each)
        run.first = run.first or each
        run.attempts[each] += 1
        run.running.add(each)
        run.claimed |= {each} if self._consumer_kind == "claimed" else set()
        self._inside[item].append((run, each))
        began = environment.clock.now
        try:
            self._work(environment, each, changed)
            run.finished.add(each)
            journal.finished.setdefault(each, []).append(environment.clock.now)
            if run.kind == "batch":
                environment.failures_in_a_row = 0
        except Exception as error:
            journal.incidents[f"handler: {error}"] += 1
            journal.failures[each].append((environment.clock.now, str(error)))
            run.failed.add(each)
            environment.failures_in_a_row += run.kind == "batch"
            if run.kind == "batch" and environment.clock.now - began >= SLOW_SECONDS:
                journal.slow_failures.append(environment.clock.now)
            self._trace(f"{each} fails: {error}")
            raise
        finally:
            run.running.discard(each)
            self._inside[item].remove((run, each))

    def _watch_overlap(self, environment: LambdaEnvironment, item: str, each: int) -> None:
        journal = environment.journal
        for run, other in self._inside[item]:
            doubled = run.is_doubled or environment.run.is_doubled or {each, other} & journal.doubled
            if not run.has_crashed and not doubled:
                journal.overlaps.append(Overlap(item, (other, each), environment.clock.now))

    def _work(self, environment: LambdaEnvironment, each: int, changed: Change) -> None:
        faults, rng, now = environment.faults, environment.rng, environment.clock.now
        handlers, is_fixed = faults.handlers, now >= faults.handlers.fixed_at
        by_chance = now < faults.quiet_at
        hangs = (each in handlers.stuck and not is_fixed) or (by_chance and rng.random() < handlers.hang)
        lingers = by_chance and rng.random() < handlers.linger
        early = rng.random() < 0.5
        environment.spend(rng.uniform(2, 9.5) if handlers.slow else rng.uniform(0, 0.2))
        self._meanwhile(environment)
        environment.may_crash("before an effect")
        if each in handlers.killers and not is_fixed:
            environment.journal.incidents["death of the change itself"] += 1
            environment.crash()
        if early and (hangs or lingers):
            self._outstay(environment, ends=not hangs)
        if each in handlers.undecodable:
            assert changed.new_image, "this raises"
        self._may_fail(environment, each, is_fixed=is_fixed)
        environment.run.effects.add(each)
        self._affect(environment, each, changed)
        if hangs or lingers:
            self._outstay(environment, ends=not hangs)
        self._meanwhile(environment)
        environment.may_crash("after an effect")

    def _meanwhile(self, environment: LambdaEnvironment) -> None:
        if not environment.faults.handlers.slow:  # one after the other, the slow would last longer than any handler may
            environment.executor.step_others()

    def _may_fail(self, environment: LambdaEnvironment, each: int, *, is_fixed: bool) -> None:
        handlers, now = environment.faults.handlers, environment.clock.now
        if is_during(handlers.outage, now):
            raise TroubleError("outage")
        if each in handlers.permanent:
            raise PermanentError("permanent")
        if each in handlers.poison | handlers.flood and not is_fixed:
            raise TroubleError("poison")
        if now < environment.faults.quiet_at and environment.rng.random() < handlers.transient:
            raise TroubleError("transient")

    def _affect(self, environment: LambdaEnvironment, each: int, changed: Change) -> None:
        journal, item = environment.journal, environment.journal.item_of[each]
        if self._consumer_kind != "fenced" or put_if_newer(changed, TARGET):
            journal.effects.append(Effect(each, item, environment.clock.now))
        self._trace(f"effect of {each}")

    def _outstay(self, environment: LambdaEnvironment, *, ends: bool) -> None:
        environment.journal.incidents["linger" if ends else "hang"] += 1
        environment.executor.finish_others()
        left = environment.run.deadline - RESERVE_SECONDS - environment.clock.now
        environment.spend(max(left, 0) + 0.5 if ends else 2 * TIMEOUT_SECONDS, outstays=True)
