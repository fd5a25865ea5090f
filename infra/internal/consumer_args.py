"""The arguments of a consumer: the values derived from them, the refusals, and the inputs that the rules check."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import pulumi
import pulumi_aws as aws

from infra import engine
from infra.archive import Package
from infra.archive.handler_module import claims_changes, module_of
from infra.grants import Grant
from infra.internal import argument_types, passed_arguments
from infra.internal.inputs import known_inputs
from infra.internal.passed_arguments import PassedArgs
from infra.rules.view import as_list, value_at
from infra.settings import Tuning
from infra.stores import Stores
from infra.table import VIEW_TYPES, Changes, Table, ViewType

Environment = Mapping[str, pulumi.Input[str] | Grant]
"""Environment variables by name: a value, or a value with permissions."""

ENGINE_VARIABLES = {
    *("POWERTOOLS_SERVICE_NAME", "POWERTOOLS_METRICS_NAMESPACE", "GIVE_UP_AFTER_SECONDS", "BATCHING_WINDOW_SECONDS"),
    *("HANDLER_TIMEOUT_SECONDS", "WORKERS", "TRACING"),
    *("FAILURE_BUCKET", "LEDGER_NAME", "LEDGER_TABLE", "REMEMBER_SECONDS"),
}
"""The variables that the engine reads. A consumer without stores cannot set those of the stores either, since only the
stores determine how long claims and tombstones last."""

LEDGER_NAME = re.compile("[a-z0-9]+(-[a-z0-9]+)*")
"""The form of a consumer's name. It has no wildcard and no separator, so a permission on the items and objects of one
name covers no others."""

MAX_FILTERS = 5
"""The number of filters that one mapping may have (Lambda's default quota)."""

IN_TUNING = "set {} in the consumer's tuning"

MAPPING_OWNED = {
    "event_source_arn": "reads= names the table",
    "filter_criteria": "reads= makes the filters",
    "function_name": "it is the consumer's own function",
    "function_response_types": "the engine returns the failed records",
    "destination_config": "on_failure= names the destination",
    "tumbling_window_in_seconds": "the engine returns no state of a window",
    "starting_position_timestamp": "a mapping of a DynamoDB stream accepts none",
    "region": "the whole pipeline is in the Region of the provider",
    **dict.fromkeys(
        (
            *("topics", "queues", "self_managed_event_source", "document_db_event_source_config", "scaling_config"),
            *("amazon_managed_kafka_event_source_config", "self_managed_kafka_event_source_config"),
            *("source_access_configurations", "provisioned_poller_config"),
        ),
        "it is not for DynamoDB streams",
    ),
    "enabled": IN_TUNING.format("enabled"),
    "starting_position": IN_TUNING.format("startingPosition"),
    "batch_size": IN_TUNING.format("batchSize"),
    "maximum_batching_window_in_seconds": IN_TUNING.format("maximumBatchingWindowInSeconds"),
    "parallelization_factor": IN_TUNING.format("parallelizationFactor"),
}
"""Arguments of a mapping that the component sets, or that the engine cannot work with, and what sets them."""

MAPPING_DEFAULTS: PassedArgs = {**engine.MAPPING, "metrics_config": {"metrics": ["EventCount"]}}
"""Only EventCount counts the records that a mapping discards and those that reach the destination."""

FUNCTION_OWNED = {
    "role": "the component makes it",
    "handler": "the consumer's name names its module",
    "code": "package= contains it",
    "code_sha256": "package= contains it",
    "source_code_hash": "package= contains it",
    "runtime": "package= determines it",
    "architectures": "package= determines it",
    "environment": "environment= makes it",
    "kms_key_arn": "the stores' key encrypts the variables",
    "memory_size": IN_TUNING.format("memorySize"),
    "timeout": IN_TUNING.format("timeout"),
    "tracing_config": IN_TUNING.format("tracing"),
    "package_type": "package= is an archive",
    "image_uri": "package= is an archive",
    "s3_bucket": "package= is uploaded as it is",
    "s3_key": "package= is uploaded as it is",
    "publish": "only snap_start= needs a published version",
    "region": "the whole pipeline is in the Region of the provider",
}
"""Arguments of a function that the component sets, and what sets them."""

LOGGING_OWNED = {"log_format", "log_group"}
"""The parts of a function's `logging_config` that the component sets."""


@dataclass(frozen=True)
class ConsumerArgs:
    """The arguments of a consumer."""

    name: str
    reads: Sequence[Changes]
    environment: Environment
    stores: Stores | None
    tuning: Tuning
    package: Package
    images: ViewType
    allow_writes_to: Sequence[Table]
    mapping_args: PassedArgs
    function_args: PassedArgs
    former_name: str | None

    def __post_init__(self) -> None:
        """Refuse arguments of a wrong type, with which nothing else can be checked. Raises pulumi.RunError."""
        mistakes = [
            *argument_types.reads_refusals(self.name, self.reads),
            *argument_types.environment_refusals(self.name, self.environment),
            *argument_types.kind_refusals(self.name, tuning=self.tuning, stores=self.stores),
            *passed_arguments.choice_refusals(self.name, "images", self.images, VIEW_TYPES),
        ]
        if mistakes:
            raise pulumi.RunError("\n".join(mistakes))

    @cached_property
    def filters(self) -> Mapping[Table, Sequence[str]]:
        """The filter patterns by table; none for a table of which one of the alternatives takes every change.

        Raises
        ------
        pulumi.RunError
            The consumer reads nothing.
        """
        if not self.reads:
            raise pulumi.RunError(f"{self.name} reads nothing: name changes, as in reads=[users.changes()]")
        patterns: dict[Table, list[str]] = {}
        for changes in self.reads:
            patterns.setdefault(changes.table, []).append(changes.pattern)
        return {table: alternatives if all(alternatives) else [] for table, alternatives in patterns.items()}

    @property
    def protect(self) -> bool:
        """Whether the consumer is protected: it is if one of its tables is."""
        return any(table.protect for table in self.filters)

    @property
    def ledger_name(self) -> str:
        """The consumer's name in the ledger and the failure bucket."""
        return self.former_name or self.name

    @property
    def grants(self) -> Sequence[Grant]:
        """The values of the environment that come with permissions."""
        return [value for value in self.environment.values() if isinstance(value, Grant)]

    @property
    def is_fenced(self) -> bool:
        """Whether the consumer writes tables, and all its permissions to do so are those of `put_if_newer_into`."""
        writing = [grant for grant in self.grants if grant.writes]
        return bool(writing) and all(grant.fenced for grant in writing)

    @property
    def claims_changes(self) -> bool:
        """Whether the consumer's module claims its changes."""
        return claims_changes(self.name, self.package.root)

    @property
    def counts_events(self) -> bool:
        """Whether the mappings count events: the metrics of EventCount exist."""
        return "EventCount" in as_list(value_at(known_inputs(self.accepted_mapping_args), "metricsConfig", "metrics"))

    @property
    def key_arn(self) -> pulumi.Input[str] | None:
        """The ARN of the key that encrypts the log, the variables and the filters; None if AWS's keys encrypt them."""
        return self.stores.key_arn if self.stores else None

    @cached_property
    def accepted_function_args(self) -> Mapping[str, Any]:
        """The function's additional arguments without those that `refusals` names."""
        return passed_arguments.accepted(aws.lambda_.FunctionArgs, self.function_args, FUNCTION_OWNED)

    @property
    def accepted_mapping_args(self) -> Mapping[str, Any]:
        """The same for the mappings, with the defaults of the arguments that a program may replace."""
        # Filters contain values of items, so the key encrypts the filters too.
        key = {"kms_key_arn": self.key_arn} if self.key_arn is not None and any(self.filters.values()) else {}
        accepted = passed_arguments.accepted(aws.lambda_.EventSourceMappingArgs, self.mapping_args, MAPPING_OWNED)
        return {**MAPPING_DEFAULTS, **key, **accepted}

    @property
    def variables(self) -> dict[str, pulumi.Input[str]]:
        """The function's environment variables: those that the engine reads, and those of the handler."""
        engine_variables: dict[str, pulumi.Input[str]] = {
            "POWERTOOLS_SERVICE_NAME": self.name,
            "POWERTOOLS_METRICS_NAMESPACE": pulumi.get_project(),
            "GIVE_UP_AFTER_SECONDS": str(self.tuning.give_up_after),
            "BATCHING_WINDOW_SECONDS": str(self.tuning.maximum_batching_window_in_seconds),
            "HANDLER_TIMEOUT_SECONDS": str(self.tuning.handler_timeout),
            "WORKERS": str(self.tuning.workers),
        }
        if self.stores:
            engine_variables |= {
                "FAILURE_BUCKET": self.stores.bucket.bucket,
                "LEDGER_TABLE": self.stores.ledger.name,
                "LEDGER_NAME": self.ledger_name,
                "REMEMBER_SECONDS": str(self.stores.remember_seconds(self.tuning.give_up_after)),
            }
        if self.tuning.tracing:
            engine_variables["TRACING"] = "true"
        own = {name: value.value if isinstance(value, Grant) else value for name, value in self.environment.items()}
        return own | engine_variables

    def refusals(self) -> Iterator[str]:
        """Say what is wrong with the arguments, and what to do instead."""
        try:
            module_of(self.name, self.package.root)
        except pulumi.RunError as error:
            yield str(error)
        for table, patterns in self.filters.items():
            if len(patterns) > MAX_FILTERS:
                yield (
                    f"{self.name} has {len(patterns)} filters on {table.name}: Lambda accepts {MAX_FILTERS} filters "
                    "for each mapping; combine some, or filter in the handler"
                )
        former = self.former_name
        if former is not None and (not LEDGER_NAME.fullmatch(former) or former == self.name):
            yield (
                f"{self.name}: former_name={former!r} is not the name of another consumer, as in "
                "former_name='order-mirror'"
            )
        if taken := sorted(ENGINE_VARIABLES & self.environment.keys()):
            yield f"{self.name} sets {', '.join(taken)}: the engine sets this variable; choose another name"
        for argument, kind, values, owned in (
            ("mapping_args", aws.lambda_.EventSourceMappingArgs, self.mapping_args, MAPPING_OWNED),
            ("function_args", aws.lambda_.FunctionArgs, self.function_args, FUNCTION_OWNED),
        ):
            yield from passed_arguments.refusals(self.name, argument, kind, values, owned)
        logging: Any = self.function_args.get("logging_config") or {}
        if not isinstance(logging, dict):
            yield (
                f"{self.name}: function_args: logging_config is merged with the component's: pass it as a dictionary"
            )
            return
        for part in sorted(LOGGING_OWNED & cast("dict[str, Any]", logging).keys()):
            yield (
                f"{self.name}: function_args may not set {part} of logging_config: the engine logs JSON to its own "
                "group"
            )

    def inputs_for_rules(self) -> dict[str, Any]:
        """Return the inputs that the rules about consumers check (infra/rules/consumers.py)."""
        return {
            "reads": [{"table": table.arn, "patterns": patterns} for table, patterns in self.filters.items()],
            "writes": [table.arn for grant in self.grants for table in grant.writes],
            "fenced": [
                {"table": table.arn, "own_items": grant.own_items}
                for grant in self.grants
                for table in (grant.writes if grant.fenced else ())
            ],
            "images": self.images,
            "allowWritesTo": [table.arn for table in self.allow_writes_to],
            "stores": self.stores is not None,
        }
