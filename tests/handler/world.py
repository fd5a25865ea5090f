"""One consumer's engine on AWS in memory, with a handler that does as a test says."""

from collections.abc import Callable
from typing import Any

from handler.stream.change import Change
from handler.stream.entry import Engine
from handler.stream.environment import Environment
from handler.stream.progress import Note, Notes
from handler.stream.workers import Executor
from tests.handler.fakes import S3, STREAM, Clock, Context, DynamoDB, Steps, record

Trouble = BaseException | Callable[[], None]


class World:
    """Deliveries to one consumer, and what came of them. Changes are known by their number.

    Attributes
    ----------
    trouble : dict
        What becomes of a change's handler: an exception is raised, a function is called; nothing is success.
    ran : list
        The changes whose handler was called, in order.
    applied : list
        Those whose handler came to its end, in order.
    """

    def __init__(self, *, claim: bool = False, executor: Executor | None = None, **settings: Any) -> None:
        self.clock = Clock()
        self.dynamodb = DynamoDB({"ledger": ("pk", "sk"), "counters": ("id",)}, self.clock)
        self.s3 = S3()
        stores: dict[str, Any] = {"ledger_table": "ledger", "failure_bucket": "failures"}
        self.settings = Environment(**stores | settings)
        self._claim, self._executor = claim, executor or Steps()
        self.trouble: dict[int, Trouble] = {}
        self.ran, self.applied = list[int](), list[int]()
        self.engine = self.environment()

    def environment(self) -> Engine:
        """Another environment of the same function: nothing is remembered but by the stores."""
        clients = {"dynamodb": self.dynamodb, "s3": self.s3}
        return Engine(
            self.handle,
            self.settings,
            claim=self._claim,
            client=clients.__getitem__,
            executor=self._executor,
            clock=self.clock,
        )

    def handle(self, change: Change) -> None:
        number = int(change.sequence_number) - 10**20
        self.ran.append(number)
        trouble = self.trouble.get(number)
        if isinstance(trouble, BaseException):
            raise trouble
        if trouble is not None:
            trouble()
        self.applied.append(number)

    def deliver(
        self, batch: str, *, seconds: float = 60, context: Any = None, start: int = 1, **fields: Any
    ) -> list[int]:
        """Deliver changes of the items named by a text's letters, numbered from `start`; the numbers that are reported.

        A blank stands for a change that is not in the batch.
        """
        records = [record(start + place, item, **fields) for place, item in enumerate(batch) if item != " "]
        answer = self.engine({"Records": records}, context or Context(self.clock, seconds))
        return [int(failure["itemIdentifier"]) - 10**20 for failure in answer["batchItemFailures"]]

    def note(self, under: int) -> Note | None:
        """The note that stands under a change, its records by their numbers."""
        item = self.dynamodb.tables["ledger"].get((f"note#consumer#{STREAM}", f"{10**20 + under:040}"))
        if item is None:
            return None
        note = Note.unpacked(item["records"]["B"], float(item["alone"]["N"]) if "alone" in item else None)
        states = {sequence - 10**20: state for sequence, state in note.states.items()}
        return Note(states, {sequence - 10**20: since for sequence, since in note.clocks.items()}, note.alone)

    def notes(self) -> Notes:
        """The consumer's notes, as the engine reads and writes them."""
        return Notes(lambda: self.dynamodb, "ledger", "consumer")

    def parked(self) -> list[int]:
        """The changes in the failure store, in stream order."""
        return [int(key.rsplit("/", 1)[1].split("-", 1)[0]) - 10**20 for key in sorted(self.s3.objects)]
