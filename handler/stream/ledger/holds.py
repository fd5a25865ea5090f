"""Holds: items whose changes wait in the ledger, and the single-item writes that update them.

Change rows are written before the hold row, and the hold row counts only changes from `next` to `tail`. So a write that
fails half-way, or is repeated, neither adds nor loses a change.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from handler.stream.change import Change
from handler.stream.codec import text_of, to_json
from handler.stream.ledger.hold_reader import DESCRIPTION_KEY, HoldReader
from handler.stream.ledger.rows import (
    END_OF_PARTS,
    RELEASED_ROW_SECONDS,
    HoldRow,
    WaitingChange,
    change_rows,
    version_of,
)
from handler.stream.ledger.table import FORMAT, Item, attribute_value, key_of
from handler.stream.ledger.writes import RefusedError

MAX_REDRIVE_TRIES = 3
"""Most attempts to count a redrive: an item can be held or released between the read of its row and the write."""
MAX_ERROR_TEXT = 2_000
"""Most characters of an error's text in a description."""


@dataclass(frozen=True)
class Lease:
    """The owner of an item, and the end of the lease in seconds since 1970."""

    owner: str
    until: float


@dataclass(frozen=True)
class HoldProgress:
    """The progress of a hold; `newly_settled` counts the changes since the last written progress."""

    next: str | None
    newly_settled: int
    since: float
    deaths: int = 0
    given_up: int = 0


