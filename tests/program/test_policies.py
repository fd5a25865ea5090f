"""Every policy document of the program is as narrow as AWS lets it be, and none holds what AWS does not know.

Two linters: ours, about wildcards, and cfn-lint, about actions, the structure of each kind of document, and which
actions go with which resources. That a right suffices is tests/test_rights.py's to show.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cfnlint.api import ManualArgs, lint  # pyright: ignore[reportMissingTypeStubs] -- typed, but does not say so

from sandbox import ROOT
from sandbox.program.in_process import run, stack_config
from tests.program.lint import Kind, complaints, documents
from tests.program.recording import ACCOUNT, REGION, Recorder

STACKS = sorted(path.name.split(".")[1] for path in ROOT.glob("Pulumi.*.yaml"))
CHANGES = {
    "encryption": "customer",
    "mailFrom": "shop@example.com",
    "tuning": '{"mirror": {"tracing": true}}',
}
IN_CLOUDFORMATION: Mapping[Kind, tuple[str, str, tuple[str, ...]]] = {
    # type, the argument that takes the document, others that it must have
    "rights": ("AWS::IAM::RolePolicy", "PolicyDocument", ("PolicyName", "RoleName")),
    "trust": ("AWS::IAM::Role", "AssumeRolePolicyDocument", ()),
    "key": ("AWS::KMS::Key", "KeyPolicy", ()),
    "bucket": ("AWS::S3::BucketPolicy", "PolicyDocument", ("Bucket",)),
}


def every_document(stack: str) -> list[tuple[str, Kind, dict[str, Any]]]:
    recorder = Recorder()
    run(ROOT, stack=stack, config=stack_config(stack) | CHANGES, backend=recorder)
    return list(documents(recorder))


def linted(found: list[tuple[str, Kind, dict[str, Any]]]) -> list[str]:
    """What cfn-lint says of the documents, as the resources of one template."""
    described: dict[str, Any] = {}
    for name, kind, document in found:
        type_, argument, others = IN_CLOUDFORMATION[kind]
        properties = {argument: document, **dict.fromkeys(others, name)}
        described[name.replace("-", "")] = {"Type": type_, "Properties": properties}
    template = {"AWSTemplateFormatVersion": "2010-09-09", "Resources": described}
    return [str(each) for each in lint(json.dumps(template, indent=1), config=ManualArgs(regions=[REGION]))]


@pytest.mark.parametrize("stack", STACKS)
def test_no_document_holds_a_wildcard_without_a_reason_or_what_aws_does_not_know(stack: str) -> None:
    found = every_document(stack)
    of_a_consumer = ("helpers", "policy", "retry-policy", "retry-role", "role", "variables")
    assert {name for name, _, _ in found} == {"encryption-key", "stores-failures-policy"} | {
        f"{consumer}-{document}" for consumer in ("change-log", "mirror", "welcome-email") for document in of_a_consumer
    }
    assert len(found) == 20
    assert {(*document, document["Version"]) for _, _, document in found} == {("Version", "Statement", "2012-10-17")}
    assert [
        complaint
        for _, kind, document in found
        for statement in document["Statement"]
        for complaint in complaints(statement, kind)
    ] == []
    assert linted(found) == []


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "roles").glob("*.json")), ids=lambda path: path.stem)
def test_the_roles_of_the_pipeline_hold_nothing_that_aws_does_not_know(path: Path) -> None:
    """How wide they are is test_roles.py's to judge, whose names have placeholders."""
    document = json.loads(
        path.read_text().replace("REGION", REGION).replace("STATE_ACCOUNT", "ACCOUNT").replace("ACCOUNT_ID", ACCOUNT)
    )
    assert linted([(path.stem, "trust" if path.stem.startswith("trust") else "rights", document)]) == []


ROOT_OF_ACCOUNT = {"AWS": "arn:aws:iam::123456789012:root"}
LOGS = {"Service": "logs.eu-central-1.amazonaws.com"}
LAMBDA = {"Service": "lambda.amazonaws.com"}
SCHEDULER = {"Service": "scheduler.amazonaws.com"}
TLS = {"Bool": {"aws:SecureTransport": "false"}}


def allowing(action: str, resource: str, **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": [action], "Resource": [resource], **more}


def in_key(**more: Any) -> dict[str, Any]:
    return {
        "Sid": "s",
        "Effect": "Allow",
        "Resource": "*",
        "Action": "kms:Decrypt",
        "Principal": ROOT_OF_ACCOUNT,
    } | more


def in_bucket(**more: Any) -> dict[str, Any]:
    return {
        "Sid": "s",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": "arn:aws:s3:::b/*",
        "Condition": TLS,
        **more,
    }


@pytest.mark.parametrize(
    ("kind", "statement"),
    [
        ("rights", allowing("logs:*", "arn:aws:logs:eu-central-1:1:log-group:a")),
        ("rights", allowing("logs:PutLogEvents", "*")),
        ("rights", allowing("dynamodb:GetRecords", "arn:aws:dynamodb:eu-central-1:1:table/a/stream/*")),
        ("rights", allowing("s3:PutObject", "arn:aws:s3:::bucket/*")),
        ("rights", allowing("kms:Decrypt", "*")),
        (
            "rights",
            allowing(
                *("dynamodb:PutItem", "arn:aws:dynamodb:eu-central-1:1:table/a"),
                Condition={"StringLike": {"dynamodb:LeadingKeys": ["note#*"]}},
            ),
        ),
        ("rights", {"Effect": "Allow", "NotAction": ["s3:PutObject"], "Resource": ["arn:aws:s3:::b"]}),
        ("trust", {"Effect": "Allow", "Action": "sts:*", "Principal": LAMBDA}),
        ("trust", {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": "*"}}),
        ("trust", {"Effect": "Allow", "Action": "sts:AssumeRole", "NotPrincipal": LAMBDA}),
        ("trust", {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": SCHEDULER}),
        ("key", in_key(Principal="*")),
        ("key", in_key(Principal={"AWS": "*"})),
        ("key", in_key(Principal={"AWS": "arn:aws:iam::123456789012:role/one"}, Action="kms:*")),
        ("key", in_key(Principal=LOGS)),
        ("key", in_key(Principal=LOGS, Condition={"StringLike": {"kms:EncryptionContext:aws:logs:arn": "*"}})),
        ("bucket", in_bucket(Effect="Allow")),
        ("bucket", in_bucket(Resource="*")),
        ("bucket", in_bucket(Action="dynamodb:*")),
    ],
)
def test_our_linter_would_see_it(kind: Kind, statement: dict[str, Any]) -> None:
    assert len(list(complaints(statement, kind))) == 1


@pytest.mark.parametrize(
    ("kind", "statement", "rule"),
    [
        ("rights", allowing("s3:PutObjct", "arn:aws:s3:::b/k"), "W3037"),
        ("trust", allowing("sts:AssumeRole", "*", Principal=LAMBDA), "E3530"),
        ("key", in_key(Action="kms:Decypher"), "W3037"),
        ("bucket", in_bucket(Effect="Forbid"), "E3512"),
    ],
)
def test_cfn_lint_would_see_it(kind: Kind, statement: dict[str, Any], rule: str) -> None:
    found = linted([("made-up", kind, {"Version": "2012-10-17", "Statement": [statement]})])
    assert [line for line in found if rule in line], found
