"""What a consumer's mappings are made with beside wiring and sizes: what the engine needs, or a caller in its place."""

import inspect
from collections.abc import Awaitable, Mapping
from difflib import get_close_matches
from typing import Any

import pulumi
import pulumi_aws as aws
from pydantic.alias_generators import to_camel

from infra import engine
from infra.resource import UNKNOWN
from infra.settings import Tuning

MappingArgs = Mapping[str, Any]
"""Arguments of `aws.lambda_.EventSourceMapping`, by its names and with its types."""

OWNED = {
    "event_source_arn": "reads= names the table",
    "filter_criteria": "reads= makes the filters",
    "function_name": "it is the consumer's own function",
    "function_response_types": "the engine answers with the failed records",
    "destination_config": "on_failure= names the destination",
    "tumbling_window_in_seconds": "the engine answers with no window's state",
}
"""Arguments that the component sets, or that the engine cannot work with, and why."""

KNOWN = frozenset(inspect.signature(aws.lambda_.EventSourceMappingArgs).parameters)

DEFAULTS: MappingArgs = {**engine.MAPPING, "metrics_config": {"metrics": ["EventCount"]}}
"""EventCount tells what was discarded and what reached the destination, which no other metric does."""


def refusals(consumer: str, given: MappingArgs) -> list[str]:
    """What is wrong with the names of the arguments that a caller gives."""
    said: list[str] = []
    for name in given:
        if name in OWNED:
            said.append(f"{consumer}: mapping_args may not set {name}: {OWNED[name]}")
        elif name in Tuning.model_fields:
            said.append(f"{consumer}: mapping_args may not set {name}: set {to_camel(name)} in the consumer's tuning")
        elif name not in KNOWN:
            near = get_close_matches(name, KNOWN, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            said.append(f"{consumer}: mapping_args sets {name}, which is no argument of EventSourceMapping{hint}")
    return said


def complete(given: MappingArgs) -> dict[str, Any]:
    """The defaults, with what is given beside them or in their place."""
    return {**DEFAULTS, **given}


def as_inputs(given: MappingArgs) -> dict[str, Any]:
    """The same as the rules see it."""
    later = (pulumi.Output, Awaitable)
    return {to_camel(name): UNKNOWN if isinstance(value, later) else value for name, value in complete(given).items()}
