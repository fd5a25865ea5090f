"""A retry run: each held item that is due gets one turn."""

import threading
from collections.abc import Iterator, Sequence

from handler.stream.change import END_OF_TIME_SECONDS
from handler.stream.engine.batch import Function
from handler.stream.engine.batch_run import Invoke, Processor
from handler.stream.engine.invocation import Invocation
from handler.stream.engine.parking import Parking
from handler.stream.held_items.turn import Turn, TurnDependencies
from handler.stream.ledger import Ledger
from handler.stream.ledger.rows import HoldRow
from handler.stream.ledger.table import FORMAT
from handler.stream.ledger.writes import RefusedError
from handler.stream.telemetry import emit_counts, logger

NEW_TURNS_SECONDS = 50.0
"""A run begins no new turn after this time: the schedule starts the next run a minute after this one."""
ITEMS_PER_RUN, MAX_HELPERS = 500, 4
"""A scheduled run invokes one helper for each 500 due items beyond the first 500, at most four. A helper invokes no
helpers: Lambda stops a function that has invoked itself about 16 times in a row."""


class RetryRun:
    """One run. A helper's `item_slice` (n, m) selects the items whose digest modulo m is n; `item` is one digest.

    A run for one item or a slice sends no gauges and purges nothing: the whole run does.
    """

    def __init__(
        self,
        processor: Processor,
        ledger: Ledger,
        function: Function,
        invocation: Invocation,
        *,
        invoke: Invoke,
        all_are_due: bool = False,
        item_slice: tuple[int, int] | None = None,
        item: str | None = None,
    ) -> None:
        self._processor, self._holds, self._invocation = processor, ledger.holds, invocation
        self._invoke, self._all_are_due, self._item_slice = invoke, all_are_due, item_slice
        self._item, self._is_whole = item, item_slice is None and item is None
        self._tried_items = 0
        self._turns: dict[str, Turn] = {}
        self._lock = threading.Lock()
        parking = Parking(processor.failures, invocation)
        self._dependencies = TurnDependencies(processor, function, ledger.holds, parking, invocation)

    def run(self) -> dict[str, int]:
        """Run a turn for each due item; return the counts of held, due, tried, released items and of parked changes.

        Raises
        ------
        Exception
            The error of boto3 if the ledger cannot be read.
        """
        now = self._invocation.clock()
        rows = self._read_rows()
        held_rows = [row for row in rows if row.is_held]
        if any(row.format > FORMAT for row in held_rows):
            logger.error("a newer version of the engine holds items: this run leaves them alone")
        due_rows = [row for row in held_rows if row.format <= FORMAT and self._is_due(row, now)]
        oldest = max((now - row.since for row in held_rows), default=0.0)
        gauges = {"HeldItems": (len(held_rows), "Count"), "OldestHeldSeconds": (max(oldest, 0.0), "Seconds")}
        own_rows = self._take_slice(due_rows)
        self._execute([self._run_turn(row) for row in alternate_by_age(row for row in own_rows if not row.is_suspect)])
        for row in sorted(
            (row for row in own_rows if row.is_suspect), key=lambda row: (row.deaths_in_a_row, row.since)
        ):
            if not self._may_begin_turn():
                break
            self._execute([self._run_turn(row)])
        if self._is_whole:
            self._execute([self._purge(row) for row in rows if not row.is_held and row.expiry <= now])
        counts = self._invocation.counts
        emit_counts(counts, gauges if self._is_whole else None)
        return {
            "held": len(held_rows),
            "due": len(due_rows),
            "tried": self._tried_items,
            "released": counts["ReleasedItems"],
            "parked": counts["ParkedChanges"],
        }

    def _read_rows(self) -> list[HoldRow]:
        if self._item is None:
            return list(self._holds.read_all())
        row = self._holds.read_row(self._item)
        return [row] if row else []

    def _is_due(self, row: HoldRow, now: float) -> bool:
        return row.lease <= now and (self._all_are_due or row.due <= now)

    def _take_slice(self, due_rows: Sequence[HoldRow]) -> list[HoldRow]:
        """Return the items of this run; a scheduled run with too many items invokes helpers for the rest."""
        item_slice = self._item_slice
        if item_slice is None:
            helpers = min(MAX_HELPERS, (len(due_rows) - 1) // ITEMS_PER_RUN) if due_rows else 0
            item_slice = (0, helpers + 1)
            for helper in range(1, helpers + 1):
                payload = {"table-stream": "retry", "now": self._all_are_due, "slice": [helper, helpers + 1]}
                try:
                    self._invoke(self._invocation.context, payload)
                except Exception:
                    logger.exception("a helper cannot be invoked: its items are due in the next run")
        return [row for row in due_rows if int(row.digest[:8], 16) % item_slice[1] == item_slice[0]]

    def _execute(self, turns: Sequence[Iterator[None]]) -> None:
        left = self._invocation.seconds_left if self._invocation.is_timed else None
        self._processor.executor(turns, left, self._on_deadline)

    def _run_turn(self, row: HoldRow) -> Iterator[None]:
        yield
        if not self._may_begin_turn():
            return
        turn = Turn(self._dependencies, row)
        try:
            if not turn.acquire_lease(END_OF_TIME_SECONDS if self._all_are_due else self._invocation.clock()):
                return
            with self._lock:
                self._turns[row.digest] = turn
            yield from turn.run()
        except RefusedError:
            logger.warning("a held item is no longer this run's", item=row.digest)
        except Exception:
            logger.exception("the ledger does not respond: the item's lease expires", item=row.digest)
        finally:
            with self._lock:
                self._turns.pop(row.digest, None)
                self._tried_items += turn.has_tried

    def _may_begin_turn(self) -> bool:
        is_early = self._invocation.clock() - self._invocation.began < NEW_TURNS_SECONDS
        return is_early and self._invocation.seconds_left() > self._processor.settings.handler_timeout_seconds

    def _on_deadline(self) -> None:
        """Save the progress of the turns whose handlers still run."""
        with self._lock:
            turns = list(self._turns.values())
        for turn in turns:
            try:
                turn.save()
            except Exception:
                logger.exception("a turn's progress cannot be saved: its changes may run again", item=turn.digest)

    def _purge(self, row: HoldRow) -> Iterator[None]:
        yield
        if not self._may_begin_turn():
            return
        try:
            self._holds.purge(row, self._invocation.clock())
        except Exception:
            logger.exception("the ledger cannot delete a released item: the next run tries again", item=row.digest)


def alternate_by_age(rows: Iterator[HoldRow]) -> list[HoldRow]:
    """Order the items alternately from the oldest and the youngest failure, so that neither end starves."""
    by_age = sorted(rows, key=lambda row: row.since)
    middle = (len(by_age) + 1) // 2
    oldest, youngest = by_age[:middle], by_age[middle:][::-1]
    pairwise = [row for pair in zip(oldest, youngest, strict=False) for row in pair]
    return pairwise + oldest[len(youngest) :]
