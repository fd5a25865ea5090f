"""Holds: items whose changes wait in the ledger, and the single-item writes that move each of them on.

Change rows are written before the row that makes them count, and a row counts a change only between `next` and `tail`:
so a write that fails half-way, or is repeated, adds no change and loses none.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from handler.stream.change import Change
from handler.stream.codec import text_of, to_json
from handler.stream.ledger.rows import (
    END_OF_PARTS,
    RELEASED_ROW_SECONDS,
    HoldBrokenError,
    HoldRow,
    WaitingChange,
    change_rows,
    read_changes,
    version_of,
)
from handler.stream.ledger.table import FORMAT, Item, attribute_value, key_of
from handler.stream.ledger.writes import LedgerWrites, RefusedError

DESCRIPTION_KEY = "!"
"""Sort key of the row that tells an operator about an item."""
AFTER_VERSION = "+"
"""Behind a version, it makes the place after that version's rows, for a `next` whose own version is not known yet."""
MAX_ERROR_TEXT = 2_000
"""Characters of an error's text that are kept."""


@dataclass(frozen=True)
class Lease:
    """Whose an item is, and until when (seconds since 1970)."""

    owner: str
    until: float


@dataclass(frozen=True)
class HoldProgress:
    """How far a hold has come; `newly_settled` counts the changes since the progress that was written last."""

    next: str | None
    newly_settled: int
    since: float
    deaths: int = 0
    given_up: int = 0


