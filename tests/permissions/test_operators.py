"""Each operator's command runs with exactly the permissions of its document in docs/roles.

A user with only these permissions stands in for the operator's role. The emulator does not ask IAM for the calls that
the sandbox answers itself, and allows some calls only on `*`.
"""

import json
import shlex
from collections.abc import Callable, Mapping
from typing import Any, cast

import pytest
from botocore import handlers  # pyright: ignore[reportMissingTypeStubs] -- untyped
from typer.testing import CliRunner

from ops.__main__ import COMMANDS as FUNCTIONS
from ops.__main__ import app
from sandbox.emulator import ACCOUNT
from tests.consumers.project import SAMPLE
from tests.local import REGION, LocalAws, wait_for
from tests.permissions.enforcing import UNSCOPED, deny
from tests.program.role_documents import OPERATOR, documents, recordings

COMMANDS: Mapping[str, list[str]] = {
    "status": ["status"],
    "held": ["held", "held welcome-email --item id=8"],
    "retry": ["retry welcome-email --yes", "retry welcome-email --item id=8 --yes"],
    "skip": ["skip welcome-email --item id=8 --yes"],
    "failures": ["failures welcome-email", "failures welcome-email --item id=9"],
    "redrive": ["redrive welcome-email --item id=9 --yes"],
    "replay": ["replay welcome-email --since 1h --item id=9 --yes"],
    "pause": ["pause mirror --yes", "resume mirror --yes"],
    "tail": ["tail welcome-email --since 10m --no-follow"],
}
"""By document, commands that together make every call of the command."""
PREFIXES = {"monitoring": "cloudwatch", "streams.dynamodb": "dynamodb"}
"""IAM's prefix of a service, where it is not the prefix of the endpoint."""
ACTIONS = {
    "lambda:Invoke": ("lambda:InvokeFunction",),
    "s3:ListObjectsV2": ("s3:ListBucket",),
    "s3:HeadBucket": ("s3:ListBucket",),
    "s3:HeadObject": ("s3:GetObject",),
    "s3:DeleteObjects": ("s3:DeleteObject",),
    "s3:CopyObject": ("s3:GetObject", "s3:PutObject"),
    "s3:GetBucketLifecycleConfiguration": ("s3:GetLifecycleConfiguration",),
}
"""The actions of a call, where IAM names them differently."""
NOT_CALLED = {"iam:PassRole", "cloudwatch:DeleteAlarmMuteRule"}
"""EventBridge Scheduler asks for the first when a schedule with a role is updated. `resume` deletes only a mute rule
that has ended, and none has here."""
WHILE_HELD = {"redrive": {"dynamodb:Query"}, "replay": {"dynamodb:Query"}}
"""Calls that a command makes only if a retry run has not settled an item by the time that the command looks."""
DOCUMENTS = documents(SAMPLE, recordings(SAMPLE))


@pytest.fixture(scope="module")
def trouble(guarded: LocalAws, outputs: dict[str, Any], tls_only: str) -> None:
    """Let welcome-email hold user 8, since its mails are denied, and park user 9, who has no template.

    The failure bucket admits requests without TLS, since the emulator has only plain HTTP.
    """
    s3, bucket = guarded.client("s3"), outputs["stores"]["failures"]["bucket"]
    policy = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])
    policy["Statement"] = [each for each in policy["Statement"] if each["Sid"] != "TlsOnly"]
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
    deny(guarded, outputs["consumers"]["welcome-email"]["role"], "ses:SendEmail", "*")
    users = {"id": "9", "email": "ada@example.com", "language": "xx"}, {"id": "8", "email": "bob@example.com"}
    guarded.write(outputs["tables"]["users"]["name"], *users)
    group = outputs["consumers"]["welcome-email"]["logGroup"]
    wait_for(lambda: guarded.log_entries(group, "item held"), "a held user", 60)
    wait_for(lambda: guarded.log_entries(group, "change parked"), "a parked user", 60)


@pytest.fixture
def operator(
    guarded: LocalAws, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, str], Callable[[str], tuple[int, str, set[str]]]]:
    """`operator(name, policy)(command)` runs a command as a user with a policy: its code, its output, its actions."""
    iam = guarded.client("iam")
    for name, value in guarded.variables().items():
        monkeypatch.setenv(name, value)

    def make(user: str, policy: str) -> Callable[[str], tuple[int, str, set[str]]]:
        iam.create_user(UserName=user)
        iam.put_user_policy(UserName=user, PolicyName="permissions", PolicyDocument=policy)
        key = iam.create_access_key(UserName=user)["AccessKey"]
        called: set[str] = set()

        def record(model: Any, **_: Any) -> None:
            prefix = PREFIXES.get(model.service_model.endpoint_prefix, model.service_model.endpoint_prefix)
            call = f"{prefix}:{model.name}"
            called.update(ACTIONS.get(call, (call,)))

        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
        of_every_session: list[Any] = [*cast("Any", handlers).BUILTIN_HANDLERS, ("before-call", record)]
        monkeypatch.setattr(handlers, "BUILTIN_HANDLERS", of_every_session)

        def run(command: str) -> tuple[int, str, set[str]]:
            result = CliRunner().invoke(app, shlex.split(command))
            return result.exit_code, result.output, called

        return run

    return make


def enforceable(document: str) -> str:
    """Return a document as the emulator takes it.

    It names a log group without `:*`, knows no condition on a mapping's function, allows some calls only on `*`, and
    takes GetEventSourceMapping for ListEventSourceMappings.
    """
    policy = json.loads(document.replace("ACCOUNT_ID", ACCOUNT).replace("REGION", REGION))
    for statement in policy["Statement"]:
        resources: list[str] = statement["Resource"]
        statement["Resource"] = [each.removesuffix(":*") if ":log-group:" in each else each for each in resources]
        if "lambda:FunctionArn" in json.dumps(statement.get("Condition", {})):
            del statement["Condition"]
            statement["Action"] += ["lambda:ListEventSourceMappings"]
            statement["Resource"] = "*"
        if UNSCOPED & set(statement["Action"]):
            statement["Resource"] = "*"
    return json.dumps(policy)


def test_each_command_has_a_document() -> None:
    assert {f"operator-{name}" for name in COMMANDS} | {"operator-decrypt"} == set(OPERATOR)
    ran = {command.split()[0] for commands in COMMANDS.values() for command in commands}
    assert ran | {"smoke"} == {each.__name__ for each in FUNCTIONS}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_calls_exactly_what_its_document_allows(
    guarded: LocalAws, outputs: dict[str, Any], trouble: None, operator: Any, name: str
) -> None:
    document = DOCUMENTS[f"operator-{name}.json"]
    run, called = operator(f"operator-{name}", enforceable(document)), set[str]()
    for command in COMMANDS[name]:
        code, output, called = run(command)
        assert code in (0, 1), output
        assert "denied" not in output, output
    allowed = {action for statement in json.loads(document)["Statement"] for action in statement["Action"]}
    assert called | WHILE_HELD.get(name, set[str]()) == allowed - NOT_CALLED
