"""One history: a stream, a mapping and a function on one clock, with everything that can go wrong."""

import contextlib
import io
import logging
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

from handler.stream import aws
from handler.stream.environment import Environment
from handler.stream.patience import MARGIN
from sandbox.actions import RETENTION_PASSED, Describe, Discard, Failed, Invoke, Position, Read, Returned, Throttled
from sandbox.configuration import Configuration, Switches
from sandbox.mapping import RETENTION_SECONDS, EventSourceMapping
from tests.property.engines import ENGINE, Subject
from tests.property.facts import Facts
from tests.property.faults import draw, within
from tests.property.function import Function
from tests.property.kernel import Kernel
from tests.property.stream import ARN, Stream, TrimmedError, change, number, sequence

START = 1_700_000_000.0
MOST_RECUTS = 12
"""Each also forgets the back-off, as an update does: without end they would be a history without end."""


@dataclass(frozen=True)
class Sizes:
    """How large a history is: changes written, items changed, the mapping's largest batch."""

    changes: int
    items: int
    batch: int


class World:
    """A history of `sizes`, drawn from `seed`; after `happen` its `facts` are there for the laws to judge."""

    def __init__(
        self, seed: int, sizes: Sizes, subject: Subject = ENGINE, tell: Callable[[str], None] | None = None
    ) -> None:
        self._rng = rng = Random(seed)
        self._sizes, self._tell = sizes, tell
        self.kernel, self.facts = Kernel(START), Facts()
        self.kind = rng.choices(["plain", "fenced", "claimed"], [5, 3, 2])[0]
        age = rng.choice([-1, -1, 1800, 7200, 21600])
        self.settings = Environment(maximum_record_age_seconds=age, workers=rng.choice([1, 3, 10]))
        self.longest_back_off = rng.choice([100.0, 240.0])
        self._switches = Switches(
            suffix_follows=rng.random() < 0.5,
            halves_inherit=rng.random() < 0.5,
            back_off=lambda tries: min(3.0 ** min(tries - 1, 9), self.longest_back_off),
        )
        self.options: dict[str, Any] = {
            "EventSourceArn": ARN,
            "FunctionName": "simulated",
            "StartingPosition": "TRIM_HORIZON",
            "BatchSize": rng.randint(1, sizes.batch),
            "ParallelizationFactor": rng.choice([1, 1, 1, 2, 4]),
            "MaximumRetryAttempts": rng.choice([-1, -1, -1, 1, 6]),
            "MaximumRecordAgeInSeconds": age,
            "BisectBatchOnFunctionError": rng.random() < 0.5,
            "FunctionResponseTypes": ["ReportBatchItemFailures"],
        }
        self.stream = Stream()
        self._shard_of: dict[str, str] = {}
        self._iterators: dict[tuple[int, str], tuple[Position, int]] = {}
        self._last_write = self._write_all()
        self.faults = draw(rng, self.facts.item_of, START)
        self.function = Function(
            *(self.kernel, rng, self.faults, self.facts),
            subject=subject,
            settings=self.settings,
            kind=self.kind,
            say=self._say,
        )
        self._recuts = MOST_RECUTS
        self._to_be_replaced = self.faults.replaced
        self._schedule()

    def happen(self) -> "World":
        """Let it happen."""
        with _quiet(), _client_of_effects(self.function.client_of_effects()):
            self.kernel.run()
        if self.function.tables.unknown:
            raise self.function.tables.unknown
        return self

    @property
    def at_rest(self) -> bool:
        """Whether the mapping has settled all that it has read."""
        return self.mapping.at_rest()

    @property
    def margin_ends(self) -> float:
        """Age in seconds at which the engine parks what the mapping is about to discard."""
        age = self.settings.maximum_record_age_seconds
        return (age if age > 0 else RETENTION_SECONDS) - MARGIN

    def _say(self, text: str) -> None:
        if self._tell:
            self._tell(f"{self.kernel.now - START:10.2f} s  {text}")

    # What is known beforehand

    def _write_all(self) -> float:
        rng, facts, now = self._rng, self.facts, START
        exists: set[str] = set()
        for each in range(1, self._sizes.changes + 1):
            if rng.random() < 0.3:
                now += rng.expovariate(1 / 20)
            item = f"item-{rng.randrange(self._sizes.items)}"
            name = "INSERT" if item not in exists else "REMOVE" if rng.random() < 0.2 else "MODIFY"
            exists.symmetric_difference_update({item} if name != "MODIFY" else ())
            facts.item_of[each], facts.created[each] = item, int(now)
            facts.source[item] = None if name == "REMOVE" else each
            self.kernel.at(now, partial(self._write, each, item, name))
        return now

    def _schedule(self) -> None:
        rng, faults = self._rng, self.faults
        for _ in range(rng.choice([0, 0, 0, 1, 2])):
            self.kernel.at(rng.uniform(START, self._last_write), self._split)
        self._replace()
        if faults.stalled:
            begin = rng.uniform(START, self._last_write)
            self.kernel.at(begin, lambda: self._configure(Enabled=False))
            self.kernel.at(begin + RETENTION_SECONDS + 3600, lambda: self._configure(Enabled=True))
        if faults.outage:
            self.kernel.at(faults.outage[0], self._outage_begins)

    def _write(self, each: int, item: str, name: str) -> None:
        if item not in self._shard_of:
            self._shard_of[item] = self._rng.choice(self._open_shards())
        self.stream.put(change(each, item, int(self.kernel.now), name=name), shard=self._shard_of[item])

    def _open_shards(self) -> list[str]:
        return [name for name, shard in self.stream.shards.items() if not shard.closed]

    def _split(self) -> None:
        self.facts.met.add("a split")
        parent = self._rng.choice(self._open_shards())
        children = [f"{parent}.{side}" for side in "ab"]
        self.stream.split(parent, *children)
        for item, shard in self._shard_of.items():
            if shard == parent:
                self._shard_of[item] = self._rng.choice(children)

    def _outage_begins(self) -> None:
        in_batches = self.facts.delivered - self.facts.settled
        self.facts.at_outage = in_batches.union(*(run.numbers for run in self.function.running))

    # The mapping

    def _replace(self) -> None:
        self.facts.excuse_delivered()
        self.mapping = EventSourceMapping(Configuration.model_validate(self.options), self._switches, poll=60.0)
        self._turn(self.mapping)

    def _configure(self, **options: Any) -> None:
        self.options |= options
        self.mapping.configure(Configuration.model_validate(self.options))
        self._turn(self.mapping)

    def _turn(self, mapping: EventSourceMapping) -> None:
        while mapping is self.mapping and (actions := mapping.advance(self.kernel.now)):
            for action in actions:
                self._act(mapping, action)
        over = self.kernel.now > self._last_write and mapping.caught_up(self._last_write)
        due = mapping.due()
        if mapping is self.mapping and due is not None and not over:
            self.kernel.at(max(due, self.kernel.now), lambda: self._due(mapping, due))

    def _due(self, mapping: EventSourceMapping, when: float) -> None:
        if mapping.due() == when:
            self._turn(mapping)

    def _act(self, mapping: EventSourceMapping, action: object) -> None:
        match action:
            case Describe():
                mapping.discover(self.stream.lineage())
            case Read():
                self._read(mapping, action)
            case Discard():
                self._discard(action)
            case Invoke():
                self._invoke(mapping, action)
            case _:
                raise AssertionError(action)

    def _read(self, mapping: EventSourceMapping, action: Read) -> None:
        now = self.kernel.now
        if now > START + RETENTION_SECONDS:
            self.facts.expired |= {number(event) for event in self.stream.trim(now)} - self.facts.settled
        reader = id(mapping), action.shard
        position, place = self._iterators.pop(reader, (None, 0))
        try:
            if position != action.position:
                place = self.stream.resolve(action.shard, action.position)
            page, ended = self.stream.read(action.shard, place)
        except TrimmedError:
            mapping.trimmed(action)
            return
        after = Position("AFTER_SEQUENCE_NUMBER", sequence(number(page[-1]))) if page else action.position
        self._iterators[reader] = (after, place + len(page))
        mapping.read(action, page, now, ended=ended)

    def _discard(self, action: Discard) -> None:
        facts, numbers = self.facts, [number(record.event) for record in action.records]
        self._say(f"discarded {numbers}: {action.condition}")
        if action.condition == RETENTION_PASSED:
            facts.expired.update(numbers)
            return
        facts.discarded |= dict.fromkeys(numbers, (self.kernel.now, action.condition))
        if self.faults.refused:
            facts.refused.update(numbers)
        if self.options["ParallelizationFactor"] != 1 or len(self.stream.shards) > 1:
            facts.excuse_delivered()  # the note under what was discarded may be hidden by another lane's
            facts.clocks_hidden |= facts.delivered

    def _invoke(self, mapping: EventSourceMapping, action: Invoke) -> None:
        now, rng, faults = self.kernel.now, self._rng, self.faults
        if within(faults.throttled, now):
            self.facts.met.add("throttling")
            mapping.answer(action, Throttled(), now)
            return
        events = [dict(record.event) for record in action.records]
        self.facts.delivered.update(map(number, events))
        self.kernel.start(lambda: self._first_delivery(mapping, action, events))
        if self._to_be_replaced and rng.random() < 0.2:
            self._to_be_replaced = False
            self.kernel.at(now + rng.uniform(0, 1), self._replace)
        if rng.random() < faults.second:
            later = rng.choice([0.0, rng.uniform(0, 30), rng.uniform(60, 2000)])
            self.kernel.at(now + later, lambda: self.kernel.start(lambda: self._second_delivery(events)))

    def _first_delivery(self, mapping: EventSourceMapping, action: Invoke, events: list[dict[str, Any]]) -> None:
        facts = self.facts
        run, outcome = self.function.deliver(events)
        if isinstance(outcome, Returned) and self._rng.random() < self.faults.lost_answer:
            facts.met.add("lost answer")
            facts.excused |= run.did | run.parked
            outcome = Failed()
        if mapping is not self.mapping:
            facts.met.add("replaced mid-invocation")
            facts.excuse_delivered()
            return
        facts.hold(run)
        mapping.answer(action, outcome, self.kernel.now)
        if self._recuts and self._rng.random() < self.faults.recut:
            facts.met.add("recut")
            self._recuts -= 1
            self._configure(BatchSize=self._rng.randint(1, self._sizes.batch))
        self._turn(mapping)

    def _second_delivery(self, events: list[dict[str, Any]]) -> None:
        self.facts.met.add("second delivery")
        self.facts.excuse_delivered()
        self.function.deliver(events)
        self.facts.excuse_delivered()


@contextlib.contextmanager
def _quiet() -> Generator[None]:
    """The engine's log lines and metrics are not what is proven here."""
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)


@contextlib.contextmanager
def _client_of_effects(client: Any) -> Generator[None]:
    clients = aws._clients  # pyright: ignore[reportPrivateUsage] -- put_if_newer takes no client
    before = dict(clients)
    clients["dynamodb"] = client
    try:
        yield
    finally:
        clients.clear()
        clients |= before
