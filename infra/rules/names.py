"""Rules about names. They refuse at preview the names that AWS would refuse in the update."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

from infra.rules.rule import Level, rule
from infra.rules.view import ResourceView, Type, Unknown, as_strings, value_at

PULUMI_SUFFIX = "-0a1b2c3"
"""An example of the suffix that Pulumi adds to a generated physical name: a dash and seven hexadecimal digits."""

NAME_LIMITS = {
    Type.ALIAS: (256, r"alias/[a-zA-Z0-9/_-]+", "letters, digits and /_-, after alias/"),
    Type.BUCKET: (63, r"[a-z0-9][a-z0-9.-]+[a-z0-9]", "small letters, digits and .-"),
    Type.FUNCTION: (64, r"[a-zA-Z0-9_-]+", "letters, digits and _-"),
    Type.LOG_GROUP: (512, r"[a-zA-Z0-9_/.#-]+", "letters, digits and _-/.#"),
    Type.QUEUE: (80, r"[a-zA-Z0-9_-]+(\.fifo)?", "letters, digits and _-"),
    Type.ROLE: (64, r"[a-zA-Z0-9_+=,.@-]+", "letters, digits and _+=,.@-"),
    Type.SCHEDULE: (64, r"[a-zA-Z0-9_.-]+", "letters, digits and _.-"),
    Type.TABLE: (255, r"[a-zA-Z0-9_.-]{3,}", "letters, digits and _.-, at least three"),
}
"""The maximum length of a name, and its characters (the services' API references, November 2026)."""

MAX_VARIABLES_BYTES = 4_096
"""Total bytes of the names and values of a function's variables (Lambda's quota)."""

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
    """AWS accepts the name of a resource."""
    argument = "bucket" if resource.type == Type.BUCKET else "name"
    if f"{argument}Prefix" in resource.inputs:
        return  # the provider adds a suffix of unknown length, so the final name is unknown
    given = resource.inputs.get(argument)
    if isinstance(given, Unknown):
        return
    made_up = not isinstance(given, str)
    name = (resource.name.lower() if resource.type == Type.BUCKET else resource.name) if made_up else given
    physical = name + (PULUMI_SUFFIX if made_up else "")
    most, pattern, characters = NAME_LIMITS[resource.type]
    if (over := len(physical) - most) > 0:
        own = f" with the {len(PULUMI_SUFFIX)} that Pulumi adds" if made_up else ""
        yield f"a name of {len(physical)} characters{own}: AWS takes {most}; shorten it by {over}"
    if not re.fullmatch(pattern, physical):
        yield f"the name {name!r}: AWS takes {characters}"


@rule(Level.REFUSED, Type.FUNCTION)
def refused_variables(function: ResourceView) -> Iterator[str]:
    """Lambda accepts the environment variables of a function."""
    given = value_at(function.inputs, "environment", "variables")
    variables: Mapping[str, Any] = cast("Mapping[str, Any]", given) if isinstance(given, Mapping) else {}
    for name in variables:
        if name in RESERVED:
            yield f"the variable {name}: Lambda sets this variable itself; choose another name"
        elif not re.fullmatch("[a-zA-Z][a-zA-Z0-9_]+", name):
            yield f"the variable {name}: Lambda takes letters, digits and _, at least two, and a letter first"
    size = sum(len(text.encode()) for text in [*variables, *as_strings(list(variables.values()))])
    if size > MAX_VARIABLES_BYTES:
        yield (
            f"variables of {size} bytes: Lambda takes {MAX_VARIABLES_BYTES}; keep large values in Parameter Store or S3"
        )
