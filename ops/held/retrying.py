"""Lets a consumer's function retry its held items now, and follows the ledger meanwhile."""

import queue
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field

from handler.stream.ledger.rows import HoldRow
from ops.function import FunctionError, request
from ops.held.ledger import HeldItems
from ops.stack import Client

POLL_SECONDS = 1.0
"""Between two looks at the ledger, which cost about 8 read units for each 100 held items."""
CLOCK_SECONDS = 1.0
"""How far this machine's clock may be behind Lambda's."""


@dataclass
class Progress:
    """How far the retry is; the items are those that were held at its start."""

    items: int
    released: int = 0
    """Items that are no longer held."""
    tried: int = 0
    """Items that are no longer held, or have failed again."""
    changes: int = 0
    """Changes that waited at the start and wait no longer."""


@dataclass
class Retry:
    """Retries held items: `run` makes them due, and `still_held` returns those that are held after it.

    A run of the function tries each item once and begins no new turn after 50 s. So whole runs are repeated while they
    release items or reach new ones; the items that no run has reached then get runs of their own. An item that many
    failing ones push back is tried, too.

    Attributes
    ----------
    failure : FunctionError or None
        The failure of the function that ended the retry.
    """

    reader: HeldItems
    client: Client
    rows: Mapping[str, HoldRow]
    """The held items to retry, by digest."""
    is_whole: bool
    """Whether `rows` are all held items of the consumer."""
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.time
    failure: FunctionError | None = None
    _now: Mapping[str, HoldRow] = field(default_factory=dict[str, HoldRow])

    def __post_init__(self) -> None:
        self._now = self.rows

    def run(self) -> Iterator[Progress]:
        """Retry the items; yield the progress about once a second.

        Raises
        ------
        Exception
            The error of boto3 if the ledger cannot be read, or the function cannot be invoked.
        """
        yield self._progress()
        if self.is_whole:
            yield from self._repeat({"table-stream": "retry", "now": True}, self.rows)
        for digest in self.rows:
            if self._is_unfinished(digest):
                yield from self._wait_for_leases([digest])
                yield from self._repeat({"table-stream": "retry", "now": True, "item": digest}, [digest])

    def still_held(self) -> list[HoldRow]:
        """Return the rows of the items that are still held, as last read."""
        return list(self._now.values())

    def _repeat(self, event: Mapping[str, object], digests: Collection[str]) -> Iterator[Progress]:
        """Send a request until every item has been tried to its end, or a run changes nothing."""
        before = None
        while not self.failure and any(map(self._is_unfinished, digests)) and before != (state := self._state()):
            before = state
            yield from self._request(event)
            yield from self._wait_for_leases(digests)

    def _request(self, event: Mapping[str, object]) -> Iterator[Progress]:
        """Send a request to the function; look at the ledger until the function answers, and once more."""
        answers = queue.Queue[Exception | None]()

        def send() -> None:
            try:
                request(self.client, self.reader.consumer, dict(event))
                answers.put(None)
            except Exception as error:
                answers.put(error)

        # A daemon: after Ctrl-C the command ends, and the function's run goes on by itself.
        threading.Thread(target=send, daemon=True).start()
        while True:
            try:
                error = answers.get(timeout=POLL_SECONDS)
            except queue.Empty:
                yield self._look()
                continue
            yield self._look()
            if isinstance(error, FunctionError):
                self.failure = error
            elif error:
                raise error
            return

    def _wait_for_leases(self, digests: Collection[str]) -> Iterator[Progress]:
        """Wait for the runs that have the items: helpers of a run, or the schedule's run."""
        while any(self._now[digest].lease > self.clock() for digest in digests if digest in self._now):
            self.sleep(POLL_SECONDS)
            yield self._look()

    def _look(self) -> Progress:
        if self.is_whole:
            rows = {row.digest: row for row in self.reader.rows()}
        else:
            rows = {digest: row for digest in self.rows if (row := self.reader.row(digest))}
        self._now = rows
        return self._progress()

    def _is_unfinished(self, digest: str) -> bool:
        """Return whether an item is held and no run has ended with it, or one has handed it back to continue at once.

        An item whose change failed is due after its back-off, a minute at least.
        """
        row, first = self._now.get(digest), self.rows[digest]
        if row is None:
            return False
        is_untouched = (row.due, row.since, row.next) == (first.due, first.since, first.next)
        return is_untouched or row.lease > self.clock() or row.due <= self.clock() + CLOCK_SECONDS

    def _state(self) -> Mapping[str, object]:
        """Return what changes if a run does anything."""
        return {
            digest: (row.next, row.since, self._is_unfinished(digest))
            for digest, row in self._now.items()
            if digest in self.rows
        }

    def _progress(self) -> Progress:
        left = {digest: row for digest, row in self._now.items() if digest in self.rows}
        waited = sum(row.waiting for row in self.rows.values())
        return Progress(
            len(self.rows),
            len(self.rows) - len(left),
            len(self.rows) - sum(map(self._is_unfinished, self.rows)),
            waited - sum(min(row.waiting, self.rows[digest].waiting) for digest, row in left.items()),
        )
