"""What an operator asks of a consumer: to skip an item's first waiting change, to put given changes back."""

from collections.abc import Mapping
from typing import Any, cast

from handler.stream.change import Change
from handler.stream.engine.batch import InvalidBatchError, read_batch
from handler.stream.engine.batch_run import Processor
from handler.stream.engine.invocation import Invocation
from handler.stream.engine.parking import Parking
from handler.stream.held_items.retry import NEVER
from handler.stream.held_items.turn import Turn, Workplace
from handler.stream.ledger import Ledger
from handler.stream.ledger.rows import FORMAT, HoldBrokenError, digest_of, version_of
from handler.stream.ledger.writes import RefusedError
from handler.stream.telemetry import change_fields, emit_counts


class SkippedError(Exception):
    """An operator gave up the change."""


def skip(processor: Processor, ledger: Ledger, invocation: Invocation, digest: str) -> dict[str, Any]:
    """Park an item's first waiting change, and make the item due at once.

    Returns
    -------
    dict
        `skipped`, whether the change is parked; `change`, which one it is; or `reason`, why it is not parked.
    """
    row = ledger.holds.row(digest)
    if row is None or not row.is_held:
        return {"skipped": False, "reason": f"no item {digest} is held"}
    parking = Parking(processor.failures, invocation)
    work = Workplace(
        lambda _: None,
        processor.settings,
        ledger.holds,
        parking,
        invocation,
        processor.sleep,
        lambda _: False,
        lambda _: None,
    )
    if row.format > FORMAT:
        return {"skipped": False, "reason": "a newer version of the engine holds the item"}
    turn = Turn(work, row)
    if not turn.take(due_by=NEVER):
        return {"skipped": False, "reason": "a retry run is at work on the item: try again in a minute"}
    try:
        first, rest = turn.first()
    except HoldBrokenError as error:
        turn.hand_back(invocation.clock())
        return {"skipped": False, "reason": f"the hold is broken: {error}"}
    named = change_fields(first.change)
    if not parking.park(first.change, SkippedError("an operator skipped it"), "Skipped"):
        turn.hand_back(invocation.clock())
        return {"skipped": False, "change": named, "reason": "the failure store refuses it: the log says why"}
    turn.move_past(first, rest)
    if rest or not turn.release_or_reload():
        turn.hand_back(invocation.clock())
    emit_counts(invocation.counts)
    return {"skipped": True, "change": named}


def redrive(ledger: Ledger, invocation: Invocation, records: Any) -> dict[str, Any]:
    """Put changes into their items' holds, from which the next retry run takes them in order.

    Returns
    -------
    dict
        `held`, the event ids of the changes that wait by now; `refused`, for the others an `event_id` and a `reason`.
    """
    held: list[Any] = []
    refused: list[dict[str, Any]] = []
    for changes in _by_item(records).values():
        ids = [change.record.get("eventID") for change in changes]
        try:
            ledger.holds.redrive(digest_of(changes[0]), changes, invocation.clock())
        except RefusedError:
            refused += [{"event_id": each, "reason": "a newer version of the engine holds its item"} for each in ids]
        except Exception as error:
            refused += [{"event_id": each, "reason": f"{type(error).__name__}: {error}"} for each in ids]
        else:
            held += ids
    return {"held": held, "refused": refused}


def _by_item(records: Any) -> Mapping[str, list[Change]]:
    """The changes by item, each once and in stream order, of whichever streams. Raises InvalidBatchError."""
    if not isinstance(records, list) or not records:
        raise InvalidBatchError(f"records is {records!r}, not a list of stream records")
    items: dict[str, dict[str, Change]] = {}
    for record in cast(list[Any], records):
        [whole] = read_batch([record]).records
        change = Change(whole, "redrive")
        items.setdefault(digest_of(change), {})[version_of(change)] = change
    return {digest: [changes[version] for version in sorted(changes)] for digest, changes in items.items()}
