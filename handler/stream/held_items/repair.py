"""Requests of an operator: skip an item's first waiting change, or redrive parked changes."""

from collections.abc import Iterator, Mapping
from typing import Any, cast

from handler.stream.change import END_OF_TIME_SECONDS, Change
from handler.stream.codec import brief
from handler.stream.engine.batch import InvalidBatchError, read_batch
from handler.stream.engine.batch_run import Processor
from handler.stream.engine.invocation import Invocation
from handler.stream.engine.parking import Parking
from handler.stream.held_items.turn import Turn, TurnDependencies
from handler.stream.ledger import Ledger
from handler.stream.ledger.holds import stored_row
from handler.stream.ledger.rows import HoldBrokenError, HoldRow, digest_of, version_of
from handler.stream.ledger.table import FORMAT
from handler.stream.ledger.writes import MAX_BATCH_WRITES, RefusedError
from handler.stream.telemetry import change_fields, emit_counts


class SkippedError(Exception):
    """An operator skipped the change."""


def skip(processor: Processor, ledger: Ledger, invocation: Invocation, digest: str) -> dict[str, Any]:
    """Park an item's first waiting change and make the item due at once.

    Returns
    -------
    dict
        `skipped`: whether the change is parked; `change`: the fields that name it; `reason`: why it is not parked.
    """
    row = ledger.holds.read_row(digest)
    if row is None or not row.is_held:
        return {"skipped": False, "reason": f"no item {digest} is held"}
    parking = Parking(processor.failures, invocation)
    if row.format > FORMAT:
        return {"skipped": False, "reason": "a newer version of the engine holds the item"}
    turn = Turn(TurnDependencies(processor, lambda _: None, ledger.holds, parking, invocation), row)
    if not turn.acquire_lease(due_by=END_OF_TIME_SECONDS):
        return {"skipped": False, "reason": "a retry run is at work on the item: try again in a minute"}
    try:
        first, rest = turn.read_first()
    except HoldBrokenError as error:
        turn.hand_back(invocation.clock())
        return {"skipped": False, "reason": f"the hold is broken: {error}"}
    description = change_fields(first.change)
    if not parking.park(first.change, SkippedError("an operator skipped it"), "Skipped"):
        turn.hand_back(invocation.clock())
        return {"skipped": False, "change": description, "reason": "the failure bucket refuses it: the log says why"}
    turn.move_past(first, rest)
    if rest or not turn.release_or_reload():
        turn.hand_back(invocation.clock())
    emit_counts(invocation.counts)
    return {"skipped": True, "change": description}


def redrive(processor: Processor, ledger: Ledger, invocation: Invocation, records: Any) -> dict[str, Any]:
    """Put changes back into their items' holds; the next retry run runs them in order.

    The ledger is read once, and groups of items are written concurrently: an item of one change costs one conditional
    write and a share of a BatchWriteItem.

    Returns
    -------
    dict
        `at`: the time at which the items became due, in seconds since 1970; `held`: the event ids of the changes that
        wait now; `refused`: `event_id` and `reason` of each other change.
    """
    items, now = _by_item(records), invocation.clock()
    refused: dict[str, str] = {}
    rows = ledger.holds.parse_rows(ledger.holds.read_items(items))

    def run(group: Mapping[str, list[Change]]) -> Iterator[None]:
        yield
        try:
            ledger.holds.put_redriven(group, rows, now)
        except Exception as error:
            refused.update(dict.fromkeys(group, f"{type(error).__name__}: {error}"))
            return
        for digest, changes in group.items():
            reason = _hold_redriven(ledger, digest, changes[0], rows.get(digest), now)
            if reason:
                refused[digest] = reason

    processor.executor([run(group) for group in _in_groups(items)], None, lambda: None)
    held_ids: list[Any] = []
    refusals: list[dict[str, Any]] = []
    for digest, changes in items.items():
        ids = [change.record.get("eventID") for change in changes]
        if digest in refused:
            refusals += [{"event_id": event_id, "reason": refused[digest]} for event_id in ids]
        else:
            held_ids += ids
    return {"at": now, "held": held_ids, "refused": refusals}


def _hold_redriven(ledger: Ledger, digest: str, first: Change, row: HoldRow | None, now: float) -> str | None:
    """Count a redrive of one item; return why it is not counted, None if it is."""
    try:
        ledger.holds.hold_redriven(digest, first, row, now)
    except RefusedError as error:
        stored = stored_row(error)
        if stored is not None and stored.format > FORMAT:
            return "a newer version of the engine holds its item"
        return "its item was held and released again during each attempt"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def _in_groups(items: Mapping[str, list[Change]]) -> Iterator[dict[str, list[Change]]]:
    """Yield groups of whole items whose rows fit one BatchWriteItem, with a description each; a large item is alone."""
    group: dict[str, list[Change]] = {}
    number = 0
    for digest, changes in items.items():
        if group and number + len(changes) + 1 > MAX_BATCH_WRITES:
            yield group
            group, number = {}, 0
        group[digest] = changes
        number += len(changes) + 1
    if group:
        yield group


def _by_item(records: Any) -> Mapping[str, list[Change]]:
    """Group the changes by item, each change once, in stream order. Raises InvalidBatchError."""
    if not isinstance(records, list) or not records:
        raise InvalidBatchError(f"records is {brief(records)}, not a list of stream records")
    items: dict[str, dict[str, Change]] = {}
    for record in cast(list[Any], records):
        [valid_record] = read_batch([record]).records
        change = Change(valid_record, "redrive")
        items.setdefault(digest_of(change), {})[version_of(change)] = change
    return {digest: [changes[version] for version in sorted(changes)] for digest, changes in items.items()}
