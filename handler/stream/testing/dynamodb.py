"""DynamoDB in memory, behind the calls of boto3's client that the engine makes: for tests, never for production."""

import re
import threading
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeVar

from botocore.exceptions import ClientError  # pyright: ignore[reportMissingTypeStubs] # botocore has none

from handler.stream.testing.expressions import Item, Scope, parse_condition, parse_update

LARGEST_ITEM, LARGEST_PAGE = 400 * 1024, 1024 * 1024
"""Bytes of an item, and of the items that end a page of a Query (DynamoDB's limits)."""

Result = TypeVar("Result")


class MemoryDynamoDB:
    """Tables in memory, made when first used.

    Conditions, key conditions and updates are evaluated as DynamoDB does, for comparisons, BETWEEN, AND, OR, NOT,
    attribute_exists, attribute_not_exists, begins_with; SET with + and -, if_not_exists, REMOVE and ADD.

    What DynamoDB refuses is refused, with a ValidationException: an item over 400 KB, more items in a batch than it may
    hold or one of them twice, a BETWEEN whose bounds are the wrong way round, a name or value that an expression uses
    and nobody gives, or the other way round. A page of a Query ends at its `Limit` or at 1 MB.

    Not imitated: any other expression, throttling, batches over 16 MB, indexes, time to live (nothing expires),
    streams. Reads are always consistent. Sizes are near those that DynamoDB counts.

    Parameters
    ----------
    keys : mapping, optional
        A table's key attributes where they are not `pk` and `sk`.

    Attributes
    ----------
    page_bytes : int
        Bytes of items that end a page of a Query; a test that sets it to 1 has pages of one item.
    """

    def __init__(self, keys: Mapping[str, tuple[str, ...]] | None = None) -> None:
        self._keys = dict(keys or {})
        self.tables: dict[str, dict[str, dict[str, Item]]] = {}
        self.page_bytes = LARGEST_PAGE
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
        """Items of one partition that meet the key condition, a page of them."""
        _check_expressions(request)
        _check_bounds(request)
        return self.perform("Query", request, lambda: self._query(request))

    def put_item(self, **request: Any) -> dict[str, Any]:
        """Write an item whole."""
        _check_expressions(request)
        _check_size(request["Item"])
        return self.perform("PutItem", request, lambda: self._write(request, "Put"))

    def update_item(self, **request: Any) -> dict[str, Any]:
        """Change attributes of an item, which is made where it is missing."""
        _check_expressions(request)
        return self.perform("UpdateItem", request, lambda: self._write(request, "Update"))

    def delete_item(self, **request: Any) -> dict[str, Any]:
        """Remove an item."""
        _check_expressions(request)
        return self.perform("DeleteItem", request, lambda: self._write(request, "Delete"))

    def batch_write_item(self, **request: Any) -> dict[str, Any]:
        """Write and remove up to 25 items."""
        writes = [
            (table, kind.removesuffix("Request"), body)
            for table, requests in request["RequestItems"].items()
            for each in requests
            for kind, body in each.items()
        ]
        self._check_batch(25, [(table, body.get("Key") or body["Item"]) for table, _, body in writes])
        for _, _, body in writes:
            _check_size(body.get("Item", {}))

        def act() -> dict[str, Any]:
            for table, kind, body in writes:
                self._write({"TableName": table, **body}, kind)
            return {"UnprocessedItems": {}}

        return self.perform("BatchWriteItem", request, act)

    def batch_get_item(self, **request: Any) -> dict[str, Any]:
        """Read up to 100 items by their keys."""
        tables = request["RequestItems"]
        self._check_batch(100, [(table, key) for table, wanted in tables.items() for key in wanted["Keys"]])

        def act() -> dict[str, Any]:
            found: dict[str, list[Item]] = {}
            for table, wanted in tables.items():
                there = (self._item(table, key) for key in wanted["Keys"])
                found[table] = [dict(item) for item in there if item is not None]
            return {"Responses": found, "UnprocessedKeys": {}}

        return self.perform("BatchGetItem", request, act)

    def transact_write_items(self, **request: Any) -> dict[str, Any]:
        """Put and update up to 100 items, all or none."""
        writes = [(kind, body) for item in request["TransactItems"] for kind, body in item.items()]
        self._check_batch(100, [(body["TableName"], body.get("Key") or body["Item"]) for _, body in writes])
        for _, body in writes:
            _check_expressions(body)
            _check_size(body.get("Item", {}))

        def act() -> dict[str, Any]:
            reasons = [{"Code": "None" if self._allowed(body) else "ConditionalCheckFailed"} for _, body in writes]
            if any(reason["Code"] != "None" for reason in reasons):
                raise client_error("TransactionCanceledException", "TransactWriteItems", CancellationReasons=reasons)
            for kind, body in writes:
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

    def _check_batch(self, limit: int, touched: list[tuple[str, Item]]) -> None:
        if len(touched) > limit:
            raise invalid(f"Too many items requested: {len(touched)} of at most {limit}")
        if len({(table, self._place(table, key)) for table, key in touched}) < len(touched):
            raise invalid("Provided list of item keys contains duplicates")

    def _allowed(self, request: Mapping[str, Any]) -> bool:
        condition = request.get("ConditionExpression")
        old = self._item(request["TableName"], request.get("Key") or request["Item"])
        return condition is None or parse_condition(condition)(Scope.of_request(old or {}, request))

    def _write(self, request: Mapping[str, Any], kind: str) -> dict[str, Any]:
        table, key = request["TableName"], request.get("Key") or request["Item"]
        old = self._item(table, key)
        if not self._allowed(request):
            shown = old is not None and request.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD"
            there: dict[str, Any] = {"Item": dict(old or {})} if shown else {}
            raise client_error("ConditionalCheckFailedException", "Write", "the condition does not hold", **there)
        item = None
        if kind == "Put":
            item = dict(request["Item"])
        elif kind == "Update":
            item = parse_update(request["UpdateExpression"])(Scope.of_request(old or dict(request["Key"]), request))
            _check_size(item)
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
        value = Scope.of_request({}, request).partition(request["KeyConditionExpression"], partition)
        items = self.tables.get(table, {}).get(value, {})
        forward, limit = request.get("ScanIndexForward", True), request.get("Limit")
        after = request.get("ExclusiveStartKey", {}).get(sort, {}).get("S")
        found, size = list[Item](), 0
        for key in sorted(items, reverse=not forward):
            if after is not None and (key <= after if forward else key >= after):
                continue
            item = items[key]
            if not meets(Scope.of_request(item, request)):
                continue
            found.append(_projected(item, request))
            size += _size(item)
            if len(found) == limit or size >= self.page_bytes:  # also where nothing more is there
                return {"Items": found, "LastEvaluatedKey": {name: item[name] for name in (partition, sort)}}
        return {"Items": found}


