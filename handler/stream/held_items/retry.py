"""A retry run: the held items that are due have a turn each."""

import threading
from collections.abc import Iterator, Sequence

from handler.stream.engine.batch import Function
from handler.stream.engine.batch_run import Invoke, Processor
from handler.stream.engine.invocation import Invocation
from handler.stream.engine.parking import Parking
from handler.stream.held_items.turn import Turn, Workplace
from handler.stream.ledger import Ledger
from handler.stream.ledger.rows import FORMAT, HoldRow
from handler.stream.ledger.writes import RefusedError
from handler.stream.telemetry import emit_counts, logger

BEGIN_SECONDS = 50.0
"""How long a run begins new turns: the next run comes a minute after this one."""
HELPED_FROM, MOST_HELPERS = 500, 4
"""Due items from which a run invokes helpers, one for each such number. Helpers invoke nobody, since Lambda stops a
function that invokes itself about 16 times in a row."""


NEVER = 253_402_300_800.0
"""The end of the year 9999: every item is due by then."""


class Successes:
    """Which items have had a change that succeeded in this run, as far as anybody asks."""

    def __init__(self) -> None:
        self._items = set[str]()

    def add(self, digest: str) -> None:
        """A change of the item is done."""
        if len(self._items) < 2:
            self._items.add(digest)

    def are_of_others(self, digest: str) -> bool:
        """Whether a change of another item is done."""
        return bool(self._items - {digest})


class RetryRun:
    """One run. `part` is a helper's: the items whose digest is `part[0]` modulo `part[1]`."""

    def __init__(
        self,
        processor: Processor,
        ledger: Ledger,
        function: Function,
        invocation: Invocation,
        *,
        invoke: Invoke,
        everything: bool = False,
        part: tuple[int, int] | None = None,
    ) -> None:
        self._processor, self._holds, self._invocation = processor, ledger.holds, invocation
        self._invoke, self._everything, self._part = invoke, everything, part
        self._tried = 0
        self._turns: dict[str, Turn] = {}
        self._lock = threading.Lock()
        successes = Successes()
        self._work = Workplace(
            function,
            processor.settings,
            ledger.holds,
            Parking(processor.failures, invocation),
            invocation,
            processor.sleep,
            successes.are_of_others,
            successes.add,
        )

    def run(self) -> dict[str, int]:
        """Give the due items their turns; how many items are held, were due, tried and released, and changes parked.

        Raises
        ------
        Exception
            What boto3 raises where the ledger cannot be read.
        """
        now = self._invocation.clock()
        rows = list(self._holds.every())
        held = [row for row in rows if row.is_held]
        if any(row.format > FORMAT for row in held):
            logger.error("a newer version is at work: the items that it holds are left to it")
        due = [row for row in held if row.format <= FORMAT and self._is_due(row, now)]
        oldest = max((now - row.since for row in held), default=0.0)
        gauges = {"HeldItems": (len(held), "Count"), "OldestHeldSeconds": (max(oldest, 0.0), "Seconds")}
        mine = self._shared_out(due)
        self._execute([self._turn(row) for row in alternately(row for row in mine if not row.is_suspect)])
        for row in sorted((row for row in mine if row.is_suspect), key=lambda row: (row.deaths_in_a_row, row.since)):
            if not self._may_begin():
                break
            self._execute([self._turn(row)])
        if self._part is None:
            self._execute([self._purge(row) for row in rows if not row.is_held and row.expiry <= now])
        counts = self._invocation.counts
        emit_counts(counts, gauges if self._part is None else None)
        return {
            "held": len(held),
            "due": len(due),
            "tried": self._tried,
            "released": counts["ReleasedItems"],
            "parked": counts["ParkedChanges"],
        }

    def _is_due(self, row: HoldRow, now: float) -> bool:
        return row.lease <= now and (self._everything or row.due <= now)

    def _shared_out(self, due: Sequence[HoldRow]) -> list[HoldRow]:
        """The items of this run; a scheduled run that has too many invokes helpers for the rest."""
        part = self._part
        if part is None:
            helpers = min(MOST_HELPERS, (len(due) - 1) // HELPED_FROM) if due else 0
            part = (0, helpers + 1)
            for helper in range(1, helpers + 1):
                payload = {"table-stream": "retry", "now": self._everything, "slice": [helper, helpers + 1]}
                try:
                    self._invoke(self._invocation.context, payload)
                except Exception:
                    logger.exception("a helper cannot be invoked: its items are due in the next run")
        return [row for row in due if int(row.digest[:8], 16) % part[1] == part[0]]

    def _execute(self, turns: Sequence[Iterator[None]]) -> None:
        left = self._invocation.seconds_left if self._invocation.is_timed else None
        self._processor.executor(turns, left, self._on_deadline)

    def _turn(self, row: HoldRow) -> Iterator[None]:
        yield
        if not self._may_begin():
            return
        turn = Turn(self._work, row)
        try:
            if not turn.take(NEVER if self._everything else self._invocation.clock()):
                return
            with self._lock:
                self._turns[row.digest] = turn
            yield from turn.run()
        except RefusedError:
            logger.warning("a held item is no longer this run's", item=row.digest)
        except Exception:
            logger.exception("the ledger does not answer: the item's lease ends by itself", item=row.digest)
        finally:
            with self._lock:
                self._turns.pop(row.digest, None)
                self._tried += turn.tried

    def _may_begin(self) -> bool:
        is_early = self._invocation.clock() - self._invocation.began < BEGIN_SECONDS
        return is_early and self._invocation.seconds_left() > self._processor.settings.handler_timeout_seconds

    def _on_deadline(self) -> None:
        """Save how far the turns have come whose handlers still run."""
        with self._lock:
            turns = list(self._turns.values())
        for turn in turns:
            try:
                turn.save()
            except Exception:
                logger.exception("a turn's progress cannot be saved: it is repeated", item=turn.digest)

    def _purge(self, row: HoldRow) -> Iterator[None]:
        yield
        if not self._may_begin():
            return
        try:
            self._holds.purge(row, self._invocation.clock())
        except Exception:
            logger.exception("the ledger cannot remove a released item: the next run does", item=row.digest)


def alternately(rows: Iterator[HoldRow]) -> list[HoldRow]:
    """The items that fail for longest and those that fail for the shortest time, in turn: neither starves the other."""
    waiting = sorted(rows, key=lambda row: row.since)
    middle = (len(waiting) + 1) // 2
    oldest, youngest = waiting[:middle], waiting[middle:][::-1]
    mixed = [row for pair in zip(oldest, youngest, strict=False) for row in pair]
    return mixed + oldest[len(youngest) :]
