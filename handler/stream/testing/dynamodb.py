"""DynamoDB in memory, with the calls of boto3's client that the engine makes. For tests only."""

import re
import threading
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeVar

from botocore.exceptions import ClientError  # pyright: ignore[reportMissingTypeStubs] # botocore has none

from handler.stream.testing.expressions import Item, Scope, parse_condition, parse_update

LARGEST_ITEM, LARGEST_PAGE = 400 * 1024, 1024 * 1024
"""DynamoDB's limits in bytes: of one item, and of the items in a page of a Query."""

Result = TypeVar("Result")


class MemoryDynamoDB:
    """Tables in memory; a table is created on first use.

    Condition and key condition expressions may use comparisons, BETWEEN, AND, OR, NOT, attribute_exists,
    attribute_not_exists and begins_with. Update expressions may use SET with + and - and if_not_exists, REMOVE, ADD.

    A ValidationException is raised for an item over 400 KB, too many items in a batch or the same item twice, a
    BETWEEN with reversed bounds, and a placeholder that is undefined or unused. A page of a Query ends at its `Limit`
    or at 1 MB.

    Not imitated: other expressions, throttling, batches over 16 MB, indexes, time to live (nothing expires), streams
    and eventually consistent reads. The size of an item is close to the size that DynamoDB counts.

    Parameters
    ----------
    keys : mapping, optional
        The key attributes of tables whose keys are not `pk` and `sk`.

    Attributes
    ----------
    page_bytes : int
        Bytes of items that end a page of a Query; with 1, each page has one item.
    """

    def __init__(self, keys: Mapping[str, tuple[str, ...]] | None = None) -> None:
        self._keys = dict(keys or {})
        self.tables: dict[str, dict[str, dict[str, Item]]] = {}
        self.page_bytes = LARGEST_PAGE
        self._lock = threading.RLock()

    def items(self, table: str) -> list[Item]:
        """Return all items of a table, sorted by partition key and sort key."""
        partitions = self.tables.get(table, {})
        return [items[sort] for _, items in sorted(partitions.items()) for sort in sorted(items)]

    def perform(self, operation: str, request: Mapping[str, Any], act: Callable[[], Result]) -> Result:  # noqa: ARG002
        """Carry out one call with `act`; subclasses override this method to add delays and failures."""
        with self._lock:
            return act()

    # The calls of boto3's client

    def query(self, **request: Any) -> dict[str, Any]:
        """Return one page of the items of a partition that meet the key condition."""
        _check_expressions(request)
        _check_bounds(request)
        return self.perform("Query", request, lambda: self._query(request))

    def put_item(self, **request: Any) -> dict[str, Any]:
        """Write a whole item."""
        _check_expressions(request)
        _check_size(request["Item"])
        return self.perform("PutItem", request, lambda: self._write(request, "Put"))

    def update_item(self, **request: Any) -> dict[str, Any]:
        """Change attributes of an item, and create the item if it is missing."""
        _check_expressions(request)
        return self.perform("UpdateItem", request, lambda: self._write(request, "Update"))

    def delete_item(self, **request: Any) -> dict[str, Any]:
        """Remove an item."""
        _check_expressions(request)
        return self.perform("DeleteItem", request, lambda: self._write(request, "Delete"))

    def batch_write_item(self, **request: Any) -> dict[str, Any]:
        """Write and remove up to 25 items (DynamoDB's limit)."""
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
        """Read up to 100 items (DynamoDB's limit) by their keys."""
        tables = request["RequestItems"]
        self._check_batch(100, [(table, key) for table, wanted in tables.items() for key in wanted["Keys"]])

        def act() -> dict[str, Any]:
            responses: dict[str, list[Item]] = {}
            for table, wanted in tables.items():
                items = (self._item(table, key) for key in wanted["Keys"])
                responses[table] = [dict(item) for item in items if item is not None]
            return {"Responses": responses, "UnprocessedKeys": {}}

        return self.perform("BatchGetItem", request, act)

    def transact_write_items(self, **request: Any) -> dict[str, Any]:
        """Put and update up to 100 items (DynamoDB's limit), either all or none."""
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

    # Their implementation

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
            is_shown = old is not None and request.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD"
            response: dict[str, Any] = {"Item": dict(old or {})} if is_shown else {}
            raise client_error("ConditionalCheckFailedException", "Write", "The conditional request failed", **response)
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
        page, size = list[Item](), 0
        for key in sorted(items, reverse=not forward):
            if after is not None and (key <= after if forward else key >= after):
                continue
            item = items[key]
            if not meets(Scope.of_request(item, request)):
                continue
            page.append(_project(item, request))
            size += _size(item)
            if len(page) == limit or size >= self.page_bytes:  # as in DynamoDB, also if this is the last item
                return {"Items": page, "LastEvaluatedKey": {name: item[name] for name in (partition, sort)}}
        return {"Items": page}


def client_error(code: str, operation: str, message: str = "in memory", **response: Any) -> ClientError:
    """Return the error that boto3's client raises if AWS refuses a call."""
    answer: Any = {"Error": {"Code": code, "Message": message}, **response}
    return ClientError(answer, operation)


def invalid(message: str) -> ClientError:
    """Return the error for an invalid request."""
    return client_error("ValidationException", "Call", message)


def _project(item: Item, request: Mapping[str, Any]) -> Item:
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
    defined = request.get("ExpressionAttributeNames", {}).keys() | request.get("ExpressionAttributeValues", {}).keys()
    if used != defined:
        raise invalid(f"placeholders unused in expressions, or undefined: {sorted(used ^ defined)}")


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
