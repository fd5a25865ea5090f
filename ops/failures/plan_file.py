"""The plan of a redrive in a temporary SQLite database, so that memory stays flat whatever the number of failures."""

import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from handler.stream.change import Change
from handler.stream.codec import from_json, to_json
from handler.stream.ledger.rows import digest_of, version_of
from ops.concurrency import in_chunks

SCHEMA = """
PRAGMA cache_size = -16000;
CREATE TABLE causes (id INTEGER PRIMARY KEY, text TEXT UNIQUE);
CREATE TABLE objects (
    id INTEGER PRIMARY KEY, key TEXT UNIQUE, etag TEXT, total INTEGER, is_copied INTEGER DEFAULT 0,
    state TEXT DEFAULT ''
);
CREATE TABLE changes (
    id INTEGER PRIMARY KEY, item TEXT, version TEXT, consumer TEXT, event_id TEXT, key TEXT, cause INTEGER, error TEXT,
    at REAL, created REAL, size INTEGER, record BLOB, state TEXT DEFAULT 'planned', UNIQUE (item, version, consumer)
);
CREATE TABLE sources (object INTEGER, change INTEGER, PRIMARY KEY (object, change)) WITHOUT ROWID;
CREATE INDEX sources_of_change ON sources (change);
CREATE INDEX changes_by_state ON changes (state, item);
CREATE TABLE queue (position INTEGER PRIMARY KEY, item TEXT);
"""
CHUNK = 500
"""Records that one statement reads."""
COMMIT_EVERY = 2_000
"""Changes that are added between two commits."""
MAX_ERROR_CHARACTERS = 500
"""Characters of an error that the plan keeps."""

PLANNED, HELD, DONE, PARKED_AGAIN, REFUSED = "planned", "held", "done", "parked again", "refused"
"""States of a change: to be put back; in its hold; its handler has returned; given up again; the engine refused it."""
OUTRUN, TOO_OLD = "outrun", "too old"
"""States of changes that are left out: later changes of the item may have run; the change is older than claims live."""
COPIED, DONE_BEFORE = "copied", "done before"
"""States of changes that an earlier run put into their holds: the object has a copy; the change waits no longer."""


@dataclass(frozen=True)
class Failed:
    """One failed change as its failure record has it; times are seconds since 1970."""

    consumer: str
    key: str
    """The key under which the engine parks the change."""
    change: Change
    cause: str
    error: str
    at: float


@dataclass(frozen=True)
class PlannedChange:
    """One change of the plan, without its record."""

    id: int
    item: str
    version: str
    event_id: str
    key: str
    """The key under which the engine parks the change."""
    size: int
    """Characters of the record as JSON."""


@dataclass(frozen=True)
class Group:
    """Failures of one cause."""

    consumer: str
    cause: str
    changes: int
    items: int
    first: float
    last: float
    example: str
    """The key of an object."""
    event_id: str
    """The example's change."""
    error: str
    """The example's error."""


