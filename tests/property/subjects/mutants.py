"""What must not pass: the stock processor, and the engine with one rule undone, each noticed by a law."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast

from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType
from aws_lambda_powertools.utilities.batch.exceptions import BatchProcessingError

import handler.stream.ledger as ledger_module
from handler.stream.change import Change
from handler.stream.entry import Engine
from handler.stream.ledger.notes import DONE, UNDONE, Note, Notes
from tests.property.subjects.engines import ENGINE, EngineParts, EntryPoint, Subject, assembled, engine
from tests.property.subjects.holds import HOLDS_MUTANTS
from tests.property.subjects.substitution import substitute

__all__ = ["ENGINE", "MUTANTS"]


def _set(**settings: float) -> Callable[[EngineParts], Engine]:
    return lambda parts: engine(replace(parts, settings=replace(parts.settings, **settings)))


def _without_claims(parts: EngineParts) -> Engine:
    return engine(replace(parts, claim=False))


def _without_ledger(parts: EngineParts) -> Engine:
    return assembled(parts, replace(parts.settings, failure_bucket="failures"))


def _stock(parts: EngineParts) -> EntryPoint:
    processor = BatchProcessor(EventType.DynamoDBStreams)

    def handle(record: Any) -> None:
        parts.function(Change(cast("Mapping[str, Any]", record.raw_event)))

    def deliver(event: dict[str, Any], context: Any) -> Any:
        with processor(event["Records"], handle, context):
            processor.process()  # pyright: ignore[reportUnknownMemberType] -- half typed
        return processor.response()

    return deliver


class _NoNotes(Notes):
    def write(self, stream: str, under: int, note: Note, now: float) -> None: ...


class _NotesOfDoneOnly(Notes):
    """A note says what is done, and leaves out what is not."""

    def write(self, stream: str, under: int, note: Note, now: float) -> None:
        done = {sequence: state for sequence, state in note.states.items() if state != UNDONE}
        super().write(stream, under, Note(done), now)


class _Eventually:
    """A client whose reads may be stale."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def query(self, **request: Any) -> Any:
        return self._client.query(**{**request, "ConsistentRead": False})


class _NotesReadEventually(Notes):
    def nearest(self, stream: str, first: int) -> Note | None:
        table = self._table
        former = table._dynamodb  # pyright: ignore[reportPrivateUsage] -- a mutant has no other way in
        table._dynamodb = lambda: _Eventually(former())  # pyright: ignore[reportPrivateUsage] -- as above
        try:
            return super().nearest(stream, first)
        finally:
            table._dynamodb = former  # pyright: ignore[reportPrivateUsage] -- as above


class _NotesNotCarried(Notes):
    """What a shorter batch leaves unused of a note is forgotten."""

    def carried(self, note: Note, last: int) -> Note:
        return Note()


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


def _with(notes: type[Notes]) -> Any:
    return substitute((ledger_module, "Notes", notes))


MUTANTS = {
    mutant.name: mutant
    for mutant in (
        Subject("stock", _stock, (BatchProcessingError,)),
        Subject("no ledger", _without_ledger),
        Subject("no notes", engine, substitution=_with(_NoNotes)),
        Subject("notes of done only", engine, substitution=_with(_NotesOfDoneOnly)),
        Subject("notes read eventually", engine, substitution=_with(_NotesReadEventually)),
        Subject("notes not carried", engine, substitution=_with(_NotesNotCarried)),
        Subject("notes call every change done", engine, substitution=_with(_NotesOfLies)),
        Subject("no deadline", _set(handler_timeout_seconds=0.0)),
        Subject("no claims", _without_claims),
        Subject("no fences", engine, effects=_Unfenced),
        *HOLDS_MUTANTS,
    )
}
