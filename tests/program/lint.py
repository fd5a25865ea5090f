"""A linter for policy documents: no wildcard but those that are known here, each with its reason."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

REASONS: Sequence[tuple[str, str, str]] = (
    # actions, resource, why AWS has no narrower form
    (r"logs:(CreateLogStream|PutLogEvents)", r"arn:.*:log-group:[\w-]+:\*", "Lambda makes up the log streams' names"),
    (r"dynamodb:ListStreams", r"arn:.*:table/[\w-]+/stream/\*", "a list has no one stream, and a label is a time"),
    (r"s3:PutObject", r"arn:aws:s3:::[\w-]+/aws/lambda/\*", "Lambda makes up the objects' keys: mapping id and time"),
    (r"s3:PutObject", r"arn:aws:s3:::[\w-]+/engine/[\w-]+/\*", "the key names the change that failed"),
    (r"xray:Put(TraceSegments|TelemetryRecords)", r"\*", "X-Ray has no resources to name"),
)
"""Wildcards that may stand in a resource."""

CONDITIONS: Sequence[tuple[str, str, str]] = (
    # condition key, value, why
    ("dynamodb:LeadingKeys", r"(note|claim)#[\w-]+#\*", "what follows is a stream's ARN or an event's id"),
)
"""Wildcards that may stand in a condition."""


def complaints(statement: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with a statement."""
    if set(statement) - {"Effect", "Action", "Resource", "Condition"} or statement["Effect"] != "Allow":
        yield f"more than the allowing of actions on resources: {statement}"
    for action in statement["Action"]:
        if not re.fullmatch(r"[a-z0-9]+:[A-Za-z]+", action):
            yield f"action {action}"
        for resource in statement["Resource"]:
            if not _has_reason(resource, ((allowed, of) for of, allowed, _ in REASONS), action):
                yield f"{action} on {resource}"
    for tests in statement.get("Condition", {}).values():
        for key, values in tests.items():
            for value in [values] if isinstance(values, str) else values:
                if not _has_reason(value, ((allowed, of) for of, allowed, _ in CONDITIONS), key):
                    yield f"condition {key} {value}"


def _has_reason(value: str, allowed: Iterable[tuple[str, str]], of: str) -> bool:
    """Whether there is no wildcard in `value`, or one that is allowed of this action or condition key."""
    return not re.search(r"[*?]", value) or any(
        re.fullmatch(pattern, value) and re.fullmatch(whose, of) for pattern, whose in allowed
    )
