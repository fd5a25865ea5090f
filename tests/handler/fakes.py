"""AWS in memory for the engine's tests: the few calls that it makes, and nothing else."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from botocore.exceptions import ClientError  # pyright: ignore[reportMissingTypeStubs] # botocore has none

from handler.stream.workers import Death

STREAM = "arn:aws:dynamodb:eu-central-1:111122223333:table/orders/stream/2026-01-01T00:00:00.000"
START = 1_800_000_000.0

Item = dict[str, Any]


def record(
    number: int,
    item: str = "a",
    *,
    name: str = "MODIFY",
    at: float = START,
    stream: str = STREAM,
    **body: Any,
) -> dict[str, Any]:
    """A stream record as Lambda's event has it; `body` replaces parts of `dynamodb`."""
    image = {"id": {"S": item}, "n": {"N": str(number)}}
    images = {"NewImage": image, "OldImage": image}
    if name != "MODIFY":
        del images["OldImage" if name == "INSERT" else "NewImage"]
    return {
        "eventID": f"event-{number}",
        "eventName": name,
        "eventSource": "aws:dynamodb",
        "eventSourceARN": stream,
        "dynamodb": {
            "ApproximateCreationDateTime": at,
            "Keys": {"id": {"S": item}},
            **images,
            "SequenceNumber": str(10**20 + number),
            "StreamViewType": "NEW_AND_OLD_IMAGES",
            **body,
        },
    }


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self, now: float = START) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Context:
    """Lambda's context of one invocation; its time passes on a test's clock, and never ends unless told."""

    function_version = "$LATEST"

    def __init__(self, clock: Callable[[], float], seconds: float = 60, request: str = "request-1") -> None:
        self._clock, self._end = clock, clock() + seconds
        self.aws_request_id = request
        self.invoked_function_arn = "arn:aws:lambda:eu-central-1:111122223333:function:mirror"

    def get_remaining_time_in_millis(self) -> int:
        return int((self._end - self._clock()) * 1000)


def refusal(code: str, operation: str, **response: Any) -> ClientError:
    """What boto3 raises where AWS refuses."""
    return ClientError({"Error": {"Code": code, "Message": f"{code} by a fake"}, **response}, operation)


def _number(item: Mapping[str, Any], name: str) -> float:
    return float(item[name]["N"])


def _claimable(old: Item, values: Item) -> bool:
    in_progress = old["status"]["S"] == "INPROGRESS" and "in_progress_expiration" in old
    return _number(old, "expiry") < _number(values, ":now") or (
        in_progress and _number(old, "in_progress_expiration") < _number(values, ":now_in_millis")
    )


CONDITIONS: dict[str, Callable[[Item, Item], bool]] = {
    "attribute_not_exists(pk)": lambda old, values: False,
    "attribute_not_exists(#id) OR #expiry < :now OR (#status = :inprogress AND attribute_exists(#in_progress_expiry)"
    " AND #in_progress_expiry < :now_in_millis)": _claimable,
    "attribute_not_exists(#v) OR (begins_with(#v, :source) AND #v < :version)": lambda old, values: (
        "change_version" not in old
        or (
            old["change_version"].get("S", "").startswith(values[":source"]["S"])
            and old["change_version"].get("S", "") < values[":version"]["S"]
        )
    ),
}
"""What each condition that the engine sends says of the item that is there; another one is an error."""


