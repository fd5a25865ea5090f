"""The ledger table's conditional writes and batch calls; a refusal carries the stored item."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

from handler.stream.aws import error_code
from handler.stream.ledger.table import Item, LedgerTable, attribute_value

PLACEHOLDER = re.compile(r"[#:]\w+")
"""Placeholders in expressions: `#name` is an attribute (DynamoDB reserves many of these words), `:name` a value."""
MAX_BATCH_WRITES, MAX_BATCH_READS = 25, 100
"""Items of one BatchWriteItem and of one BatchGetItem (DynamoDB's limits)."""
MAX_TRIES = 5
"""Most attempts to send unprocessed requests; the first pause is 0.05 s, and each next one is twice as long."""


Requests = Mapping[str, Any]


class LedgerBusyError(Exception):
    """DynamoDB left reads or writes of a table unprocessed in every attempt."""


class RefusedError(Exception):
    """The condition of a write is false; `item` is the stored item, None if the ledger has none."""

    def __init__(self, item: Item | None) -> None:
        super().__init__("refused by an item of the ledger" if item else "refused, since the ledger has no such item")
        self.item = item


class LedgerWrites(LedgerTable):
    """The ledger table with all its calls; `sleep` pauses before unprocessed requests are sent again."""

    def __init__(self, dynamodb: Callable[[], Any], name: str, sleep: Callable[[float], None]) -> None:
        super().__init__(dynamodb, name)
        self._sleep = sleep

    def batch_get(self, keys: Sequence[Item]) -> list[Item]:
        """Return the existing items with these keys. Raises LedgerBusyError."""
        return get_items(self._dynamodb(), self._name, keys, self._sleep)

    def put_and_delete(self, puts: Iterable[Item] = (), deletes: Iterable[Item] = ()) -> None:
        """Write and delete items in any order. Raises LedgerBusyError."""
        writes = [{"PutRequest": {"Item": item}} for item in puts]
        writes += [{"DeleteRequest": {"Key": key}} for key in deletes]
        for group in _in_groups(writes, MAX_BATCH_WRITES):
            _send_until_processed(
                self._name,
                {self._name: group},
                lambda pending: self._dynamodb().batch_write_item(RequestItems=pending).get("UnprocessedItems") or {},
                self._sleep,
            )

    def update(self, key: Item, update: str, condition: str | None = None, **values: str | float) -> Item:
        """Update an item and return its new attributes. `#name` is an attribute, `:name` is one of `values`.

        Raises
        ------
        RefusedError
            The condition is false.
        """
        request = {"UpdateExpression": update, "ReturnValues": "ALL_NEW"}
        return self._write("update_item", key, request, condition, values)["Attributes"]

    def delete(self, key: Item, condition: str | None = None, **values: str | float) -> None:
        """Delete an item. Raises RefusedError if the condition is false."""
        self._write("delete_item", key, {}, condition, values)

    def _write(
        self, call: str, key: Item, request: dict[str, Any], condition: str | None, values: Mapping[str, str | float]
    ) -> Any:
        request = {"TableName": self._name, "Key": key, **request}
        if condition is not None:
            request["ConditionExpression"] = condition
            request["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
        placeholders = PLACEHOLDER.findall(f"{request.get('UpdateExpression', '')} {condition or ''}")
        if placeholders:
            request["ExpressionAttributeNames"] = {token: token[1:] for token in placeholders if token[0] == "#"}
            request["ExpressionAttributeValues"] = {
                f":{name}": attribute_value(value) for name, value in values.items() if f":{name}" in placeholders
            }
        try:
            return getattr(self._dynamodb(), call)(**request)
        except Exception as error:
            if error_code(error) != "ConditionalCheckFailedException":
                raise
            item = cast(dict[str, Any], getattr(error, "response", {})).get("Item")
            raise RefusedError(item) from error


def get_items(dynamodb: Any, table: str, keys: Sequence[Item], sleep: Callable[[float], None]) -> list[Item]:
    """Return the existing items of a table with these keys, strongly consistent, in any order. Raises LedgerBusyError.

    `dynamodb` is boto3's client.
    """
    items: list[Item] = []

    def read(pending: Requests) -> Requests:
        response = dynamodb.batch_get_item(RequestItems=pending)
        items.extend(response["Responses"].get(table, ()))
        return response.get("UnprocessedKeys") or {}

    for group in _in_groups(keys, MAX_BATCH_READS):
        _send_until_processed(table, {table: {"Keys": group, "ConsistentRead": True}}, read, sleep)
    return items


def _send_until_processed(
    table: str, pending: Requests, send: Callable[[Requests], Requests], sleep: Callable[[float], None]
) -> None:
    for attempt in range(MAX_TRIES):
        if attempt:
            sleep(0.05 * 2 ** (attempt - 1))
        pending = send(pending)
        if not pending:
            return
    raise LedgerBusyError(f"{table} left requests unprocessed, {MAX_TRIES} times in a row")


def _in_groups(values: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (values[start : start + size] for start in range(0, len(values), size))
