"""Leaves out of a plan what is done since an earlier run, what is too old, and what later changes may have outrun.

If later changes of an item have run, a redriven older change undoes their effect, unless the consumer's writes are
fenced.
"""

import base64
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from handler.stream.change import Change
from handler.stream.codec import decode
from handler.stream.ledger.writes import LedgerBusyError, get_items
from ops import OpsError
from ops.concurrency import in_chunks
from ops.errors import unless_gone
from ops.failures.ledger import RedrivenChanges
from ops.failures.plan_file import COPIED, DONE_BEFORE, OUTRUN, PLANNED, PlanFile, PlannedChange
from ops.stack import Client
from sandbox.mapping.records import json_value

ITEMS = 100
"""Items that are looked up at once."""

Image = dict[str, Any] | None


class SourceTables:
    """The current items of the tables whose changes failed, read strongly consistent.

    Parameters
    ----------
    client
        Returns boto3's client of "dynamodb".
    sleep
        Pauses for the given seconds before unprocessed keys are read again.
    """

    def __init__(self, client: Client, sleep: Callable[[float], None] = time.sleep) -> None:
        self._client, self._sleep = client, sleep

    def may_be_outrun(self, items: Mapping[str, Sequence[Change]]) -> set[str]:
        """Return the items whose failed changes, in the order of their versions, later changes may have outrun.

        A later change has not run if the item in the table is as the last failed change left it, and each failed change
        begins where the one before it ended. So the stream's records need new images, and of several failed changes of
        an item, old images, too. An item that was changed away and back again in the meantime goes unnoticed.
        """
        images = {digest: _last_image(changes) for digest, changes in items.items()}
        chained = {digest: image for digest, image in images.items() if image is not NO_CHAIN}
        current = self._current({digest: items[digest][0] for digest in chained})
        return {digest for digest in items if digest not in chained or current[digest] != chained[digest]}

    def _current(self, items: Mapping[str, Change]) -> dict[str, Any]:
        """Return the items as they are in their tables; NO_CHAIN for an item whose table is gone."""
        found: dict[str, Any] = {}
        by_table: dict[str, dict[str, Change]] = {}
        for digest, change in items.items():
            by_table.setdefault(change.stream_or_unknown.table_name, {})[digest] = change
        for table, changes in by_table.items():
            found |= self._read(table, changes)
        return found

    def _read(self, table: str, changes: Mapping[str, Change]) -> dict[str, Any]:
        keys = {digest: _native(change.record["dynamodb"]["Keys"]) for digest, change in changes.items()}
        wanted = [_for_boto3(each.record["dynamodb"]["Keys"]) for each in changes.values()]
        try:
            read = unless_gone(get_items, self._client("dynamodb"), table, wanted, self._sleep)
        except LedgerBusyError as error:
            raise OpsError(f"DynamoDB throttles {table}: wait a minute and run the command again") from error
        if read is None:
            return dict.fromkeys(changes, NO_CHAIN)
        items = [_native(json_value(item)) for item in read]
        return {
            digest: next((item for item in items if item and key and key.items() <= item.items()), None)
            for digest, key in keys.items()
        }


NO_CHAIN: Any = object()
"""Stands for an unknown image: the failed changes are no unbroken chain, or the stream has no images of them."""


def _last_image(changes: Sequence[Change]) -> Any:
    """Return the item as the changes leave it, None if removed; NO_CHAIN if other changes may lie between them."""
    before: Any = NO_CHAIN
    for position, change in enumerate(changes):
        body = change.record["dynamodb"]
        try:
            if position and (_has_no_old_image(change) or _native(body.get("OldImage")) != before):
                return NO_CHAIN
            if change.record.get("eventName") == "REMOVE":
                before = None
            elif "NewImage" in body:
                before = _native(body["NewImage"])
            else:
                return NO_CHAIN
        except ValueError:
            return NO_CHAIN
    return before


def _has_no_old_image(change: Change) -> bool:
    return change.record.get("eventName") != "INSERT" and "OldImage" not in change.record["dynamodb"]


def _native(image: Any) -> Image:
    return None if image is None else {name: decode(value) for name, value in cast("dict[str, Any]", image).items()}


def _for_boto3(keys: Mapping[str, Any]) -> dict[str, Any]:
    """Return a key as boto3 takes it: a stream record has binary values as base64."""
    return {
        name: {kind: base64.b64decode(value) if kind == "B" else value}
        for name, typed in keys.items()
        for kind, value in typed.items()
    }


def screen(
    plan: PlanFile,
    ledger: RedrivenChanges,
    tables: SourceTables | None,
    *,
    began: datetime,
    remember_seconds: float | None,
    on_items: Callable[[int], None],
) -> None:
    """Set the states of the planned changes that are not put back.

    Parameters
    ----------
    tables
        The source tables, if changes that may be outrun are left out; else None.
    remember_seconds
        How long claims and tombstones live; None puts back changes of any age.
    on_items
        Called with the number of items that have been looked up.
    """
    plan.mark_copied_changes()
    for items in in_chunks(plan.each(COPIED), ITEMS):
        _find_done(plan, ledger, items)
        on_items(len(items))
    if remember_seconds is not None:
        plan.leave_out_older(began.timestamp() - remember_seconds)
    for items in in_chunks(plan.each(PLANNED), ITEMS) if tables else ():
        records = {item: [Change(record, "redrive") for record in plan.records(changes)] for item, changes in items}
        outrun = tables.may_be_outrun(records) if tables else set[str]()
        plan.set_state((change.id for item, changes in items if item in outrun for change in changes), OUTRUN)
        on_items(len(items))


def _find_done(plan: PlanFile, ledger: RedrivenChanges, items: list[tuple[str, list[PlannedChange]]]) -> None:
    """Of changes that an earlier run has put into their holds, find those that are done, and those that still wait."""
    rows = ledger.held_rows([item for item, _ in items])
    states = ledger.states(item for item, row in rows.items() if row.redriven)
    for item, changes in items:
        waiting = states[item].waiting if item in states else frozenset[str]()
        plan.set_state((each.id for each in changes if each.version in waiting), PLANNED)
        plan.set_state((each.id for each in changes if each.version not in waiting), DONE_BEFORE)
