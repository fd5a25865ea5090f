"""One history: a stream, a mapping, a function and its stores on one clock, with everything that can go wrong."""

import contextlib
import io
import json
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any

from handler.stream import aws
from handler.stream.change import Change, PermanentError
from handler.stream.effects import put_if_newer
from handler.stream.environment import Environment
from handler.stream.patience import MARGIN
from sandbox.actions import (
    AGE_EXCEEDED,
    RETENTION_PASSED,
    RETRIES_EXHAUSTED,
    Describe,
    Discard,
    Failed,
    Invoke,
    Outcome,
    Position,
    Read,
    Returned,
    Throttled,
)
from sandbox.configuration import Configuration, Switches
from sandbox.mapping import RETENTION_SECONDS, EventSourceMapping
from tests.property.engines import ENGINE, Deliver, Given, Subject
from tests.property.executor import Death, Steps
from tests.property.faults import Span, draw
from tests.property.kernel import Kernel
from tests.property.stores import Bucket, Dynamo, Tables, refusal
from tests.property.stream import ARN, Stream, TrimmedError, change, number, sequence

START = 1_700_000_000.0
TIMEOUT = 60.0
TARGET = "mirror"
MOST_RECUTS = 12
TROUBLES = (
    *("death", "hang", "linger", "throttling", "lost answer", "second delivery", "replaced mid-invocation", "recut"),
    *("outage", "poison", "transient", "permanent", "a read refused", "a note refused", "a park refused"),
)
"""Kinds of trouble that a history notes down as they happen."""


class TroubleError(Exception):
    """Something that a handler needs fails."""


@dataclass(frozen=True)
class Sizes:
    """How large a history is: changes written, items changed, the mapping's largest batch."""

    changes: int
    items: int
    batch: int


@dataclass(eq=False)
class Run:
    """One invocation of the function."""

    numbers: list[int]
    start: float
    end: float = 0.0
    failed: set[int] = field(default_factory=set[int])
    inside: set[int] = field(default_factory=set[int])  # handlers that have begun and not ended
    claimed: set[int] = field(default_factory=set[int])  # and whose claims are not marked
    given_up: set[str] = field(default_factory=set[str])  # items that its environment waits for no longer
    did: set[int] = field(default_factory=set[int])  # effects
    noted: set[int] = field(default_factory=set[int])  # those that its last words tell of

    @property
    def deadline(self) -> float:
        return self.start + TIMEOUT


@dataclass(frozen=True)
class Effect:
    """What a handler has done in the world."""

    number: int
    item: str
    when: float


@dataclass
class Held:
    """A change that was a lane's checkpoint."""

    since: float
    others_since: float | None = None  # it had failed and another item of its batch had succeeded
    given_up: bool = False  # so had its item before, for so long that a change of it was parked


class Context:
    """Lambda's context, as far as the engine and Powertools look at it."""

    function_name = function_version = aws_request_id = "simulated"
    invoked_function_arn = "arn:aws:lambda:eu-central-1:000000000000:function:simulated"
    memory_limit_in_mb = 256

    def __init__(self, clock: Callable[[], float], deadline: float) -> None:
        self._clock, self._deadline = clock, deadline

    def get_remaining_time_in_millis(self) -> int:
        return max(0, int((self._deadline - self._clock()) * 1000))


class Place:
    """One Lambda environment: it lives from invocation to invocation, and runs one at a time."""

    def __init__(self, world: "World") -> None:
        self.run = Run([], 0.0)
        self.given_up: set[str] = set()
        self.steps = Steps(world.rng, world.settings.workers, world.kernel.sleep)
        self.steps.before_step = partial(world.may_die, self)
        self.steps.after_last_words = partial(world.has_spoken, self)
        dynamo, bucket = (make(door=partial(world.door, self)) for make in (world.dynamo, world.bucket))
        clients: dict[str, Any] = {"dynamodb": dynamo, "s3": bucket}
        self.deliver: Deliver = world.subject.environment(
            Given(
                function=partial(world.handle, self),
                settings=world.settings,
                claim=world.kind == "claimed",
                client=clients.__getitem__,
                executor=self.steps,
                clock=lambda: world.kernel.now,
            )
        )


