"""The ledger table behind its few calls: typed values, whole batches, refusals with the row that refused."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

from handler.stream.aws import error_code

WRITES, READS = 25, 100
"""Items of one BatchWriteItem and of one BatchGetItem (DynamoDB's limits)."""
TRIES = 5
"""How often what DynamoDB leaves unprocessed is sent, with 0.05 s between the first two and twice as long each time."""
PLACEHOLDER = re.compile(r"[#:]\w+")

Item = dict[str, Any]


class LedgerBusyError(Exception):
    """DynamoDB left reads or writes of the ledger unprocessed, again and again."""


class RefusedError(Exception):
    """A condition does not hold; `row` is the row that refused, None where there is none."""

    def __init__(self, row: Item | None) -> None:
        super().__init__(f"refused by {row}")
        self.row = row


class LedgerTable:
    """The table's calls. `dynamodb` gives boto3's client when it is first needed.

    Every method raises what boto3 raises where DynamoDB does not answer or throttles.
    """

    def __init__(self, dynamodb: Callable[[], Any], name: str, sleep: Callable[[float], None]) -> None:
        self._dynamodb, self._name, self._sleep = dynamodb, name, sleep

    def page(
        self,
        partition: str,
        *,
        start: str | None = None,
        end: str | None = None,
        forward: bool = True,
        limit: int | None = None,
        after: Item | None = None,
        keys_only: bool = False,
    ) -> tuple[list[Item], Item | None]:
        """One page of a partition between two sort keys, and where the next page starts; strongly consistent.

        `keys_only` leaves out everything of an item but its keys and `at`, when it was written.
        """
        condition, values = "#pk = :pk", {":pk": typed(partition)}
        if start is not None and end is not None:
            condition += " AND #sk BETWEEN :start AND :end"
            values |= {":start": typed(start), ":end": typed(end)}
        elif end is not None:
            condition += " AND #sk <= :end"
            values[":end"] = typed(end)
        request: dict[str, Any] = {
            "TableName": self._name,
            "KeyConditionExpression": condition,
            "ExpressionAttributeNames": names_in(condition),
            "ExpressionAttributeValues": values,
            "ScanIndexForward": forward,
            "ConsistentRead": True,
        }
        if keys_only:
            request["ProjectionExpression"] = "#pk, #sk, #at"
            request["ExpressionAttributeNames"] = {"#pk": "pk", "#sk": "sk", "#at": "at"}
        if limit is not None:
            request["Limit"] = limit
        if after is not None:
            request["ExclusiveStartKey"] = after
        answer = self._dynamodb().query(**request)
        return answer["Items"], answer.get("LastEvaluatedKey")

    def pages(self, partition: str, **bounds: Any) -> Iterator[list[Item]]:
        """Every page of a partition between two sort keys."""
        after: Item | None = None
        while True:
            items, after = self.page(partition, after=after, **bounds)
            yield items
            if after is None:
                return

    def get(self, partition: str, sort_keys: Sequence[str]) -> list[Item]:
        """The items under these sort keys, of those that are there. Raises LedgerBusyError."""
        found: list[Item] = []
        for some in _in_groups(sort_keys, READS):
            keys = [key_of(partition, sort_key) for sort_key in some]
            left: Mapping[str, Any] = {self._name: {"Keys": keys, "ConsistentRead": True}}

            def read(left: Mapping[str, Any]) -> Mapping[str, Any]:
                answer = self._dynamodb().batch_get_item(RequestItems=left)
                found.extend(answer["Responses"].get(self._name, ()))
                return answer.get("UnprocessedKeys") or {}

            self._until_processed(left, read)
        return found

    def put_and_delete(self, puts: Iterable[Item] = (), deletes: Iterable[Item] = ()) -> None:
        """Write and remove items, in any order. Raises LedgerBusyError."""
        writes = [{"PutRequest": {"Item": item}} for item in puts]
        writes += [{"DeleteRequest": {"Key": key}} for key in deletes]
        for some in _in_groups(writes, WRITES):
            self._until_processed(
                {self._name: some},
                lambda left: self._dynamodb().batch_write_item(RequestItems=left).get("UnprocessedItems") or {},
            )

    def put(self, item: Item) -> None:
        """Write an item, in place of one that was there."""
        self._dynamodb().put_item(TableName=self._name, Item=item)

    def update(self, key: Item, update: str, condition: str | None = None, **values: str | float) -> Item:
        """Change an item; the item as it is then. `#name` stands for an attribute, `:name` for one of `values`.

        Raises
        ------
        RefusedError
            Where the condition does not hold.
        """
        expressions = f"{update} {condition or ''}"
        used = set(PLACEHOLDER.findall(expressions))
        request: dict[str, Any] = {
            "TableName": self._name,
            "Key": key,
            "UpdateExpression": update,
            "ExpressionAttributeNames": names_in(expressions),
            "ExpressionAttributeValues": {
                f":{name}": typed(value) for name, value in values.items() if f":{name}" in used
            },
            "ReturnValues": "ALL_NEW",
        }
        return self._conditional("update_item", request, condition)["Attributes"]

    def delete(self, key: Item, condition: str | None = None, **values: str | float) -> None:
        """Remove an item. Raises RefusedError where the condition does not hold."""
        request: dict[str, Any] = {"TableName": self._name, "Key": key}
        if condition is not None:
            request["ExpressionAttributeNames"] = names_in(condition)
            request["ExpressionAttributeValues"] = {f":{name}": typed(value) for name, value in values.items()}
        self._conditional("delete_item", request, condition)

    def _conditional(self, call: str, request: dict[str, Any], condition: str | None) -> Any:
        if condition is not None:
            request["ConditionExpression"] = condition
            request["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
        try:
            return getattr(self._dynamodb(), call)(**request)
        except Exception as error:
            if error_code(error) != "ConditionalCheckFailedException":
                raise
            row = cast(dict[str, Any], getattr(error, "response", {})).get("Item")
            raise RefusedError(row) from error

    def _until_processed(self, left: Mapping[str, Any], send: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
        for attempt in range(TRIES):
            if attempt:
                self._sleep(0.05 * 2 ** (attempt - 1))
            left = send(left)
            if not left:
                return
        raise LedgerBusyError(f"{self._name} left requests unprocessed, {TRIES} times in a row")


def typed(value: str | float) -> dict[str, str]:
    """A text or a number as boto3's client takes it."""
    return {"S": value} if isinstance(value, str) else {"N": str(value)}


def key_of(partition: str, sort_key: str) -> Item:
    """An item's key."""
    return {"pk": typed(partition), "sk": typed(sort_key)}


def names_in(expressions: str) -> dict[str, str]:
    """The attributes that placeholders such as `#state` stand for: many of DynamoDB's reserved words are names here."""
    return {token: token[1:] for token in PLACEHOLDER.findall(expressions) if token.startswith("#")}


def _in_groups(values: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (values[start : start + size] for start in range(0, len(values), size))