class Holds(HoldReader):
    """The holds of one consumer. Every method raises the error of boto3 if the ledger does not respond."""

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
        """Hold an item with these changes waiting, the failing one first.

        Raises
        ------
        RefusedError
            The item is held already, or was released within the last hour and has settled one of the changes.
        """
        kind, text = type(error).__name__, text_of(error)[:MAX_ERROR_TEXT]
        description = self._description(digest, changes[0], kind, text, tries=tries, now=now)
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
                return stored  # the write succeeded, only its response was lost
            raise

    def append(self, digest: str, changes: Sequence[Change], now: float) -> HoldRow:
        """Append later changes of a held item. Raises RefusedError if the item is released or has the changes."""
        self._table.put_and_delete(self._change_rows(digest, changes, now))
        return self._update(
            digest,
            "SET #tail = :tail, #tail_at = :tail_at, #next = if_not_exists(#next, :first), "
            "#waiting = #waiting + :number",
            "#v = :v AND #state = :held AND #tail < :first",
            **_tail_values(changes),
        )

    def put_redriven(self, items: Mapping[str, Sequence[Change]], rows: Mapping[str, HoldRow], now: float) -> None:
        """Write the change rows of redriven changes, and the descriptions of the items that `rows` does not hold.

        The rows count only once `hold_redriven` has counted them. Both mappings have the items' digests.
        """
        puts: list[Item] = []
        for digest, changes in items.items():
            partition = self._changes_partition(digest)
            if digest not in rows or not rows[digest].is_held:
                puts.append(self._description(digest, changes[0], "Redriven", "not tried since", tries=0, now=now))
            puts += (row for change in changes for row in change_rows(partition, change, now, is_redriven=True))
        self._table.put_and_delete(puts)

    def hold_redriven(self, digest: str, first: Change, row: HoldRow | None, now: float) -> HoldRow:
        """Count a redrive of one item, so that its changes run before newer waiting changes; make the item due.

        The tail stays, because it counts only changes from the stream. `first` is the oldest redriven change, and `row`
        is the hold row as read. Raises RefusedError if the row has a newer format, or changes during each attempt.
        """
        version = version_of(first)
        refusal = RefusedError(None)
        for _ in range(MAX_REDRIVE_TRIES):
            condition, update = _redrive_expressions(row, version)
            try:
                return self._update(digest, update, condition, now=now, first=version, none="")
            except RefusedError as refused:
                refusal, row = refused, stored_row(refused)
                if row is not None and row.format > FORMAT:
                    break
        raise refusal

    # Moving on

    def lease(self, row: HoldRow, lease: Lease, *, now: float, due: float, due_by: float) -> HoldRow:
        """Lease the item to an owner; an earlier owner that the row still names has crashed.

        `due` is the time of the next try if this owner crashes. Raises RefusedError if another owner has the item, if
        the item is due after `due_by`, or if another run has tried the item in the meantime.
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
        """Write the owner's progress. Raises RefusedError if another owner has the item."""
        return self._move(row, progress, "", "")

    def hand_back(self, row: HoldRow, progress: HoldProgress, due: float) -> HoldRow:
        """Write the owner's progress and end the lease; the item waits until `due`. Raises RefusedError as above."""
        return self._move(row, progress, ", #lease = :zero, #due = :due", "#owner", due=due)

    def _move(self, row: HoldRow, progress: HoldProgress, update: str, remove: str, **values: float) -> HoldRow:
        # Without `next`, only redriven changes ran: an append may have set it in the meantime.
        next_condition = " AND #next = :former" if row.next else ""
        set_next = "" if progress.next is None else ", #next = :next"
        try:
            return self._update(
                row.digest,
                "SET #waiting = #waiting - :passed, #since = :since, #deaths = :deaths, #given_up = :given_up"
                f"{set_next}{update}" + (f" REMOVE {remove}" if remove else ""),
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
                return stored  # the write succeeded, only its response was lost
            raise

    def release(self, row: HoldRow, last: str, now: float) -> HoldRow:
        """Release the item if `last` is its tail. Raises RefusedError if more changes wait."""
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
        """Record another failure in the item's description; return the number of tries."""
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
        """Delete the rows of settled changes."""
        partition = self._changes_partition(digest)
        sort_keys = (sort_key for change in changes for sort_key in change.sort_keys())
        self._table.put_and_delete(deletes=[key_of(partition, sort_key) for sort_key in sort_keys])

    def purge(self, row: HoldRow, now: float) -> None:
        """Delete the row of an item that was released an hour ago, and change rows that crashes left behind.

        A change row that a new hold writes in the meantime stays: its `at` differs.
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
            return  # the item is held again
        self._table.delete(key_of(partition, DESCRIPTION_KEY))

    def _description(self, digest: str, change: Change, kind: str, text: str, *, tries: int, now: float) -> Item:
        return {
            **key_of(self._changes_partition(digest), DESCRIPTION_KEY),
            "table": attribute_value(change.stream_or_unknown.table_arn),
            "keys": attribute_value(to_json(change.record["dynamodb"]["Keys"])),
            "error_type": attribute_value(kind),
            "error_text": attribute_value(text),
            "tries": attribute_value(tries),
            "at": attribute_value(now),
        }

    def _change_rows(self, digest: str, changes: Sequence[Change], now: float) -> list[Item]:
        partition = self._changes_partition(digest)
        return [row for change in changes for row in change_rows(partition, change, now)]

    def _update(self, digest: str, update: str, condition: str, **values: str | float) -> HoldRow:
        common: dict[str, str | float] = {"v": FORMAT, "held": "held", "done": "done", "zero": 0, "one": 1}
        values = common | values
        return HoldRow.from_item(self._table.update(key_of(self._partition, digest), update, condition, **values))


def stored_row(refused: RefusedError) -> HoldRow | None:
    """Return the hold row that refused a write, None if the ledger has none."""
    return HoldRow.from_item(refused.item) if refused.item is not None else None


def _redrive_expressions(row: HoldRow | None, first: str) -> tuple[str, str]:
    """Return the condition that the row as read meets, and the update that counts a redrive in such a row."""
    if row is None or not row.is_held:
        return (
            "attribute_not_exists(#v) OR (#v = :v AND #state = :done)",
            "SET #v = :v, #state = :held, #tail = if_not_exists(#tail, :none), "
            "#tail_at = if_not_exists(#tail_at, :zero), #since = :now, #due = :now, #lease = :zero, #deaths = :zero, "
            "#given_up = :zero, #waiting = :zero REMOVE #expiry, #next, #owner ADD #redriven :one",
        )
    if row.next is None or row.next > first:
        is_first = "(attribute_not_exists(#next) OR #next > :first)"
        return (
            f"#v = :v AND #state = :held AND {is_first}",
            "SET #since = :now, #due = :now ADD #redriven :one",
        )
    return "#v = :v AND #state = :held AND #next <= :first", "SET #due = :now ADD #redriven :one"


def _tail_values(changes: Sequence[Change]) -> dict[str, Any]:
    last = changes[-1]
    created = last.created_seconds
    return {
        "first": version_of(changes[0]),
        "tail": version_of(last),
        "tail_at": 0 if created is None else created,
        "number": len(changes),
    }
