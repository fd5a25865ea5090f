"""The ledger table behind its few calls: the reads of every batch, and a note's write."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

FORMAT = 1
"""The row format (`v`) that this code writes, and the newest that this code reads. A row without `v` has format 1."""

Item = dict[str, Any]


class NewerFormatError(Exception):
    """A newer version of the engine wrote the row in a format that this code does not know."""


class LedgerTable:
    """The calls that every batch may need. `dynamodb` gives boto3's client when it is first needed.

    Every method raises what boto3 raises where DynamoDB does not answer or throttles.
    """

    def __init__(self, dynamodb: Callable[[], Any], name: str) -> None:
        self._dynamodb, self._name = dynamodb, name

    def query_page(
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
        condition, values = "#pk = :pk", {":pk": attribute_value(partition)}
        if start is not None and end is not None:
            condition += " AND #sk BETWEEN :start AND :end"
            values |= {":start": attribute_value(start), ":end": attribute_value(end)}
        elif end is not None:
            condition += " AND #sk <= :end"
            values[":end"] = attribute_value(end)
        request: dict[str, Any] = {
            "TableName": self._name,
            "KeyConditionExpression": condition,
            "ExpressionAttributeNames": {"#pk": "pk", "#sk": "sk"} if end is not None else {"#pk": "pk"},
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
        response = self._dynamodb().query(**request)
        return response["Items"], response.get("LastEvaluatedKey")

    def query_all(self, partition: str, **bounds: Any) -> Iterator[Item]:
        """Every item of a partition between two sort keys."""
        after: Item | None = None
        while True:
            items, after = self.query_page(partition, after=after, **bounds)
            yield from items
            if after is None:
                return

    def put(self, item: Item) -> None:
        """Write an item, in place of one that was there."""
        self._dynamodb().put_item(TableName=self._name, Item=item)


def attribute_value(value: str | float) -> dict[str, str]:
    """A text or a number as boto3's client takes it."""
    return {"S": value} if isinstance(value, str) else {"N": str(value)}


def check_format(item: Mapping[str, Any]) -> None:
    """Raise NewerFormatError for a row of a format that this code does not know."""
    version = int(item["v"]["N"]) if "v" in item else FORMAT
    if version > FORMAT:
        raise NewerFormatError(f"{item['pk']['S']} {item['sk']['S']}: format {version}, and this code reads {FORMAT}")


def key_of(partition: str, sort_key: str) -> Item:
    """An item's key."""
    return {"pk": attribute_value(partition), "sk": attribute_value(sort_key)}
