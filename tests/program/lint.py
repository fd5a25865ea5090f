"""A linter for policy documents: no wildcard but those that are known here, each with its reason."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from tests.program import recording as resources
from tests.program.recording import Recorder

Kind = Literal["rights", "trust", "key", "bucket"]
Statement = Mapping[str, Any]

REASONS: Mapping[Kind, Sequence[tuple[str, str, str, str]]] = {
    # element, wildcard, of which action, condition key, effect or principal, why AWS has no narrower form
    "rights": (
        ("Resource", r"arn:.*:log-group:[\w-]+:\*", r"logs:(CreateLogStream|PutLogEvents)", "Lambda names the streams"),
        ("Resource", r"arn:.*:table/[\w-]+/stream/\*", "dynamodb:ListStreams", "no one stream; a label is a time"),
        ("Resource", r"arn:aws:s3:::[\w-]+/aws/lambda/\*", "s3:PutObject", "Lambda names the objects: id and time"),
        ("Resource", r"arn:aws:s3:::[\w-]+/engine/[\w-]+/\*", "s3:PutObject", "the key names the change that failed"),
        ("Resource", r"\*", r"xray:Put(TraceSegments|TelemetryRecords)", "X-Ray has no resources to name"),
        (
            "Condition",
            r"(note|claim|alone)#[\w-]+#\*",
            "dynamodb:LeadingKeys",
            "a stream's ARN or an event's id follows",
        ),
        ("Condition", r"hold#[\w-]+#\*", "dynamodb:LeadingKeys", "the digest of an item's key follows"),
    ),
    "trust": (),
    "key": (
        ("Action", r"kms:\*", r"arn:aws:iam::\d{12}:root", "the account rules its keys by IAM (default key policy)"),
        ("Resource", r"\*", "kms:.*", "a key's policy is about that key"),
        ("Condition", r"arn:aws:logs:[\w-]+:\d{12}:log-group:\*", "kms:EncryptionContext:aws:logs:arn", "named later"),
        (
            "Condition",
            r"arn:aws:lambda:[\w-]+:\d{12}:function:\*",
            "kms:EncryptionContext:aws:lambda:FunctionArn",
            "named later",
        ),
    ),
    "bucket": (
        ("Principal", r"\*", "Deny", "a denial spares nobody"),
        ("Action", r"s3:\*", "Deny", "a denial is of everything"),
        ("Resource", r"arn:aws:s3:::[\w-]+/\*", "Deny", "a denial is of every object"),
    ),
}
"""Wildcards that may stand in a document."""

ELEMENTS: Mapping[Kind, Sequence[frozenset[str]]] = {
    "rights": [frozenset({"Effect", "Action", "Resource"}), frozenset({"Effect", "Action", "Resource", "Condition"})],
    "trust": [
        frozenset({"Effect", "Principal", "Action"}),
        frozenset({"Effect", "Principal", "Action", "Condition"}),
    ],
    "key": [
        frozenset({"Sid", "Effect", "Principal", "Action", "Resource"}),
        frozenset({"Sid", "Effect", "Principal", "Action", "Resource", "Condition"}),
    ],
    "bucket": [frozenset({"Sid", "Effect", "Principal", "Action", "Resource", "Condition"})],
}
"""What a statement of each kind consists of: no NotAction, NotResource or NotPrincipal."""

DOCUMENTS: Mapping[tuple[str, str], Kind] = {
    (resources.POLICY, "policy"): "rights",
    (resources.ROLE, "assumeRolePolicy"): "trust",
    (resources.KEY, "policy"): "key",
    (resources.BUCKET_POLICY, "policy"): "bucket",
}


def documents(recorder: Recorder) -> Iterator[tuple[str, Kind, dict[str, Any]]]:
    """Every policy document that a program registers, under the name of its resource."""
    for (kind, name), registered in recorder.registered.items():
        for argument, value in registered.inputs.items():
            if argument.lower().endswith("policy") and isinstance(value, str):
                yield name, DOCUMENTS[kind, argument], json.loads(value)


def complaints(statement: Statement, kind: Kind = "rights") -> Iterator[str]:
    """What is wrong with a statement of a document of this kind."""
    effect = statement.get("Effect", "")
    if frozenset(statement) not in ELEMENTS[kind] or effect != ("Deny" if kind == "bucket" else "Allow"):
        yield f"not a statement of a {kind} policy: {statement}"
        return
    principals = _listed(statement.get("Principal", []))
    of_denial = [effect] if effect == "Deny" else []
    for action in _listed(statement["Action"]):
        if not re.fullmatch(r"[a-z0-9]+:([A-Za-z]+|\*)", action):
            yield f"action {action}"
        yield from _without_reason(kind, "Action", action, of_denial or principals)
        for resource in _listed(statement.get("Resource", [])):
            yield from _without_reason(kind, "Resource", resource, of_denial or [action])
    for principal in principals:
        yield from _without_reason(kind, "Principal", principal, of_denial)
        by_anybody = kind == "key" or principal.startswith("scheduler.")  # Lambda takes a role of its own account alone
        if by_anybody and principal.endswith(".amazonaws.com") and "Condition" not in statement:
            yield f"{principal} for whomever"
    for tests in statement.get("Condition", {}).values():
        for key, values in tests.items():
            for value in _listed(values):
                yield from _without_reason(kind, "Condition", value, [key])


def _listed(said: str | Sequence[str] | Mapping[str, str]) -> list[str]:
    if isinstance(said, Mapping):
        return list(said.values())
    return [said] if isinstance(said, str) else list(said)


def _without_reason(kind: Kind, element: str, value: str, of: Sequence[str]) -> Iterator[str]:
    """The complaint, where `value` holds a wildcard that is not allowed of every one of `of`."""
    reasons = [
        whose for named, wildcard, whose, _ in REASONS[kind] if named == element and re.fullmatch(wildcard, value)
    ]
    reasoned = of and all(any(re.fullmatch(whose, each) for whose in reasons) for each in of)
    if re.search(r"[*?]", value) and not reasoned:
        yield f"{element} {value} of {', '.join(of) or 'anyone'}"