class PlanFile:
    """Failed changes and their objects. Only the thread that made the plan may use it."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)  # SQLite keeps it in a file that has no name
        self._database.executescript(SCHEMA)
        self._causes: dict[str, int] = {}
        self._added = 0
        self._database.execute("BEGIN")

    def close(self) -> None:
        """Delete the file, as the end of the process does in any case."""
        self._database.close()

    # Planning

    def add_object(self, key: str, etag: str, total: int, *, is_copied: bool, selected: Iterable[Failed]) -> None:
        """Add an object with `total` changes, of which the selected ones are put back."""
        row = self._database.execute(
            "INSERT INTO objects (key, etag, total, is_copied) VALUES (?, ?, ?, ?)", (key, etag, total, is_copied)
        )
        for failed in selected:
            change = self.add_change(failed)
            self._database.execute("INSERT OR IGNORE INTO sources VALUES (?, ?)", (row.lastrowid, change))

    def add_change(self, failed: Failed) -> int:
        """Add a change, once, with its newest cause; return its number."""
        change, text = failed.change, to_json(failed.change.record)
        cause = self._cause(failed.cause)
        values = (
            *(digest_of(change), version_of(change), failed.consumer, str(change.record.get("eventID"))),
            *(failed.key, cause, failed.error[:MAX_ERROR_CHARACTERS], failed.at),
            *(change.created_seconds, len(text), zlib.compress(text.encode(), 1)),
        )
        row = self._database.execute(
            "INSERT INTO changes (item, version, consumer, event_id, key, cause, error, at, created, size, record) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (item, version, consumer) DO UPDATE SET "
            "cause = CASE WHEN excluded.at > at THEN excluded.cause ELSE cause END, "
            "error = CASE WHEN excluded.at > at THEN excluded.error ELSE error END, at = max(at, excluded.at) "
            "RETURNING id",
            values,
        ).fetchone()
        self._added += 1
        if self._added % COMMIT_EVERY == 0:
            self._database.execute("COMMIT")
            self._database.execute("BEGIN")
        return row[0]

    def _cause(self, text: str) -> int:
        if text not in self._causes:
            row = self._database.execute("INSERT INTO causes (text) VALUES (?)", (text,))
            self._causes[text] = row.lastrowid or 0
        return self._causes[text]

    def queue_items(self, canary: int) -> None:
        """Fix the order of the items: first `canary` items of as many causes as there are, then cause by cause."""
        self._database.execute(
            "INSERT INTO queue (item) SELECT item FROM (SELECT item, cause, min(at) AS at, row_number() OVER "
            "(PARTITION BY cause ORDER BY min(at)) AS place FROM changes WHERE state = ? GROUP BY item) "
            "ORDER BY place, at LIMIT ?",
            (PLANNED, canary),
        )
        self._database.execute(
            "INSERT INTO queue (item) SELECT item FROM changes WHERE state = ? AND item NOT IN "
            "(SELECT item FROM queue) GROUP BY item ORDER BY min(cause), min(at)",
            (PLANNED,),
        )

    # Reading

    def count(self, *states: str) -> int:
        """Return the number of changes in these states; of all changes without states."""
        where = f"WHERE state IN ({_marks(states)})" if states else ""
        return self._row(f"SELECT count(*) FROM changes {where}", *states)[0]  # noqa: S608 - only marks

    def counts(self) -> dict[str, int]:
        """Return the number of changes by state."""
        return dict(self._database.execute("SELECT state, count(*) FROM changes GROUP BY state"))

    def items_left(self) -> int:
        """Return the number of items with planned changes."""
        return self._row("SELECT count(DISTINCT item) FROM changes WHERE state = ?", PLANNED)[0]

    def span(self) -> tuple[float, float] | None:
        """Return the times of the first and the last failure; None without failures."""
        first, last = self._row("SELECT min(at), max(at) FROM changes")
        return None if first is None else (first, last)

    def groups(self, state: str = PLANNED) -> list[Group]:
        """Return the failures in a state by consumer and cause, the largest group first."""
        rows = self._database.execute(
            "SELECT consumer, causes.text, count(*), count(DISTINCT item), min(at), max(at), min(changes.id) "
            "FROM changes JOIN causes ON causes.id = cause WHERE state = ? GROUP BY consumer, cause "
            "ORDER BY count(*) DESC, max(at) DESC",
            (state,),
        ).fetchall()
        groups: list[Group] = []
        for *values, change in rows:
            example, event_id, error = self._example(change)
            groups.append(Group(*values, example=example, event_id=event_id, error=error))
        return groups

    def _example(self, change: int) -> tuple[str, str, str]:
        row = self._row(
            "SELECT objects.key, event_id, changes.error FROM changes JOIN sources ON sources.change = changes.id "
            "JOIN objects ON objects.id = sources.object WHERE changes.id = ?",
            change,
        )
        return row or ("", "", "")

    def items(self, first: int, last: int | None = None) -> Iterator[tuple[str, list[PlannedChange]]]:
        """Yield the queued items from one place, counted from 0, up to another, with their planned changes in order."""
        position = first
        while last is None or position < last:
            end = position + 200 if last is None else min(position + 200, last)
            items = self._database.execute(
                "SELECT item FROM queue WHERE position > ? AND position <= ? ORDER BY position", (position, end)
            ).fetchall()
            if not items:
                return
            for (item,) in items:
                changes = self.changes_of(item, PLANNED)
                if changes:
                    yield item, changes
            position = end

    def changes_of(self, item: str, state: str) -> list[PlannedChange]:
        """Return the changes of an item in a state, in the order of their versions."""
        return self._changes("item = ? AND state = ? ORDER BY version", item, state)

    def records(self, changes: Sequence[PlannedChange]) -> list[dict[str, Any]]:
        """Return the stream records of changes, in this order."""
        texts: dict[int, bytes] = {}
        for ids in in_chunks((change.id for change in changes), CHUNK):
            rows = self._database.execute(f"SELECT id, record FROM changes WHERE id IN ({_marks(ids)})", ids)  # noqa: S608
            texts |= dict(rows.fetchall())
        return [from_json(zlib.decompress(texts[change.id])) for change in changes]

    def queue(self, first: int, last: int) -> Iterator[tuple[PlannedChange, str]]:
        """Yield the changes of the queued items from one place to another, in order, with their states."""
        rows = self._database.execute(
            "SELECT id, changes.item, version, event_id, key, size, state FROM queue JOIN changes "
            "ON changes.item = queue.item WHERE position > ? AND position <= ? ORDER BY position, version",
            (first, last),
        )
        for *values, state in rows.fetchall():
            yield PlannedChange(*values), state

    def in_state(self, state: str, limit: int) -> list[PlannedChange]:
        """Return some changes in a state."""
        return self._changes("state = ? LIMIT ?", state, limit)

    def _changes(self, where: str, *values: str | int) -> list[PlannedChange]:
        columns = "id, item, version, event_id, key, size"
        rows = self._database.execute(f"SELECT {columns} FROM changes WHERE {where}", values)  # noqa: S608 - no input
        return [PlannedChange(*row) for row in rows.fetchall()]

    def _row(self, sql: str, *values: str | float) -> Any:
        return self._database.execute(sql, values).fetchone()

    def each(self, state: str) -> Iterator[tuple[str, list[PlannedChange]]]:
        """Yield each item with its changes in a state. States may change meanwhile."""
        after = ""
        while True:
            [after] = self._row("SELECT min(item) FROM changes WHERE state = ? AND item > ?", state, after)
            if after is None:
                return
            yield after, self.changes_of(after, state)

    def leave_out_older(self, created: float) -> None:
        """Leave out the planned changes that DynamoDB recorded before a time, in seconds since 1970."""
        self._database.execute(
            "UPDATE changes SET state = ? WHERE state = ? AND created < ?", (TOO_OLD, PLANNED, created)
        )

    def exported(self) -> Iterator[dict[str, Any]]:
        """Yield each failed change with its cause and its record."""
        rows = self._database.execute(
            "SELECT consumer, item, causes.text, error, at, record FROM changes JOIN causes ON causes.id = cause"
        )
        for consumer, item, cause, error, at, record in rows:
            whole = {"consumer": consumer, "item": item, "cause": cause, "error": error, "at": at}
            yield whole | {"record": from_json(zlib.decompress(record))}

    def object_of_event(self, event_id: str) -> str | None:
        """Return the key of an object with a change; None if no failed change has this event id."""
        row = self._row(
            "SELECT objects.key FROM changes JOIN sources ON sources.change = changes.id "
            "JOIN objects ON objects.id = sources.object WHERE event_id = ?",
            event_id,
        )
        return row and row[0]

    # Progress

    def mark_copied_changes(self) -> None:
        """Set the state of the planned changes whose objects all have copies: an earlier run has put them back."""
        self._database.execute(
            "UPDATE changes SET state = ? WHERE state = ? AND id IN (SELECT change FROM sources) AND id NOT IN "
            "(SELECT change FROM sources JOIN objects ON objects.id = object WHERE NOT is_copied)",
            (COPIED, PLANNED),
        )

    def set_state(self, changes: Iterable[int], state: str) -> None:
        """Set the state of changes, by their numbers."""
        self._database.executemany("UPDATE changes SET state = ? WHERE id = ?", [(state, each) for each in changes])

    def objects_of(self, changes: Sequence[int], *states: str) -> list[tuple[str, str, bool]]:
        """Return the objects of these changes that have no change in another state: key, ETag, and whether copied."""
        rows = self._database.execute(
            "SELECT objects.key, objects.etag, objects.is_copied FROM objects "  # noqa: S608 - only marks
            "JOIN sources ON sources.object = objects.id JOIN changes ON changes.id = sources.change "
            f"WHERE objects.state = '' AND changes.state IN ({_marks(states)}) "
            f"AND objects.id IN (SELECT object FROM sources WHERE change IN ({_marks(changes)})) "
            "GROUP BY objects.id HAVING count(*) = objects.total",
            (*states, *changes),
        )
        return [(key, etag, bool(is_copied)) for key, etag, is_copied in rows.fetchall()]

    def mark_copied(self, keys: Iterable[str]) -> None:
        """Record that objects have copies."""
        self._database.executemany("UPDATE objects SET is_copied = 1 WHERE key = ?", [(key,) for key in keys])

    def close_object(self, key: str, state: str) -> None:
        """Record that an object needs nothing more in this run."""
        self._database.execute("UPDATE objects SET state = ? WHERE key = ?", (state, key))

    def state_of_object(self, key: str) -> str | None:
        """Return how an object ended in this run, empty if it has not; None if the object is not in the plan."""
        row = self._row("SELECT state FROM objects WHERE key = ?", key)
        return row[0] if row else None

    def count_objects(self, state: str) -> int:
        """Return the number of objects that ended in a state."""
        return self._row("SELECT count(*) FROM objects WHERE state = ?", state)[0]


def _marks(values: Sequence[Any]) -> str:
    return ",".join("?" * len(values))
