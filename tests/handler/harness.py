"""One consumer's engine on AWS in memory, with a handler that does as a test says."""

from collections.abc import Callable
from typing import Any, cast

from handler.stream.change import Change
from handler.stream.engine.workers import Executor, SimulatedCrash
from handler.stream.entry import Engine
from handler.stream.environment import Environment
from handler.stream.ledger.notes import Note
from handler.stream.ledger.rows import HoldRow, digest_of, read_changes
from tests.fakes.aws import S3, Clock, HookedDynamoDB, Lambda, LambdaContext
from tests.fakes.executor import InlineExecutor
from tests.fakes.records import FIRST, STREAM, record

FAILS = ValueError("down")
Behavior = BaseException | Callable[[], object] | None
Trouble = Behavior | list[Any]


def digest(item: str) -> str:
    """The name of an item in the ledger."""
    return digest_of(Change(record(1, item)))


class ConsumerHarness:
    """Invocations of one consumer's function, and what came of them. Changes are known by their number.

    Attributes
    ----------
    trouble : dict
        What becomes of a change's handler: an exception is raised, a function is called, nothing is success; a list
        says it for one call after the other.
    look : callable
        What a handler does with its change first; what that returns, the handler returns.
    ran : list
        The changes whose handler was called, in order.
    applied : list
        Those whose handler came to its end, in order.
    paused : list
        How long the engine has waited between tries.
    """

    def __init__(self, *, claim: bool = False, executor: Executor | None = None, **settings: Any) -> None:
        self.clock = Clock()
        self.dynamodb = HookedDynamoDB(clock=self.clock)
        self.s3, self.functions = S3(), Lambda()
        stores: dict[str, Any] = {"ledger_table": "ledger", "failure_bucket": "failures"}
        self.settings = Environment(**stores | settings)
        self.steps = InlineExecutor()
        self._claim, self._executor = claim, executor or self.steps
        self.trouble: dict[int, Trouble] = {}
        self.look: Callable[[Change], Any] = lambda change: None
        self.ran, self.applied, self.paused = list[int](), list[int](), list[float]()
        self._context: Any = None
        self.engine = self.environment()

    def environment(self) -> Engine:
        """Another environment of the same function: nothing is remembered but by the stores."""
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

    # What a handler may do

    def takes(self, seconds: float, then: BaseException | None = None) -> Callable[[], None]:
        """A handler that takes some time."""

        def run() -> None:
            self.clock.now += seconds
            if then is not None:
                raise then

        return run

    def times_out(self) -> None:
        """A handler that hangs until the function is killed, after its last words."""
        self._end()
        raise SimulatedCrash

    def ends_late(self, then: BaseException | None = None) -> Callable[[], None]:
        """A handler that ends after the function's last words, and before it is killed."""

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
        """Call the function; in another environment where one call is under way."""
        outer, self._context = self._context, context or LambdaContext(self.clock)
        engine = self.environment() if outer else self.engine
        try:
            return engine(event, self._context)
        finally:
            self._context = outer

    def deliver(
        self, batch: str, *, seconds: float = 60, context: Any = None, start: int = 1, **fields: Any
    ) -> list[int]:
        """Deliver changes of the items named by a text's letters, numbered from `start`; the numbers that are reported.

        A blank stands for a change that is not in the batch.
        """
        records = [record(start + place, item, **fields) for place, item in enumerate(batch) if item != " "]
        answer = self.invoke({"Records": records}, context or LambdaContext(self.clock, seconds))
        return [int(failure["itemIdentifier"]) - FIRST for failure in answer["batchItemFailures"]]

    def ask(self, request: str, *, seconds: float = 60, **more: Any) -> dict[str, Any]:
        """Send a request; its answer."""
        return self.invoke({"table-stream": request, **more}, LambdaContext(self.clock, seconds))

    def retry(self, *, seconds: float = 60, **more: Any) -> dict[str, Any]:
        """A retry run; its answer. `now=True` makes everything due."""
        return self.ask("retry", seconds=seconds, **more)

    def retry_later(self, minutes: float = 1, **more: Any) -> dict[str, Any]:
        """A retry run some minutes later."""
        self.clock.now += minutes * 60
        return self.retry(**more)

    # What is kept

    def ledger(self, partition: str) -> dict[str, dict[str, Any]]:
        """The rows of one of the ledger's partitions, by sort key."""
        return self.dynamodb.tables.get("ledger", {}).get(partition, {})

    def row(self, item: str = "a") -> HoldRow | None:
        """The hold row of an item."""
        row = self.ledger("hold#consumer").get(digest(item))
        return HoldRow.read(row) if row else None

    def held_row(self, item: str = "a") -> HoldRow:
        """The row of an item that is held."""
        row = self.row(item)
        assert row is not None
        assert row.is_held
        return row

    def waiting(self, item: str = "a") -> list[int]:
        """The changes of an item that wait, in order."""
        row = self.row(item)
        if row is None or not row.is_held:
            return []
        rows = self.ledger(f"hold#consumer#{row.digest}")
        kept = sorted(read_changes([rows[key] for key in sorted(rows) if key != "!"]), key=lambda each: each.version)
        counted = [each for each in kept if each.is_redriven or (row.next and row.next <= each.version <= row.tail)]
        return [int(each.change.sequence_number) - FIRST for each in counted]

    def described(self, item: str = "a") -> dict[str, Any]:
        """What an operator reads about an item, as plain values."""
        described = self.ledger(f"hold#consumer#{digest(item)}")["!"]
        return {name: next(iter(value.values())) for name, value in described.items() if name not in ("pk", "sk")}

    def note(self, under: int) -> dict[int, str] | None:
        """The states in the note that stands under a change."""
        item = self.ledger(f"note#consumer#{STREAM}").get(f"{FIRST + under:040}")
        if item is None:
            return None
        return {sequence - FIRST: state for sequence, state in Note.unpacked(item["records"]["B"]).states.items()}

    def parked(self) -> list[int]:
        """The changes in the failure store, in stream order."""
        return [int(key.rsplit("/", 1)[1].split("-", 1)[0]) - FIRST for key in sorted(self.s3.objects)]


def with_held_item(batch: str = "aa", **settings: Any) -> ConsumerHarness:
    """A world whose change 1 fails, so that its item is held; nothing has been called since."""
    harness = ConsumerHarness(**settings)
    harness.trouble[1] = FAILS
    assert harness.deliver(batch) == []
    for log in (harness.ran, harness.applied, harness.paused, harness.dynamodb.calls):
        log.clear()
    return harness


def with_mended_item(batch: str = "aa", **settings: Any) -> ConsumerHarness:
    """The same, where nothing fails any more."""
    harness = with_held_item(batch, **settings)
    harness.trouble.clear()
    return harness
