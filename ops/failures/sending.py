"""Sends changes to the function, which puts them into the holds of their items, and asks it for retry runs."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from handler.stream.change import Change
from ops import OpsError
from ops.failures.plan_file import PlannedChange
from ops.failures.screening import SourceTables
from ops.function import request
from ops.stack import Client, ConsumerOutputs

MAX_RECORDS, MAX_CHARACTERS = 100, 4_000_000
"""Most changes of one request, and most characters of their records: Lambda accepts requests of up to 6 MB."""
SEND_TRIES = 4
"""Most attempts to put a change back that the function refuses, as while DynamoDB throttles the ledger."""
NEWER = "a newer version"
"""Begins the reason of a refusal that no further attempt changes."""
IDLE_SECONDS = 1.0
"""Seconds between retry runs that find nothing to do."""

Request = Sequence[PlannedChange]


def in_requests(
    items: Iterable[tuple[str, Sequence[PlannedChange]]], most: int = MAX_RECORDS
) -> Iterator[list[Request]]:
    """Yield lists of requests that must be sent one after the other; the lists may be sent concurrently.

    A request has whole items and at most `most` changes, unless an item has more: then the item has a list of its own.
    """
    whole: list[PlannedChange] = []
    size = 0
    for _, changes in items:
        more = sum(change.size for change in changes)
        if len(changes) > most or more > MAX_CHARACTERS:
            yield list(_split(changes, most))
            continue
        if len(whole) + len(changes) > most or size + more > MAX_CHARACTERS:
            if whole:
                yield [whole]
            whole, size = [], 0
        whole, size = [*whole, *changes], size + more
    if whole:
        yield [whole]


def _split(changes: Sequence[PlannedChange], most: int) -> Iterator[Request]:
    part: list[PlannedChange] = []
    size = 0
    for change in changes:
        if part and (len(part) == most or size + change.size > MAX_CHARACTERS):
            yield part
            part, size = [], 0
        part.append(change)
        size += change.size
    if part:
        yield part


@dataclass
class Sent:
    """The function's answer to a request."""

    at: float = 0.0
    """When the items became due, by the function's clock in seconds since 1970."""
    held: list[PlannedChange] = field(default_factory=list[PlannedChange])
    refused: dict[int, str] = field(default_factory=dict[int, str])
    """The reasons by the changes' numbers."""
    outrun: list[PlannedChange] = field(default_factory=list[PlannedChange])


class Sender:
    """Sends requests to a consumer's function.

    Parameters
    ----------
    client
        Returns boto3's client of "lambda".
    tables
        The source tables, if an item that later changes may have outrun must not be put back; else None.
    """

    def __init__(
        self,
        client: Client,
        consumer: ConsumerOutputs,
        tables: SourceTables | None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client, self._consumer, self._tables, self._sleep = client, consumer, tables, sleep

    def send(self, changes: Request, records: Sequence[dict[str, Any]], *, is_whole: bool) -> Sent:
        """Put changes back. `is_whole` says that all changes of their items are in the request.

        Whether an item may be outrun is known again just before the request: a change that is written after this
        moment comes through the stream later, and then finds the item held.

        Raises
        ------
        OpsError
            The function failed, or it is of an earlier version that does not say when items become due.
        """
        sent = Sent()
        pending: dict[PlannedChange, dict[str, Any]] = dict(zip(changes, records, strict=True))
        if self._tables and is_whole:
            outrun = self._tables.may_be_outrun(_by_item(pending))
            sent.outrun = [change for change in changes if change.item in outrun]
            pending = {change: record for change, record in pending.items() if change.item not in outrun}
        for attempt in range(SEND_TRIES):
            if not pending:
                break
            if attempt:
                self._sleep(0.5 * 2 ** (attempt - 1))
            event = {"table-stream": "redrive", "records": list(pending.values())}
            answer = request(self._client, self._consumer, event)
            if "at" not in answer:
                raise OpsError(
                    f"{self._consumer.function} runs an earlier version of the engine, which does not say "
                    "when a change is parked again: deploy this version of the project first"
                )
            reasons = {each["event_id"]: each["reason"] for each in answer["refused"]}
            sent.at = sent.at or answer["at"]
            sent.held += [change for change in pending if change.event_id not in reasons]
            sent.refused = {change.id: reasons[change.event_id] for change in pending if change.event_id in reasons}
            pending = {
                change: record
                for change, record in pending.items()
                if change.event_id in reasons and not reasons[change.event_id].startswith(NEWER)
            }
        return sent


def _by_item(pending: Mapping[PlannedChange, dict[str, Any]]) -> dict[str, list[Change]]:
    items: dict[str, list[Change]] = {}
    for planned, record in pending.items():
        items.setdefault(planned.item, []).append(Change(record, "redrive"))
    return items


class RetryRuns:
    """Asks the function for one retry run after the other while changes wait, in a thread of its own.

    The schedule asks for a run each minute as well; runs that overlap lease different items.
    """

    def __init__(self, client: Client, consumer: ConsumerOutputs) -> None:
        self._client, self._consumer = client, consumer
        self._wanted, self._closed = threading.Event(), threading.Event()
        self.problem: str | None = None
        """Why the last run failed; None if it ended well."""
        self._thread = threading.Thread(target=self._run, name="retry-runs", daemon=True)
        self._thread.start()

    def want(self, *, wanted: bool) -> None:
        """Begin or end to ask for runs."""
        if wanted:
            self._wanted.set()
        else:
            self._wanted.clear()

    def close(self) -> None:
        """Ask for no more runs; a run that has begun goes on in the function."""
        self._closed.set()
        self._wanted.set()

    def _run(self) -> None:
        while self._wanted.wait() and not self._closed.is_set():
            try:
                answer = request(self._client, self._consumer, {"table-stream": "retry"})
                self.problem = None
            except Exception as error:  # the schedule goes on, and the operator sees the problem if nothing moves
                self.problem, answer = str(error), {}
            if not answer.get("tried"):
                self._closed.wait(IDLE_SECONDS)
