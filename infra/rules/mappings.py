"""Rules about event source mappings."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from infra.engine import RECORD_AGE_SECONDS
from infra.rules.rule import Level, rule, stack_rule
from infra.rules.view import (
    CONSUMER,
    FUNCTION,
    MAPPING,
    QUEUE,
    TABLE,
    TABLE_REPLICA,
    TOPIC,
    ResourceView,
    Tables,
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
"""Seconds for which a stream keeps its records (AWS's limit)."""

MAX_READERS, MAX_READERS_OF_REPLICATED_TABLE = 2, 1
"""Readers that a stream serves without throttling them all (AWS's recommendation; one where the table has replicas)."""


@rule(Level.UNSAFE, MAPPING)
def mapping_without_destination(mapping: ResourceView) -> Iterator[str]:
    """What a mapping gives up goes to a destination."""
    given = value_at(mapping.inputs, "destinationConfig", "onFailure", "destinationArn")
    if reads_a_stream(mapping) and not given:
        yield "no destinationConfig.onFailure: what the mapping gives up is gone; name a bucket, which gets it whole"


@rule(Level.UNSAFE, MAPPING)
def position_latest(mapping: ResourceView) -> Iterator[str]:
    """A mapping starts at the stream's beginning."""
    if reads_a_stream(mapping) and mapping.inputs.get("startingPosition") == "LATEST":
        yield (
            "startingPosition LATEST: changes made in the minutes while the mapping is created or updated are missed; "
            "take TRIM_HORIZON, and pass over in the handler what is too old"
        )


@rule(Level.UNSAFE, MAPPING)
def counted_retries(mapping: ResourceView) -> Iterator[str]:
    """A mapping gives up by age, not by a count of retries."""
    attempts = as_number(mapping.inputs.get("maximumRetryAttempts"), -1)
    if reads_a_stream(mapping) and attempts >= 0:
        yield (
            f"maximumRetryAttempts {attempts}: the first outage of a dependency uses them up within minutes, and "
            "healthy changes are given up with the failing ones; leave it at -1 and bound maximumRecordAgeInSeconds"
        )


@rule(Level.UNSAFE, MAPPING)
def no_bisect(mapping: ResourceView) -> Iterator[str]:
    """A batch that ends its function is halved until the change that ends it stands alone."""
    if reads_a_stream(mapping) and not as_flag(mapping.inputs.get("bisectBatchOnFunctionError")):
        yield (
            "no bisectBatchOnFunctionError: a change that ends the function holds up the whole batch around it, and is "
            "given up together with it; enable it"
        )


@rule(Level.ADVICE, MAPPING)
def no_partial_responses(mapping: ResourceView) -> Iterator[str]:
    """A function can say which records of a batch have failed."""
    types = mapping.inputs.get("functionResponseTypes")
    if reads_a_stream(mapping) and not isinstance(types, Unknown) and "ReportBatchItemFailures" not in as_list(types):
        yield (
            "functionResponseTypes without ReportBatchItemFailures: one failure repeats its whole batch; add it, and "
            "answer with the failed records' sequence numbers"
        )


@stack_rule(Level.UNSAFE)
def unbounded_age(resources: Sequence[ResourceView]) -> Iterator[tuple[ResourceView, str]]:
    """A mapping gives a record up while its stream still has it.

    A comparison, since at preview only its dependencies tell that a mapping reads a table.
    """
    tables = Tables(resources)
    for mapping in of_type(resources, MAPPING):
        given = mapping.inputs.get("maximumRecordAgeInSeconds")
        age = -1 if given is None else as_number(given, 0)
        if reads_a_stream(mapping) and (age == -1 or (tables.read_by(mapping) and age >= DAY_SECONDS)):
            yield (
                mapping,
                f"{mapping.name}: maximumRecordAgeInSeconds {age}: a record that stops the "
                "function holds its shard up until the stream, after 24 h, forgets it and those behind it; bound it, "
                f"{RECORD_AGE_SECONDS} leaves the destination five minutes",
            )


@stack_rule(Level.UNSAFE)
def short_age(resources: Sequence[ResourceView]) -> Iterator[tuple[ResourceView, str]]:
    """A consumer's mapping discards nothing that the stream still keeps for long."""
    consumers = {consumer.urn for consumer in of_type(resources, CONSUMER)}
    for mapping in of_type(resources, MAPPING):
        age = as_number(mapping.inputs.get("maximumRecordAgeInSeconds"), RECORD_AGE_SECONDS)
        if mapping.parent in consumers and 0 < age < RECORD_AGE_SECONDS:
            yield (
                mapping,
                f"{mapping.name}: maximumRecordAgeInSeconds {age}: changes that wait in the stream, at the mapping's "
                "start or while the ledger cannot be reached, would be discarded without being run; leave it at "
                f"{RECORD_AGE_SECONDS}",
            )


@stack_rule(Level.UNSAFE)
def no_second_try(resources: Sequence[ResourceView]) -> Iterator[tuple[ResourceView, str]]:
    """A change that timed out is tried again before it is too old."""
    for mapping, function in links(resources, MAPPING, "functionName", FUNCTION):
        age = as_number(mapping.inputs.get("maximumRecordAgeInSeconds"), -1)
        window = as_number(mapping.inputs.get("maximumBatchingWindowInSeconds"), 0)
        timeout = as_number(function.inputs.get("timeout", 3), 0)
        if 0 < age <= window + timeout:
            yield (
                mapping,
                f"{mapping.name}: maximumRecordAgeInSeconds {age}: one try may take {window + timeout} s "
                f"(maximumBatchingWindowInSeconds {window}, timeout {timeout}), so a change that times out once is "
                "given up without another; raise the age, or lower these",
            )


@stack_rule(Level.REFUSED)
def too_many_readers(resources: Sequence[ResourceView]) -> Iterator[tuple[ResourceView, str]]:
    """A table's stream has at most two readers, and one where the table has replicas."""
    tables = Tables(resources)
    readers: dict[str, list[ResourceView]] = defaultdict(list)
    for mapping in of_type(resources, MAPPING):
        for table in tables.read_by(mapping):
            readers[table].append(mapping)
    replicas = {table.urn for _, table in links(resources, TABLE_REPLICA, "globalTableArn", TABLE)}
    for table, mappings in readers.items():
        replicated = table in replicas or bool(as_list(tables[table].inputs.get("replicas")))
        most = MAX_READERS_OF_REPLICATED_TABLE if replicated else MAX_READERS
        for mapping in mappings[most:]:
            first = " and ".join(each.name for each in mappings[:most])
            serves = "serves one where the table has replicas" if replicated else "serves two"
            yield (
                mapping,
                f"{mapping.name} would be reader {mappings.index(mapping) + 1} of {tables.name(table)}, after "
                f"{first}: a stream {serves} before all are throttled; do its work in one of these, or let one hand "
                "its changes on",
            )


@stack_rule(Level.REFUSED)
def doubled_mapping(resources: Sequence[ResourceView]) -> Iterator[tuple[ResourceView, str]]:
    """A function reads a stream by one mapping."""
    tables = Tables(resources)
    first: dict[tuple[str, str], ResourceView] = {}
    for mapping, function in links(resources, MAPPING, "functionName", FUNCTION):
        for table in tables.sources(mapping):
            other = first.setdefault((function.urn, table), mapping)
            if other is not mapping:
                yield (
                    mapping,
                    f"{mapping.name} and {other.name} read {tables.name(table)} with one function, {function.name}: "
                    "AWS refuses the second; take one, with the filters of both",
                )


@stack_rule(Level.REFUSED)
def fifo_destination(resources: Sequence[ResourceView]) -> Iterator[tuple[ResourceView, str]]:
    """What a mapping gives up goes to a standard queue or topic."""
    for kind, fifo in ((QUEUE, "fifoQueue"), (TOPIC, "fifoTopic")):
        for mapping, target in links(resources, MAPPING, "destinationConfig", kind):
            if target.inputs.get(fifo) is True:
                yield mapping, f"{mapping.name} cannot deliver to {target.name}, which is FIFO: take a standard one"
