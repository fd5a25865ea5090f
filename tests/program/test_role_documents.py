"""The permissions of the pipeline's roles (docs/roles): for the resources of the program, and for no others."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import pulumi_aws as aws
import pytest

from infra.archive import build
from infra.consumer import StreamConsumer
from infra.settings import Tuning
from infra.stores import Stores
from infra.table import StreamTable
from sandbox import ROOT
from tests.consumers.project import SAMPLE
from tests.program import recording
from tests.program.recording import ACCOUNT, REGION, RecordingBackend, record, record_program
from tests.program.role_documents import (
    MANAGED_POLICY_CHARACTERS,
    NAMES,
    documents,
    generated,
    not_covered,
    recordings,
    size,
)

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
    (r"cloudwatch:(Put|Describe)\w*Alarms?", r"\*", "composite alarms need it (PutCompositeAlarm, API reference)"),
    (r"cloudwatch:\w+", r".*:alarm:(alarms|table-stream-STACK)-\*", "a program has dozens"),
    (r"cloudwatch:(GetMetricData|ListMetrics)", r"\*", "metrics have no ARNs"),
    (r"s3:(Get|Put|Delete)Object", r"arn:aws:s3:::[\w-]+-failures-\?{7}/\*", "an object for each failure"),
    (r"dynamodb:\w+", r".*:table/[\w?-]+/stream/\*", "DynamoDB names streams by their time"),
    (r"sns:\w*(Attributes|subscribe)", r".*:[\w?-]+:\*", "an id by SNS"),
)
"""What `*` may stand in; `?` stands for a letter of the random end of a name."""

SENDER = {"mailFrom": "shop@example.com"}
BOUND = {
    r".*:key/\*|kms:CreateKey": r"aws:(Resource|Request)Tag/stack",
    r"lambda:\w+EventSourceMapping": "lambda:FunctionArn",
    "iam:PassRole": "iam:PassedToService",
}
"""Actions or resources that a condition must narrow."""


def statements(texts: Mapping[str, str], *names: str) -> list[dict[str, Any]]:
    return [each for name in names for each in json.loads(texts[f"{name}.json"])["Statement"]]


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


@pytest.fixture(scope="module")
def sample() -> dict[str, str]:
    return documents(SAMPLE, recordings(SAMPLE))


def test_the_documents_are_those_of_the_program() -> None:
    assert generated(ROOT) == documents(ROOT, recordings(ROOT)), "docs/roles is out of date: run `make roles`"


@pytest.mark.parametrize("name", NAMES)
def test_no_permission_is_wider_than_it_must_be(name: str, sample: dict[str, str]) -> None:
    assert [complaint for each in statements(sample, name) for complaint in complaints(each)] == []
    assert size(statements(sample, name)) < MANAGED_POLICY_CHARACTERS


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


def test_the_documents_cover_what_the_program_makes_and_nothing_else(sample: dict[str, str]) -> None:
    outputs = [recording.KNOWN[kind](name) for kind, name in record_program(SAMPLE, "prod", **SENDER).registered]
    arns = {re.sub(r"^(arn:aws:iam):[^:]*", r"\1:", str(each["arn"])) for each in outputs if "arn" in each}
    for names in (["read"], ["write", "alarms"]):
        patterns = {
            resource.replace("ACCOUNT_ID", ACCOUNT).replace("REGION", REGION).removesuffix(":*")
            for statement in statements(sample, *names)
            for resource in statement["Resource"]
            if re.search(r"\?|:alarm:alarms-", resource)
        }
        assert {arn for arn in arns if not any(fnmatchcase(arn, pattern) for pattern in patterns)} == set()
        assert {pattern for pattern in patterns if not any(fnmatchcase(arn, pattern) for arn in arns)} == set()


def test_composite_alarms_and_the_dashboard_are_those_of_the_stack(sample: dict[str, str]) -> None:
    for name in ("read", "alarms"):
        resources = {resource for each in statements(sample, name) for resource in each["Resource"]}
        assert {
            "arn:aws:cloudwatch:REGION:ACCOUNT_ID:alarm:table-stream-STACK-*",
            "arn:aws:cloudwatch::ACCOUNT_ID:dashboard/table-stream-STACK",
        } <= resources


def program_of(*consumers: str, stores: bool = True) -> RecordingBackend:
    """A program with these consumers of one table, which has a name of its own."""

    def program() -> None:
        table = StreamTable("items", key="id", table_args={"name": "items-2019"})
        kept = Stores("stores", retention_in_days=30) if stores else None
        package = build("host", SAMPLE)
        for name in consumers:
            StreamConsumer(name, reads=[table.changes()], environment={}, stores=kept, tuning=Tuning(), package=package)

    return record(program)


def test_the_documents_follow_the_program() -> None:
    """A table's own name is exact, and a statement for which the program has no resource is left out."""
    texts = documents(SAMPLE, [program_of("mirror", stores=False)])
    sids = {name: {each["Sid"] for each in statements(texts, name)} for name in ("read", "write")}
    assert "ReadFunctions" in sids["read"]
    assert not {"ReadSchedules", "ReadTheFailureBucket"} & sids["read"]
    assert not {"MakeSchedules", "GiveRolesToSchedules"} & sids["write"]
    assert not {"alarms.json", "smoke.json"} & texts.keys()
    tables = next(each for each in statements(texts, "read") if each["Sid"] == "ReadTables")
    assert tables["Resource"] == ["arn:aws:dynamodb:REGION:ACCOUNT_ID:table/items-2019"]


