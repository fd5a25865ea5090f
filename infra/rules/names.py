"""Rules about names: what AWS refuses at the update is refused at preview."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

from infra.rules.rule import Level, rule
from infra.rules.view import (
    ALIAS,
    BUCKET,
    FUNCTION,
    LOG_GROUP,
    QUEUE,
    ROLE,
    SCHEDULE,
    TABLE,
    ResourceView,
    Unknown,
    as_strings,
    value_at,
)

PULUMI_SUFFIX = "-0a1b2c3"
"""What Pulumi adds to a resource's name where it makes up the physical one: a dash and seven hexadecimal digits."""

NAME_LIMITS = {
    ALIAS: (256, r"alias/[a-zA-Z0-9/_-]+", "letters, digits and /_-, after alias/"),
    BUCKET: (63, r"[a-z0-9][a-z0-9.-]+[a-z0-9]", "small letters, digits and .-"),
    FUNCTION: (64, r"[a-zA-Z0-9_-]+", "letters, digits and _-"),
    LOG_GROUP: (512, r"[a-zA-Z0-9_/.#-]+", "letters, digits and _-/.#"),
    QUEUE: (80, r"[a-zA-Z0-9_-]+(\.fifo)?", "letters, digits and _-"),
    ROLE: (64, r"[a-zA-Z0-9_+=,.@-]+", "letters, digits and _+=,.@-"),
    SCHEDULE: (64, r"[a-zA-Z0-9_.-]+", "letters, digits and _.-"),
    TABLE: (255, r"[a-zA-Z0-9_.-]{3,}", "letters, digits and _.-, at least three"),
}
"""The most characters of a name, and which (the services' API references, November 2026)."""

MAX_VARIABLES_BYTES = 4_096
"""Bytes of a function's variables, names and values together (Lambda's quota)."""

RESERVED = {
    *("_HANDLER", "_X_AMZN_TRACE_ID", "AWS_DEFAULT_REGION", "AWS_REGION", "AWS_EXECUTION_ENV"),
    *("AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "AWS_LAMBDA_FUNCTION_VERSION"),
    *("AWS_LAMBDA_INITIALIZATION_TYPE", "AWS_LAMBDA_LOG_GROUP_NAME", "AWS_LAMBDA_LOG_STREAM_NAME", "AWS_ACCESS_KEY"),
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_LAMBDA_RUNTIME_API"),
    *("LAMBDA_TASK_ROOT", "LAMBDA_RUNTIME_DIR"),
}
"""Variables that Lambda sets itself (Lambda: defined runtime environment variables, November 2026)."""


@rule(Level.REFUSED, *NAME_LIMITS)
def refused_name(resource: ResourceView) -> Iterator[str]:
    """A name is one that AWS takes."""
    argument = "bucket" if resource.type == BUCKET else "name"
    if f"{argument}Prefix" in resource.inputs:
        return  # the suffix that the provider adds to it has another length
    given = resource.inputs.get(argument)
    if isinstance(given, Unknown):
        return
    made_up = not isinstance(given, str)
    name = (resource.name.lower() if resource.type == BUCKET else resource.name) if made_up else given
    physical = name + (PULUMI_SUFFIX if made_up else "")
    most, pattern, characters = NAME_LIMITS[resource.type]
    if (over := len(physical) - most) > 0:
        own = f" with the {len(PULUMI_SUFFIX)} that Pulumi adds" if made_up else ""
        yield f"a name of {len(physical)} characters{own}: AWS takes {most}; shorten it by {over}"
    if not re.fullmatch(pattern, physical):
        yield f"the name {name!r}: AWS takes {characters}"


@rule(Level.REFUSED, FUNCTION)
def refused_variables(function: ResourceView) -> Iterator[str]:
    """A function's environment variables are ones that Lambda takes."""
    given = value_at(function.inputs, "environment", "variables")
    variables: Mapping[str, Any] = cast("Mapping[str, Any]", given) if isinstance(given, Mapping) else {}
    for name in variables:
        if name in RESERVED:
            yield f"the variable {name}: Lambda sets it itself; take another name"
        elif not re.fullmatch("[a-zA-Z][a-zA-Z0-9_]+", name):
            yield f"the variable {name}: Lambda takes letters, digits and _, at least two, and a letter first"
    size = sum(len(text.encode()) for text in [*variables, *as_strings(list(variables.values()))])
    if size > MAX_VARIABLES_BYTES:
        yield (
            f"variables of {size} bytes: Lambda takes {MAX_VARIABLES_BYTES}; keep large values in Parameter Store or S3"
        )
