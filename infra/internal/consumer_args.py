"""A consumer's arguments: which it passes on, what is wrong with them, and what the rules look at of them."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pulumi
import pulumi_aws as aws

from infra import engine
from infra.archive import Package
from infra.archive.handler_module import module_of
from infra.grants import Grant
from infra.internal import passed_arguments
from infra.internal.passed_arguments import PassedArgs
from infra.stores import Stores
from infra.table import Table, ViewType

Environment = Mapping[str, pulumi.Input[str] | Grant]
"""Environment variables: a value, or a value with rights."""

ENGINE_VARIABLES = {
    *("POWERTOOLS_SERVICE_NAME", "POWERTOOLS_METRICS_NAMESPACE", "GIVE_UP_AFTER_SECONDS", "BATCHING_WINDOW_SECONDS"),
    *("HANDLER_TIMEOUT_SECONDS", "WORKERS", "TRACING"),
    *("FAILURE_BUCKET", "LEDGER_NAME", "LEDGER_TABLE", "REMEMBER_SECONDS"),
}
"""The engine's variables. Those of the stores are its own without stores, too: only stores can say how long a claim and
a tombstone must last."""

LEDGER_NAME = re.compile("[a-z0-9]+(-[a-z0-9]+)*")
"""How a consumer is written, so that a right to what is its own is to nothing else."""

MAX_FILTERS = 5
"""Filters of one mapping (Lambda's quota, unless raised)."""

IN_TUNING = "set {} in the consumer's tuning"

MAPPING_OWNED = {
    "event_source_arn": "reads= names the table",
    "filter_criteria": "reads= makes the filters",
    "function_name": "it is the consumer's own function",
    "function_response_types": "the engine answers with the failed records",
    "destination_config": "on_failure= names the destination",
    "tumbling_window_in_seconds": "the engine answers with no window's state",
    "starting_position_timestamp": "a DynamoDB stream's mapping takes none",
    "region": "the provider's Region is that of the whole pipeline",
    **dict.fromkeys(
        (
            *("topics", "queues", "self_managed_event_source", "document_db_event_source_config", "scaling_config"),
            *("amazon_managed_kafka_event_source_config", "self_managed_kafka_event_source_config"),
            *("source_access_configurations", "provisioned_poller_config"),
        ),
        "it is for other sources than DynamoDB streams",
    ),
    "enabled": IN_TUNING.format("enabled"),
    "starting_position": IN_TUNING.format("startingPosition"),
    "batch_size": IN_TUNING.format("batchSize"),
    "maximum_batching_window_in_seconds": IN_TUNING.format("maximumBatchingWindowInSeconds"),
    "parallelization_factor": IN_TUNING.format("parallelizationFactor"),
}
"""Arguments of a mapping that the component sets, or that the engine cannot work with, and what sets them."""

MAPPING_DEFAULTS: PassedArgs = {**engine.MAPPING, "metrics_config": {"metrics": ["EventCount"]}}
"""EventCount tells what was discarded and what reached the destination, which no other metric does."""

FUNCTION_OWNED = {
    "role": "the component makes it",
    "handler": "the consumer's name names its module",
    "code": "package= holds it",
    "code_sha256": "package= holds it",
    "source_code_hash": "package= holds it",
    "runtime": "package= says it",
    "architectures": "package= says it",
    "environment": "environment= makes it",
    "kms_key_arn": "the stores' key encrypts the variables",
    "memory_size": IN_TUNING.format("memorySize"),
    "timeout": IN_TUNING.format("timeout"),
    "tracing_config": IN_TUNING.format("tracing"),
    "package_type": "package= is an archive",
    "image_uri": "package= is an archive",
    "s3_bucket": "package= is uploaded as it is",
    "s3_key": "package= is uploaded as it is",
    "publish": "snap_start= publishes a version, and nothing else here invokes one",
    "region": "the provider's Region is that of the whole pipeline",
}
"""Arguments of a function that the component sets, and what sets them."""

LOGGING_OWNED = {"log_format", "log_group"}
"""Parts of a function's `logging_config` that the component sets: JSON, to its own group."""


def refusals(
    name: str,
    package: Package,
    sources: Mapping[Table, Sequence[str]],
    environment: Environment,
    former_name: str | None,
    mapping_args: PassedArgs | None,
    function_args: PassedArgs | None,
) -> Iterator[str]:
    """What is wrong with a consumer's own arguments."""
    try:
        module_of(name, package.root)
    except pulumi.RunError as error:
        yield str(error)
    for table, patterns in sources.items():
        if len(patterns) > MAX_FILTERS:
            yield (
                f"{name} has {len(patterns)} filters on {table.name}: Lambda takes {MAX_FILTERS} a mapping; join some, "
                "or filter in the handler"
            )
    if former_name is not None and (not LEDGER_NAME.fullmatch(former_name) or former_name == name):
        yield f"{name} was formerly {former_name!r}: not the name of another consumer, as in former_name='order-mirror'"
    if taken := sorted(ENGINE_VARIABLES & environment.keys()):
        yield f"{name} uses {', '.join(taken)}: the engine's own; take another name"
    yield from passed_arguments.refusals(
        *(name, "mapping_args", aws.lambda_.EventSourceMappingArgs), mapping_args or {}, MAPPING_OWNED
    )
    given = function_args or {}
    yield from passed_arguments.refusals(name, "function_args", aws.lambda_.FunctionArgs, given, FUNCTION_OWNED)
    levels: Any = given.get("logging_config") or {}
    if not isinstance(levels, dict):
        yield f"{name}: function_args: logging_config is merged with the component's, so it is given as a dictionary"
    for part in sorted(LOGGING_OWNED & set(levels if isinstance(levels, dict) else ())):  # pyright: ignore[reportUnknownArgumentType]
        yield f"{name}: function_args may not set {part} of logging_config: the engine logs JSON to its own group"


def inputs_for_rules(
    sources: Mapping[Table, Sequence[str]],
    granted: Iterable[Grant],
    stores: Stores | None,
    images: ViewType,
    allow_writes_to: Iterable[Table],
) -> dict[str, Any]:
    """What the rules about consumers look at (infra/rules/consumers.py)."""
    return {
        "reads": [{"table": table.arn, "patterns": patterns} for table, patterns in sources.items()],
        "writes": [table.arn for grant in granted for table in grant.writes],
        "fenced": [
            {"table": table.arn, "own_items": grant.own_items}
            for grant in granted
            for table in (grant.writes if grant.fenced else ())
        ],
        "images": images,
        "allowWritesTo": [table.arn for table in allow_writes_to],
        "stores": stores is not None,
    }
