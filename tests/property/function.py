"""The function of a history: its environments, its handler, the doors of its stores, and what goes wrong there."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

from handler.stream.change import Change, PermanentError
from handler.stream.effects import put_if_newer
from handler.stream.environment import Environment
from handler.stream.processor import RESERVE
from handler.stream.workers import Death
from sandbox.actions import Failed, Outcome, Returned
from tests.property.engines import Deliver, Given, Subject
from tests.property.executor import Steps
from tests.property.facts import Effect, Facts, Parked, Run
from tests.property.faults import Faults, within
from tests.property.kernel import Kernel
from tests.property.stores import Act, Bucket, Dynamo, Tables, refusal
from tests.property.stream import number

TIMEOUT = 30.0
TARGET = "mirror"


class TroubleError(Exception):
    """Something that a handler needs fails."""


class Context:
    """Lambda's context, as far as the engine and Powertools look at it."""

    function_name = function_version = aws_request_id = "simulated"
    invoked_function_arn = "arn:aws:lambda:eu-central-1:000000000000:function:simulated"
    memory_limit_in_mb = 256

    def __init__(self, kernel: Kernel, deadline: float) -> None:
        self._kernel, self._deadline = kernel, deadline

    def get_remaining_time_in_millis(self) -> int:
        return max(0, int((self._deadline - self._kernel.now) * 1000))


@dataclass
class Place:
    """One Lambda environment: it lives from invocation to invocation, and runs one at a time."""

    run: Run
    steps: Steps
    given_up: set[str]
    deliver: Deliver