def test_a_document_beyond_the_quota_has_a_second_file(monkeypatch: pytest.MonkeyPatch) -> None:
    programs = recordings(SAMPLE)
    whole = documents(SAMPLE, programs)
    monkeypatch.setattr("tests.program.role_documents.MANAGED_POLICY_CHARACTERS", 3_000)
    texts = documents(SAMPLE, programs)
    assert [name for name in texts if name.startswith("read")] == ["read.json", "read-2.json"]
    assert statements(texts, "read", "read-2") == statements(whole, "read")


def test_resources_without_permissions_are_named() -> None:
    def program() -> None:
        aws.sqs.Queue("inbox")
        StreamTable("items", key="id")

    assert not_covered([record(program)]) == ["aws:sqs/queue:Queue inbox"]


def test_the_role_for_keys_names_the_alias_that_the_program_makes(sample: dict[str, str]) -> None:
    encrypted = record_program(SAMPLE, "local", encryption="customer")
    alias = encrypted.one(recording.ALIAS, "encryption-alias").inputs["name"].replace("local", "STACK")
    named = {resource for statement in statements(sample, "encrypt") for resource in statement["Resource"]}
    assert f"arn:aws:kms:REGION:ACCOUNT_ID:{alias}" in named


def test_a_pipeline_deletes_no_resource_that_holds_data(sample: dict[str, str]) -> None:
    every = statements(sample, *NAMES)
    actions = {action for statement in every for action in statement["Action"]}
    assert not actions & {"dynamodb:DeleteTable", "s3:DeleteBucket", "kms:ScheduleKeyDeletion", "kms:DisableKey"}


def test_reading_changes_nothing(sample: dict[str, str]) -> None:
    actions = [action for statement in statements(sample, "read") for action in statement["Action"]]
    assert {re.sub(r".*:([A-Z][a-z]+).*", r"\1", each) for each in actions} == {"Decrypt", "Describe", "Get", "List"}


@pytest.mark.parametrize(
    ("name", "subjects"),
    [("trust-preview", ["pull_request", "ref:refs/heads/main"]), ("trust-deploy", ["environment:STACK"])],
)
def test_only_the_workflows_of_this_repository_may_assume_them(name: str, subjects: list[str]) -> None:
    """GitHub names a repository with its ids where that is new or renamed, and without them elsewhere."""
    repositories = ("OWNER@OWNER_ID/REPOSITORY@REPOSITORY_ID", "OWNER/REPOSITORY")
    named = [f"repo:{repository}:{subject}" for repository in repositories for subject in subjects]
    issuer = "token.actions.githubusercontent.com"
    text = (ROOT / "docs" / "roles" / f"{name}.json").read_text(encoding="utf-8")
    assert json.loads(text)["Statement"] == [
        {
            "Effect": "Allow",
            "Principal": {"Federated": f"arn:aws:iam::ACCOUNT_ID:oidc-provider/{issuer}"},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {"StringEquals": {f"{issuer}:aud": "sts.amazonaws.com", f"{issuer}:sub": named}},
        }
    ]
