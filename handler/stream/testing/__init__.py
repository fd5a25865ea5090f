"""For tests of your own consumers: changes made by hand, delivered as Lambda would. Not shipped with the function."""

import base64
import itertools
import time
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

from handler.stream import aws
from handler.stream.change import Change, encode_item
from handler.stream.entry import Consumer
from handler.stream.environment import Environment
from handler.stream.processor import KeyOrderedProcessor
from handler.stream.workers import Workers

TABLES = "arn:aws:dynamodb:eu-central-1:111122223333:table"
Key = str | tuple[str, ...]

_numbers = itertools.count(10**20)
_workers = Workers(Environment().workers)  # for all deliveries: their threads do not end


class Delivery(NamedTuple):
    """What came of the changes of a delivery; each stands in one of the three."""

    applied: list[Change]
    retried: list[Change]
    parked: list[Change]


def inserted(table: str, /, key: Key = "id", **item: Any) -> Change:
    """The change that inserts an item of native values; `key` names its primary key's attributes."""
    return _change("INSERT", table, key, NewImage=item)


def modified(table: str, /, old: Mapping[str, Any], key: Key = "id", **attributes: Any) -> Change:
    """The change that sets attributes of `old`, an item."""
    return _change("MODIFY", table, key, NewImage={**old, **attributes}, OldImage=old)


def removed(table: str, /, key: Key = "id", **item: Any) -> Change:
    """The change that removes an item."""
    return _change("REMOVE", table, key, OldImage=item)


def deliver(handler: Consumer, *changes: Change, clients: Mapping[str, Any] | None = None) -> Delivery:
    """Deliver changes once, a batch a table, without AWS.

    Order, failures and parking are the engine's own. Nothing is noted or claimed, so whatever is delivered again runs
    again: Lambda delivers at least once, and a test may ask what that does.

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
    parked, retried = list[Change](), list[Change]()
    batches: dict[str, list[Change]] = {}
    for change in changes:
        batches.setdefault(change.stream_arn, []).append(change)
    processor = KeyOrderedProcessor(failures=_Store(parked), executor=_workers)
    with aws.stand_in(clients or {}):
        for batch in batches.values():
            processor([change.raw for change in batch], handler.function).process()
            again = {failure["itemIdentifier"] for failure in processor.response()["batchItemFailures"]}
            retried += [change for change in batch if change.sequence_number in again]
    kept = {change.sequence_number for change in (*parked, *retried)}
    return Delivery(
        applied=[change for change in changes if change.sequence_number not in kept],
        retried=retried,
        parked=[change for change in changes if change not in retried and change.sequence_number in kept],
    )


class _Store(NamedTuple):
    parked: list[Change]

    def park(self, change: Change, _: str, /) -> None:
        self.parked.append(change)


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
