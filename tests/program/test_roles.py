"""The roles that the workflows assume (docs/roles): rights on what the program makes and on nothing else."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from sandbox import ROOT
from sandbox.program.in_process import run, stack_config
from tests.program import recording as kinds
from tests.program.recording import ACCOUNT, REGION, Recorder

ROLES = ROOT / "docs" / "roles"
RIGHTS = ("read", "write", "encrypt", "smoke")
MANAGED_POLICY_CHARACTERS = 6_144
"""Of one managed policy, white space not counted (IAM's quota)."""

REASONS: Sequence[tuple[str, str, str]] = (
    # actions, resource, why nothing narrower is possible
    (r"s3:(Get|Put|Delete)Object", r".*/STACK\.json\*", "the state stands beside its backup and its attributes"),
    (r"s3:(Get|Put|Delete)Object", r".*/table-stream/STACK/\*", "Pulumi names them by time and by update"),
    (r"lambda:CreateEventSourceMapping", r"\*", "there is no mapping yet; bound to our functions"),
    (r"lambda:\w+EventSourceMapping", r".*:event-source-mapping:\*", "an id by Lambda; bound to our functions"),
    (
        r"lambda:(ListTags|TagResource|UntagResource)",
        r".*:event-source-mapping:\*",
        "as above, without a condition key",
    ),
    (r"logs:DescribeLogGroups", r".*:log-group:\*", "a search"),
    (r"logs:\w+", r".*:log-group:[\w?-]+:\*", "how AWS names a group, but where tags are meant"),
    (r"kms:\w+", r".*:key/\*", "an id by KMS; bound to the stack's tags"),
    (r"kms:CreateKey", r"\*", "there is no key yet; bound to the stack's tags"),
    (r"kms:ListAliases", r"\*", "a search"),
)
"""What `*` may stand in; `?` stands for a letter of the random end of a name."""

BOUND = {
    r".*:key/\*|kms:CreateKey": r"aws:(Resource|Request)Tag/stack",
    r"lambda:\w+EventSourceMapping": "lambda:FunctionArn",
    "iam:PassRole": "iam:PassedToService",
}
"""Actions or resources that a condition must narrow."""


def statements(*names: str) -> list[dict[str, Any]]:
    return [each for name in names for each in json.loads((ROLES / f"{name}.json").read_text())["Statement"]]


def complaints(statement: Mapping[str, Any]) -> Iterator[str]:
    if set(statement) - {"Condition"} != {"Sid", "Effect", "Action", "Resource"} or statement["Effect"] != "Allow":
        yield f"more than the allowing of actions on resources: {statement}"
        return
    narrowed = " ".join(key for tests in statement.get("Condition", {}).values() for key in tests)
    for action in statement["Action"]:
        if not re.fullmatch(r"[a-z0-9]+:[A-Za-z]+", action):
            yield f"action {action}"
        for resource in statement["Resource"]:
            if "*" in resource and not any(
                re.fullmatch(actions, action) and re.fullmatch(allowed, resource) for actions, allowed, _ in REASONS
            ):
                yield f"{action} on {resource}"
            for what, condition in BOUND.items():
                said = re.fullmatch(what, action) or re.fullmatch(what, resource)
                if said and not re.search(condition, narrowed):
                    yield f"{action} on {resource} without {condition}"


@pytest.mark.parametrize("name", RIGHTS)
def test_no_right_is_wider_than_it_must_be(name: str) -> None:
    assert [complaint for statement in statements(name) for complaint in complaints(statement)] == []
    assert len(re.sub(r"\s", "", (ROLES / f"{name}.json").read_text())) < MANAGED_POLICY_CHARACTERS


@pytest.mark.parametrize(
    ("action", "resource"),
    [
        ("dynamodb:*", "arn:aws:dynamodb:REGION:ACCOUNT_ID:table/users-table-???????"),
        ("dynamodb:DeleteTable", "arn:aws:dynamodb:REGION:ACCOUNT_ID:table/*"),
        ("iam:PassRole", "arn:aws:iam::ACCOUNT_ID:role/mirror-role-???????"),
        ("kms:Decrypt", "arn:aws:kms:REGION:ACCOUNT_ID:key/*"),
        ("s3:GetObject", "arn:aws:s3:::STATE_BUCKET/*"),
    ],
)
def test_the_linter_would_see_a_wider_one(action: str, resource: str) -> None:
    assert list(complaints({"Sid": "A", "Effect": "Allow", "Action": [action], "Resource": [resource]}))


def test_the_roles_cover_what_the_program_makes_and_nothing_else() -> None:
    recorder = Recorder()
    run(ROOT, stack="local", config=stack_config("local"), backend=recorder)
    outputs = [kinds.KNOWN[kind](name) for kind, name in recorder.registered]
    made = {re.sub(r"^(arn:aws:iam):[^:]*", r"\1:", str(each["arn"])) for each in outputs if "arn" in each}
    for name in ("read", "write"):
        patterns = {
            resource.replace("ACCOUNT_ID", ACCOUNT).replace("REGION", REGION).removesuffix(":*")
            for statement in statements(name)
            for resource in statement["Resource"]
            if "?" in resource
        }
        assert {arn for arn in made if not any(fnmatchcase(arn, pattern) for pattern in patterns)} == set()
        assert {pattern for pattern in patterns if not any(fnmatchcase(arn, pattern) for arn in made)} == set()


def test_the_role_for_keys_names_the_alias_that_the_program_makes() -> None:
    recorder = Recorder()
    run(ROOT, stack="local", config=stack_config("local") | {"encryption": "customer"}, backend=recorder)
    alias = recorder.one(kinds.ALIAS, "encryption-alias").inputs["name"]
    named = {resource for statement in statements("encrypt") for resource in statement["Resource"]}
    assert f"arn:aws:kms:REGION:ACCOUNT_ID:{alias.replace('local', 'STACK')}" in named


def test_a_pipeline_deletes_nothing_that_holds_data() -> None:
    actions = {action for statement in statements(*RIGHTS) for action in statement["Action"]}
    assert not actions & {"dynamodb:DeleteTable", "s3:DeleteBucket", "kms:ScheduleKeyDeletion", "kms:DisableKey"}


def test_reading_changes_nothing() -> None:
    verbs = {
        re.sub(r".*:([A-Z][a-z]+).*", r"\1", each) for statement in statements("read") for each in statement["Action"]
    }
    assert verbs == {"Decrypt", "Describe", "Get", "List"}


@pytest.mark.parametrize(
    ("name", "subjects"),
    [
        ("trust-preview", ["pull_request", "ref:refs/heads/main"]),
        ("trust-deploy", ["environment:STACK"]),
    ],
)
def test_only_the_workflows_of_this_repository_may_assume_them(name: str, subjects: list[str]) -> None:
    """GitHub names a repository with its ids where that is new or renamed, and without them elsewhere."""
    repositories = ("OWNER@OWNER_ID/REPOSITORY@REPOSITORY_ID", "OWNER/REPOSITORY")
    named = [f"repo:{repository}:{subject}" for repository in repositories for subject in subjects]
    issuer = "token.actions.githubusercontent.com"
    assert statements(name) == [
        {
            "Effect": "Allow",
            "Principal": {"Federated": f"arn:aws:iam::ACCOUNT_ID:oidc-provider/{issuer}"},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {"StringEquals": {f"{issuer}:aud": "sts.amazonaws.com", f"{issuer}:sub": named}},
        }
    ]


def test_every_document_is_looked_at() -> None:
    assert {Path(path).stem for path in ROLES.iterdir()} == {*RIGHTS, "trust-preview", "trust-deploy"}
