"""What is put to the proof: the engine; and what must not pass: the stock processor, each rule of the notes undone."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType
from aws_lambda_powertools.utilities.batch.exceptions import BatchProcessingError

from handler.stream.batch import Function
from handler.stream.change import Change
from handler.stream.entry import Engine
from handler.stream.environment import Environment
from handler.stream.progress import DONE, UNDONE, Note, Notes
from handler.stream.workers import Executor

LEDGER, BUCKET, CONSUMER = "ledger", "failures", "consumer"

Deliver = Callable[[dict[str, Any], Any], Any]
"""An environment: takes an event and a context, gives the answer."""


@dataclass(frozen=True)
class Given:
    """What a Lambda environment is made of."""

    function: Function
    settings: Environment
    claim: bool
    client: Callable[[str], Any]
    executor: Executor
    clock: Callable[[], float]


@dataclass(frozen=True)
class Subject:
    """Something that processes batches, and what it may raise instead of answering."""

    name: str
    environment: Callable[[Given], Deliver]
    raises: tuple[type[Exception], ...] = ()
    effects: Callable[[Any], Any] = lambda client: client
    """What a fenced handler is given for its client."""


def _engine(given: Given) -> Engine:
    settings = replace(given.settings, ledger_table=LEDGER, failure_bucket=BUCKET, powertools_service_name=CONSUMER)
    return _assembled(given, settings)


def _assembled(given: Given, settings: Environment) -> Engine:
    return Engine(
        given.function,
        settings,
        claim=given.claim and bool(settings.ledger_table),
        client=given.client,
        executor=given.executor,
        clock=given.clock,
    )


def _set(**settings: float) -> Callable[[Given], Engine]:
    return lambda given: _engine(replace(given, settings=replace(given.settings, **settings)))


def _without_claims(given: Given) -> Engine:
    return _engine(replace(given, claim=False))


def _without_notes(given: Given) -> Engine:
    return _assembled(given, replace(given.settings, failure_bucket=BUCKET, powertools_service_name=CONSUMER))


def _stock(given: Given) -> Deliver:
    processor = BatchProcessor(EventType.DynamoDBStreams)

    def handle(record: Any) -> None:
        given.function(Change(cast("Mapping[str, Any]", record.raw_event)))

    def deliver(event: dict[str, Any], context: Any) -> Any:
        with processor(event["Records"], handle, context):
            processor.process()  # pyright: ignore[reportUnknownMemberType] -- half typed
        return processor.response()

    return deliver


class _NotesOfDoneOnly(Notes):
    """A note says what is done, and leaves out what is not."""

    def write(self, stream: str, under: int, note: Note, now: float) -> None:
        done = {sequence: state for sequence, state in note.states.items() if state != UNDONE}
        super().write(stream, under, Note(done, note.clocks, note.alone), now)


class _NotesReadEventually(Notes):
    """Reads may be stale."""

    def __init__(self, dynamodb: Callable[[], Any], table: str, consumer: str) -> None:
        super().__init__(lambda: _Eventually(dynamodb()), table, consumer)


class _Eventually:
    def __init__(self, client: Any) -> None:
        self.put_item = client.put_item
        self._query = client.query

    def query(self, **request: Any) -> Any:
        return self._query(**{**request, "ConsistentRead": False})


class _NotesNotCarried(Notes):
    """What a shorter batch leaves unused of a note is forgotten."""

    def carried(self, note: Note, last: int) -> Note:
        return Note()


class _NotesWithoutClocks(Notes):
    """Every delivery begins to wait for an item anew."""

    def write(self, stream: str, under: int, note: Note, now: float) -> None:
        super().write(stream, under, Note(note.states, alone=note.alone), now)


class _NotesWithoutAlone(Notes):
    """Every delivery begins to wait anew where nothing succeeds."""

    def write(self, stream: str, under: int, note: Note, now: float) -> None:
        super().write(stream, under, Note(note.states, note.clocks), now)


class _NotesOfLongAgo(Notes):
    """Whatever fails has failed for ever."""

    def read(self, stream: str, first: int) -> Note:
        note = super().read(stream, first)
        return Note(note.states, dict.fromkeys(note.states, 0.0), note.alone)


class _NotesOfLies(Notes):
    """All that a note names is called done."""

    def read(self, stream: str, first: int) -> Note:
        return Note(dict.fromkeys(super().read(stream, first).states, DONE))


class _Unfenced:
    """A client whose writes ask for nothing."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def put_item(self, **request: Any) -> None:
        self._client.put_item(TableName=request["TableName"], Item=request["Item"])


def _with(notes: type[Notes]) -> Callable[[Given], Engine]:
    def environment(given: Given) -> Engine:
        engine = _engine(given)
        processor = engine._processor  # pyright: ignore[reportPrivateUsage] -- a mutant has no other way in
        processor.notes = notes(lambda: given.client("dynamodb"), LEDGER, CONSUMER)
        return engine

    return environment


ENGINE = Subject("engine", _engine)
MUTANTS = {
    mutant.name: mutant
    for mutant in (
        Subject("stock", _stock, (BatchProcessingError,)),
        Subject("no notes", _without_notes),
        Subject("notes of done only", _with(_NotesOfDoneOnly)),
        Subject("notes read eventually", _with(_NotesReadEventually)),
        Subject("notes not carried", _with(_NotesNotCarried)),
        Subject("notes without clocks", _with(_NotesWithoutClocks)),
        Subject("notes without the lone clock", _with(_NotesWithoutAlone)),
        Subject("notes of long ago", _with(_NotesOfLongAgo)),
        Subject("notes of lies", _with(_NotesOfLies)),
        Subject("no patience", _set(give_up_after_seconds=0.0)),
        Subject("no deadline", _set(handler_timeout_seconds=0.0)),
        Subject("no claims", _without_claims),
        Subject("no fences", _engine, effects=_Unfenced),
    )
}
