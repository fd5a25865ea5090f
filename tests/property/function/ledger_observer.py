"""The ledger's observer as a history watches them: what each write does to a hold, and what it says is done."""

import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tests.property.function.lambda_environment import LambdaEnvironment
from tests.property.function.names import CONSUMER
from tests.property.history.journal import Journal, Row, Run, Transition
from tests.property.virtual_clock import VirtualClock

HOLDS = f"hold#{CONSUMER}"
NAMES = {
    ("Query", "note"): "read of a note",
    ("Query", "hold"): "read of holds",
    ("BatchGetItem", "hold"): "read of holds",
    ("Query", "changes"): "read of changes",
    ("PutItem", "note"): "write of a note",
    ("UpdateItem", "hold"): "write of a hold",
    ("PutItem", "hold"): "write of a hold",
    ("DeleteItem", "hold"): "removal of a hold",
    ("UpdateItem", "changes"): "description of a hold",
    ("PutItem", "changes"): "write of changes",
    ("BatchWriteItem", "changes"): "write of changes",
    ("DeleteItem", "changes"): "removal of changes",
    ("UpdateItem", "alone"): "count of a delivery",
    ("DeleteItem", "alone"): "return of a count",
    ("PutItem", "claim"): "claim",
    ("UpdateItem", "claim"): "mark of a claim",
    ("DeleteItem", "claim"): "return of a claim",
}
NOTED = re.compile(r"(\d+)([.+x])(-?\d*)")
FIRST_SEQUENCE = 10**20


def partition_of(operation: str, request: Mapping[str, Any]) -> str:
    """The partition that a request is about."""
    match operation:
        case "Query":
            texts = (value.get("S", "") for value in request["ExpressionAttributeValues"].values())
            return next(text for text in texts if "#" in text)
        case "BatchGetItem":
            [wanted] = request["RequestItems"].values()
            return wanted["Keys"][0]["pk"]["S"]
        case "BatchWriteItem":
            return next(_keys_written(request))["pk"]["S"]
        case _:
            return (request.get("Key") or request["Item"])["pk"]["S"]


def call_name(operation: str, request: Mapping[str, Any]) -> str:
    """What a request does, in a few words."""
    partition = partition_of(operation, request)
    kind = "changes" if partition.startswith(f"{HOLDS}#") else partition.partition("#")[0]
    if operation == "BatchWriteItem" and all("DeleteRequest" in write for write in _writes(request)):
        return "removal of changes"
    return NAMES[operation, kind]


def _writes(request: Mapping[str, Any]) -> list[dict[str, Any]]:
    [writes] = request["RequestItems"].values()
    return writes


def _keys_written(request: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for write in _writes(request):
        [body] = write.values()
        yield body.get("Key") or body["Item"]


def number_in(version: str) -> int | None:
    """The change that a version or a change row's sort key names; None where it names none."""
    parts = version.removeprefix("+").split("#")
    if len(parts) < 2 or not parts[1].isdecimal():  # a environment behind a change names none
        return None
    return int(parts[1]) - FIRST_SEQUENCE


def _plain(item: Mapping[str, Any] | None) -> Row:
    found: Row = {}
    for name, value in (item or {}).items():
        [(kind, content)] = value.items()
        found[name] = float(content) if kind == "N" else content
    return found


class LedgerObserver:
    """What the ledger says at every moment; `changed` is called where a hold's row changes."""

    def __init__(self, clock: VirtualClock, journal: Journal) -> None:
        self._clock, self._journal = clock, journal
        self.holds: dict[str, Row] = {}
        self.item_of: dict[str, str] = {}
        """The item that a digest stands for."""
        self.waiting: dict[str, set[int]] = {}
        """Changes whose observer are there; a hold counts only some of them."""
        self.changed: Callable[[], None] = lambda: None

    def held(self) -> dict[str, Row]:
        """The observer of items that are held."""
        return {digest: row for digest, row in self.holds.items() if row.get("state") == "held"}

    # Writes

    def written(
        self,
        environment: LambdaEnvironment,
        request: Mapping[str, Any],
        before: Mapping[str, Any] | None,
        after: Mapping[str, Any] | None,
    ) -> str | None:
        """Take in a write of one item; what it did to a hold."""
        key = request.get("Key") or request["Item"]
        partition, sort = key["pk"]["S"], key["sk"]["S"]
        run = environment.run
        if partition == HOLDS:
            return self._moved(environment, sort, _plain(before), _plain(after))
        if partition.startswith("note#") and after is not None:
            run.recorded_done |= set(noted(after["records"]["B"]))
        elif partition.startswith("claim#") and ("UpdateExpression" in request or after is None):
            run.claimed.discard(_claimed(partition))
        elif partition.startswith(f"{HOLDS}#"):
            self._change_row(partition, sort, is_there=after is not None)
        return None

    def many_written(self, request: Mapping[str, Any]) -> None:
        """Take in the writes of a BatchWriteItem."""
        for write, key in zip(_writes(request), _keys_written(request), strict=True):
            self._change_row(key["pk"]["S"], key["sk"]["S"], is_there="PutRequest" in write)

    def purged(self, partition: str, sort: str) -> None:
        """Time to live has taken a row: what comes again of a hold that is forgotten, runs again."""
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
                journal.incidents["lease after a death"] += 1
        transition = Transition(
            *(kind, self._clock.now, digest, item, run, before, after, environment.failures_in_a_row, taken),
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

    def failed(self, run: Run, name: str, operation: str, request: Mapping[str, Any]) -> None:
        """The engine was told that a request failed, whether or not it was carried out."""
        run.ledger_failed = True
        partition = partition_of(operation, request)
        if name == "write of a note":
            run.note_failed = True
        elif name == "mark of a claim" and _claimed(partition) in run.finished:
            self._journal.failed_marks[_claimed(partition)] += 1
        digest = self._digest(operation, request, partition)
        if digest is not None:
            run.holds_in_doubt.add(digest)

    def answered(self, run: Run, operation: str, request: Mapping[str, Any]) -> None:
        """A request was answered."""
        if run.holds_in_doubt and operation == "UpdateItem":
            digest = self._digest(operation, request, partition_of(operation, request))
            run.holds_in_doubt.discard(digest or "")

    def _digest(self, operation: str, request: Mapping[str, Any], partition: str) -> str | None:
        if partition == HOLDS and operation in ("UpdateItem", "PutItem", "DeleteItem"):
            return (request.get("Key") or request["Item"])["sk"]["S"]
        return partition.rpartition("#")[2] if partition.startswith(f"{HOLDS}#") else None


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
    """The version of a change of the same stream as another version."""
    return f"{like.partition('#')[0]}#{FIRST_SEQUENCE + each:040}"


def _claimed(partition: str) -> int:
    return int(partition.rpartition("-")[2])


def noted(packed: bytes) -> Iterator[int]:
    """The changes that a note calls done."""
    sequence = 0
    for distance, state, _ in NOTED.findall(zlib.decompress(packed).decode()):
        sequence += int(distance)
        if state == "+":
            yield sequence - FIRST_SEQUENCE