class Holds:
    """The holds of one consumer. Every method raises what boto3 raises where the ledger does not answer."""

    def __init__(self, table: LedgerWrites, consumer: str) -> None:
        self._table, self._partition = table, f"hold#{consumer}"

    # Reading

    def read_items(self, digests: Iterable[str]) -> list[Item]:
        """The rows of these items, of those that have one, as DynamoDB returns them."""
        return self._table.batch_get(self._partition, sorted(digests))

    def parse_rows(self, items: Iterable[Item]) -> dict[str, HoldRow]:
        """Rows by digest, of items that DynamoDB returned."""
        return {row.digest: row for row in map(HoldRow.from_item, items)}

    def read_all(self) -> Iterator[HoldRow]:
        """Every row, also of items that are held no longer."""
        return (HoldRow.from_item(item) for item in self._table.query_all(self._partition))

    def read_row(self, digest: str) -> HoldRow | None:
        """The row of one item."""
        items, _ = self._table.query_page(self._partition, start=digest, end=digest)
        return HoldRow.from_item(items[0]) if items else None

    def read_waiting(self, row: HoldRow) -> list[WaitingChange]:
        """The changes that wait, in their order: all, or the first of them where they are more than 1 MB.

        Raises
        ------
        HoldBrokenError
            A change is missing or cannot be read.
        """
        partition = self._changes_partition(row.digest)
        redriven: list[WaitingChange] = []
        if row.redriven:
            redriven = read_changes(self._table.query_all(partition, start="+", end=f"+{END_OF_PARTS}"))
        if row.next is None or row.next > row.tail:
            return sorted(redriven, key=lambda change: change.version)
        changes, has_more = self._read_whole_changes(partition, row.next, row.tail)
        is_named = not row.next.endswith(AFTER_VERSION)
        if not changes or (is_named and changes[0].version != row.next):
            raise HoldBrokenError(f"{row.digest}: the first waiting change, {row.next}, is missing")
        if len(changes) < row.waiting and not (has_more and self._count_changes(partition, row) >= row.waiting):
            raise HoldBrokenError(f"{row.digest}: of {row.waiting} waiting changes only {len(changes)} are there")
        if not has_more and changes[-1].version != row.tail:
            raise HoldBrokenError(f"{row.digest}: the last waiting change, {row.tail}, is missing")
        if has_more:
            redriven = [change for change in redriven if change.version < changes[-1].version]
        return sorted([*redriven, *changes], key=lambda change: change.version)

    def _read_whole_changes(self, partition: str, start: str, tail: str) -> tuple[list[WaitingChange], bool]:
        items: list[Item] = []
        after: Item | None = None
        while True:
            page, after = self._table.query_page(partition, start=start, end=f"{tail}#{END_OF_PARTS}", after=after)
            items += page
            last = _version_in(items[-1]) if items else ""
            if after is None:
                return read_changes(items), False
            whole = [item for item in items if _version_in(item) != last]
            if whole:
                return read_changes(whole), True

    def _count_changes(self, partition: str, row: HoldRow) -> int:
        items = self._table.query_all(partition, start=row.next, end=f"{row.tail}#{END_OF_PARTS}", keys_only=True)
        return len({_version_in(item) for item in items})

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
            **key_of(self._changes_partition(digest), DESCRIPTION_KEY),
            "table": attribute_value(changes[0].stream_or_unknown.table_arn),
            "keys": attribute_value(to_json(changes[0].record["dynamodb"]["Keys"])),
            "error_type": attribute_value(type(error).__name__),
            "error_text": attribute_value(text_of(error)[:MAX_ERROR_TEXT]),
            "tries": attribute_value(tries),
            "at": attribute_value(now),
        }
        self._table.put_and_delete([description, *self._change_rows(digest, changes, now)])
        set_owner, remove_owner = ("#owner = :owner, ", "") if lease else ("", ", #owner")
        try:
            return self._update(
                digest,
                "SET #v = :v, #state = :held, #next = :first, #tail = :tail, #tail_at = :tail_at, #since = :now, "
                f"#due = :due, #lease = :lease, {set_owner}#deaths = :deaths, #given_up = :zero, #waiting = :number "
                f"REMOVE #expiry, #redriven{remove_owner}",
                "attribute_not_exists(#v) OR (#v = :v AND #state = :done AND #tail < :first)",
                **_tail_values(changes),
                now=now,
                due=due,
                lease=lease.until if lease else 0,
                owner=lease.owner if lease else "",
                deaths=deaths,
            )
        except RefusedError as refused:
            stored = stored_row(refused)
            if lease and stored and stored.owner == lease.owner:
                return stored  # it was written, and only the answer was lost
            raise

    def append(self, digest: str, changes: Sequence[Change], now: float) -> HoldRow:
        """Let later changes of a held item wait, too. Raises RefusedError where it is held no longer, or has them."""
        self._table.put_and_delete(self._change_rows(digest, changes, now))
        return self._update(
            digest,
            "SET #tail = :tail, #tail_at = :tail_at, #next = if_not_exists(#next, :first), "
            "#waiting = #waiting + :number",
            "#v = :v AND #state = :held AND #tail < :first",
            **_tail_values(changes),
        )

    def redrive(self, digest: str, changes: Sequence[Change], now: float) -> HoldRow:
        """Put changes of one item back, to run before those that wait and are newer, and make the item due.

        The tail stays: where the stream's own changes stand does not depend on what is redriven. Raises RefusedError
        where a newer format is in the way.
        """
        partition = self._changes_partition(digest)
        description_key = key_of(partition, DESCRIPTION_KEY)
        self._table.update(
            description_key,
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
        owner_condition = "#owner = :former" if row.owner else "attribute_not_exists(#owner)"
        return self._update(
            row.digest,
            "SET #lease = :until, #owner = :owner, #due = :due, #deaths = :deaths",
            "#v = :v AND #state = :held AND #lease <= :now AND #due <= :due_by AND #since = :since AND "
            f"{owner_condition}",
            until=lease.until,
            owner=lease.owner,
            former=row.owner or "",
            now=now,
            due=due,
            due_by=due_by,
            since=row.since,
            deaths=row.deaths + bool(row.owner),
        )

    def write_progress(self, row: HoldRow, progress: HoldProgress) -> HoldRow:
        """Write how far the owner has come. Raises RefusedError where the item is another's by now."""
        return self._move(row, progress, "", "")

    def hand_back(self, row: HoldRow, progress: HoldProgress, due: float) -> HoldRow:
        """Write how far the owner has come, and let go of the item until it is due. Raises RefusedError as above."""
        return self._move(row, progress, ", #lease = :zero, #due = :due", ", #owner", due=due)

    def _move(self, row: HoldRow, progress: HoldProgress, update: str, remove: str, **values: float) -> HoldRow:
        # Where only redriven changes ran, an append may have set `next`.
        next_condition = " AND #next = :former" if row.next else ""
        set_next = "" if progress.next is None else ", #next = :next"
        removed_names = (", #next" if progress.next is None and row.next else "") + remove
        try:
            return self._update(
                row.digest,
                "SET #waiting = #waiting - :passed, #since = :since, #deaths = :deaths, #given_up = :given_up"
                f"{set_next}{update}" + (f" REMOVE {removed_names.removeprefix(', ')}" if removed_names else ""),
                f"#owner = :owner{next_condition}",
                owner=row.owner or "",
                former=row.next or "",
                next=progress.next or "",
                passed=progress.newly_settled,
                since=progress.since,
                deaths=progress.deaths,
                given_up=progress.given_up,
                **values,
            )
        except RefusedError as refused:
            stored = stored_row(refused)
            was_written = stored is not None and (stored.next == progress.next or row.next is None)
            if stored and was_written and stored.owner in (row.owner, None) and stored.is_held:
                return stored  # it was written, and only the answer was lost
            raise

    def release(self, row: HoldRow, last: str, now: float) -> HoldRow:
        """End the hold, if the change that ran last is the last one it took in. Raises RefusedError where it is not."""
        redriven_condition = "#redriven = :redriven" if row.redriven else "attribute_not_exists(#redriven)"
        return self._update(
            row.digest,
            "SET #state = :done, #expiry = :expiry, #lease = :zero, #waiting = :zero, #deaths = :zero, "
            "#given_up = :zero REMOVE #owner, #next, #redriven",
            f"#owner = :owner AND #tail = :last AND {redriven_condition}",
            owner=row.owner or "",
            last=last,
            redriven=row.redriven,
            expiry=now + RELEASED_ROW_SECONDS,
        )

    def record_failure(self, digest: str, error: BaseException, now: float) -> int:
        """Tell an operator about another failure of an item; how many there are by now."""
        description = self._table.update(
            key_of(self._changes_partition(digest), DESCRIPTION_KEY),
            "SET #error_type = :type, #error_text = :text, #at = :now ADD #tries :one",
            type=type(error).__name__,
            text=text_of(error)[:MAX_ERROR_TEXT],
            now=now,
            one=1,
        )
        return int(description["tries"]["N"])

    def delete_changes(self, digest: str, changes: Iterable[WaitingChange]) -> None:
        """Remove the rows of changes that have run."""
        partition = self._changes_partition(digest)
        sort_keys = (sort_key for change in changes for sort_key in change.sort_keys())
        self._table.put_and_delete(deletes=[key_of(partition, sort_key) for sort_key in sort_keys])

    def purge(self, row: HoldRow, now: float) -> None:
        """Remove the row of an item that was released long ago, and what deaths and refusals have left of its changes.

        A change row that is written again meanwhile, by a hold that begins, stays: its time is another then.
        """
        partition = self._changes_partition(row.digest)
        for item in self._table.query_all(partition, start="+", end=END_OF_PARTS, keys_only=True):
            at = float(item["at"]["N"])
            if at <= now - RELEASED_ROW_SECONDS:
                with suppress(RefusedError):
                    self._table.delete({"pk": item["pk"], "sk": item["sk"]}, "#at = :at", at=at)
        try:
            self._table.delete(
                key_of(self._partition, row.digest), "#state = :done AND #tail = :tail", done="done", tail=row.tail
            )
        except RefusedError:
            return  # it is held again
        self._table.delete(key_of(partition, DESCRIPTION_KEY))

    def _changes_partition(self, digest: str) -> str:
        return f"{self._partition}#{digest}"

    def _change_rows(self, digest: str, changes: Sequence[Change], now: float) -> list[Item]:
        partition = self._changes_partition(digest)
        return [row for change in changes for row in change_rows(partition, change, now)]

    def _update(self, digest: str, update: str, condition: str, **values: str | float) -> HoldRow:
        common: dict[str, str | float] = {"v": FORMAT, "held": "held", "done": "done", "zero": 0, "one": 1}
        values = common | values
        return HoldRow.from_item(self._table.update(key_of(self._partition, digest), update, condition, **values))


def stored_row(refused: RefusedError) -> HoldRow | None:
    """The row that refused a write; None where there is none."""
    return HoldRow.from_item(refused.item) if refused.item is not None else None


def _version_in(change_row: Item) -> str:
    return change_row["sk"]["S"].rpartition("#")[0]


def just_after(version: str) -> str:
    """The place after a version's rows and before those of the next one."""
    return f"{version}{AFTER_VERSION}"


def _tail_values(changes: Sequence[Change]) -> dict[str, Any]:
    last = changes[-1]
    created = last.created_seconds
    return {
        "first": version_of(changes[0]),
        "tail": version_of(last),
        "tail_at": 0 if created is None else created,
        "number": len(changes),
    }
