"""Holds: items whose changes wait in the ledger, and the single-item writes that move each of them on.

Change rows are written before the row that makes them count, and a row counts a change only between `next` and `tail`:
so a write that fails half-way, or is repeated, adds no change and loses none.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any

from handler.stream.change import Change
from handler.stream.codec import text_of, to_json
from handler.stream.ledger.rows import (
    FORMAT,
    KEPT_SECONDS,
    LAST,
    HoldBrokenError,
    HoldRow,
    Waiting,
    change_rows,
    read_changes,
    version_of,
)
from handler.stream.ledger.table import Item, key_of, typed
from handler.stream.ledger.writes import LedgerWrites, RefusedError

DESCRIPTION = "!"
"""Sort key of the row that tells an operator about an item."""
PASSED = "+"
"""Behind a version, it makes the place after that version's rows, for a `next` whose own version is not known yet."""
TEXT = 2_000
"""Characters of an error's text that are kept."""


@dataclass(frozen=True)
class Lease:
    """Whose an item is, and until when (seconds since 1970)."""

    owner: str
    until: float


@dataclass(frozen=True)
class Position:
    """How far a hold has come; `passed` counts the changes since the position that was written last."""

    next: str | None
    passed: int
    since: float
    deaths: int
    given_up: int


class Holds:
    """The holds of one consumer. Every method raises what boto3 raises where the ledger does not answer."""

    def __init__(self, table: LedgerWrites, consumer: str) -> None:
        self._table, self._partition = table, f"hold#{consumer}"

    # Reading

    def read(self, digests: Iterable[str]) -> list[Item]:
        """The rows of these items, of those that have one, as DynamoDB returns them."""
        return self._table.get(self._partition, sorted(digests))

    def rows(self, items: Iterable[Item]) -> dict[str, HoldRow]:
        """Rows by digest, of items that DynamoDB returned."""
        return {row.digest: row for row in map(HoldRow.read, items)}

    def every(self) -> Iterator[HoldRow]:
        """Every row, also of items that are held no longer."""
        return (HoldRow.read(item) for item in chain.from_iterable(self._table.pages(self._partition)))

    def row(self, digest: str) -> HoldRow | None:
        """The row of one item."""
        items, _ = self._table.page(self._partition, start=digest, end=digest)
        return HoldRow.read(items[0]) if items else None

    def waiting(self, row: HoldRow) -> list[Waiting]:
        """The changes that wait, in their order: all, or the first of them where they are more than 1 MB.

        Raises
        ------
        HoldBrokenError
            A change is missing or cannot be read.
        """
        partition = self._changes_of(row.digest)
        redriven: list[Waiting] = []
        if row.redriven:
            redriven = read_changes([*chain.from_iterable(self._table.pages(partition, start="+", end=f"+{LAST}"))])
        if row.next is None or row.next > row.tail:
            return sorted(redriven, key=lambda change: change.version)
        changes, more = self._from(partition, row.next, row.tail)
        is_named = not row.next.endswith(PASSED)
        if not changes or (is_named and changes[0].version != row.next):
            raise HoldBrokenError(f"{row.digest}: the first waiting change, {row.next}, is missing")
        if len(changes) < row.waiting and not (more and self._number(partition, row) >= row.waiting):
            raise HoldBrokenError(f"{row.digest}: of {row.waiting} waiting changes only {len(changes)} are there")
        if not more and changes[-1].version != row.tail:
            raise HoldBrokenError(f"{row.digest}: the last waiting change, {row.tail}, is missing")
        if more:
            redriven = [change for change in redriven if change.version < changes[-1].version]
        return sorted([*redriven, *changes], key=lambda change: change.version)

    def _from(self, partition: str, start: str, tail: str) -> tuple[list[Waiting], bool]:
        items: list[Item] = []
        after: Item | None = None
        while True:
            page, after = self._table.page(partition, start=start, end=f"{tail}#{LAST}", after=after)
            items += page
            last = items[-1]["sk"]["S"].rpartition("#")[0] if items else ""
            if after is None:
                return read_changes(items), False
            whole = [item for item in items if item["sk"]["S"].rpartition("#")[0] != last]
            if whole:
                return read_changes(whole), True

    def _number(self, partition: str, row: HoldRow) -> int:
        pages = self._table.pages(partition, start=row.next, end=f"{row.tail}#{LAST}", keys_only=True)
        return len({item["sk"]["S"].rpartition("#")[0] for item in chain.from_iterable(pages)})

    # Taking changes in

    def hold(
        self,
        digest: str,
        changes: Sequence[Change],
        error: BaseException,
        *,
        now: float,
        due: float,
        tries: int,
        lease: Lease | None = None,
        deaths: int = 0,
    ) -> HoldRow:
        """Hold an item, of which these changes wait, the failing one first.

        Raises
        ------
        RefusedError
            Where it is held already, or was until lately and has settled a change.
        """
        description = {
            **key_of(self._changes_of(digest), DESCRIPTION),
            "table": typed(changes[0].stream_or_unknown.table_arn),
            "keys": typed(to_json(changes[0].record["dynamodb"]["Keys"])),
            "error_type": typed(type(error).__name__),
            "error_text": typed(text_of(error)[:TEXT]),
            "tries": typed(tries),
            "at": typed(now),
        }
        self._table.put_and_delete([description, *self._rows(digest, changes, now)])
        owned, free = ("#owner = :owner, ", "") if lease else ("", ", #owner")
        try:
            return self._update(
                digest,
                "SET #v = :v, #state = :held, #next = :first, #tail = :tail, #tail_at = :tail_at, #since = :now, "
                f"#due = :due, #lease = :lease, {owned}#deaths = :deaths, #given_up = :zero, #waiting = :number "
                f"REMOVE #expiry, #redriven{free}",
                "attribute_not_exists(#v) OR (#v = :v AND #state = :done AND #tail < :first)",
                **_tail(changes),
                now=now,
                due=due,
                lease=lease.until if lease else 0,
                owner=lease.owner if lease else "",
                deaths=deaths,
            )
        except RefusedError as refused:
            there = HoldRow.read(refused.row) if refused.row is not None else None
            if lease and there and there.owner == lease.owner:
                return there  # it was written, and only the answer was lost
            raise

    def append(self, digest: str, changes: Sequence[Change], now: float) -> HoldRow:
        """Let later changes of a held item wait, too. Raises RefusedError where it is held no longer, or has them."""
        self._table.put_and_delete(self._rows(digest, changes, now))
        return self._update(
            digest,
            "SET #tail = :tail, #tail_at = :tail_at, #next = if_not_exists(#next, :first), "
            "#waiting = #waiting + :number",
            "#v = :v AND #state = :held AND #tail < :first",
            **_tail(changes),
        )

    def redrive(self, digest: str, changes: Sequence[Change], now: float) -> HoldRow:
        """Put changes of one item back, to run before those that wait and are newer, and make the item due.

        The tail stays: where the stream's own changes stand does not depend on what is redriven. Raises RefusedError
        where a newer format is in the way.
        """
        partition = self._changes_of(digest)
        described = key_of(partition, DESCRIPTION)
        self._table.update(
            described,
            "SET #table = :table, #keys = :keys, #at = if_not_exists(#at, :now), "
            "#error_type = if_not_exists(#error_type, :redriven), #error_text = if_not_exists(#error_text, :none), "
            "#tries = if_not_exists(#tries, :zero)",
            table=changes[0].stream_or_unknown.table_arn,
            keys=to_json(changes[0].record["dynamodb"]["Keys"]),
            now=now,
            redriven="Redriven",
            none="not tried since",
            zero=0,
        )
        rows = [row for change in changes for row in change_rows(partition, change, now, is_redriven=True)]
        self._table.put_and_delete(rows)
        is_first = "(attribute_not_exists(#next) OR #next > :first)"
        updates = {
            f"#v = :v AND #state = :held AND {is_first}": "SET #since = :now, #due = :now ADD #redriven :one",
            "#v = :v AND #state = :held": "SET #due = :now ADD #redriven :one",
            "attribute_not_exists(#v) OR (#v = :v AND #state = :done)": (
                "SET #v = :v, #state = :held, #tail = if_not_exists(#tail, :none), "
                "#tail_at = if_not_exists(#tail_at, :zero), #since = :now, #due = :now, #lease = :zero, "
                "#deaths = :zero, #given_up = :zero, #waiting = :zero "
                "REMOVE #expiry, #next, #owner ADD #redriven :one"
            ),
        }
        refusal = RefusedError(None)
        for condition, update in updates.items():
            try:
                return self._update(digest, update, condition, now=now, first=version_of(changes[0]), none="")
            except RefusedError as refused:
                refusal = refused
        raise refusal

    # Moving on

    def lease(self, row: HoldRow, lease: Lease, *, now: float, due: float, due_by: float) -> HoldRow:
        """Make the item its owner's; an owner that still stands there died.

        `due` is when the item is tried again if this owner dies, too. Raises RefusedError where the item is another's,
        is due after `due_by`, or has moved on, since another run has tried it in the meantime.
        """
        standing = "#owner = :former" if row.owner else "attribute_not_exists(#owner)"
        return self._update(
            row.digest,
            "SET #lease = :until, #owner = :owner, #due = :due, #deaths = :deaths",
            f"#v = :v AND #state = :held AND #lease <= :now AND #due <= :due_by AND #since = :since AND {standing}",
            until=lease.until,
            owner=lease.owner,
            former=row.owner or "",
            now=now,
            due=due,
            due_by=due_by,
            since=row.since,
            deaths=row.deaths + bool(row.owner),
        )

    def progress(self, row: HoldRow, position: Position) -> HoldRow:
        """Write how far the owner has come. Raises RefusedError where the item is another's by now."""
        return self._move(row, position, "", "")

    def hand_back(self, row: HoldRow, position: Position, due: float) -> HoldRow:
        """Write how far the owner has come, and let go of the item until it is due. Raises RefusedError as above."""
        return self._move(row, position, ", #lease = :zero, #due = :due", ", #owner", due=due)

    def _move(self, row: HoldRow, position: Position, update: str, remove: str, **values: float) -> HoldRow:
        keeps = " AND #next = :former" if row.next else ""  # only redriven changes ran: an append may have set it
        following = "" if position.next is None else ", #next = :next"
        removed = (", #next" if position.next is None and row.next else "") + remove
        try:
            return self._update(
                row.digest,
                "SET #waiting = #waiting - :passed, #since = :since, #deaths = :deaths, #given_up = :given_up"
                f"{following}{update}" + (f" REMOVE {removed.removeprefix(', ')}" if removed else ""),
                f"#owner = :owner{keeps}",
                owner=row.owner or "",
                former=row.next or "",
                next=position.next or "",
                passed=position.passed,
                since=position.since,
                deaths=position.deaths,
                given_up=position.given_up,
                **values,
            )
        except RefusedError as refused:
            there = HoldRow.read(refused.row) if refused.row is not None else None
            is_there = there is not None and (there.next == position.next or row.next is None)
            if there and is_there and there.owner in (row.owner, None) and there.is_held:
                return there  # it was written, and only the answer was lost
            raise

    def release(self, row: HoldRow, last: str, now: float) -> HoldRow:
        """End the hold, if the change that ran last is the last one it took in. Raises RefusedError where it is not."""
        same = "#redriven = :redriven" if row.redriven else "attribute_not_exists(#redriven)"
        return self._update(
            row.digest,
            "SET #state = :done, #expiry = :expiry, #lease = :zero, #waiting = :zero, #deaths = :zero, "
            "#given_up = :zero REMOVE #owner, #next, #redriven",
            f"#owner = :owner AND #tail = :last AND {same}",
            owner=row.owner or "",
            last=last,
            redriven=row.redriven,
            expiry=now + KEPT_SECONDS,
        )

    def note_failure(self, digest: str, error: BaseException, now: float) -> int:
        """Tell an operator about another failure of an item; how many there are by now."""
        described = self._table.update(
            key_of(self._changes_of(digest), DESCRIPTION),
            "SET #error_type = :type, #error_text = :text, #at = :now ADD #tries :one",
            type=type(error).__name__,
            text=text_of(error)[:TEXT],
            now=now,
            one=1,
        )
        return int(described["tries"]["N"])

    def forget(self, digest: str, changes: Iterable[Waiting]) -> None:
        """Remove the rows of changes that have run."""
        partition = self._changes_of(digest)
        sort_keys = (sort_key for change in changes for sort_key in change.sort_keys())
        self._table.put_and_delete(deletes=[key_of(partition, sort_key) for sort_key in sort_keys])

    def purge(self, row: HoldRow, now: float) -> None:
        """Remove the row of an item that was released long ago, and what deaths and refusals have left of its changes.

        A change row that is written again meanwhile, by a hold that begins, stays: its time is another then.
        """
        partition = self._changes_of(row.digest)
        for item in chain.from_iterable(self._table.pages(partition, start="+", end=LAST, keys_only=True)):
            at = float(item["at"]["N"])
            if at <= now - KEPT_SECONDS:
                with suppress(RefusedError):
                    self._table.delete({"pk": item["pk"], "sk": item["sk"]}, "#at = :at", at=at)
        try:
            self._table.delete(
                key_of(self._partition, row.digest), "#state = :done AND #tail = :tail", done="done", tail=row.tail
            )
        except RefusedError:
            return  # it is held again
        self._table.delete(key_of(partition, DESCRIPTION))

    def _changes_of(self, digest: str) -> str:
        return f"{self._partition}#{digest}"

    def _rows(self, digest: str, changes: Sequence[Change], now: float) -> list[Item]:
        partition = self._changes_of(digest)
        return [row for change in changes for row in change_rows(partition, change, now)]

    def _update(self, digest: str, update: str, condition: str, **values: str | float) -> HoldRow:
        common: dict[str, str | float] = {"v": FORMAT, "held": "held", "done": "done", "zero": 0, "one": 1}
        return HoldRow.read(self._table.update(key_of(self._partition, digest), update, condition, **common, **values))


def _tail(changes: Sequence[Change]) -> dict[str, Any]:
    last = changes[-1]
    created = last.created_seconds
    return {
        "first": version_of(changes[0]),
        "tail": version_of(last),
        "tail_at": 0 if created is None else created,
        "number": len(changes),
    }
