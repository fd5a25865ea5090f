"""AWS in memory for the engine's tests: clients with a record of their calls, a clock and Lambda's context."""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from botocore.exceptions import ClientError  # pyright: ignore[reportMissingTypeStubs] # botocore has none

from handler.stream.testing.dynamodb import MemoryDynamoDB
from tests.fakes.records import START

Item = dict[str, Any]
Result = TypeVar("Result")
Hook = Callable[[Callable[[], Any]], Any]
"""Replaces a call: the hook receives the call, and may make it, refuse it, or act before or after it."""


class Clock:
    """A clock, in seconds since 1970, that a test moves."""

    def __init__(self, now: float = START) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class LambdaContext:
    """Lambda's context of one invocation, whose remaining time follows a test's clock."""

    function_name = "mirror"
    function_version = "$LATEST"

    def __init__(self, clock: Callable[[], float], seconds: float = 60, request: str = "request-1") -> None:
        self._clock, self._end = clock, clock() + seconds
        self.aws_request_id = request
        self.invoked_function_arn = "arn:aws:lambda:eu-central-1:111122223333:function:mirror"

    def get_remaining_time_in_millis(self) -> int:
        return int((self._end - self._clock()) * 1000)


def refusal(code: str, operation: str = "Call", **response: Any) -> ClientError:
    """Return the error that boto3 raises if AWS refuses a call."""
    return ClientError({"Error": {"Code": code, "Message": f"{code} by a fake"}, **response}, operation)


def refused(code: str = "InternalServerError") -> Hook:
    """Return a hook that refuses the call without effect."""

    def hook(act: Callable[[], Any]) -> Any:
        raise refusal(code)

    return hook


def unanswered(act: Callable[[], Any]) -> Any:
    """Make the call and lose its response."""
    act()
    raise refusal("RequestTimeout")


def answered(act: Callable[[], Any]) -> Any:
    """Make the call."""
    return act()


def in_turn(*hooks: Hook) -> Hook:
    """Return a hook that uses one of the hooks per call, and then makes the calls."""
    left = list(hooks)
    return lambda act: left.pop(0)(act) if left else act()


def before(do: Callable[[], Any]) -> Hook:
    """Return a hook that calls `do` before the first call."""

    def hook(act: Callable[[], Any]) -> Any:
        do()
        return act()

    return in_turn(hook)


class HookedDynamoDB(MemoryDynamoDB):
    """MemoryDynamoDB with a log of its calls, and hooks that replace calls.

    The name of a call is the operation and the kind of row or the table: "Query note", "UpdateItem hold",
    "BatchWriteItem change", "UpdateItem description", "PutItem mirror". Powertools reads the machine's clock, so the
    times of claims are converted to `clock` in requests, and back in responses.

    Attributes
    ----------
    calls : list of str
        The names of all calls, in order.
    on : dict of Hook
        The hooks, by the name of the call.
    """

    def __init__(
        self, keys: Mapping[str, tuple[str, ...]] | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        super().__init__(keys)
        self._clock = clock
        self.calls: list[str] = []
        self.on: dict[str, Hook] = {}

    def perform(self, operation: str, request: Mapping[str, Any], act: Callable[[], Result]) -> Result:
        name = f"{operation} {_touched(request)}"
        self.calls.append(name)
        perform = super().perform

        def run() -> Any:
            return perform(operation, request, act)

        return self.on[name](run) if name in self.on else run()

    def put_item(self, **request: Any) -> dict[str, Any]:
        values = request.get("ExpressionAttributeValues", {})
        if ":now_in_millis" in values:
            now = self._clock()
            shifted = {":now": {"N": str(int(now))}, ":now_in_millis": {"N": str(int(now * 1000))}}
            moved = {"Item": self._moved(request["Item"]), "ExpressionAttributeValues": {**values, **shifted}}
            request = {**request, **moved}
        try:
            return super().put_item(**request)
        except ClientError as error:
            response: Any = error.response
            if "Item" in response:
                response["Item"] = self._moved(response["Item"], back=True)
            raise

    def update_item(self, **request: Any) -> dict[str, Any]:
        values = request.get("ExpressionAttributeValues", {})
        if ":status" in values:
            expiry = {":expiry": {"N": str(int(float(values[":expiry"]["N"]) + self._shift()))}}
            request = {**request, "ExpressionAttributeValues": {**values, **expiry}}
        return super().update_item(**request)

    def _shift(self) -> float:
        return self._clock() - time.time()

    def _moved(self, item: Item, *, back: bool = False) -> Item:
        shift = -self._shift() if back else self._shift()
        moved = {}
        for name, unit in (("expiry", 1), ("in_progress_expiration", 1000)):
            if "status" in item and name in item:
                moved[name] = {"N": str(int(float(item[name]["N"]) + shift * unit))}
        return {**item, **moved}


def _touched(request: Mapping[str, Any]) -> str:
    """Return the kind of the ledger's row in a request, or the table's name."""
    if "TransactItems" in request:
        return "items"
    if "RequestItems" in request:
        [(table, wanted)] = request["RequestItems"].items()
        [first, *_] = wanted["Keys"] if "Keys" in wanted else map(_written, wanted)
        return _kind(table, first)
    values = request.get("ExpressionAttributeValues", {})
    return _kind(request["TableName"], request.get("Key") or request.get("Item") or {"pk": values[":pk"]})


def _written(write: Mapping[str, Any]) -> Item:
    return write["PutRequest"]["Item"] if "PutRequest" in write else write["DeleteRequest"]["Key"]


def _kind(table: str, key: Mapping[str, Any]) -> str:
    if "pk" not in key:
        return table
    parts = key["pk"]["S"].split("#")
    if parts[0] != "hold" or len(parts) == 2:
        return parts[0]
    return "description" if key.get("sk") == {"S": "!"} and "table" not in key else "change"


class S3:
    """boto3's S3 client with one bucket in memory. It imitates only a conditional `put_object`."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.puts = 0
        self.failing: Exception | None = None

    def put_object(self, **request: Any) -> dict[str, Any]:
        self.puts += 1
        assert set(request) == {"Bucket", "Key", "Body", "ContentType", "IfNoneMatch"}
        assert request["IfNoneMatch"] == "*"
        if self.failing:
            raise self.failing
        if request["Key"] in self.objects:
            raise refusal("PreconditionFailed", "PutObject")
        self.objects[request["Key"]] = request["Body"]
        return {}


class Lambda:
    """boto3's Lambda client, with a log of asynchronous invocations."""

    def __init__(self) -> None:
        self.invoked: list[tuple[str, Any]] = []
        self.failing: Exception | None = None

    def invoke(self, **request: Any) -> dict[str, Any]:
        assert request["InvocationType"] == "Event"
        if self.failing:
            raise self.failing
        self.invoked.append((request["FunctionName"], json.loads(request["Payload"])))
        return {"StatusCode": 202}
