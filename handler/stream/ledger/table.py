"""The ledger table's reads, and the write of a note."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

FORMAT = 1
"""The row format (`v`) that this code writes, and the newest that this code reads. A row without `v` has format 1."""

Item = dict[str, Any]


class NewerFormatError(Exception):
    """A newer version of the engine wrote the row in a format that this code does not know."""


class LedgerTable:
    """The calls that every batch may need. `dynamodb` returns boto3's client; it is called when first needed.

    Every method raises the error of boto3 if DynamoDB does not respond or throttles.
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
        """Read one page of a partition between two sort keys, strongly consistent.

        Return the items and the key after which the next page starts, None after the last page. `keys_only` reads only
        the keys and `at`, the time of the write.
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
        """Read every item of a partition between two sort keys."""
        after: Item | None = None
        while True:
            items, after = self.query_page(partition, after=after, **bounds)
            yield from items
            if after is None:
                return

    def put(self, item: Item) -> None:
        """Write an item; replace an earlier one."""
        self._dynamodb().put_item(TableName=self._name, Item=item)


def attribute_value(value: str | float) -> dict[str, str]:
    """Return a string or a number in DynamoDB's JSON."""
    return {"S": value} if isinstance(value, str) else {"N": str(value)}


def check_format(item: Mapping[str, Any]) -> None:
    """Raise NewerFormatError for a row of a format that this code does not know."""
    version = int(item["v"]["N"]) if "v" in item else FORMAT
    if version > FORMAT:
        raise NewerFormatError(f"{item['pk']['S']} {item['sk']['S']}: format {version}, and this code reads {FORMAT}")


def key_of(partition: str, sort_key: str) -> Item:
    """Return an item's key in DynamoDB's JSON."""
    return {"pk": attribute_value(partition), "sk": attribute_value(sort_key)}