class World:
    """A history of `sizes`, drawn from `seed`; after `happen` its facts are there for the laws to judge."""

    def __init__(
        self, seed: int, sizes: Sizes, subject: Subject = ENGINE, tell: Callable[[str], None] | None = None
    ) -> None:
        self.rng = rng = Random(seed)
        self.subject, self._tell = subject, tell
        self.kernel = Kernel(START)
        self.kind = rng.choices(["plain", "fenced", "claimed"], [5, 3, 2])[0]
        numbers = range(1, sizes.changes + 1)
        self.faults = draw(rng, numbers, START)
        age = rng.choice([-1, -1, 1800, 7200, 21600])
        self.settings = Environment(maximum_record_age_seconds=age, workers=rng.choice([1, 3, 10]))
        self.longest_back_off = rng.choice([100.0, 240.0])
        self.switches = Switches(
            suffix_follows=rng.random() < 0.5,
            halves_inherit=rng.random() < 0.5,
            back_off=lambda tries: min(3.0 ** min(tries - 1, 9), self.longest_back_off),
        )
        self.options = {
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
        self.sizes = sizes
        self.stream = Stream()
        self._tables = Tables(lambda: self.kernel.now)
        self._objects: dict[str, bytes] = {}
        self._places: list[Place] = []
        self._shard_of: dict[str, str] = {}
        self._last_write = START
        self._recuts = 0
        self._replaced = False
        self._iterators: dict[tuple[int, str], tuple[Position, int]] = {}

        self.source: dict[str, int | None] = {}  # each item's last change; None where it was removed
        self.item_of: dict[int, str] = {}
        self.created: dict[int, float] = {}
        self.delivered: set[int] = set()
        self.effects: list[Effect] = []
        self.applied: dict[int, float] = {}
        self.tries: Counter[int] = Counter()
        self.failures: defaultdict[int, list[tuple[float, str]]] = defaultdict(list)
        self.parked: dict[int, tuple[float, str]] = {}
        self.discarded: dict[int, tuple[float, str]] = {}
        self.lost: dict[int, tuple[float, str]] = {}  # the destination has refused them
        self.expired: set[int] = set()
        self.excused: set[int] = set()
        self.deaths: Counter[int] = Counter()
        self.failed_marks: Counter[int] = Counter()
        self.held: dict[int, Held] = {}
        self.at_outage: set[int] = set()
        self.longest_run = 0.0
        self.happened: set[str] = set()
        self._running: list[Run] = []
        self._schedule()

    # What is drawn beforehand

    def _schedule(self) -> None:
        rng, now = self.rng, START
        exists: set[str] = set()
        for each in range(1, self.sizes.changes + 1):
            if rng.random() < 0.3:
                now += rng.expovariate(1 / 20)
            item = f"item-{rng.randrange(self.sizes.items)}"
            name = "INSERT" if item not in exists else "REMOVE" if rng.random() < 0.2 else "MODIFY"
            exists.symmetric_difference_update({item} if name != "MODIFY" else ())
            self.kernel.at(now, partial(self._write, each, item, name))
        self._last_write = now
        for _ in range(rng.choice([0, 0, 0, 1, 2])):
            self.kernel.at(rng.uniform(START, now), self._split)
        self._replace()
        if self.faults.stalled:
            begin = rng.uniform(START, now)
            self.kernel.at(begin, lambda: self._configure(Enabled=False))
            self.kernel.at(begin + RETENTION_SECONDS + 3600, lambda: self._configure(Enabled=True))
        if self.faults.outage:
            self.kernel.at(self.faults.outage[0], self._outage_begins)

    def _write(self, each: int, item: str, name: str) -> None:
        now = self.kernel.now
        if item not in self._shard_of:
            self._shard_of[item] = self.rng.choice([n for n, shard in self.stream.shards.items() if not shard.closed])
        self.stream.put(change(each, item, int(now), name=name), shard=self._shard_of[item])
        self.source[item] = None if name == "REMOVE" else each
        self.item_of[each], self.created[each] = item, int(now)

    def _split(self) -> None:
        parent = self.rng.choice([name for name, shard in self.stream.shards.items() if not shard.closed])
        children = [f"{parent}.{side}" for side in "ab"]
        self.stream.split(parent, *children)
        for item, shard in self._shard_of.items():
            if shard == parent:
                self._shard_of[item] = self.rng.choice(children)

    def _outage_begins(self) -> None:
        self.at_outage = (self.delivered - self.settled).union(*(run.numbers for run in self._running))

    # The mapping

    def _replace(self) -> None:
        self._excuse_delivered()
        self.mapping = EventSourceMapping(Configuration.model_validate(self.options), self.switches, poll=60.0)
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
            self.expired |= {number(event) for event in self.stream.trim(now)} - self.settled
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
        numbers = [number(record.event) for record in action.records]
        self._say(f"discarded {numbers}: {action.condition}")
        if action.condition == RETENTION_PASSED:
            self.expired.update(numbers)
        gone = self.lost if self.faults.refused else self.discarded
        gone |= dict.fromkeys(numbers, (self.kernel.now, action.condition))
        if self.options["ParallelizationFactor"] != 1 or len(self.stream.shards) > 1:
            self._excuse_delivered()  # the note under what was discarded may be hidden by another lane's

    def _invoke(self, mapping: EventSourceMapping, action: Invoke) -> None:
        if self.faults.throttled and within(self.faults.throttled, self.kernel.now):
            self.happened.add("throttling")
            mapping.answer(action, Throttled(), self.kernel.now)
            return
        events = [dict(record.event) for record in action.records]
        self.delivered.update(map(number, events))
        self.kernel.start(lambda: self._first_delivery(mapping, action, events))
        if self.faults.replaced and not self._replaced and self.rng.random() < 0.2:
            self._replaced = True
            self.kernel.at(self.kernel.now + self.rng.uniform(0, 1), self._replace)
        if self.rng.random() < self.faults.second:
            later = self.rng.choice([0.0, self.rng.uniform(0, 30), self.rng.uniform(60, 2000)])
            self.kernel.at(self.kernel.now + later, lambda: self.kernel.start(lambda: self._second_delivery(events)))

    def _first_delivery(self, mapping: EventSourceMapping, action: Invoke, events: list[dict[str, Any]]) -> None:
        run, outcome = self._deliver(events)
        if isinstance(outcome, Returned) and self.rng.random() < self.faults.lost_answer:
            self.happened.add("lost answer")
            self.excused |= run.did
            outcome = Failed()
        if mapping is not self.mapping:
            self.happened.add("replaced mid-invocation")
            self._excuse_delivered()
            return
        if isinstance(outcome, Returned):
            self._hold(run, self._undone(outcome))
        mapping.answer(action, outcome, self.kernel.now)
        if self._recuts < MOST_RECUTS and self.rng.random() < self.faults.recut:
            self.happened.add("recut")
            self._recuts += 1  # each also forgets the back-off
            self._configure(BatchSize=self.rng.randint(1, self.sizes.batch))
        self._turn(mapping)

    def _second_delivery(self, events: list[dict[str, Any]]) -> None:
        self.happened.add("second delivery")
        self._excuse_delivered()
        self._deliver(events)
        self._excuse_delivered()

    # The function

    def _deliver(self, events: list[dict[str, Any]]) -> tuple[Run, Outcome]:
        place = self._places.pop(self.rng.randrange(len(self._places))) if self._places else Place(self)
        place.run = run = Run([number(event) for event in events], self.kernel.now, given_up=set(place.given_up))
        self._running.append(run)
        self._say(f"invoked with {run.numbers}")
        try:
            self.kernel.sleep(0.02)
            answer = place.deliver({"Records": events}, Context(lambda: self.kernel.now, run.deadline))
            outcome: Outcome = Returned(answer)
        except Death:
            outcome = Failed()
            self._died(run)
        except self.subject.raises:
            outcome = Failed()
        self._running.remove(run)
        run.end = self.kernel.now
        self.longest_run = max(self.longest_run, run.end - run.start)
        self._say(f"{run.numbers} {self._undone(outcome) if isinstance(outcome, Returned) else 'failed'}")
        if isinstance(outcome, Returned) and self.rng.random() >= self.faults.cold:
            self._places.append(place)
        return run, outcome

    def _undone(self, outcome: Returned) -> list[int]:
        return [int(each["itemIdentifier"]) - 10**20 for each in outcome.payload["batchItemFailures"]]

    def _died(self, run: Run) -> None:
        self.happened.add("death")
        self.excused |= run.did - run.noted
        self.deaths.update(run.claimed)

    def _hold(self, run: Run, undone: list[int]) -> None:
        done = {self.item_of[each] for each in run.numbers if each in self.applied}
        for each in undone:
            if each == undone[0]:
                self.held.setdefault(each, Held(run.end))
            if each in run.failed and done - {self.item_of[each]}:
                held = self.held.setdefault(each, Held(run.end))
                held.others_since = held.others_since or run.end
                held.given_up = self.item_of[each] in run.given_up

    def handle(self, place: Place, changed: Change) -> None:
        """What the consumer's author wrote, and what becomes of it."""
        run, each, faults, rng = place.run, number(changed.raw), self.faults, self.rng
        run.inside.add(each)
        run.claimed.add(each)
        self.tries[each] += 1
        self.kernel.sleep(rng.uniform(1, 9) if faults.slow else rng.uniform(0, 0.2))
        place.steps.others()
        self.may_die(place)
        try:
            self._may_fail(each)
        except Exception as error:
            self.happened.add(str(error))
            run.failed.add(each)
            run.inside.discard(each)
            self.failures[each].append((self.kernel.now, str(error)))
            raise
        hangs, lingers, early = rng.random() < faults.hang, rng.random() < faults.linger, rng.random() < 0.5
        if (hangs or lingers) and not early:
            self._outstay(place, ends=not hangs)
        run.did.add(each)
        self._affect(place, each, changed)
        if (hangs or lingers) and early:
            self._outstay(place, ends=not hangs)
        place.steps.others()
        self.may_die(place)
        run.inside.discard(each)

    def _may_fail(self, each: int) -> None:
        if self.faults.outage and within(self.faults.outage, self.kernel.now):
            raise TroubleError("outage")
        if each in self.faults.permanent:
            raise PermanentError("permanent")
        if each in self.faults.poison:
            raise TroubleError("poison")
        if self.rng.random() < self.faults.transient:
            raise TroubleError("transient")

    def _outstay(self, place: Place, *, ends: bool) -> None:
        place.steps.until_reserve()
        if ends:
            self.happened.add("linger")
            self.kernel.sleep(0.5)
            return
        self.happened.add("hang")
        self.kernel.sleep(max(0.0, place.run.deadline - self.kernel.now))
        raise Death

    def _affect(self, place: Place, each: int, changed: Change) -> None:
        if self.kind != "fenced" or put_if_newer(changed, TARGET):
            self.effects.append(Effect(each, self.item_of[each], self.kernel.now))
        self.applied.setdefault(each, self.kernel.now)
        for waiting in (place.given_up, place.run.given_up):  # it is waited for again
            waiting.discard(self.item_of[each])
        self._say(f"effect of {each}")

    def has_spoken(self, place: Place) -> None:
        """Take down what the function has noted before its time was over: only what still ran may come again."""
        place.run.noted = place.run.did - place.run.inside

    def may_die(self, place: Place) -> None:
        """Die, perhaps."""
        if self.rng.random() < self.faults.crash:
            raise Death

    # The stores

    def dynamo(self, door: Callable[[str, Callable[[], None]], None]) -> Dynamo:
        return Dynamo(self._tables, door)

    def bucket(self, door: Callable[[str, Callable[[], None]], None]) -> Bucket:
        return Bucket(self._objects, door)

    def door(self, place: Place, request: str, act: Callable[[], None]) -> None:
        """Let a request to a store through, or not."""
        name, _, claim = request.partition(" ")
        each = int(claim.rpartition("-")[2]) if claim else None
        down = self.faults.store_down if name == "park" else self.faults.ledger_down
        self.kernel.sleep(0.01)
        self.may_die(place)
        flaky = self.rng.random() < self.faults.flaky or (down and within(down, self.kernel.now))
        if flaky and name != "fence":
            self._refuse(place, name, each, act)
        act()
        if name == "park":
            self._kept(place)
        self.may_die(place)
        if each is not None:
            place.run.claimed.discard(each)

    def _refuse(self, place: Place, name: str, each: int | None, act: Callable[[], None]) -> None:
        self.happened.add(f"a {name} refused")
        if name == "note":
            self._excuse_delivered()
        if self.rng.random() < 0.3:
            act()
        elif each is not None and each not in place.run.failed:
            self.failed_marks[each] += 1
        if name == "park":
            self._kept(place)
        raise refusal("InternalServerError", name)

    def _kept(self, place: Place) -> None:
        for key in list(self._objects)[len(self.parked) :]:
            body = json.loads(self._objects[key])
            [record] = json.loads(body["payload"])["Records"]
            reason = body["requestContext"]["condition"]
            self.parked[number(record)] = (self.kernel.now, reason)
            if reason == "GiveUpAfterExceeded":
                place.given_up.add(self.item_of[number(record)])
            self._say(f"parked {number(record)}: {reason}")

    # What is told

    def _excuse_delivered(self) -> None:
        self.excused |= self.delivered

    def _say(self, text: str) -> None:
        if self._tell:
            self._tell(f"{self.kernel.now - START:10.2f} s  {text}")

    def happen(self) -> "World":
        """Let it happen."""
        effects = self.subject.effects(self.dynamo(lambda _, act: act()))
        with _quiet(), _client_of_effects(effects):
            self.kernel.run()
        return self

    def mirrored(self, item: str) -> int | None:
        """The change that the fenced target shows of an item; None where it is removed or was never there."""
        found = self._tables.item((TARGET, item, ""))
        return int(found["v"]["N"]) if found and "v" in found else None

    def met(self) -> Counter[str]:
        """Which kinds of trouble this history has met: 1 or 0 each."""
        reasons = {reason for _, reason in self.parked.values()}
        conditions = {condition for _, condition in self.discarded.values()}
        gave_up = ("PermanentError", "RecordAgeExceeded", "GiveUpAfterExceeded", "GiveUpAloneAfterExceeded")
        kinds = {
            **{f"a {kind} consumer": kind == self.kind for kind in ("plain", "fenced", "claimed")},
            **{f"parked: {reason}": reason in reasons for reason in gave_up},
            **{f"discarded: {each}": each in conditions for each in (RETRIES_EXHAUSTED, AGE_EXCEEDED)},
            **{name: name in self.happened for name in TROUBLES},
            "refused by the destination": bool(self.lost),
            "taken by retention": bool(self.expired),
            "a calm history that parks by a clock": self.faults.calm and "GiveUpAfterExceeded" in reasons,
            "an outage in calm": self.faults.calm and bool(self.faults.outage) and bool(self.at_outage),
            "a failed mark": bool(self.failed_marks),
            "a claim whose holder died": self.kind == "claimed" and bool(self.deaths),
            "a repeated effect, excused": len({effect.number for effect in self.effects}) < len(self.effects),
            "shards": len(self.stream.shards) > 1,
        }
        return Counter({kind: int(is_met) for kind, is_met in kinds.items()})

    @property
    def settled(self) -> set[int]:
        """What has come to its end, one way or another; retention apart."""
        return self.applied.keys() | self.parked.keys() | self.discarded.keys() | self.lost.keys()

    @property
    def unsettled(self) -> bool:
        """Whether the mapping has not come to rest."""
        return not self.mapping.at_rest()

    @property
    def margin_ends(self) -> float:
        """Age in seconds at which the engine parks what the mapping is about to discard."""
        age = self.settings.maximum_record_age_seconds
        return (age if age > 0 else RETENTION_SECONDS) - MARGIN


def within(span: Span, now: float) -> bool:
    return span[0] <= now < span[1]


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
    before = clients.get("dynamodb")
    clients["dynamodb"] = client
    try:
        yield
    finally:
        if before is None:
            del clients["dynamodb"]
        else:
            clients["dynamodb"] = before