def client_error(code: str, operation: str, message: str = "in memory", **response: Any) -> ClientError:
    """The error that boto3's client raises where AWS refuses."""
    answer: Any = {"Error": {"Code": code, "Message": message}, **response}
    return ClientError(answer, operation)


def invalid(message: str) -> ClientError:
    """The error for a request that DynamoDB refuses whatever is in its tables."""
    return client_error("ValidationException", "Call", message)


def _projected(item: Item, request: Mapping[str, Any]) -> Item:
    expression: str | None = request.get("ProjectionExpression")
    if expression is None:
        return dict(item)
    scope = Scope.of_request(item, request)
    names = [scope.name(token.strip()) for token in expression.split(",")]
    return {name: item[name] for name in names if name in item}


@cache
def _placeholders(expressions: str) -> frozenset[str]:
    return frozenset(re.findall(r"[#:]\w+", expressions))


def _check_expressions(request: Mapping[str, Any]) -> None:
    used = _placeholders(" ".join(request[name] for name in request if name.endswith("Expression")))
    given = request.get("ExpressionAttributeNames", {}).keys() | request.get("ExpressionAttributeValues", {}).keys()
    if used != given:
        raise invalid(f"names and values that are unused in expressions, or undefined: {sorted(used ^ given)}")


def _check_bounds(request: Mapping[str, Any]) -> None:
    values = request.get("ExpressionAttributeValues", {})
    for low, high in re.findall(r"BETWEEN (:\w+) AND (:\w+)", request["KeyConditionExpression"]):
        if values[low]["S"] > values[high]["S"]:
            raise invalid("The BETWEEN operator requires upper bound to be greater than or equal to lower bound")


def _check_size(item: Item) -> None:
    if _size(item) > LARGEST_ITEM:
        raise invalid("Item size has exceeded the maximum allowed size")


def _size(item: Mapping[str, Any]) -> int:
    return sum(len(name.encode()) + _value_size(value) for name, value in item.items())


def _value_size(value: Mapping[str, Any]) -> int:
    [(kind, content)] = value.items()
    match kind:
        case "S":
            return len(content) if content.isascii() else len(content.encode())
        case "N":
            return len(content) // 2 + 2
        case "B":
            return len(content)
        case "M":
            return 3 + sum(1 + len(name.encode()) + _value_size(part) for name, part in content.items())
        case "L":
            return 3 + sum(1 + _value_size(part) for part in content)
        case "SS" | "NS" | "BS":
            return sum(_value_size({kind[0]: part}) for part in content)
        case _:
            return 1
