"""One history: a stream, a mapping, a schedule and a function on one virtual clock, with injected faults."""

import contextlib
from collections.abc import Callable, Mapping
from functools import partial
from random import Random
from typing import Any

from handler.stream import aws
from handler.stream.change import Change
from handler.stream.effects import put_if_newer
from handler.stream.environment import Environment
from sandbox.mapping.configuration import Assumptions, Configuration
from sandbox.mapping.machine import MappingMachine
from sandbox.mapping.protocol import RETENTION_PASSED, Discard, Failed, Invoke, Returned, Throttled
from tests.fakes.aws import silence
from tests.fakes.records import STREAM, number_of
from tests.fakes.records import record as stream_record
from tests.fakes.stream import Stream, StreamReader, drive
from tests.property.function.function import SimulatedFunction
from tests.property.function.names import CONSUMER, LEDGER, TARGET
from tests.property.history.faults import HOUR, draw, is_during
from tests.property.history.journal import Effect, Journal, Parked, Run
from tests.property.history.writes import THEMES, Sizes, Write, old_note, plan
from tests.property.retry_schedule import RetrySchedule
from tests.property.subjects.engines import ENGINE, SIMULATED, Subject
from tests.property.virtual_clock import EndlessError, VirtualClock

START = 1_700_000_000.0
RECORD_AGE = 86_100
"""The mapping's own limit, 23 h 55 min."""
COPIED = 0.05
"""Probability that a batch has one of its records twice."""
MOST_RECUTS = 12
"""At most 12 changes of the batch size a history: each one resets the back-off, so an unlimited number never ends."""


