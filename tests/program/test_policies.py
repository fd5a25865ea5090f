"""The sample program's policy documents are as narrow as AWS allows, and both linters see what is wrong.

tests/permissions shows that the permissions suffice.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from sandbox import ROOT
from tests.consumers.project import SAMPLE
from tests.program.policy_lint import Kind, cfn_lint, complaints, documents
from tests.program.recording import ACCOUNT, REGION, record_program, stacks


@pytest.mark.parametrize("stack", stacks(SAMPLE))
def test_no_document_holds_a_wildcard_without_a_reason_or_anything_unknown_to_aws(stack: str) -> None:
    tuning = '{"mirror": {"tracing": true}}'
    policies = documents(
        record_program(SAMPLE, stack, encryption="customer", mailFrom="shop@example.com", tuning=tuning)
    )
    of_a_consumer = ("helpers", "policy", "retry-policy", "retry-role", "role", "variables")
    assert sorted(name for name, _, _ in policies) == sorted(
        ["encryption-key", "stores-failures-policy"]
        + [f"{consumer}-{each}" for consumer in ("change-log", "mirror", "welcome-email") for each in of_a_consumer]
    )
    assert {(*document, document["Version"]) for _, _, document in policies} == {("Version", "Statement", "2012-10-17")}
    assert [
        complaint
        for _, kind, document in policies
        for statement in document["Statement"]
        for complaint in complaints(statement, kind)
    ] == []
    assert cfn_lint(policies) == []


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "roles").glob("*.json")), ids=lambda path: path.stem)
def test_the_roles_of_the_pipeline_hold_nothing_that_aws_does_not_know(path: Path) -> None:
    """test_role_documents.py looks at wildcards."""
    document = json.loads(
        path.read_text().replace("REGION", REGION).replace("STATE_ACCOUNT", "ACCOUNT").replace("ACCOUNT_ID", ACCOUNT)
    )
    assert cfn_lint([(path.stem, "trust" if path.stem.startswith("trust") else "permissions", document)]) == []


ROOT_OF_ACCOUNT = {"AWS": "arn:aws:iam::123456789012:root"}
LOGS = {"Service": "logs.eu-central-1.amazonaws.com"}
LAMBDA = {"Service": "lambda.amazonaws.com"}
SCHEDULER = {"Service": "scheduler.amazonaws.com"}
TABLES = "arn:aws:dynamodb:eu-central-1:1:table"
ON_NOTES = {"StringLike": {"dynamodb:LeadingKeys": ["note#*"]}}
TLS = {"Bool": {"aws:SecureTransport": "false"}}


def allowing(action: str, resource: str, **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": [action], "Resource": [resource], **more}


def in_key(**more: Any) -> dict[str, Any]:
    on_all = {"Sid": "s", "Effect": "Allow", "Resource": "*", "Action": "kms:Decrypt"}
    return {**on_all, "Principal": ROOT_OF_ACCOUNT, **more}


def in_bucket(**more: Any) -> dict[str, Any]:
    denial = {"Sid": "s", "Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "arn:aws:s3:::b/*"}
    return {**denial, "Condition": TLS, **more}


@pytest.mark.parametrize(
    ("kind", "statement"),
    [
        ("permissions", allowing("logs:*", "arn:aws:logs:eu-central-1:1:log-group:a")),
        ("permissions", allowing("logs:PutLogEvents", "*")),
        ("permissions", allowing("dynamodb:GetRecords", f"{TABLES}/a/stream/*")),
        ("permissions", allowing("s3:PutObject", "arn:aws:s3:::bucket/*")),
        ("permissions", allowing("kms:Decrypt", "*")),
        ("permissions", allowing("dynamodb:PutItem", f"{TABLES}/a", Condition=ON_NOTES)),
        ("permissions", {"Effect": "Allow", "NotAction": ["s3:PutObject"], "Resource": ["arn:aws:s3:::b"]}),
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
        ("permissions", allowing("s3:PutObjct", "arn:aws:s3:::b/k"), "W3037"),
        ("trust", allowing("sts:AssumeRole", "*", Principal=LAMBDA), "E3530"),
        ("key", in_key(Action="kms:Decypher"), "W3037"),
        ("bucket", in_bucket(Effect="Forbid"), "E3512"),
    ],
)
def test_cfn_lint_would_see_it(kind: Kind, statement: dict[str, Any], rule: str) -> None:
    policies = cfn_lint([("made-up", kind, {"Version": "2012-10-17", "Statement": [statement]})])
    assert [line for line in policies if rule in line], policies
