"""The function of a history: its environments, its invocations, and what each of them leaves to be excused."""

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any, cast

from handler.stream.engine.workers import SimulatedCrash
from handler.stream.environment import Environment
from sandbox.mapping.protocol import Failed, InvocationResult, Returned
from tests.property.function import threads, wire
from tests.property.function.handler import Handler
from tests.property.function.names import TARGET
from tests.property.function.place import TIMEOUT, Place
from tests.property.function.services import Bucket, Client, LambdaClient, Table
from tests.property.history.facts import Facts, Run
from tests.property.history.faults import Faults
from tests.property.kernel import Kernel
from tests.property.stream import number
from tests.property.subjects.engines import Given, Subject


class Function:
    """Runs what it is asked for as Lambda does, in a warm environment if there is one."""

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
        self._handler = Handler(kind, say)
        self._warm: list[Place] = []
        self.objects: dict[str, bytes] = {}
        """The failure bucket's."""
        self.running: list[Run] = []
        self.table = Table(kernel, facts)
        self.help: Callable[[dict[str, Any]], None] = lambda event: None
        """Starts a helper of a retry run."""

    def deliver(self, events: list[dict[str, Any]], began: Callable[[Run], None]) -> tuple[Run, InvocationResult]:
        """One batch, from its beginning to its answer or its death."""
        return self.invoke("batch", {"Records": events}, [number(event) for event in events], began)

    def invoke(
        self,
        kind: str,
        event: dict[str, Any],
        numbers: list[int] | None = None,
        began: Callable[[Run], None] = lambda run: None,
    ) -> tuple[Run, InvocationResult]:
        """One invocation; `began` is told of its run before it does anything."""
        kernel, facts = self._kernel, self._facts
        place = self._warm.pop(self._rng.randrange(len(self._warm))) if self._warm else self._cold()
        run = Run(kind, numbers or [], kernel.now, kernel.now + TIMEOUT)
        run.is_of_all = bool(event.get("now"))
        context = place.begin(run)
        threads.current.place = place
        facts.runs.append(run)
        self.running.append(run)
        self._count_overlaps(run)
        began(run)
        self._say(f"{kind} {run.numbers or ''}")
        try:
            late = kernel.now < self._faults.quiet_at and self._rng.random() < self._faults.lambdas.late
            place.spend(TIMEOUT - self._rng.uniform(4, 40) if late else 0.02)
            run.answer = place.deliver(event, context)
            outcome: InvocationResult = Returned(run.answer)
        except SimulatedCrash:
            outcome = Failed()
        except self._subject.raises:
            outcome = Failed()
        except Exception:
            if kind == "batch" or not run.ledger_failed:
                raise
            outcome = Failed()
        run.is_dead = run.is_dead or not isinstance(outcome, Returned)
        self.running.remove(run)
        run.end = kernel.now
        self._account(run)
        self._say(f"{kind} {run.numbers or ''} {run.answer if isinstance(outcome, Returned) else 'failed'}")
        keeps = kernel.now >= self._faults.quiet_at or self._rng.random() >= self._faults.lambdas.cold
        if isinstance(outcome, Returned) and keeps:
            self._warm.append(place)
        return run, outcome

    def mirrored(self, item: str) -> int | None:
        """The change that the fenced target shows of an item; None where it is removed or was never there."""
        key = item.partition("=")[2] or item
        found = self.table.tables.get(TARGET, {}).get(key, {}).get("")
        return int(found["v"]["N"]) if found and "v" in found else None

    def client_of_effects(self) -> Any:
        """The client that fenced handlers write with; nothing is at fault with it."""
        return self._subject.effects(self.table)

    def _count_overlaps(self, run: Run) -> None:
        kinds = sorted({other.kind for other in self.running if other is not run})
        self._facts.met.update(f"{run.kind} beside {kind}" for kind in kinds)

    def _account(self, run: Run) -> None:
        """Take down what may be repeated after a run."""
        facts = self._facts
        answer: Any = run.answer
        if isinstance(answer, dict):
            failures = cast("dict[str, Any]", answer).get("batchItemFailures", ())
            run.reported = {int(each["itemIdentifier"]) - 10**20 for each in failures}
        if run.is_dead:
            facts.excuse(run.did - run.secured, "a death")
            facts.deaths.update(run.claimed)
            facts.killed.update(run.died_inside)
        if run.note_failed:
            facts.excuse_delivered("a note that was not answered")
        for digest in run.unanswered:
            item = self.table.rows.item_of.get(digest)
            unsaid = {each for each in run.did - run.secured if facts.item_of[each] == item}
            facts.excuse(unsaid, "a hold that was not answered")

    def _cold(self) -> Place:
        place = Place(self._kernel, self._rng, self._faults, self._facts, self._settings.workers)
        clients: dict[str, Any] = {
            "dynamodb": Client(self.table, place, wire.HANDLERS),
            "ledger": Client(self.table, place, wire.LEDGER),
            "s3": Bucket(self.objects, place, wire.HANDLERS),
            "lambda": LambdaClient(place, wire.HANDLERS, lambda event: self.help(event)),
        }
        place.deliver = self._subject.environment(
            Given(
                function=partial(self._handler, place),
                settings=self._settings,
                claim=self._kind == "claimed",
                client=clients.__getitem__,
                executor=place.steps,
                clock=place.clock,
                sleep=place.pause,
            )
        )
        return place
