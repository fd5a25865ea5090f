"""Rules about event source mappings."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from infra.engine import RECORD_AGE_SECONDS
from infra.rules.rule import Level, rule, stack_rule
from infra.rules.view import (
    ResourceView,
    Tables,
    Type,
    Unknown,
    as_flag,
    as_list,
    as_number,
    links,
    of_type,
    reads_a_stream,
    value_at,
)

DAY_SECONDS = 86_400
"""Seconds for which a stream keeps its records (DynamoDB's limit)."""

MAX_READERS, MAX_READERS_OF_REPLICATED_TABLE = 2, 1
"""Readers that a stream serves without throttling (AWS's recommendation). A table with replicas serves one."""


@rule(Level.UNSAFE, Type.MAPPING)
def mapping_without_destination(mapping: ResourceView) -> Iterator[str]:
    """A mapping has an on-failure destination for the records that it gives up."""
    given = value_at(mapping.inputs, "destinationConfig", "onFailure", "destinationArn")
    if reads_a_stream(mapping) and not given:
        yield (
            "no destinationConfig.onFailure: records that the mapping gives up are lost; name a bucket, which receives "
            "them whole"
        )


@rule(Level.UNSAFE, Type.MAPPING)
def position_latest(mapping: ResourceView) -> Iterator[str]:
    """A mapping starts at the beginning of the stream."""
    if reads_a_stream(mapping) and mapping.inputs.get("startingPosition") == "LATEST":
        yield (
            "startingPosition LATEST: the mapping misses changes that are made during its creation or update, which "
            "takes minutes; use TRIM_HORIZON, and skip changes in the handler that are too old"
        )


@rule(Level.UNSAFE, Type.MAPPING)
def counted_retries(mapping: ResourceView) -> Iterator[str]:
    """A mapping gives a record up by its age, not by a number of retries."""
    attempts = as_number(mapping.inputs.get("maximumRetryAttempts"), -1)
    if reads_a_stream(mapping) and attempts >= 0:
        yield (
            f"maximumRetryAttempts {attempts}: the first outage of a dependency uses up these retries within minutes, "
            "and the mapping discards healthy changes with the failing one; leave it at -1 and limit "
            "maximumRecordAgeInSeconds"
        )


@rule(Level.UNSAFE, Type.MAPPING)
def no_bisect(mapping: ResourceView) -> Iterator[str]:
    """A mapping bisects a batch that crashes the function until it finds the change that does."""
    if reads_a_stream(mapping) and not as_flag(mapping.inputs.get("bisectBatchOnFunctionError")):
        yield (
            "no bisectBatchOnFunctionError: a change that crashes the function blocks its whole batch, and the mapping "
            "gives up the whole batch; enable it"
        )


@rule(Level.ADVICE, Type.MAPPING)
def no_partial_responses(mapping: ResourceView) -> Iterator[str]:
    """A mapping accepts partial responses, in which a function names the failed records of a batch."""
    types = mapping.inputs.get("functionResponseTypes")
    if reads_a_stream(mapping) and not isinstance(types, Unknown) and "ReportBatchItemFailures" not in as_list(types):
        yield (
            "functionResponseTypes without ReportBatchItemFailures: one failure repeats the whole batch; add it, and "
            "return the sequence numbers of the failed records"
        )


@stack_rule(Level.UNSAFE)
def unbounded_age(resources: Sequence[ResourceView]) -> Iterator[tuple[ResourceView, str]]:
    """A mapping gives a record up while the stream still keeps the record.

    The rule compares resources, since a preview knows only by its dependencies that a mapping reads a table.
    """
    tables = Tables(resources)
    for mapping in of_type(resources, Type.MAPPING):
        given = mapping.inputs.get("maximumRecordAgeInSeconds")
        age = -1 if given is None else as_number(given, 0)
        if reads_a_stream(mapping) and (age == -1 or (tables.read_by(mapping) and age >= DAY_SECONDS)):
            yield (
                mapping,
                f"{mapping.name}: maximumRecordAgeInSeconds {age}: a record that crashes the function blocks its shard "
                "until the stream deletes the record and those behind it after 24 h; limit the age: "
                f"{RECORD_AGE_SECONDS} leaves 5 minutes for the delivery to the destination",
            )


@stack_rule(Level.UNSAFE)
def short_age(resources: Sequence[ResourceView]) -> Iterator[tuple[ResourceView, str]]:
    """A consumer's mapping discards a record only shortly before the stream deletes it."""
    consumers = {consumer.urn for consumer in of_type(resources, Type.CONSUMER)}
    for mapping in of_type(resources, Type.MAPPING):
        age = as_number(mapping.inputs.get("maximumRecordAgeInSeconds"), RECORD_AGE_SECONDS)
        if mapping.parent in consumers and 0 < age < RECORD_AGE_SECONDS:
            yield (
                mapping,
                f"{mapping.name}: maximumRecordAgeInSeconds {age}: changes that wait in the stream, at the mapping's "
                "start or while the ledger cannot be reached, would be discarded unprocessed; leave it at "
                f"{RECORD_AGE_SECONDS}",
            )


@stack_rule(Level.UNSAFE)
def no_second_try(resources: Sequence[ResourceView]) -> Iterator[tuple[ResourceView, str]]:
    """The maximum record age leaves time for a second try after a timeout."""
    for mapping, function in links(resources, Type.MAPPING, "functionName", Type.FUNCTION):
        age = as_number(mapping.inputs.get("maximumRecordAgeInSeconds"), -1)
        window = as_number(mapping.inputs.get("maximumBatchingWindowInSeconds"), 0)
        timeout = as_number(function.inputs.get("timeout", 3), 0)
        if 0 < age <= window + timeout:
            yield (
                mapping,
                f"{mapping.name}: maximumRecordAgeInSeconds {age}: one try may take {window + timeout} s "
                f"(maximumBatchingWindowInSeconds {window}, timeout {timeout}), so the mapping discards a change that "
                "times out once without a second try; raise the age, or lower the window or the timeout",
            )


@stack_rule(Level.REFUSED)
def too_many_readers(resources: Sequence[ResourceView]) -> Iterator[tuple[ResourceView, str]]:
    """A stream has at most two readers, or one if the table has replicas."""
    tables = Tables(resources)
    readers: dict[str, list[ResourceView]] = defaultdict(list)
    for mapping in of_type(resources, Type.MAPPING):
        for table in tables.read_by(mapping):
            readers[table].append(mapping)
    replicas = {table.urn for _, table in links(resources, Type.TABLE_REPLICA, "globalTableArn", Type.TABLE)}
    for table, mappings in readers.items():
        replicated = table in replicas or bool(as_list(tables[table].inputs.get("replicas")))
        most = MAX_READERS_OF_REPLICATED_TABLE if replicated else MAX_READERS
        for mapping in mappings[most:]:
            first = " and ".join(each.name for each in mappings[:most])
            serves = "serves one reader of a table with replicas" if replicated else "serves two readers"
            yield (
                mapping,
                f"{mapping.name} would be reader {mappings.index(mapping) + 1} of {tables.name(table)}, after "
                f"{first}: a stream {serves} without throttling; do the work in one of these consumers, or let one of "
                "them "
                "pass the changes on",
            )


@stack_rule(Level.REFUSED)
def doubled_mapping(resources: Sequence[ResourceView]) -> Iterator[tuple[ResourceView, str]]:
    """A function reads a stream by only one mapping."""
    tables = Tables(resources)
    first: dict[tuple[str, str], ResourceView] = {}
    for mapping, function in links(resources, Type.MAPPING, "functionName", Type.FUNCTION):
        for table in tables.sources(mapping):
            other = first.setdefault((function.urn, table), mapping)
            if other is not mapping:
                yield (
                    mapping,
                    f"{mapping.name} and {other.name} read {tables.name(table)} with one function, {function.name}: "
                    "AWS refuses the second mapping; use one mapping with the filters of both",
                )


@stack_rule(Level.REFUSED)
def fifo_destination(resources: Sequence[ResourceView]) -> Iterator[tuple[ResourceView, str]]:
    """The on-failure destination of a mapping is not a FIFO queue or topic."""
    for kind, fifo in ((Type.QUEUE, "fifoQueue"), (Type.TOPIC, "fifoTopic")):
        for mapping, target in links(resources, Type.MAPPING, "destinationConfig", kind):
            if target.inputs.get(fifo) is True:
                yield (
                    mapping,
                    f"{mapping.name} cannot deliver to {target.name}, which is FIFO: use a standard queue or topic",
                )
