"""The services that the function calls: DynamoDB, the failure bucket and Lambda, and their clients."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from handler.stream.testing.dynamodb import MemoryDynamoDB, Result, client_error
from tests.fakes.dynamodb import ClockedDynamoDB, touched
from tests.fakes.records import number_of
from tests.property.function.lambda_environment import LambdaEnvironment
from tests.property.function.ledger_observer import LedgerObserver
from tests.property.function.names import LEDGER, TARGET
from tests.property.function.network import ClientConfig, Request, send
from tests.property.history.journal import Journal, Parked
from tests.property.virtual_clock import VirtualClock

STALE_SECONDS = 30.0
"""Seconds by which eventually consistent reads lag: always here, sometimes on AWS."""
KEYS = {TARGET: ("id",)}


class SharedDynamoDB(MemoryDynamoDB):
    """The tables; `observer` sees each write to the ledger."""

    def __init__(self, clock: VirtualClock, journal: Journal) -> None:
        super().__init__(KEYS)
        self.observer = LedgerObserver(clock, journal)
        self._clock = clock
        self._former: list[tuple[float, str, str, dict[str, Any] | None]] = []

    def item(self, request: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the current item of a request."""
        return self._item(request["TableName"], request.get("Key") or request["Item"])

    def remember(self, request: Mapping[str, Any], former: dict[str, Any] | None) -> None:
        """Keep an item's former state for eventually consistent reads."""
        partition, sort = self._place(request["TableName"], request.get("Key") or request["Item"])
        self._former.append((self._clock.now, partition, sort, former))

    def stale(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Answer an eventually consistent Query."""
        then = MemoryDynamoDB(KEYS)
        then.tables = {LEDGER: {partition: dict(items) for partition, items in self.tables.get(LEDGER, {}).items()}}
        for when, partition, sort, former in reversed(self._former):
            if when > self._clock.now - STALE_SECONDS:
                items = then.tables[LEDGER].setdefault(partition, {})
                items.pop(sort, None)
                items |= {} if former is None else {sort: former}
        return then.query(**request)

    def purge(self, now: float) -> None:
        """Remove every row that has expired."""
        for partition, items in self.tables.get(LEDGER, {}).items():
            for sort, item in list(items.items()):
                if "expiry" in item and float(item["expiry"]["N"]) < now:
                    del items[sort]
                    self.observer.purged(partition, sort)


class DynamoDBClient(ClockedDynamoDB):
    """One environment's client of DynamoDB."""

    def __init__(self, dynamodb: SharedDynamoDB, environment: LambdaEnvironment, config: ClientConfig) -> None:
        super().__init__(KEYS, environment.local_time)
        self._dynamodb, self._environment, self._config = dynamodb, environment, config
        self.tables = dynamodb.tables

    def perform(self, operation: str, request: Mapping[str, Any], act: Callable[[], Result]) -> Result:
        """Send a request over the unreliable network, and observe what the request does."""
        environment, stores, observer = self._environment, self._environment.faults.stores, self._dynamodb.observer
        if request.get("TableName") == TARGET:
            return act()
        name = f"{operation} {touched(request)}"

        def carry_out() -> Any:
            if operation == "Query" and not request.get("ConsistentRead"):
                return self._dynamodb.stale(request)
            former = [(body, self._dynamodb.item(body)) for body in _writes(operation, request)]
            result = act()
            for body, item in former:
                self._dynamodb.remember(body, item)
            if operation == "BatchWriteItem":
                observer.many_written(request)
            for body, item in former if operation != "BatchWriteItem" else ():
                observer.written(environment, body, item, self._dynamodb.item(body))
            return result

        partly = {
            "BatchWriteItem": lambda: self._some_written(request),
            "BatchGetItem": lambda: self._some_read(request),
            "Query": lambda: self._short_page(request, carry_out()),
        }.get(operation)
        throttled = stores.ledger_throttled if operation not in ("Query", "BatchGetItem") else None
        try:
            answer = send(environment, self._config, Request(name, carry_out, stores.ledger_down, throttled, partly))
        except Exception as error:
            if "ConditionalCheckFailed" not in str(error):
                observer.failed(environment.run, name, request)
            raise
        if answer:
            environment.run.ledger_failed |= any(answer.get(key) for key in ("UnprocessedItems", "UnprocessedKeys"))
        observer.answered(environment.run, name, request)
        return answer

    def _some_written(self, request: Mapping[str, Any]) -> dict[str, Any]:
        [(table, writes)] = request["RequestItems"].items()
        count = self._environment.rng.randrange(len(writes))
        done, left = writes[:count], writes[count:]
        if done:
            done_request = {"RequestItems": {table: done}}
            self._dynamodb.batch_write_item(**done_request)
            self._dynamodb.observer.many_written(done_request)
        return {"UnprocessedItems": {table: left}}

    def _some_read(self, request: Mapping[str, Any]) -> dict[str, Any]:
        [(table, wanted)] = request["RequestItems"].items()
        count = self._environment.rng.randrange(len(wanted["Keys"]))
        done, left = wanted | {"Keys": wanted["Keys"][:count]}, wanted | {"Keys": wanted["Keys"][count:]}
        nothing: dict[str, Any] = {"Responses": {}}
        answer = self._dynamodb.batch_get_item(RequestItems={table: done}) if count else nothing
        return answer | {"UnprocessedKeys": {table: left}}

    def _short_page(self, request: Mapping[str, Any], answer: Any) -> Any:
        """Shorten an answer, as if its page of 1 MB were full."""
        if request.get("Limit") == 1 or len(answer["Items"]) < 2:
            return answer
        items = answer["Items"][: self._environment.rng.randint(1, len(answer["Items"]) - 1)]
        return {"Items": items, "LastEvaluatedKey": {name: items[-1][name] for name in ("pk", "sk")}}


def _writes(operation: str, request: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the writes of a request, each as the request that would do this write alone."""
    if operation == "BatchWriteItem":
        [writes] = request["RequestItems"].values()
        return [{"TableName": LEDGER, **body} for write in writes for body in write.values()]
    return [request] if operation in ("UpdateItem", "PutItem", "DeleteItem") else []


class FailureBucketClient:
    """One environment's client of the failure bucket."""

    def __init__(self, objects: dict[str, bytes], environment: LambdaEnvironment, config: ClientConfig) -> None:
        self._objects, self._environment, self._config = objects, environment, config

    def put_object(self, **request: Any) -> dict[str, Any]:
        """Park a change, as boto3's S3 client does."""
        environment = self._environment
        body = json.loads(request["Body"])
        [record] = json.loads(body["payload"])["Records"]
        each, reason, run = number_of(record), body["requestContext"]["condition"], environment.run

        def put() -> dict[str, Any]:
            run.parked.add(each)
            parked = Parked(each, environment.clock.now, reason, run)
            environment.journal.parked.setdefault(each, []).append(parked)
            if request.get("IfNoneMatch") == "*" and request["Key"] in self._objects:
                raise client_error("PreconditionFailed", "PutObject")
            self._objects[request["Key"]] = request["Body"]
            return {}

        try:
            return send(environment, self._config, Request("PutObject", put, environment.faults.stores.store_down))
        except Exception as error:
            run.bucket_failed |= "PreconditionFailed" not in str(error)
            raise


class LambdaClient:
    """One environment's client of Lambda, by which a retry run starts helpers."""

    def __init__(
        self, environment: LambdaEnvironment, config: ClientConfig, start: Callable[[dict[str, Any]], None]
    ) -> None:
        self._environment, self._config, self._start = environment, config, start

    def invoke(self, **request: Any) -> dict[str, Any]:
        """Invoke the function asynchronously."""
        assert request["InvocationType"] == "Event"
        assert request["FunctionName"]

        def begin() -> dict[str, Any]:
            self._start(json.loads(request["Payload"]))
            return {"StatusCode": 202}

        return send(self._environment, self._config, Request("Invoke", begin, None))


def records_in(objects: Mapping[str, bytes]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the key and the record of each parked change."""
    for key, body in objects.items():
        [record] = json.loads(json.loads(body)["payload"])["Records"]
        yield key, record
