"""Reads the facts about the consumers of a stack from AWS, concurrently."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, cast

from ops.failures.bucket import ENGINE, MAPPINGS
from ops.stack import Client, ConsumerOutputs, Stack
from ops.status.facts import (
    MISSING,
    ConsumerFacts,
    DestinationFacts,
    Facts,
    FunctionFacts,
    GoneConsumer,
    MappingFacts,
    Metrics,
    Missing,
    StoreFacts,
    TableFacts,
)
from ops.status.reading import metrics, resources, stores
from ops.status.reading.calls import Call, Calls
from ops.streams import oldest_record_at

Started = dict[str, Call]
"""Calls under way, by what they read."""


class Reader:
    """Reads a stack's facts once.

    The first calls need only the stack's outputs; then follow those that need the mappings and the functions.

    Parameters
    ----------
    stack
        The outputs of the stack.
    client
        Returns boto3's client for a service.
    consumer
        The name of the only consumer to read. By default, all are read, and traces of consumers that are gone.
    """

    def __init__(self, stack: Stack, client: Client, consumer: str | None = None) -> None:
        self._stack, self._client, self._reads_gone = stack, client, consumer is None
        self._consumers = {name: each for name, each in stack.consumers.items() if consumer in (None, name)}
        self._bucket, self._ledger = stack.stores.failures.bucket, stack.stores.ledger.name
        self._calls = Calls()
        self._clock_skew = 0.0

    def read(self) -> Facts:
        """Return the facts; those that could not be read are listed in `unread`.

        Raises
        ------
        Exception
            An error of boto3 that every call has: no credentials, expired credentials, no network.
        """
        try:
            return self._read()
        finally:
            self._calls.close()

    def _read(self) -> Facts:
        shared = self._start_shared()
        started = {name: self._start_consumer(name, outputs) for name, outputs in self._consumers.items()}
        consumers = [self._finish_consumer(name, calls) for name, calls in started.items()]
        details = self._start_details(consumers)
        tables = sorted({each.table_name for each in _mappings(consumers) if not each.is_of_another_account})
        tables.append(self._ledger)
        recent, history = self._start_metrics(consumers, tables)
        reported = self._start_names(consumers)
        recents, histories = _dictionary(recent.result()), _dictionary(history.result())
        finished = tuple(self._complete(consumer, details, recents, histories) for consumer in consumers)
        expires = shared["expiry"].result()
        return Facts(
            now=time.time() + self._clock_skew,
            clock_skew=self._clock_skew,
            consumers=finished,
            tables={name: TableFacts(name, *_of(f"table {name}", recents, histories)) for name in tables},
            stores=StoreFacts(
                self._bucket,
                self._ledger,
                failure_days=shared["days"].result(),
                ledger_expires=None if expires == MISSING else expires,
            ),
            gone=self._read_gone(shared, reported),
            unread=self._calls.unread,
        )

    # Calls that need only the stack's outputs

    def _start_shared(self) -> Started:
        client, bucket, start = self._client, self._bucket, partial(self._calls.start, None)
        started = {
            "days": start(
                "the failure bucket's lifecycle", lambda: stores.failure_days(client("s3"), bucket) or MISSING
            ),
            "expiry": start(
                "the ledger's time to live", lambda: stores.deletes_expired(client("dynamodb"), self._ledger)
            ),
        }
        if self._reads_gone:
            started["names"] = start("the failure bucket", lambda: stores.consumers_with_failures(client("s3"), bucket))
        return started

    def _start_consumer(self, name: str, outputs: ConsumerOutputs) -> Started:
        client, start = self._client, partial(self._calls.start, name)
        started = {
            "function": start("the function", lambda: resources.read_function(client("lambda"), outputs.function))
        }
        for table, uuid in outputs.mappings.items():
            started[f"mapping of {table}"] = start(
                f"the mapping of {table}",
                lambda table=table, uuid=uuid: resources.read_mapping(client("lambda"), table, uuid),
            )
        if ledger_name := outputs.ledger_name:
            prefix = f"{ENGINE}{ledger_name}/"
            started["holds"] = start("the held items", lambda: stores.read_holds(client, self._ledger, ledger_name))
            started["parked"] = start(
                "the parked changes", lambda: stores.list_objects(client("s3"), self._bucket, prefix)
            )
        if schedule := outputs.schedule:
            started["schedule"] = start(
                "the retry schedule", lambda: resources.read_schedule(client("scheduler"), schedule)
            )
        return started

    def _finish_consumer(self, name: str, started: Started) -> ConsumerFacts:
        outputs = self._consumers[name]
        read: dict[str, Any] = {what: call.result() for what, call in started.items()}
        function: FunctionFacts | Missing | None = read["function"]
        if isinstance(function, FunctionFacts):
            self._clock_skew = function.clock_skew
        mappings: dict[str, Any] = {table: read[f"mapping of {table}"] for table in outputs.mappings}
        return ConsumerFacts(
            name=name,
            function_name=outputs.function,
            ledger_name=outputs.ledger_name,
            function=function,
            mappings=tuple(each for each in mappings.values() if isinstance(each, MappingFacts)),
            missing_mappings=tuple(table for table, each in mappings.items() if each == MISSING),
            holds=read.get("holds"),
            parked=read.get("parked"),
            schedule=read.get("schedule"),
        )

    # Calls that need the mappings and functions

    def _start_details(self, consumers: Iterable[ConsumerFacts]) -> Started:
        """Read what is not in the mappings themselves; a stream, table or destination of several mappings only once."""
        started: Started = {}
        for consumer in consumers:
            function = consumer.function
            role = function.role_arn if isinstance(function, FunctionFacts) else None
            for mapping in consumer.mappings:
                for key, call in self._detail_calls(mapping, role).items():
                    if key not in started:
                        what = key.partition(" | ")[0]
                        is_optional = what == "the permission to write failures"
                        started[key] = self._calls.start(consumer.name, what, call, is_optional=is_optional)
        return started

    def _detail_calls(self, mapping: MappingFacts, role: str | None) -> dict[str, Any]:
        client, arn, account = self._client, mapping.destination_arn, mapping.account
        calls: dict[str, Any] = {
            _stream(mapping): lambda: oldest_record_at(client("dynamodbstreams"), mapping.stream_arn)
        }
        if not mapping.is_of_another_account:
            calls[_table(mapping)] = lambda: resources.latest_stream(client("dynamodb"), mapping.table_name)
        if arn:
            calls[_destination(mapping)] = lambda: resources.destination_exists(client, arn)
            if arn.endswith(f":::{self._bucket}"):
                prefix = f"{MAPPINGS}{mapping.uuid}/"
                calls[_discarded(mapping)] = lambda: stores.list_objects(client("s3"), self._bucket, prefix)
            if role:
                calls[_permission(mapping)] = lambda: resources.may_write(client("iam"), role, arn, account)
        return calls

    def _start_metrics(self, consumers: Iterable[ConsumerFacts], tables: Iterable[str]) -> tuple[Call, Call]:
        client, now = self._client, time.time()
        scopes = {f"table {name}": metrics.table_metrics(name) for name in tables}
        for each in consumers:
            scopes[each.name] = metrics.consumer_metrics(each.name, each.function_name, _namespace(each))
            scopes |= {mapping.uuid: metrics.mapping_metrics(mapping.uuid) for mapping in each.mappings}
        recents = {scope: recent for scope, (recent, _) in scopes.items()}
        histories = {scope: history for scope, (_, history) in scopes.items()}
        return (
            self._calls.start(None, "the metrics", lambda: metrics.read_recent(client("cloudwatch"), recents, now)),
            self._calls.start(None, "the metrics", lambda: metrics.read_history(client("cloudwatch"), histories, now)),
        )

    def _complete(
        self,
        consumer: ConsumerFacts,
        details: Started,
        recents: Mapping[str, Metrics],
        histories: Mapping[str, Metrics],
    ) -> ConsumerFacts:
        def result(key: str) -> Any:
            return details[key].result() if key in details else None

        def complete(mapping: MappingFacts) -> MappingFacts:
            exists, oldest = result(_destination(mapping)), result(_stream(mapping))
            allowed = result(_permission(mapping))
            arn, recent_and_history = mapping.destination_arn, _of(mapping.uuid, recents, histories)
            return replace(
                mapping,
                latest_stream_arn=result(_table(mapping)),
                oldest_record_at=None if oldest == MISSING else oldest,
                destination=DestinationFacts(
                    arn, False if exists == MISSING else exists, None if allowed == MISSING else allowed
                )
                if arn
                else None,
                discarded=result(_discarded(mapping)),
                recent=recent_and_history[0],
                history=recent_and_history[1],
            )

        recent, history = _of(consumer.name, recents, histories)
        mappings = tuple(map(complete, consumer.mappings))
        return replace(consumer, mappings=mappings, recent=recent, history=history)

    # Consumers that are gone

    def _start_names(self, consumers: Iterable[ConsumerFacts]) -> Call | None:
        if not self._reads_gone:
            return None
        functions = [each.function for each in consumers]
        namespaces = sorted({each.namespace for each in functions if isinstance(each, FunctionFacts)})
        return self._calls.start(
            None,
            "the list of metrics",
            lambda: metrics.consumers_with_metrics(self._client("cloudwatch"), namespaces),
        )

    def _read_gone(self, shared: Started, reported: Call | None) -> tuple[GoneConsumer, ...]:
        """Return the traces of consumers that have failures or metrics, but are not in the stack."""
        if reported is None:
            return ()
        with_failures, with_metrics = _names(shared["names"].result()), _names(reported.result())
        known = {*self._stack.consumers, *(each.ledger_name for each in self._stack.consumers.values())}
        streams = [table.stream_arn for table in self._stack.tables.values() if table.stream_arn]
        reading = [
            self._calls.start(
                None,
                f"the holds of {name}",
                lambda name=name: stores.read_gone(
                    self._client, self._ledger, name, streams, has_failures=name in with_failures
                ),
            )
            for name in sorted((with_failures | with_metrics) - known)
        ]
        return tuple(each for each in (call.result() for call in reading) if isinstance(each, GoneConsumer))


# Names of results. The operator sees the part before the bar; consumers share a result with the same whole name.


def _stream(mapping: MappingFacts) -> str:
    return f"the stream of {mapping.table} | {mapping.stream_arn}"


def _table(mapping: MappingFacts) -> str:
    return f"the table {mapping.table} | {mapping.table_name}"


def _destination(mapping: MappingFacts) -> str:
    return f"the failure destination | {mapping.destination_arn}"


def _discarded(mapping: MappingFacts) -> str:
    return f"the discarded batches of {mapping.table} | {mapping.uuid}"


def _permission(mapping: MappingFacts) -> str:
    return f"the permission to write failures | {mapping.uuid}"


def _mappings(consumers: Iterable[ConsumerFacts]) -> Iterable[MappingFacts]:
    return (mapping for consumer in consumers for mapping in consumer.mappings)


def _namespace(consumer: ConsumerFacts) -> str:
    function = consumer.function
    is_known = isinstance(function, FunctionFacts)
    return function.namespace if is_known else resources.DEFAULTS.powertools_metrics_namespace


def _dictionary(result: Any) -> Mapping[str, Metrics]:
    return cast("dict[str, Metrics]", result) if isinstance(result, dict) else {}


def _names(result: Any) -> set[str]:
    return cast("set[str]", result) if isinstance(result, set) else set()


def _of(scope: str, recents: Mapping[str, Metrics], histories: Mapping[str, Metrics]) -> tuple[Metrics, Metrics]:
    return recents.get(scope, {}), histories.get(scope, {})
