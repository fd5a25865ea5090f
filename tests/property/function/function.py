"""The function of a history: its environments, its invocations, and the repeats that each of them allows."""

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any, cast

from handler.stream.engine.workers import SimulatedCrash
from handler.stream.environment import Environment
from sandbox.mapping.protocol import Failed, InvocationResult, Returned
from tests.fakes.records import number_of
from tests.property.function import network, threads
from tests.property.function.handler import SimulatedHandler
from tests.property.function.lambda_environment import TIMEOUT_SECONDS, LambdaEnvironment
from tests.property.function.names import TARGET
from tests.property.function.services import DynamoDBClient, FailureBucketClient, LambdaClient, SharedDynamoDB
from tests.property.history.faults import Faults
from tests.property.history.journal import Journal, Run
from tests.property.subjects.engines import EngineParts, Subject
from tests.property.virtual_clock import VirtualClock


class SimulatedFunction:
    """Invokes the function as Lambda does, in a warm environment if there is one."""

    def __init__(
        self,
        clock: VirtualClock,
        rng: Random,
        faults: Faults,
        journal: Journal,
        *,
        subject: Subject,
        settings: Environment,
        consumer_kind: str,
        trace: Callable[[str], None],
    ) -> None:
        self._clock, self._rng, self._faults, self._journal = clock, rng, faults, journal
        self._subject, self._settings, self._consumer_kind, self._trace = subject, settings, consumer_kind, trace
        self._handler = SimulatedHandler(consumer_kind, trace)
        self._warm: list[LambdaEnvironment] = []
        self.objects: dict[str, bytes] = {}
        """The objects of the failure bucket."""
        self.running: list[Run] = []
        self.dynamodb = SharedDynamoDB(clock, journal)
        self.start_helper: Callable[[dict[str, Any]], None] = lambda event: None
        """Starts a helper run."""

    def deliver(self, events: list[dict[str, Any]], began: Callable[[Run], None]) -> tuple[Run, InvocationResult]:
        """Invoke the function with a batch; return the run and its result."""
        numbers = list(dict.fromkeys(map(number_of, events)))  # a batch may have a record twice
        return self.invoke("batch", {"Records": events}, numbers, began)

    def invoke(
        self,
        kind: str,
        event: dict[str, Any],
        numbers: list[int] | None = None,
        began: Callable[[Run], None] = lambda run: None,
    ) -> tuple[Run, InvocationResult]:
        """Invoke the function; call `began` with the run before the run starts. Return the run and its result."""
        clock, journal = self._clock, self._journal
        environment = self._warm.pop(self._rng.randrange(len(self._warm))) if self._warm else self._cold()
        run = Run(kind, numbers or [], clock.now, clock.now + TIMEOUT_SECONDS)
        run.makes_all_due = bool(event.get("now"))
        context = environment.begin(run)
        threads.current.environment = environment
        journal.runs.append(run)
        self.running.append(run)
        self._count_overlaps(run)
        began(run)
        self._trace(f"{kind} {run.numbers or ''}")
        try:
            late = clock.now < self._faults.quiet_at and self._rng.random() < self._faults.lambdas.late
            environment.spend(TIMEOUT_SECONDS - self._rng.uniform(4, 40) if late else 0.02)
            run.answer = environment.entry_point(event, context)
            outcome: InvocationResult = Returned(run.answer)
        except (SimulatedCrash, *self._subject.raises):
            outcome = Failed()
        except Exception:
            if kind == "batch" or not run.ledger_failed:
                raise
            outcome = Failed()
        run.has_crashed = run.has_crashed or not isinstance(outcome, Returned)
        self.running.remove(run)
        run.end = clock.now
        self._account(run)
        self._trace(f"{kind} {run.numbers or ''} {run.answer if isinstance(outcome, Returned) else 'failed'}")
        keeps = clock.now >= self._faults.quiet_at or self._rng.random() >= self._faults.lambdas.cold
        if isinstance(outcome, Returned) and keeps:
            self._warm.append(environment)
        return run, outcome

    def mirrored(self, item: str) -> int | None:
        """Return the change that the fenced target shows of an item; None if the item is removed or was never there."""
        key = item.partition("=")[2] or item
        row = self.dynamodb.tables.get(TARGET, {}).get(key, {}).get("")
        return int(row["n"]["N"]) if row and "n" in row else None

    def client_of_effects(self) -> Any:
        """Return the client of fenced handlers, which has no faults."""
        return self._subject.effects(self.dynamodb)

    def _count_overlaps(self, run: Run) -> None:
        kinds = sorted({other.kind for other in self.running if other is not run})
        self._journal.incidents.update(f"{run.kind} beside {kind}" for kind in kinds)

    def _account(self, run: Run) -> None:
        """Journal which effects may be repeated after a run."""
        journal = self._journal
        answer: Any = run.answer
        if isinstance(answer, dict):
            failures = cast("dict[str, Any]", answer).get("batchItemFailures", ())
            run.reported = {int(each["itemIdentifier"]) - 10**20 for each in failures}
        if run.has_crashed:
            journal.excuse(run.effects - run.recorded_done, "a crash")
            journal.deaths.update(run.claimed)
            journal.killed.update(run.running_at_crash)
        if run.note_failed:
            journal.excuse_delivered("a note that was not answered")
        for digest in run.holds_in_doubt:
            item = self.dynamodb.observer.item_of.get(digest)
            unsaid = {each for each in run.effects - run.recorded_done if journal.item_of[each] == item}
            journal.excuse(unsaid, "a hold that was not answered")

    def _cold(self) -> LambdaEnvironment:
        environment = LambdaEnvironment(self._clock, self._rng, self._faults, self._journal, self._settings.workers)
        clients: dict[str, Any] = {
            "dynamodb": DynamoDBClient(self.dynamodb, environment, network.HANDLER_CLIENTS),
            "ledger": DynamoDBClient(self.dynamodb, environment, network.LEDGER_CLIENT),
            "s3": FailureBucketClient(self.objects, environment, network.HANDLER_CLIENTS),
            "lambda": LambdaClient(environment, network.HANDLER_CLIENTS, lambda event: self.start_helper(event)),
        }
        environment.entry_point = self._subject.build(
            EngineParts(
                function=partial(self._handler, environment),
                settings=self._settings,
                claim=self._consumer_kind == "claimed",
                client=clients.__getitem__,
                executor=environment.executor,
                clock=environment.local_time,
                sleep=environment.pause,
            )
        )
        return environment