class History:
    """A history of `sizes`, drawn from `seed`. After `run`, the laws check its `journal`."""

    def __init__(
        self, seed: int, sizes: Sizes, subject: Subject = ENGINE, trace: Callable[[str], None] | None = None
    ) -> None:
        self._rng = rng = Random(seed)
        self._copying = Random(f"copies {seed}")  # of its own, so that it moves no other draw
        self._sizes, self._subject, self._trace_line = sizes, subject, trace
        self.clock, self.journal = VirtualClock(START), Journal()
        theme = rng.choices(list(THEMES), list(THEMES.values()))[0]
        flooded, is_short_of_time = theme == "flood", theme == "short of time"
        self.plan = plan(rng, theme, sizes, START)
        for write in self.plan.writes:
            self._expect(write)
        self.consumer_kind = rng.choices(["plain", "fenced", "claimed"], [6, 2, 0 if self.plan.noted else 2])[0]
        give_up = rng.choices([600.0, 1800.0, 7200.0, 7200.0 if flooded else 48 * HOUR], [50, 30, 17, 3])[0]
        workers = rng.choice([1, 1, 3] if theme == "busy items" else [1, 3, 10])
        self.settings = Environment(give_up_after_seconds=give_up, workers=workers)
        self._assumptions = Assumptions(
            discard_rest_of_batch=rng.random() < 0.5,
            halves_keep_failure_count=rng.random() < 0.5,
            back_off=lambda tries: min(3.0 ** min(tries - 1, 9), 100.0),
        )
        self.options: dict[str, Any] = {
            "EventSourceArn": STREAM,
            "FunctionName": "simulated",
            "StartingPosition": "TRIM_HORIZON",
            "BatchSize": rng.randint(1, sizes.batch * (5 if flooded or is_short_of_time else 1)),
            "ParallelizationFactor": rng.choice([1, 1, 1, 2, 4]),
            "MaximumRetryAttempts": -1,
            "MaximumRecordAgeInSeconds": RECORD_AGE,
            "BisectBatchOnFunctionError": True,
            "FunctionResponseTypes": ["ReportBatchItemFailures"],
        }
        self._poll = 3.0 if theme == "busy items" else 60.0
        self.stream = Stream()
        self._shard_of: dict[str, str] = {}
        self._last_write = self.plan.writes[-1].when
        self.faults = draw(rng, theme, self.journal.item_of, self.plan.flood, START)
        self.function = SimulatedFunction(
            *(self.clock, rng, self.faults, self.journal),
            subject=subject,
            settings=self.settings,
            consumer_kind=self.consumer_kind,
            trace=self._trace,
        )
        self.until = max(self.faults.ended_at, self._last_write) + 2 * 24 * HOUR
        self.until += (len(self.faults.failing_changes) + 3) * (give_up + 2 * HOUR)
        self.schedule = RetrySchedule(self.clock, rng, self.faults, self.journal, self.function, self.until)
        self._recuts = MOST_RECUTS
        self._to_be_replaced = self.faults.lambdas.replaced
        self._begin()

    def run(self) -> "History":
        """Simulate the history, and return it."""
        effects = aws.use_clients({"dynamodb": self.function.client_of_effects()})
        with silence(), SIMULATED(), self._subject.substitution(), effects:
            self._upgrade()
            with contextlib.suppress(EndlessError):
                self.clock.run()
        return self

    @property
    def is_at_rest(self) -> bool:
        """Whether the mapping has settled every record that it read."""
        return self.mapping.is_idle()

    def is_lost(self) -> bool:
        """Draw whether the answer of an invocation that ends now is lost."""
        by_chance = self.clock.now < self.faults.quiet_at
        return by_chance and self._rng.random() < self.faults.lambdas.lost_answer

    def _trace(self, text: str) -> None:
        if self._trace_line:
            self._trace_line(f"{self.clock.now - START:10.2f} s  {text}")

    # Set-up

    def _expect(self, write: Write) -> None:
        journal = self.journal
        journal.item_of[write.number], journal.created[write.number] = write.item, int(write.when)
        journal.changes_of[write.item].append(write.number)
        journal.source[write.item] = None if write.kind == "REMOVE" else write.number
        self.clock.at(write.when, partial(self._write, write))

    def _begin(self) -> None:
        rng, stalled = self._rng, self.faults.lambdas.stalled
        for _ in range(rng.choice([0, 0, 0, 1, 2])):
            self.clock.at(rng.uniform(START, self._last_write), self._split)
        self._replace()
        if stalled:
            begin = rng.uniform(START, self._last_write)
            self.clock.at(begin, lambda: self._configure(Enabled=False))
            self.clock.at(begin + stalled, lambda: self._configure(Enabled=True))

    def _upgrade(self) -> None:
        """Write the note that an engine without holds left in the ledger, and journal what this engine had done."""
        journal, noted = self.journal, self.plan.noted
        if not noted:
            return
        journal.incidents["a note of the engine before holds"] += 1
        ledger = self.function.dynamodb.tables.setdefault(LEDGER, {})
        note = old_note(self._rng, noted, STREAM, CONSUMER, START)
        ledger[note["pk"]["S"]] = {note["sk"]["S"]: note}
        former = Run("the engine before holds", list(noted), START, START, START)
        for each, state in noted.items():
            if state == "x":
                journal.parked[each] = [Parked(each, START, "GiveUpAfterExceeded", former)]
            elif state == "+":
                journal.finished[each] = [START]
                if self.consumer_kind != "fenced" or put_if_newer(
                    Change(self._record(self.plan.writes[each - 1])), TARGET
                ):
                    journal.effects.append(Effect(each, journal.item_of[each], START))

    def _record(self, write: Write) -> dict[str, Any]:
        handlers = self.faults.handlers
        record = stream_record(write.number, write.item, at=int(write.when), name=write.kind)
        if write.number in handlers.undecodable and write.number not in self.plan.noted:
            if write.number % 2 or write.kind == "REMOVE":
                record["eventName"] = "STRANGE"
            else:
                record["dynamodb"]["NewImage"]["n"] = {"N": "no number"}
        return record

    def _write(self, write: Write) -> None:
        if write.item not in self._shard_of:
            self._shard_of[write.item] = self._rng.choice(self._open_shards())
        self.stream.put(self._record(write), shard=self._shard_of[write.item])

    def _open_shards(self) -> list[str]:
        return [name for name, shard in self.stream.shards.items() if not shard.closed]

    def _split(self) -> None:
        self.journal.incidents["split of a shard"] += 1
        parent = self._rng.choice(self._open_shards())
        children = [f"{parent}.{side}" for side in "ab"]
        self.stream.split(parent, *children)
        for item, shard in self._shard_of.items():
            if shard == parent:
                self._shard_of[item] = self._rng.choice(children)

    # The mapping

    def _replace(self) -> None:
        journal = self.journal
        journal.mark_doubled(None, journal.delivered)
        journal.unsettled |= journal.delivered
        for run in self.function.running:
            run.is_doubled = True
        self._reader = StreamReader(self.stream, self._expire)
        self.mapping = MappingMachine(
            Configuration.model_validate(self.options), self._assumptions, poll_seconds=self._poll
        )
        self._advance(self.mapping)

    def _configure(self, **options: Any) -> None:
        self.options |= options
        self.mapping.configure(Configuration.model_validate(self.options))
        self._advance(self.mapping)

    def _advance(self, mapping: MappingMachine) -> None:
        if mapping is not self.mapping:
            return
        for action in drive(mapping, self._reader, self.clock.now):
            if isinstance(action, Invoke):
                self._invoke(mapping, action)
            else:
                self._discard(action)
        is_finished = self.clock.now > self._last_write and mapping.is_drained(self._last_write)
        due = mapping.due()
        if due is not None and not is_finished:
            self.clock.at(max(due, self.clock.now), lambda: self._advance_if_due(mapping, due))

    def _advance_if_due(self, mapping: MappingMachine, when: float) -> None:
        if mapping.due() == when:
            self._advance(mapping)

    def _expire(self, event: Mapping[str, Any]) -> None:
        if number_of(event) not in self.journal.delivered - self.journal.unsettled:
            self.journal.expired.add(number_of(event))

    def _discard(self, action: Discard) -> None:
        journal, numbers = self.journal, [number_of(record.event) for record in action.records]
        self._trace(f"discarded {numbers}: {action.condition}")
        journal.unsettled.difference_update(numbers)
        if action.condition == RETENTION_PASSED:
            journal.expired.update(numbers)
            return
        journal.discarded |= dict.fromkeys(numbers, (self.clock.now, action.condition))
        if self.faults.lambdas.refused:
            journal.refused.update(numbers)

    def _invoke(self, mapping: MappingMachine, action: Invoke) -> None:
        now, rng, lambdas = self.clock.now, self._rng, self.faults.lambdas
        if is_during(lambdas.throttled, now):
            self.journal.incidents["batch throttled"] += 1
            mapping.complete(action, Throttled(), now)
            return
        events = [dict(record.event) for record in action.records]
        batch_delivery = _BatchDelivery(self, mapping, action, [number_of(event) for event in events])
        if self._copying.random() < COPIED:
            self.journal.incidents["record twice in a batch"] += 1
            events.append(dict(self._copying.choice(events)))
        self.clock.start(lambda: batch_delivery.run(self.function.deliver(events, batch_delivery.begins)))
        if now >= self.faults.quiet_at:
            return
        if self._to_be_replaced and rng.random() < 0.2:
            self._to_be_replaced = False
            self.clock.at(now + rng.uniform(0, 1), self._replace)
        if rng.random() < lambdas.cut_off:
            self.clock.at(now + rng.choice([rng.uniform(0, 1), rng.uniform(0, 60)]), batch_delivery.cut_off)
        if rng.random() < lambdas.second:
            later = rng.choice([0.0, rng.uniform(0, 30), rng.uniform(60, 2000)])
            self.clock.at(now + later, lambda: self.clock.start(lambda: self._second_delivery(batch_delivery, events)))

    def _second_delivery(self, first: "_BatchDelivery", events: list[dict[str, Any]]) -> None:
        self.journal.incidents["second delivery"] += 1
        self.journal.mark_doubled(first.began, first.numbers)
        self.journal.excuse_delivered("a doubled delivery")
        self.function.deliver(events, lambda run: self.journal.mark_doubled(run, run.numbers))
        self.journal.excuse_delivered("a doubled delivery")

    def answered(self, mapping: MappingMachine, action: Invoke, outcome: Returned | Failed) -> None:
        """Pass the result of an invocation to its mapping."""
        if mapping is not self.mapping:
            self.journal.incidents["mapping replaced mid-invocation"] += 1
            self.journal.excuse_delivered("a doubled delivery")
            return
        mapping.complete(action, outcome, self.clock.now)
        if self._recuts and self._rng.random() < self.faults.lambdas.recut:
            self.journal.incidents["batch size changed"] += 1
            self._recuts -= 1
            self._configure(BatchSize=self._rng.randint(1, self._rng.choice([4, self._sizes.batch])))
        self._advance(mapping)


