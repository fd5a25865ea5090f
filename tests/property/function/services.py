"""The services that a function calls: the ledger's table and the failure bucket, each once, and its clients."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from botocore.exceptions import ClientError  # pyright: ignore[reportMissingTypeStubs] # botocore has none

from handler.stream.testing.dynamodb import MemoryDynamoDB, Result, client_error
from tests.fakes.stream import number
from tests.property.function.lambda_environment import LambdaEnvironment
from tests.property.function.ledger_observer import LedgerObserver, call_name
from tests.property.function.names import LEDGER, TARGET
from tests.property.function.network import ClientConfig, Request, send
from tests.property.history.journal import Journal, Parked
from tests.property.virtual_clock import VirtualClock

STALE_SECONDS = 30.0
"""An eventually consistent read sees what was written so long ago, always; a real one sometimes."""
KEYS = {TARGET: ("id",)}
CLAIM_TIMES = {"expiry": 1, "in_progress_expiration": 1000, ":now": 1, ":now_in_millis": 1000, ":expiry": 1}
"""Times that Powertools takes from the real clock: the name, and how many of its units are a second."""


class SharedDynamoDB(MemoryDynamoDB):
    """DynamoDB itself; `observer` watches each write to the ledger."""

    def __init__(self, clock: VirtualClock, journal: Journal) -> None:
        super().__init__(KEYS)
        self.observer = LedgerObserver(clock, journal)
        self._clock = clock
        self._former: list[tuple[float, str, str, dict[str, Any] | None]] = []

    def before(self, request: Mapping[str, Any]) -> dict[str, Any] | None:
        """The item of a request, as it is."""
        return self._item(request["TableName"], request.get("Key") or request["Item"])

    def remember(self, request: Mapping[str, Any], former: dict[str, Any] | None) -> None:
        """Keep an item's former state, for reads that are not consistent."""
        partition, sort = self._place(request["TableName"], request.get("Key") or request["Item"])
        self._former.append((self._clock.now, partition, sort, former))

    def stale(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The answer of a Query that does not ask for consistency."""
        then = MemoryDynamoDB(KEYS)
        then.tables = {LEDGER: {partition: dict(items) for partition, items in self.tables.get(LEDGER, {}).items()}}
        for when, partition, sort, former in reversed(self._former):
            if when > self._clock.now - STALE_SECONDS:
                items = then.tables[LEDGER].setdefault(partition, {})
                items.pop(sort, None)
                items |= {} if former is None else {sort: former}
        return then.query(**request)

    def purge(self, now: float) -> None:
        """Time to live takes what has expired."""
        for partition, items in self.tables.get(LEDGER, {}).items():
            for sort, item in list(items.items()):
                if "expiry" in item and float(item["expiry"]["N"]) < now:
                    del items[sort]
                    self.observer.purged(partition, sort)


class DynamoDBClient(MemoryDynamoDB):
    """One environment's client of the table."""

    def __init__(self, dynamodb: SharedDynamoDB, environment: LambdaEnvironment, config: ClientConfig) -> None:
        super().__init__(KEYS)
        self._dynamodb, self._caller, self._config = dynamodb, environment, config
        self.tables = dynamodb.tables

    def perform(self, operation: str, request: Mapping[str, Any], act: Callable[[], Result]) -> Result:
        """Send a request, and watch what it does."""
        environment, stores = self._caller, self._caller.faults.stores
        run = environment.run
        if request.get("TableName") == TARGET:
            return act()
        name, observer = call_name(operation, request), self._dynamodb.observer

        def carry_out() -> Result:
            if operation == "Query" and not request.get("ConsistentRead"):
                return self._dynamodb.stale(request)  # pyright: ignore[reportReturnType] # a Query's result
            if operation in ("UpdateItem", "PutItem", "DeleteItem"):
                before = self._dynamodb.before(request)
                result = act()
                self._dynamodb.remember(request, before)
                observer.written(environment, request, before, self._dynamodb.before(request))
                return result
            if operation != "BatchWriteItem":
                return act()
            for write in next(iter(request["RequestItems"].values())):
                [body] = write.values()
                body = {"TableName": LEDGER, **body}
                self._dynamodb.remember(body, self._dynamodb.before(body))
            result = act()
            observer.many_written(request)
            return result

        partly = {
            "BatchWriteItem": lambda: self._some_written(request),
            "BatchGetItem": lambda: self._some_read(request),
            "Query": lambda: self._short_page(request, carry_out()),
        }.get(operation)
        writes = stores.ledger_throttled if operation not in ("Query", "BatchGetItem") else None
        try:
            answer: Any = send(environment, self._config, Request(name, carry_out, stores.ledger_down, writes, partly))
        except Exception as error:
            if "ConditionalCheckFailed" not in str(error):
                observer.failed(run, name, operation, request)
            raise
        if answer:
            run.ledger_failed |= any(answer.get(key) for key in ("UnprocessedItems", "UnprocessedKeys"))
        observer.answered(run, operation, request)
        return answer

    def put_item(self, **request: Any) -> dict[str, Any]:
        """As always, but that claims' times are the history's."""
        if not _is_claim(request):
            return super().put_item(**request)
        shift = self._caller.local_time() - time.time()
        try:
            return super().put_item(**_shifted(request, shift))
        except ClientError as refusal:
            if there := cast(Any, refusal.response).get("Item"):
                cast(Any, refusal.response)["Item"] = _moved(there, -shift)
            raise

    def update_item(self, **request: Any) -> dict[str, Any]:
        """As always, but that claims' times are the history's."""
        if not _is_claim(request):
            return super().update_item(**request)
        return super().update_item(**_shifted(request, self._caller.local_time() - time.time()))

    def _some_written(self, request: Mapping[str, Any]) -> dict[str, Any]:
        [(table, writes)] = request["RequestItems"].items()
        count = self._caller.rng.randrange(len(writes))
        done, left = writes[:count], writes[count:]
        if done:
            done_request = {"RequestItems": {table: done}}
            MemoryDynamoDB.batch_write_item(self._bare(), **done_request)
            self._dynamodb.observer.many_written(done_request)
        return {"UnprocessedItems": {table: left}}

    def _some_read(self, request: Mapping[str, Any]) -> dict[str, Any]:
        [(table, wanted)] = request["RequestItems"].items()
        count = self._caller.rng.randrange(len(wanted["Keys"]))
        done, left = wanted | {"Keys": wanted["Keys"][:count]}, wanted | {"Keys": wanted["Keys"][count:]}
        nothing: dict[str, Any] = {"Responses": {}}
        found = self._bare().batch_get_item(RequestItems={table: done}) if count else nothing
        return found | {"UnprocessedKeys": {table: left}}

    def _short_page(self, request: Mapping[str, Any], answer: Any) -> Any:
        """As where a page of 1 MB is full."""
        if request.get("Limit") == 1 or len(answer["Items"]) < 2:
            return answer
        items = answer["Items"][: self._caller.rng.randint(1, len(answer["Items"]) - 1)]
        return {"Items": items, "LastEvaluatedKey": {name: items[-1][name] for name in ("pk", "sk")}}

    def _bare(self) -> MemoryDynamoDB:
        bare = MemoryDynamoDB(KEYS)
        bare.tables = self.tables
        return bare


def _is_claim(request: Mapping[str, Any]) -> bool:
    key = request.get("Key") or request["Item"]
    return key.get("pk", {}).get("S", "").startswith("claim#")


def _shifted(request: dict[str, Any], shift: float) -> dict[str, Any]:
    parts = ("Item", "ExpressionAttributeValues")
    return request | {part: _moved(request[part], shift) for part in parts if part in request}


def _moved(values: Mapping[str, Any], shift: float) -> dict[str, Any]:
    return {name: _later(name, value, shift) for name, value in values.items()}


def _later(name: str, value: Any, shift: float) -> Any:
    unit = CLAIM_TIMES.get(name)
    return value if unit is None or "N" not in value else {"N": str(int(float(value["N"]) + shift * unit))}


class FailureBucketClient:
    """One environment's client of the failure bucket."""

    def __init__(self, objects: dict[str, bytes], environment: LambdaEnvironment, config: ClientConfig) -> None:
        self._objects, self._caller, self._config = objects, environment, config

    def put_object(self, **request: Any) -> dict[str, Any]:
        """Park a change."""
        environment = self._caller
        body = json.loads(request["Body"])
        [record] = json.loads(body["payload"])["Records"]
        each, reason, run = number(record), body["requestContext"]["condition"], environment.run

        def put() -> dict[str, Any]:
            run.parked.add(each)
            parked = Parked(each, environment.clock.now, reason, run)
            environment.journal.parked.setdefault(each, []).append(parked)
            if request["IfNoneMatch"] == "*" and request["Key"] in self._objects:
                raise client_error("PreconditionFailed", "PutObject")
            self._objects[request["Key"]] = request["Body"]
            return {}

        try:
            return send(environment, self._config, Request("park", put, environment.faults.stores.store_down))
        except Exception as error:
            run.bucket_failed |= "PreconditionFailed" not in str(error)
            raise


class LambdaClient:
    """One environment's client of Lambda: how a retry run asks for helpers."""

    def __init__(
        self, environment: LambdaEnvironment, config: ClientConfig, start: Callable[[dict[str, Any]], None]
    ) -> None:
        self._caller, self._config, self._start = environment, config, start

    def invoke(self, **request: Any) -> dict[str, Any]:
        """Run the function once more, later."""
        assert request["InvocationType"] == "Event"
        assert request["FunctionName"]

        def begin() -> dict[str, Any]:
            self._start(json.loads(request["Payload"]))
            return {"StatusCode": 202}

        return send(self._caller, self._config, Request("invoke a helper", begin, None))


def records_in(objects: Mapping[str, bytes]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The keys of parked changes, and their records."""
    for key, body in objects.items():
        [record] = json.loads(json.loads(body)["payload"])["Records"]
        yield key, record
