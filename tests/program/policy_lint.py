"""Two linters for policy documents: ours, about wildcards, and cfn-lint.

Ours allows only the wildcards that it lists, each with its reason. cfn-lint knows which actions exist, which resources
they apply to, and the structure of each kind of document.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from cfnlint.api import ManualArgs, lint  # pyright: ignore[reportMissingTypeStubs] -- typed, but does not say so

from tests.program.recording import BUCKET_POLICY, KEY, POLICY, REGION, ROLE, RecordingBackend

Kind = Literal["permissions", "trust", "key", "bucket"]
Statement = Mapping[str, Any]
Document = tuple[str, Kind, dict[str, Any]]
"""The name of the resource, the kind of its document, and the document."""

REASONS: Mapping[Kind, Sequence[tuple[str, str, str, str]]] = {
    # element, pattern of the wildcard, pattern of its action, condition key, effect or principal, reason
    "permissions": (
        ("Resource", r"arn:.*:log-group:[\w-]+:\*", r"logs:(CreateLogStream|PutLogEvents)", "Lambda names the streams"),
        ("Resource", r"arn:.*:table/[\w-]+/stream/\*", "dynamodb:ListStreams", "the call lists streams"),
        ("Resource", r"arn:aws:s3:::[\w-]+/aws/lambda/\*", "s3:PutObject", "Lambda names the objects by id and time"),
        ("Resource", r"arn:aws:s3:::[\w-]+/engine/[\w-]+/\*", "s3:PutObject", "the key names the change that failed"),
        ("Resource", r"\*", r"xray:Put(TraceSegments|TelemetryRecords)", "X-Ray has no resources"),
        ("Condition", r"(note|claim|alone)#[\w-]+#\*", "dynamodb:LeadingKeys", "a stream's ARN or event's id follows"),
        ("Condition", r"hold#[\w-]+#\*", "dynamodb:LeadingKeys", "the digest of an item's key follows"),
    ),
    "trust": (),
    "key": (
        ("Action", r"kms:\*", r"arn:aws:iam::\d{12}:root", "IAM decides in the account (the default key policy)"),
        ("Resource", r"\*", "kms:.*", "a key's policy applies to that key only"),
        ("Condition", r"arn:aws:logs:[\w-]+:\d{12}:log-group:\*", "kms:EncryptionContext:aws:logs:arn", "named later"),
        (
            "Condition",
            r"arn:aws:lambda:[\w-]+:\d{12}:function:\*",
            "kms:EncryptionContext:aws:lambda:FunctionArn",
            "named later",
        ),
    ),
    "bucket": (
        ("Principal", r"\*", "Deny", "the denial applies to every principal"),
        ("Action", r"s3:\*", "Deny", "the denial applies to every action"),
        ("Resource", r"arn:aws:s3:::[\w-]+/\*", "Deny", "the denial applies to every object"),
    ),
}
"""Wildcards that a document may hold."""

ELEMENTS: Mapping[Kind, Sequence[frozenset[str]]] = {
    "permissions": [
        frozenset({"Effect", "Action", "Resource"}),
        frozenset({"Effect", "Action", "Resource", "Condition"}),
    ],
    "trust": [frozenset({"Effect", "Principal", "Action"}), frozenset({"Effect", "Principal", "Action", "Condition"})],
    "key": [
        frozenset({"Sid", "Effect", "Principal", "Action", "Resource"}),
        frozenset({"Sid", "Effect", "Principal", "Action", "Resource", "Condition"}),
    ],
    "bucket": [frozenset({"Sid", "Effect", "Principal", "Action", "Resource", "Condition"})],
}
"""The elements of a statement of each kind; NotAction, NotResource and NotPrincipal are never among them."""

DOCUMENTS: Mapping[tuple[str, str], Kind] = {
    (POLICY, "policy"): "permissions",
    (ROLE, "assumeRolePolicy"): "trust",
    (KEY, "policy"): "key",
    (BUCKET_POLICY, "policy"): "bucket",
}


IN_CLOUDFORMATION: Mapping[Kind, tuple[str, str, tuple[str, ...]]] = {
    # type, the argument that takes the document, others that it must have
    "permissions": ("AWS::IAM::RolePolicy", "PolicyDocument", ("PolicyName", "RoleName")),
    "trust": ("AWS::IAM::Role", "AssumeRolePolicyDocument", ()),
    "key": ("AWS::KMS::Key", "KeyPolicy", ()),
    "bucket": ("AWS::S3::BucketPolicy", "PolicyDocument", ("Bucket",)),
}


def documents(recording: RecordingBackend) -> list[Document]:
    """Return every policy document that the program's components register."""
    return [
        (each.name, DOCUMENTS[each.type, argument], json.loads(value))
        for each in recording.of_components()
        for argument, value in each.inputs.items()
        if argument.lower().endswith("policy") and isinstance(value, str)
    ]


def cfn_lint(found: Sequence[Document]) -> list[str]:
    """Return cfn-lint's findings about the documents, as the resources of one template."""
    resources: dict[str, Any] = {}
    for name, kind, document in found:
        type_, argument, others = IN_CLOUDFORMATION[kind]
        properties = {argument: document, **dict.fromkeys(others, name)}
        resources[name.replace("-", "")] = {"Type": type_, "Properties": properties}
    template = {"AWSTemplateFormatVersion": "2010-09-09", "Resources": resources}
    return [str(each) for each in lint(json.dumps(template, indent=1), config=ManualArgs(regions=[REGION]))]


def complaints(statement: Statement, kind: Kind = "permissions") -> Iterator[str]:
    """Yield what is wrong with a statement of a document of this kind."""
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
        # Lambda assumes only roles of the function's account; the other services also act for other accounts.
        for_any_account = kind == "key" or principal.startswith("scheduler.")
        if for_any_account and principal.endswith(".amazonaws.com") and "Condition" not in statement:
            yield f"{principal} for any account"
    for tests in statement.get("Condition", {}).values():
        for key, values in tests.items():
            for value in _listed(values):
                yield from _without_reason(kind, "Condition", value, [key])


def _listed(said: str | Sequence[str] | Mapping[str, str]) -> list[str]:
    if isinstance(said, Mapping):
        return list(said.values())
    return [said] if isinstance(said, str) else list(said)


def _without_reason(kind: Kind, element: str, value: str, of: Sequence[str]) -> Iterator[str]:
    """Yield a complaint if `value` holds a wildcard that is not allowed for every one of `of`."""
    reasons = [
        whose for named, wildcard, whose, _ in REASONS[kind] if named == element and re.fullmatch(wildcard, value)
    ]
    reasoned = of and all(any(re.fullmatch(whose, each) for whose in reasons) for each in of)
    if re.search(r"[*?]", value) and not reasoned:
        yield f"{element} {value} of {', '.join(of) or 'anyone'}"
