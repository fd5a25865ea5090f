"""For tests of your own consumers: make changes and deliver them as Lambda does. The archive leaves this out."""

import base64
import itertools
import time
from collections.abc import Mapping, Sequence
from typing import Any, cast

from handler.stream import aws
from handler.stream.change import Change
from handler.stream.codec import encode_item
from handler.stream.engine.invocation import Invocation
from handler.stream.engine.workers import Workers
from handler.stream.entry import Consumer
from handler.stream.environment import Environment
from handler.stream.held_items.retry import RetryRun
from handler.stream.ledger import Ledger
from handler.stream.processor import KeyOrderedProcessor
from handler.stream.testing.dynamodb import MemoryDynamoDB

TABLES = "arn:aws:dynamodb:eu-central-1:111122223333:table"
Key = str | tuple[str, ...]

_numbers = itertools.count(10**20)
_workers = Workers(Environment().workers)  # all deliveries share these, since their threads never end
_settings = Environment(batching_window_seconds=float("inf"))  # no delivery counts as one of an old record


def _no_helper(context: Any, payload: dict[str, Any]) -> None:
    raise AssertionError(f"a test holds more items than one retry run takes: {context} {payload}")


class DeliveryResult:
    """The result of a delivery: each change is either applied, held or parked.

    Attributes
    ----------
    applied : list of Change
        Changes whose handler returned.
    held : list of Change
        Changes that wait for a retry run: they failed, or an earlier change of their item failed.
    parked : list of Change
        Changes whose handler raised a PermanentError, and changes that cannot be decoded.
    """

    def __init__(self, handler: Consumer, changes: Sequence[Change], clients: Mapping[str, Any]) -> None:
        self._handler, self._clients = handler, clients
        self._changes = {change.sequence_number: change for change in changes}
        self._applied, self._parked = list[str](), list[str]()
        self._interrupt: KeyboardInterrupt | None = None
        ledger = MemoryDynamoDB()
        self._ledger = Ledger(lambda: ledger, "ledger", "consumer", lambda _: None)
        self._processor = KeyOrderedProcessor(
            _settings, ledger=self._ledger, failures=self, executor=_workers, sleep=lambda _: None
        )
        self._refresh()

    def retry(self) -> "DeliveryResult":
        """Run the held changes, as the next retry run does; update this result and return it."""
        run = RetryRun(
            *(self._processor, self._ledger, self._run, Invocation(None, time.time)),
            invoke=_no_helper,
            all_are_due=True,
        )
        with aws.use_clients(self._clients):
            run.run()
        return self._result()

    def deliver(self) -> "DeliveryResult":
        """Deliver every change once, in one batch per table."""
        batches: dict[str, list[Change]] = {}
        for change in self._changes.values():
            batches.setdefault(change.stream_arn, []).append(change)
        with aws.use_clients(self._clients):
            for batch in batches.values():
                self._processor([change.record for change in batch], self._run).process()
        return self._result()

    def park(self, change: Change, _: str, /) -> None:
        """Store a parked change, as the failure bucket does."""
        self._parked.append(change.sequence_number)

    def _run(self, change: Change) -> Any:
        if self._interrupt is not None:
            raise self._interrupt
        try:
            result = self._handler.function(change)
        except KeyboardInterrupt as interrupt:  # Ctrl-C ends the delivery, and is no failure of the change
            self._interrupt = interrupt
            raise
        self._applied.append(change.sequence_number)
        return result

    def _result(self) -> "DeliveryResult":
        if self._interrupt is not None:
            raise self._interrupt
        return self._refresh()

    def _refresh(self) -> "DeliveryResult":
        holds = self._ledger.holds
        waiting = [each for row in holds.read_all() if row.is_held for each in holds.read_waiting(row)]
        self.applied, self.parked = self._changes_of(self._applied), self._changes_of(self._parked)
        self.held = self._changes_of([each.change.sequence_number for each in waiting])
        self._applied.clear()
        self._parked.clear()
        return self

    def _changes_of(self, numbers: Sequence[str]) -> list[Change]:
        return [change for number, change in self._changes.items() if number in numbers]


def inserted(table: str, item: Mapping[str, Any] | None = None, /, key: Key = "id", **attributes: Any) -> Change:
    """Return the change that inserts an item of native values.

    Parameters
    ----------
    item : mapping, optional
        The item, or a part of it. Only here may an attribute have the name `key`.
    key : str or tuple of str
        The attributes of the primary key.
    attributes
        The item's attributes, or more of them.

    Raises
    ------
    ValueError
        The item lacks an attribute of its key.
    """
    return _change("INSERT", table, key, NewImage={**(item or {}), **attributes})


def modified(
    table: str,
    old: Mapping[str, Any],
    changed: Mapping[str, Any] | None = None,
    /,
    key: Key = "id",
    **attributes: Any,
) -> Change:
    """Return the change that sets attributes of the item `old`: those of `changed` and of the keywords.

    `key` and the errors are those of `inserted`.
    """
    return _change("MODIFY", table, key, NewImage={**old, **(changed or {}), **attributes}, OldImage=old)


def removed(table: str, item: Mapping[str, Any] | None = None, /, key: Key = "id", **attributes: Any) -> Change:
    """Return the change that removes an item. The parameters and the errors are those of `inserted`."""
    return _change("REMOVE", table, key, OldImage={**(item or {}), **attributes})


def deliver(handler: Consumer, *changes: Change, clients: Mapping[str, Any] | None = None) -> DeliveryResult:
    """Deliver changes once, in one batch per table, without AWS.

    The engine runs with stores in memory and without pauses between tries. It claims nothing, so a change that a test
    delivers twice runs twice, and the test sees the effect of a repeated delivery.

    Parameters
    ----------
    handler : Consumer
        The result of `@consumer`.
    changes : Change
        The changes, in the order in which they happened.
    clients : mapping, optional
        Clients that `handler.stream.client` and the engine's effects use in place of boto3's, by service.

    Example
    -------
        >>> user = inserted("users", id="1", email="a@example.com")
        >>> deliver(welcome_email.handler, user, clients={"sesv2": FakeMail()}).applied == [user]
        True
    """
    return DeliveryResult(handler, changes, clients or {}).deliver()


def _change(name: str, table: str, key: Key, **images: Mapping[str, Any]) -> Change:
    [item, *_] = images.values()
    number, names = next(_numbers), (key,) if isinstance(key, str) else key
    if missing := [name for name in names if name not in item]:
        raise ValueError(
            f"the item has no attribute {', '.join(missing)}, but key={key!r} names its primary key; pass an item with "
            f'an attribute named key as a mapping: inserted({table!r}, {{"key": ...}})'
        )
    keys = {name: item[name] for name in names}
    return Change(
        {
            "eventID": f"event-{number}",
            "eventName": name,
            "eventSource": "aws:dynamodb",
            "eventSourceARN": f"{TABLES}/{table}/stream/2026-01-01T00:00:00.000",
            "dynamodb": {
                "ApproximateCreationDateTime": int(time.time()),
                **{part: as_recorded(encode_item(content)) for part, content in {"Keys": keys, **images}.items()},
                "SequenceNumber": str(number),
                "StreamViewType": "NEW_AND_OLD_IMAGES",
            },
        }
    )


def as_recorded(value: Any) -> Any:
    """Return a value in boto3's form, with bytes, as a stream record has it, with base64."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {name: as_recorded(part) for name, part in cast(dict[str, Any], value).items()}
    if isinstance(value, list):
        return [as_recorded(part) for part in cast(list[Any], value)]
    return value
