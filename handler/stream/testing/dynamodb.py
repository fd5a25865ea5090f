"""DynamoDB in memory, behind the calls of boto3's client that the engine makes: for tests, never for production."""

import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from botocore.exceptions import ClientError  # pyright: ignore[reportMissingTypeStubs] # botocore has none

from handler.stream.testing.expressions import Item, Scope, parse_condition, parse_update

Result = TypeVar("Result")


class MemoryDynamoDB:
    """Tables in memory, made when first used.

    Conditions, key conditions and updates are evaluated as DynamoDB does, for comparisons, BETWEEN, AND, OR, NOT,
    attribute_exists, attribute_not_exists, begins_with; SET with + and -, if_not_exists, REMOVE and ADD.

    Not imitated: any other expression, throttling, item sizes, indexes, time to live (nothing expires), streams. Reads
    are always consistent.

    Parameters
    ----------
    keys : mapping, optional
        A table's key attributes where they are not `pk` and `sk`.
    """

    def __init__(self, keys: Mapping[str, tuple[str, ...]] | None = None) -> None:
        self._keys = dict(keys or {})
        self.tables: dict[str, dict[str, dict[str, Item]]] = {}
        self._lock = threading.RLock()

    def items(self, table: str) -> list[Item]:
        """Every item of a table, by partition and sort key."""
        partitions = self.tables.get(table, {})
        return [items[sort] for _, items in sorted(partitions.items()) for sort in sorted(items)]

    def perform(self, operation: str, request: Mapping[str, Any], act: Callable[[], Result]) -> Result:  # noqa: ARG002
        """Make one call; subclasses add delays and failures around `act`."""
        with self._lock:
            return act()

    # The calls, as boto3's client has them

    def query(self, **request: Any) -> dict[str, Any]:
        """Items of one partition that meet the key condition, at most `Limit` a page."""
        return self.perform("Query", request, lambda: self._query(request))

    def put_item(self, **request: Any) -> dict[str, Any]:
        """Write an item whole."""
        return self.perform("PutItem", request, lambda: self._write(request, "Put"))

    def update_item(self, **request: Any) -> dict[str, Any]:
        """Change attributes of an item, which is made where it is missing."""
        return self.perform("UpdateItem", request, lambda: self._write(request, "Update"))

    def delete_item(self, **request: Any) -> dict[str, Any]:
        """Remove an item."""
        return self.perform("DeleteItem", request, lambda: self._write(request, "Delete"))

    def batch_write_item(self, **request: Any) -> dict[str, Any]:
        """Write and remove up to 25 items."""

        def act() -> dict[str, Any]:
            for table, writes in request["RequestItems"].items():
                for write in writes:
                    [(kind, body)] = write.items()
                    self._write({"TableName": table, **body}, kind.removesuffix("Request"))
            return {"UnprocessedItems": {}}

        _at_most(25, sum(map(len, request["RequestItems"].values())), "BatchWriteItem")
        return self.perform("BatchWriteItem", request, act)

    def batch_get_item(self, **request: Any) -> dict[str, Any]:
        """Read up to 100 items by their keys."""

        def act() -> dict[str, Any]:
            found: dict[str, list[Item]] = {}
            for table, wanted in request["RequestItems"].items():
                there = (self._item(table, key) for key in wanted["Keys"])
                found[table] = [dict(item) for item in there if item is not None]
            return {"Responses": found, "UnprocessedKeys": {}}

        _at_most(100, sum(len(each["Keys"]) for each in request["RequestItems"].values()), "BatchGetItem")
        return self.perform("BatchGetItem", request, act)

    def transact_write_items(self, **request: Any) -> dict[str, Any]:
        """Put and update items, all or none."""

        def act() -> dict[str, Any]:
            each = [(kind, body) for item in request["TransactItems"] for kind, body in item.items()]
            reasons = [{"Code": "None" if self._allowed(body) else "ConditionalCheckFailed"} for _, body in each]
            if any(reason["Code"] != "None" for reason in reasons):
                raise client_error("TransactionCanceledException", "TransactWriteItems", CancellationReasons=reasons)
            for kind, body in each:
                self._write(body, kind)
            return {}

        return self.perform("TransactWriteItems", request, act)

    # How they work

    def _place(self, table: str, key: Mapping[str, Any]) -> tuple[str, str]:
        names = self._keys.get(table, ("pk", "sk"))
        partition, *sort = (str(next(iter(key[name].values()))) for name in names)
        return partition, sort[0] if sort else ""

    def _item(self, table: str, key: Mapping[str, Any]) -> Item | None:
        partition, sort = self._place(table, key)
        return self.tables.get(table, {}).get(partition, {}).get(sort)

    def _allowed(self, request: Mapping[str, Any]) -> bool:
        condition = request.get("ConditionExpression")
        old = self._item(request["TableName"], request.get("Key") or request["Item"])
        return condition is None or parse_condition(condition)(Scope.of(old or {}, request))

    def _write(self, request: Mapping[str, Any], kind: str) -> dict[str, Any]:
        table, key = request["TableName"], request.get("Key") or request["Item"]
        old = self._item(table, key)
        if not self._allowed(request):
            shown = old is not None and request.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD"
            raise client_error(
                "ConditionalCheckFailedException", "Write", **({"Item": dict(old or {})} if shown else {})
            )
        item = None
        if kind == "Put":
            item = dict(request["Item"])
        elif kind == "Update":
            item = parse_update(request["UpdateExpression"])(Scope.of(old or dict(request["Key"]), request))
        partition, sort = self._place(table, key)
        items = self.tables.setdefault(table, {}).setdefault(partition, {})
        if item is None:
            items.pop(sort, None)
        else:
            items[sort] = item
        match request.get("ReturnValues"):
            case "ALL_OLD":
                return {"Attributes": dict(old or {})}
            case "ALL_NEW":
                return {"Attributes": dict(item or {})}
            case _:
                return {}

    def _query(self, request: Mapping[str, Any]) -> dict[str, Any]:
        table = request["TableName"]
        partition, sort = self._keys.get(table, ("pk", "sk"))
        meets = parse_condition(request["KeyConditionExpression"])
        value = Scope.of({}, request).partition(request["KeyConditionExpression"], partition)
        items = self.tables.get(table, {}).get(value, {})
        forward, limit = request.get("ScanIndexForward", True), request.get("Limit")
        after = request.get("ExclusiveStartKey", {}).get(sort, {}).get("S")
        found = list[Item]()
        for key in sorted(items, reverse=not forward):
            if after is not None and (key <= after if forward else key >= after):
                continue
            if not meets(Scope.of(items[key], request)):
                continue
            if len(found) == limit:
                last = {name: found[-1][name] for name in (partition, sort)}
                return {"Items": found, "LastEvaluatedKey": last}
            found.append(dict(items[key]))
        return {"Items": found}


def client_error(code: str, operation: str, **response: Any) -> ClientError:
    """The error that boto3's client raises where AWS refuses."""
    answer: Any = {"Error": {"Code": code, "Message": f"{code} (in memory)"}, **response}
    return ClientError(answer, operation)


def _at_most(limit: int, number: int, operation: str) -> None:
    if number > limit:
        raise client_error("ValidationException", operation)
