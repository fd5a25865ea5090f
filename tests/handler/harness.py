"""One consumer's engine with AWS in memory, and a handler whose behavior a test sets."""

from collections.abc import Callable, Mapping
from typing import Any, cast

import pytest

from handler.stream.change import Change
from handler.stream.engine.workers import Executor, SimulatedCrash
from handler.stream.entry import Engine
from handler.stream.environment import Environment
from handler.stream.ledger.notes import Note
from handler.stream.ledger.rows import HoldRow, digest_of, read_changes
from tests.fakes.aws import S3, Clock, HookedDynamoDB, Lambda, LambdaContext
from tests.fakes.executor import InlineExecutor
from tests.fakes.records import STREAM, record

FIRST = 10**20
FAILS = ValueError("down")
Behavior = BaseException | Callable[[], object] | None
Trouble = Behavior | list[Any]


def digest(item: str) -> str:
    """Return the name of an item in the ledger."""
    return digest_of(Change(record(1, item)))


class ConsumerHarness:
    """Invocations of one consumer's function and their results. A change is identified by its number.

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
        claim: bool = False,
        executor: Executor | None = None,
        **settings: Any,
    ) -> None:
        self.clock = Clock()
        self.dynamodb = HookedDynamoDB(clock=self.clock)
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
        clients: dict[str, Any] = {
            "dynamodb": self.dynamodb,
            "ledger": self.dynamodb,
            "s3": self.s3,
            "lambda": self.functions,
        }
        return Engine(
            self.handle,
            self.settings,
            claim=self._claim,
            client=clients.__getitem__,
            executor=self._executor,
            clock=self.clock,
            sleep=self._pause,
        )

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
        if trouble is not None:
            trouble()
        self.applied.append(number)
        return result

    # Behaviors of a handler

    def takes(self, seconds: float, then: BaseException | None = None) -> Callable[[], None]:
        """Return the behavior of a handler that takes some time, and then may fail."""

        def run() -> None:
            self.clock.now += seconds
            if then is not None:
                raise then

        return run

    def times_out(self) -> None:
        """The behavior of a handler that hangs through the deadline until Lambda kills the function."""
        self._end()
        raise SimulatedCrash

    def ends_late(self, then: BaseException | None = None) -> Callable[[], None]:
        """Return the behavior of a handler that ends after the deadline, but before Lambda kills the function."""

        def run() -> None:
            self._end()
            if then is not None:
                raise then

        return run

    def _end(self) -> None:
        left = getattr(self._context, "get_remaining_time_in_millis", lambda: 2000)()
        self.clock.now += left / 1000 - 2
        self.steps.deadline()

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

    # The content of the stores

    def ledger(self, partition: str) -> dict[str, dict[str, Any]]:
        """Return the rows of a partition of the ledger, by sort key."""
        return self.dynamodb.tables.get("ledger", {}).get(partition, {})

    def row(self, item: str = "a") -> HoldRow | None:
        """Return the hold row of an item, or None."""
        row = self.ledger("hold#consumer").get(digest(item))
        return HoldRow.read(row) if row else None

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
        rows = self.ledger(f"hold#consumer#{row.digest}")
        kept = sorted(read_changes([rows[key] for key in sorted(rows) if key != "!"]), key=lambda each: each.version)
        counted = [each for each in kept if each.is_redriven or (row.next and row.next <= each.version <= row.tail)]
        return [int(each.change.sequence_number) - FIRST for each in counted]

    def described(self, item: str = "a") -> dict[str, Any]:
        """Return the description of a held item, which operators read, as plain values."""
        row = self.ledger(f"hold#consumer#{digest(item)}")["!"]
        return {name: next(iter(value.values())) for name, value in row.items() if name not in ("pk", "sk")}

    def note(self, under: int) -> dict[int, str] | None:
        """Return the states in the note that is stored under a change, or None."""
        item = self.ledger(f"note#consumer#{STREAM}").get(f"{FIRST + under:040}")
        if item is None:
            return None
        return {sequence - FIRST: state for sequence, state in Note.unpacked(item["records"]["B"]).states.items()}

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