class DynamoDB:
    """boto3's DynamoDB client on tables in memory, for the engine's calls alone.

    Not imitated: every expression but those listed, throttling, item sizes and types, removal of what has expired.
    Powertools reads the machine's clock; what it says of a claim's time is moved to `clock` on its way in, and back on
    its way out.

    Parameters
    ----------
    keys : mapping
        The key attributes of each table.
    clock : callable
        Seconds since 1970.
    """

    def __init__(self, keys: Mapping[str, tuple[str, ...]], clock: Callable[[], float] = time.time) -> None:
        self._keys, self._clock = keys, clock
        self.tables: dict[str, dict[tuple[str, ...], Item]] = {name: {} for name in keys}
        self.calls: list[str] = []
        self.failing: dict[str, Exception] = {}
        self._lock = threading.Lock()

    def query(self, **request: Any) -> dict[str, Any]:
        self._begin("query")
        assert request["KeyConditionExpression"] == "pk = :pk AND sk <= :first"
        assert (request["ScanIndexForward"], request["Limit"], request["ConsistentRead"]) == (False, 1, True)
        partition, first = (request["ExpressionAttributeValues"][name]["S"] for name in (":pk", ":first"))
        with self._lock:
            found = [(key, item) for key, item in self.tables[request["TableName"]].items() if key[0] == partition]
        below = sorted((key[1], item) for key, item in found if key[1] <= first)
        return {"Items": [dict(item) for _, item in below[-1:]]}

    def put_item(self, **request: Any) -> dict[str, Any]:
        self._begin("put_item")
        with self._lock:
            self._put(request, "PutItem")
        return {}

    def update_item(self, **request: Any) -> dict[str, Any]:
        self._begin("update_item")
        assert (
            request["UpdateExpression"] == "SET #response_data = :response_data, #expiry = :expiry, #status = :status"
        )
        values = request["ExpressionAttributeValues"]
        change = {"data": values[":response_data"], "expiry": values[":expiry"], "status": values[":status"]}
        with self._lock:
            item = self.tables[request["TableName"]].setdefault(self._key(request), dict(request["Key"]))
            item.update(self._moved(change))
        return {}

    def delete_item(self, **request: Any) -> dict[str, Any]:
        self._begin("delete_item")
        with self._lock:
            self.tables[request["TableName"]].pop(self._key(request), None)
        return {}

    def transact_write_items(self, **request: Any) -> dict[str, Any]:
        self._begin("transact_write_items")
        with self._lock:
            reasons = [{"Code": self._reason(item)} for item in request["TransactItems"]]
            if any(reason["Code"] != "None" for reason in reasons):
                raise refusal("TransactionCanceledException", "TransactWriteItems", CancellationReasons=reasons)
            for item in request["TransactItems"]:
                if "Put" in item:
                    self._put(item["Put"], "TransactWriteItems")
                else:
                    self._add(item["Update"])
        return {}

    def _begin(self, operation: str) -> None:
        self.calls.append(operation)
        if operation in self.failing:
            raise self.failing[operation]

    def _key(self, request: Mapping[str, Any]) -> tuple[str, ...]:
        given = request.get("Key") or request["Item"]
        return tuple(next(iter(given[name].values())) for name in self._keys[request["TableName"]])

    def _reason(self, item: Mapping[str, Any]) -> str:
        if "Put" not in item:
            return "None"
        old = self.tables[item["Put"]["TableName"]].get(self._key(item["Put"]))
        condition = item["Put"].get("ConditionExpression")
        return (
            "None" if old is None or condition is None or CONDITIONS[condition](old, {}) else "ConditionalCheckFailed"
        )

    def _put(self, request: Mapping[str, Any], operation: str) -> None:
        table, key = self.tables[request["TableName"]], self._key(request)
        item, values = self._moved(request["Item"]), dict(request.get("ExpressionAttributeValues", {}))
        if ":now" in values:
            values[":now"] = {"N": str(self._clock())}
            values[":now_in_millis"] = {"N": str(self._clock() * 1000)}
        condition = request.get("ConditionExpression")
        if condition is not None and key in table and not CONDITIONS[condition](table[key], values):
            old = {"Item": self._moved(table[key], back=True)}
            shown = old if request.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD" else {}
            raise refusal("ConditionalCheckFailedException", operation, **shown)
        table[key] = item

    def _moved(self, item: Mapping[str, Any], *, back: bool = False) -> Item:
        if "status" not in item:
            return dict(item)
        shift = (time.time() - self._clock()) if back else (self._clock() - time.time())
        moved = {"expiry": {"N": str(int(_number(item, "expiry") + shift))}}
        if "in_progress_expiration" in item:
            moved["in_progress_expiration"] = {"N": str(int(_number(item, "in_progress_expiration") + shift * 1000))}
        return {**item, **moved}

    def _add(self, request: Mapping[str, Any]) -> None:
        assert request["UpdateExpression"] == "ADD #n :one"
        item = self.tables[request["TableName"]].setdefault(self._key(request), dict(request["Key"]))
        name = request["ExpressionAttributeNames"]["#n"]
        item[name] = {"N": str(int(item.get(name, {"N": "0"})["N"]) + 1)}


class S3:
    """boto3's S3 client with one bucket in memory. Not imitated: anything but a conditional `put_object`."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.puts = 0
        self.failing: Exception | None = None

    def put_object(self, **request: Any) -> dict[str, Any]:
        self.puts += 1
        assert request["IfNoneMatch"] == "*"
        if self.failing:
            raise self.failing
        if request["Key"] in self.objects:
            raise refusal("PreconditionFailed", "PutObject")
        self.objects[request["Key"]] = request["Body"]
        return {}


class Steps:
    """An executor without threads: items take turns, a change each. A Death lets the function die.

    Not imitated: two handlers at the same moment.
    """

    def __call__(self, items: Any, left: Callable[[], float] | None, last_words: Callable[[], None]) -> None:
        waiting = list(items)
        while waiting:
            item = waiting.pop(0)
            try:
                next(item)
            except StopIteration:
                continue
            except Death:
                if left is not None:
                    last_words()
                raise
            waiting.append(item)