class _BatchDelivery:
    """One invocation by the mapping, and the result that the mapping receives."""

    def __init__(self, history: History, mapping: MappingMachine, action: Invoke, numbers: list[int]) -> None:
        self._history, self._mapping, self._action = history, mapping, action
        self.numbers = numbers
        self.began: Run | None = None
        self._is_answered = False

    def begins(self, run: Run) -> None:
        """Journal that the run begins."""
        self.began = run
        self._history.journal.delivered.update(self.numbers)
        self._history.journal.unsettled.update(self.numbers)

    def run(self, ended: tuple[Run, Returned | Failed | Throttled]) -> None:
        """Take in the run's end, and answer the mapping."""
        run, outcome = ended
        history = self._history
        journal = history.journal
        if self._is_answered:
            return
        if isinstance(outcome, Returned) and history.is_lost():
            journal.incidents["lost answer of a batch"] += 1
            journal.excuse(run.effects - run.recorded_done, "a lost answer")
            outcome = Failed()
        if isinstance(outcome, Returned):
            checkpoint = min(run.reported, default=None)
            journal.unsettled -= {each for each in self.numbers if checkpoint is None or each < checkpoint}
        assert not isinstance(outcome, Throttled)
        self._answer(outcome)

    def cut_off(self) -> None:
        """Answer that the run has failed, while the run continues."""
        if self._is_answered or self.began is None:
            return
        self._history.journal.incidents["answer before the run's end"] += 1
        self._history.journal.mark_doubled(self.began, self.numbers)
        self._answer(Failed())

    def _answer(self, outcome: Returned | Failed) -> None:
        self._is_answered = True
        self._history.answered(self._mapping, self._action, outcome)
