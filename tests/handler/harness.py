"""One consumer's engine with AWS in memory, and a handler whose behavior a test sets."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import pytest

from handler.stream.change import Change
from handler.stream.engine.workers import Executor, SimulatedCrash
from handler.stream.entry import Engine
from handler.stream.environment import Environment
from handler.stream.failures import Failure, read_failure
from handler.stream.ledger.notes import Note
from handler.stream.ledger.rows import HoldRow, digest_of, read_changes
from tests.fakes.aws import S3, Clock, Hook, HookedDynamoDB, Lambda, LambdaContext
from tests.fakes.executor import InlineExecutor
from tests.fakes.records import FIRST, START, STREAM, record

FAILS = ValueError("down")
NOTHING = {"held": 0, "due": 0, "tried": 0, "released": 0, "parked": 0}
"""The response of a retry run that finds no held item."""


@dataclass(frozen=True)
class Takes:
    """The behavior of a handler that takes some time, by default until after the deadline, and then may fail."""

    seconds: float | None = None
    then: BaseException | None = None

    def run(self, harness: "ConsumerHarness") -> None:
        """Let the time pass; raise the error, if there is one."""
        if self.seconds is None:
            harness.pass_deadline()
        else:
            harness.clock.now += self.seconds
        if self.then is not None:
            raise self.then


ENDS_LATE = Takes()
"""The handler succeeds after the deadline, but before Lambda kills the function."""
TIMES_OUT = Takes(then=SimulatedCrash())
"""The handler hangs through the deadline until Lambda kills the function."""

Behavior = BaseException | Callable[[], object] | Takes | None
Trouble = Behavior | list[Any]


def digest(item: str) -> str:
    """Return the name of an item in the ledger."""
    return digest_of(Change(record(1, item)))


class ConsumerHarness:
    """Invocations of one consumer's function and their results. A change is identified by its number.

    `on` replaces calls of DynamoDB; `age` is the records' age at the start, in seconds.

    Attributes
    ----------
    trouble : dict
        The behavior of the handler by change: it raises an exception or calls a function; without an entry it
        succeeds. A list has a behavior for each call.
    look : callable
        Called first with the change; the handler returns its result.
    ran : list
        The changes whose handler was called, in order.
    applied : list
        The changes whose handler returned, in order.
    paused : list
        The pauses between tries, in seconds.
    """

    def __init__(
        self,
        trouble: Mapping[int, Trouble] | None = None,
        *,
        on: Mapping[str, Hook] | None = None,
        age: float = 0,
        claim: bool = False,
        executor: Executor | None = None,
        **settings: Any,
    ) -> None:
        self.clock = Clock(START + age)
        self.dynamodb = HookedDynamoDB(clock=self.clock)
        self.dynamodb.on |= on or {}
        self.s3, self.functions = S3(), Lambda()
        stores: dict[str, Any] = {"ledger_table": "ledger", "failure_bucket": "failures"}
        self.settings = Environment(**stores | settings)
        self.steps = InlineExecutor()
        self._claim, self._executor = claim, executor or self.steps
        self.trouble: dict[int, Trouble] = dict(trouble or {})
        self.look: Callable[[Change], Any] = lambda change: None
        self.ran, self.applied, self.paused = list[int](), list[int](), list[float]()
        self._context: Any = None
        self.engine = self.environment()

    def environment(self) -> Engine:
        """Return another execution environment of the function, which shares only the stores."""
        stores: dict[str, Any] = {"dynamodb": self.dynamodb, "ledger": self.dynamodb}
        client = (stores | {"s3": self.s3, "lambda": self.functions}).__getitem__
        options: dict[str, Any] = {"executor": self._executor, "clock": self.clock, "sleep": self._pause}
        return Engine(self.handle, self.settings, claim=self._claim, client=client, **options)

    def _pause(self, seconds: float) -> None:
        self.paused.append(seconds)
        self.clock.now += seconds

    def handle(self, change: Change) -> Any:
        number = int(change.sequence_number) - FIRST
        self.ran.append(number)
        result = self.look(change)
        trouble = self.trouble.get(number)
        if isinstance(trouble, list):
            behaviors = cast(list[Behavior], trouble)
            trouble = behaviors.pop(0) if behaviors else None
        if isinstance(trouble, BaseException):
            raise trouble.with_traceback(None)
        if isinstance(trouble, Takes):
            trouble.run(self)
        elif trouble is not None:
            trouble()
        self.applied.append(number)
        return result

    def pass_deadline(self) -> None:
        """Let time pass until 2 s are left: the engine acts for the handlers that still run."""
        left = getattr(self._context, "get_remaining_time_in_millis", lambda: 2000)()
        self.clock.now += left / 1000 - 2
        self.steps.deadline()

    def mend(self) -> None:
        """Let all changes succeed from now on, and clear the log of calls."""
        self.trouble.clear()
        self.ran.clear()

    # Invocations

    def invoke(self, event: Any, context: Any = None) -> dict[str, Any]:
        """Invoke the function: in another environment if an invocation is in progress."""
        outer, self._context = self._context, context or LambdaContext(self.clock)
        engine = self.environment() if outer else self.engine
        try:
            return engine(event, self._context)
        finally:
            self._context = outer

    def deliver(
        self, batch: str, *, seconds: float = 60, context: Any = None, start: int = 1, **fields: Any
    ) -> list[int]:
        """Deliver a batch and return the numbers of the reported changes.

        Each letter of `batch` is a change of the item with that name; a blank is a change that the batch leaves out.
        Changes are numbered from `start`.
        """
        records = [record(start + place, item, **fields) for place, item in enumerate(batch) if item != " "]
        answer = self.invoke({"Records": records}, context or LambdaContext(self.clock, seconds))
        return [int(failure["itemIdentifier"]) - FIRST for failure in answer["batchItemFailures"]]

    def deliver_and_crash(self, batch: str, **more: Any) -> None:
        """Deliver a batch whose handler kills the function."""
        with pytest.raises(SimulatedCrash):
            self.deliver(batch, **more)

    def ask(self, request: str, *, seconds: float = 60, **more: Any) -> dict[str, Any]:
        """Send a request and return the response."""
        return self.invoke({"table-stream": request, **more}, LambdaContext(self.clock, seconds))

    def retry(self, *, seconds: float = 60, **more: Any) -> dict[str, Any]:
        """Do a retry run and return its response; with `now=True` all items are due."""
        return self.ask("retry", seconds=seconds, **more)

    def retry_later(self, minutes: float = 1, **more: Any) -> dict[str, Any]:
        """Do a retry run some minutes later."""
        self.clock.now += minutes * 60
        return self.retry(**more)

    def retry_and_crash(self, minutes: float = 0, **more: Any) -> None:
        """Do a retry run some minutes later, whose handler kills the function."""
        with pytest.raises(SimulatedCrash):
            self.retry_later(minutes, **more)

    # The content of the stores

    def ledger(self, partition: str) -> dict[str, dict[str, Any]]:
        """Return the rows of a partition of the ledger, by sort key."""
        return self.dynamodb.tables.get("ledger", {}).get(partition, {})

    def row(self, item: str = "a") -> HoldRow | None:
        """Return the hold row of an item, or None."""
        row = self.ledger("hold#consumer").get(digest(item))
        return HoldRow.from_item(row) if row else None

    def held_row(self, item: str = "a") -> HoldRow:
        """Return the hold row of an item that must be held."""
        row = self.row(item)
        assert row is not None
        assert row.is_held
        return row

    def waiting(self, item: str = "a") -> list[int]:
        """Return the waiting changes of an item, in order."""
        row = self.row(item)
        if row is None or not row.is_held:
            return []
        rows = self.change_rows(item)
        kept = sorted(read_changes([rows[key] for key in sorted(rows) if key != "!"]), key=lambda each: each.version)
        counted = [each for each in kept if each.is_redriven or (row.next and row.next <= each.version <= row.tail)]
        return [int(each.change.sequence_number) - FIRST for each in counted]

    def described(self, item: str = "a") -> dict[str, Any]:
        """Return the description of a held item, which operators read, as plain values."""
        row = self.change_rows(item)["!"]
        return {name: next(iter(value.values())) for name, value in row.items() if name not in ("pk", "sk")}

    def note(self, under: int) -> dict[int, str] | None:
        """Return the states in the note that is stored under a change, or None."""
        item = self.ledger(f"note#consumer#{STREAM}").get(f"{FIRST + under:040}")
        if item is None:
            return None
        return {sequence - FIRST: state for sequence, state in Note.unpack(item["records"]["B"]).states.items()}

    def change_rows(self, item: str = "a") -> dict[str, dict[str, Any]]:
        """Return the rows of an item's changes and its description, by sort key."""
        return self.ledger(f"hold#consumer#{digest(item)}")

    def make_newer(self) -> None:
        """Let a newer version of the engine hold item a."""
        self.ledger("hold#consumer")[digest("a")]["v"] = {"N": "2"}

    def failure(self) -> Failure:
        """Return the only failure record in the bucket."""
        [body] = self.s3.objects.values()
        return read_failure(body)

    def parked(self) -> list[int]:
        """Return the changes in the failure bucket, in stream order."""
        return [int(key.rsplit("/", 1)[1].split("-", 1)[0]) - FIRST for key in sorted(self.s3.objects)]


def with_held_item(batch: str = "aa", **settings: Any) -> ConsumerHarness:
    """Return a harness whose change 1 fails, so that its item is held, and clear the logs of calls."""
    harness = ConsumerHarness({1: FAILS}, **settings)
    assert harness.deliver(batch) == []
    for log in (harness.ran, harness.applied, harness.paused, harness.dynamodb.calls):
        log.clear()
    return harness


def with_mended_item(batch: str = "aa", **settings: Any) -> ConsumerHarness:
    """Return a harness with a held item whose changes no longer fail."""
    harness = with_held_item(batch, **settings)
    harness.trouble.clear()
    return harness
