"""Observes the ledger's rows: what each write does to a hold, and which changes it records as done."""

import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tests.fakes.dynamodb import first_key
from tests.property.function.lambda_environment import LambdaEnvironment
from tests.property.function.names import CONSUMER
from tests.property.history.journal import Journal, Row, Run, Transition
from tests.property.virtual_clock import VirtualClock

HOLDS = f"hold#{CONSUMER}"
NOTED = re.compile(r"(\d+)([.+x])(-?\d*)")
FIRST_SEQUENCE = 10**20


def number_in(version: str) -> int | None:
    """Return the change that a version or a change row's sort key names; None if it names no change."""
    parts = version.removeprefix("+").split("#")
    if len(parts) < 2 or not parts[1].isdecimal():  # a position behind a change names no change
        return None
    return int(parts[1]) - FIRST_SEQUENCE


def _native(item: Mapping[str, Any] | None) -> Row:
    row: Row = {}
    for name, value in (item or {}).items():
        [(kind, content)] = value.items()
        row[name] = float(content) if kind == "N" else content
    return row


class LedgerObserver:
    """The rows of the ledger's holds. Calls `changed` after each write to a hold's row."""

    def __init__(self, clock: VirtualClock, journal: Journal) -> None:
        self._clock, self._journal = clock, journal
        self.holds: dict[str, Row] = {}
        self.item_of: dict[str, str] = {}
        """The item of each digest."""
        self.waiting: dict[str, set[int]] = {}
        """The change rows of each hold, whether or not the hold counts them."""
        self.changed: Callable[[], None] = lambda: None

    def held(self) -> dict[str, Row]:
        """Return the rows of held items."""
        return {digest: row for digest, row in self.holds.items() if row.get("state") == "held"}

    # Writes

    def written(
        self,
        environment: LambdaEnvironment,
        request: Mapping[str, Any],
        before: Mapping[str, Any] | None,
        after: Mapping[str, Any] | None,
    ) -> str | None:
        """Take in a write of one row; return what the write did to a hold."""
        key = request.get("Key") or request["Item"]
        partition, sort = key["pk"]["S"], key["sk"]["S"]
        run = environment.run
        if partition == HOLDS:
            return self._moved(environment, sort, _native(before), _native(after))
        if partition.startswith("note#") and after is not None:
            run.recorded_done |= set(noted(after["records"]["B"]))
        elif partition.startswith("claim#") and ("UpdateExpression" in request or after is None):
            run.claimed.discard(_claimed(partition))
        elif partition.startswith(f"{HOLDS}#"):
            self._change_row(partition, sort, is_there=after is not None)
        return None

    def many_written(self, request: Mapping[str, Any]) -> None:
        """Take in the writes of a BatchWriteItem."""
        [writes] = request["RequestItems"].values()
        for write in writes:
            [(kind, body)] = write.items()
            key = body.get("Key") or body["Item"]
            self._change_row(key["pk"]["S"], key["sk"]["S"], is_there=kind == "PutRequest")

    def purged(self, partition: str, sort: str) -> None:
        """Take in that a row expired: changes of a forgotten hold may run again."""
        row = self.holds.pop(sort, None) if partition == HOLDS else None
        if row is not None:
            self._journal.incidents["hold forgotten"] += 1
            item = self.item_of[sort]
            again = {each for each in self._journal.unsettled if self._journal.item_of[each] == item}
            self._journal.excuse(again, "a hold that was released an hour ago")

    def _change_row(self, partition: str, sort: str, *, is_there: bool) -> None:
        each = number_in(sort)
        if each is None:
            return
        digest = partition.rpartition("#")[2]
        waiting = self.waiting.setdefault(digest, set())
        if is_there:
            waiting.add(each)
            self.item_of.setdefault(digest, self._journal.item_of[each])
        else:
            waiting.discard(each)

    def _moved(self, environment: LambdaEnvironment, digest: str, before: Row, after: Row) -> str:
        run, journal, kind = environment.run, self._journal, _kind(environment.run, before, after)
        item = self.item_of[digest]
        if after:
            self.holds[digest] = after
        else:
            self.holds.pop(digest, None)
        old_tail, tail = before.get("tail", ""), after.get("tail", "")
        taken = frozenset(each for each in self.waiting[digest] if old_tail < _version(tail, each) <= tail)
        self._record_done(run, item, before, after)
        if kind == "lease":
            run.leased.append(digest)
            if before.get("owner"):
                journal.incidents["lease after a crash"] += 1
        transition = Transition(
            *(kind, self._clock.now, digest, item, run, before, after, environment.failures_in_a_row, taken)
        )
        journal.transitions.append(transition)
        self.changed()
        return kind

    def _record_done(self, run: Run, item: str, before: Row, after: Row) -> None:
        start = before.get("next")
        if start is None:
            return
        end = after.get("next", before.get("tail", "") + "~")
        run.recorded_done |= {each for each in self._journal.changes_of[item] if start <= _version(start, each) < end}

    # Failures

    def failed(self, run: Run, name: str, request: Mapping[str, Any]) -> None:
        """Take in that the engine received an error, whether or not the service carried out the request."""
        run.ledger_failed = True
        if name == "PutItem note":
            run.note_failed = True
        elif name == "UpdateItem claim" and (each := _claimed(first_key(request)["pk"]["S"])) in run.finished:
            self._journal.failed_marks[each] += 1
        digest = _digest(name, request)
        if digest is not None:
            run.holds_in_doubt.add(digest)

    def answered(self, run: Run, name: str, request: Mapping[str, Any]) -> None:
        """Take in that the engine received an answer."""
        if name.startswith("UpdateItem"):
            run.holds_in_doubt.discard(_digest(name, request) or "")


def _digest(name: str, request: Mapping[str, Any]) -> str | None:
    """Return the hold that a request is about; None if the request is about no hold, or about several."""
    key = first_key(request)
    if key["pk"]["S"] == HOLDS:
        return key["sk"]["S"] if name in ("UpdateItem hold", "PutItem hold", "DeleteItem hold") else None
    return key["pk"]["S"].rpartition("#")[2] if key["pk"]["S"].startswith(HOLDS) else None


def _kind(run: Run, before: Row, after: Row) -> str:
    if not after:
        return "removal"
    if before.get("state") != "held":
        return "redrive" if run.kind == "redrive" else "hold"
    if after["state"] != "held":
        return "release"
    if after.get("redriven", 0) != before.get("redriven", 0) and run.kind == "redrive":
        return "redrive"
    if after["tail"] != before["tail"]:
        return "append"
    if after.get("owner") and after.get("owner") != before.get("owner"):
        return "lease"
    return "progress" if after.get("owner") else "hand back"


def _version(like: str, each: int) -> str:
    """Return the version of a change in the stream of another version."""
    return f"{like.partition('#')[0]}#{FIRST_SEQUENCE + each:040}"


def _claimed(partition: str) -> int:
    return int(partition.rpartition("-")[2])


def noted(packed: bytes) -> Iterator[int]:
    """Yield the changes that a note calls done."""
    sequence = 0
    for distance, state, _ in NOTED.findall(zlib.decompress(packed).decode()):
        sequence += int(distance)
        if state == "+":
            yield sequence - FIRST_SEQUENCE
