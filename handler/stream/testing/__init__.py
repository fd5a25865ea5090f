"""For tests of your own consumers: changes made by hand, delivered as Lambda would. Not shipped with the function."""

import base64
import itertools
import time
from collections.abc import Mapping, Sequence
from typing import Any, cast

from handler.stream import aws
from handler.stream.change import Change, encode_item
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
_workers = Workers(Environment().workers)  # for all deliveries: their threads do not end
_settings = Environment(batching_window_seconds=float("inf"))  # no record is alone for long, whenever a test made it


def _no_helper(context: Any, payload: dict[str, Any]) -> None:
    raise AssertionError(f"more items are held than a test can mean: {context} {payload}")


class DeliveryResult:
    """The result of a delivery: each change is applied, held or parked.

    Attributes
    ----------
    applied : list of Change
        The handler returned.
    held : list of Change
        A change failed, or an earlier one of its item did: it waits for a retry run.
    parked : list of Change
        The handler raised a PermanentError, or the change cannot be decoded.
    """

    def __init__(self, handler: Consumer, changes: Sequence[Change], clients: Mapping[str, Any]) -> None:
        self._handler, self._clients = handler, clients
        self._changes = {change.sequence_number: change for change in changes}
        self._applied, self._parked = list[str](), list[str]()
        ledger = MemoryDynamoDB()
        self._ledger = Ledger(lambda: ledger, "ledger", "consumer", lambda _: None)
        self._processor = KeyOrderedProcessor(
            _settings, ledger=self._ledger, failures=self, executor=_workers, sleep=lambda _: None
        )
        self._show()

    def retry(self) -> "DeliveryResult":
        """Run the held changes once more, as the next retry run does; this same result then tells of that run."""
        run = RetryRun(
            *(self._processor, self._ledger, self._run, Invocation(None, time.time)),
            invoke=_no_helper,
            all_are_due=True,
        )
        with aws.stand_in(self._clients):
            run.run()
        return self._show()

    def deliver(self) -> "DeliveryResult":
        """Deliver every change once, a batch a table."""
        batches: dict[str, list[Change]] = {}
        for change in self._changes.values():
            batches.setdefault(change.stream_arn, []).append(change)
        with aws.stand_in(self._clients):
            for batch in batches.values():
                self._processor([change.record for change in batch], self._run).process()
        return self._show()

    def park(self, change: Change, _: str, /) -> None:
        """Keep a change, as the failure store does."""
        self._parked.append(change.sequence_number)

    def _run(self, change: Change) -> Any:
        result = self._handler.function(change)
        self._applied.append(change.sequence_number)
        return result

    def _show(self) -> "DeliveryResult":
        holds = self._ledger.holds
        waiting = [each for row in holds.read_all() if row.is_held for each in holds.read_waiting(row)]
        self.applied, self.parked = self._named(self._applied), self._named(self._parked)
        self.held = self._named([each.change.sequence_number for each in waiting])
        self._applied.clear()
        self._parked.clear()
        return self

    def _named(self, numbers: Sequence[str]) -> list[Change]:
        return [change for number, change in self._changes.items() if number in numbers]


def inserted(table: str, /, key: Key = "id", **item: Any) -> Change:
    """The change that inserts an item of native values; `key` names its primary key's attributes."""
    return _change("INSERT", table, key, NewImage=item)


def modified(table: str, /, old: Mapping[str, Any], key: Key = "id", **attributes: Any) -> Change:
    """The change that sets attributes of `old`, an item."""
    return _change("MODIFY", table, key, NewImage={**old, **attributes}, OldImage=old)


def removed(table: str, /, key: Key = "id", **item: Any) -> Change:
    """The change that removes an item."""
    return _change("REMOVE", table, key, OldImage=item)


def deliver(handler: Consumer, *changes: Change, clients: Mapping[str, Any] | None = None) -> DeliveryResult:
    """Deliver changes once, a batch a table, without AWS.

    Order, failures, holds and parking are the engine's own, with stores in memory and no pause between tries. Nothing
    is claimed, so a change that is delivered again runs again: Lambda delivers at least once, and a test may ask what
    that does.

    Parameters
    ----------
    handler : Consumer
        What `@consumer` made.
    changes : Change
        In the order in which they happened.
    clients : mapping, optional
        What stands in for boto3's clients, by service, for `handler.stream.aws.client` and for the engine's effects.

    Example
    -------
        >>> user = inserted("users", id="1", email="a@example.com")
        >>> deliver(welcome_email.handler, user, clients={"sesv2": FakeMail()}).applied == [user]
        True
    """
    return DeliveryResult(handler, changes, clients or {}).deliver()


def _change(name: str, table: str, key: Key, **images: Mapping[str, Any]) -> Change:
    [item, *_] = images.values()
    number = next(_numbers)
    keys = {attribute: item[attribute] for attribute in ((key,) if isinstance(key, str) else key)}
    return Change(
        {
            "eventID": f"event-{number}",
            "eventName": name,
            "eventSource": "aws:dynamodb",
            "eventSourceARN": f"{TABLES}/{table}/stream/2026-01-01T00:00:00.000",
            "dynamodb": {
                "ApproximateCreationDateTime": int(time.time()),
                **{part: _wire(encode_item(content)) for part, content in {"Keys": keys, **images}.items()},
                "SequenceNumber": str(number),
                "StreamViewType": "NEW_AND_OLD_IMAGES",
            },
        }
    )


def _wire(value: Any) -> Any:
    """boto3's form, in which binary is bytes, as a stream's record has it, in base64."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {name: _wire(part) for name, part in cast(dict[str, Any], value).items()}
    if isinstance(value, list):
        return [_wire(part) for part in cast(list[Any], value)]
    return value