class Function:
    """Runs batches as Lambda does, in a warm environment if there is one."""

    def __init__(
        self,
        kernel: Kernel,
        rng: Random,
        faults: Faults,
        facts: Facts,
        *,
        subject: Subject,
        settings: Environment,
        kind: str,
        say: Callable[[str], None],
    ) -> None:
        self._kernel, self._rng, self._faults, self._facts = kernel, rng, faults, facts
        self._subject, self._settings, self._kind, self._say = subject, settings, kind, say
        self._warm: list[Place] = []
        self._objects: dict[str, bytes] = {}
        self.running: list[Run] = []
        self.tables = Tables(lambda: kernel.now)

    def deliver(self, events: list[dict[str, Any]]) -> tuple[Run, Outcome]:
        """One invocation, from its beginning to its answer or its death."""
        kernel, facts = self._kernel, self._facts
        place = self._warm.pop(self._rng.randrange(len(self._warm))) if self._warm else self._cold()
        numbers = [number(event) for event in events]
        place.run = run = Run(numbers, kernel.now, kernel.now + TIMEOUT, set(place.given_up))
        self.running.append(run)
        self._say(f"invoked with {run.numbers}")
        try:
            late = self._rng.random() < self._faults.late
            kernel.sleep(TIMEOUT - self._rng.uniform(4, 12) if late else 0.02)
            outcome: Outcome = Returned(place.deliver({"Records": events}, Context(kernel, run.deadline)))
            facts.note(run.finished, kernel.now)
        except Death:
            outcome = Failed()
            facts.note(run.noted, kernel.now)
            facts.excused |= (run.did | run.parked) - run.noted
            facts.deaths.update(run.claimed)
        except self._subject.raises:
            outcome = Failed()
        self.running.remove(run)
        run.end = kernel.now
        facts.longest_run = max(facts.longest_run, run.end - run.start)
        self._say(f"{run.numbers} {outcome.payload if isinstance(outcome, Returned) else 'failed'}")
        if isinstance(outcome, Returned) and self._rng.random() >= self._faults.cold:
            self._warm.append(place)
        return run, outcome

    def client_of_effects(self) -> Any:
        """The client that fenced handlers write with; nothing is at fault with it."""
        return self._subject.effects(Dynamo(self.tables, lambda _, act: act()))

    def mirrored(self, item: str) -> int | None:
        """The change that the fenced target shows of an item; None where it is removed or was never there."""
        found = self.tables.item((TARGET, item, ""))
        return int(found["v"]["N"]) if found and "v" in found else None

    def _cold(self) -> Place:
        steps = Steps(self._rng, self._settings.workers)
        place = Place(Run([], 0.0, 0.0, set()), steps, set(), lambda event, context: None)
        door = partial(self._door, place)
        clients: dict[str, Any] = {"dynamodb": Dynamo(self.tables, door), "s3": Bucket(self._objects, door)}
        steps.before_step = self._may_die
        place.deliver = self._subject.environment(
            Given(
                function=partial(self._handle, place),
                settings=self._settings,
                claim=self._kind == "claimed",
                client=clients.__getitem__,
                executor=steps,
                clock=lambda: self._kernel.now,
            )
        )
        return place

    # What the consumer's author wrote, and what becomes of it

    def _handle(self, place: Place, changed: Change) -> None:
        run, each = place.run, number(changed.raw)
        run.first = run.first or each
        run.inside.add(each)
        run.claimed.add(each)
        try:
            self._work(place, each, changed)
            run.finished.add(each)
            for waiting in (place.given_up, run.given_up):  # it is waited for again
                waiting.discard(self._facts.item_of[each])
        except Exception as error:
            self._facts.met.add(str(error))
            self._facts.failures[each].append((self._kernel.now, str(error)))
            run.failed.add(each)
            raise
        finally:
            if run in self.running:
                run.inside.discard(each)

    def _work(self, place: Place, each: int, changed: Change) -> None:
        faults, rng = self._faults, self._rng
        hangs = each in faults.stuck or rng.random() < faults.hang
        lingers = rng.random() < faults.linger
        early = each in faults.stuck or rng.random() < 0.5
        self._spend(place, rng.uniform(1, 9) if faults.slow else rng.uniform(0, 0.2))
        self._meanwhile(place)
        self._may_die()
        if early and (hangs or lingers):
            self._outstay(place, ends=not hangs)
        self._may_fail(each)
        place.run.did.add(each)
        self._affect(place, each, changed)
        if hangs or lingers:
            self._outstay(place, ends=not hangs)
        self._meanwhile(place)
        self._may_die()

    def _meanwhile(self, place: Place) -> None:
        if not self._faults.slow:  # one after the other, the slow would last longer than any handler may
            place.steps.others()

    def _may_fail(self, each: int) -> None:
        if within(self._faults.outage, self._kernel.now):
            raise TroubleError("outage")
        if each in self._faults.permanent:
            raise PermanentError("permanent")
        if each in self._faults.poison:
            raise TroubleError("poison")
        if self._rng.random() < self._faults.transient:
            raise TroubleError("transient")

    def _affect(self, place: Place, each: int, changed: Change) -> None:
        facts, item = self._facts, self._facts.item_of[each]
        if self._kind != "fenced" or put_if_newer(changed, TARGET):
            facts.effects.append(Effect(each, item))
        facts.applied.setdefault(each, self._kernel.now)
        self._say(f"effect of {each}")

    # How time passes, and ends

    def _outstay(self, place: Place, *, ends: bool) -> None:
        self._facts.met.add("linger" if ends else "hang")
        place.steps.all_others()
        left = place.run.deadline - RESERVE - self._kernel.now
        self._spend(place, max(left, 0) + 0.5 if ends else TIMEOUT, outstays=True)

    def _spend(self, place: Place, seconds: float, *, outstays: bool = False) -> None:
        kernel, run = self._kernel, place.run
        end = kernel.now + seconds
        if end >= run.deadline - RESERVE:
            kernel.sleep(max(run.deadline - RESERVE - kernel.now, 0.0))
            self._speak(place)
        if end >= run.deadline:
            kernel.sleep(max(run.deadline - kernel.now, 0.0))
            if not outstays:
                self._facts.overran |= run.inside - {run.first}
            self._die()
        kernel.sleep(max(end - kernel.now, 0.0))

    def _speak(self, place: Place) -> None:
        run, now = place.run, self._kernel.now
        if place.steps.last_words is None:
            return
        run.failed |= run.inside
        for each in run.inside:
            self._facts.failures[each].append((now, "still running"))
        last_words, place.steps.last_words = place.steps.last_words, None
        noted = set(run.finished)
        last_words()
        run.noted = noted

    def _may_die(self) -> None:
        if self._rng.random() < self._faults.crash:
            self._facts.met.add("crash")
            self._die()

    def _die(self) -> None:
        raise Death

    # The doors of its stores

    def _door(self, place: Place, request: str, act: Act) -> None:
        name, _, detail = request.partition(" ")
        each = int(detail.rpartition("-")[2]) if name == "mark" else None
        if name == "park":
            act = self._parking(place, json.loads(detail), act)
        self._kernel.sleep(0.01)
        self._may_die()
        down = self._faults.store_down if name == "park" else self._faults.ledger_down
        if self._rng.random() < self._faults.flaky or within(down, self._kernel.now):
            self._refuse(place, name, each, act)
        act()
        self._may_die()
        if each is not None:
            place.run.claimed.discard(each)

    def _refuse(self, place: Place, name: str, each: int | None, act: Act) -> None:
        self._facts.met.add(f"a {name} refused")
        if name == "note":
            self._facts.excuse_delivered()
        if self._rng.random() < 0.3:
            act()
        elif each is not None and each in place.run.finished:
            self._facts.failed_marks[each] += 1
        raise refusal("InternalServerError", name)

    def _parking(self, place: Place, body: dict[str, Any], act: Act) -> Act:
        facts, reason = self._facts, body["requestContext"]["condition"]
        [record] = json.loads(body["payload"])["Records"]
        each, item = number(record), facts.item_of[number(record)]
        others_done = facts.others_among(facts.done.keys() | place.run.finished, each, place.run)
        parked = Parked(self._kernel.now, reason, others_done, item in place.given_up)
        if reason == "GiveUpAfterExceeded":
            place.given_up.add(item)

        def park() -> None:
            act()
            facts.parked[each] = parked
            place.run.parked.add(each)
            self._say(f"parked {each}: {reason}")

        return park
