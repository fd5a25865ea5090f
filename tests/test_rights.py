"""Rights granted are calls made, both ways, with IAM enforced by the emulator and every call on its record.

The emulator does not look at `dynamodb:LeadingKeys`, knows no mail identities (sending counts as an action on `*`), and
lets Lambda write logs and the poller read streams with rights of their own: for those, the policies' own tests stand.
"""

import json
from collections.abc import Generator, Mapping
from typing import Any, cast

import boto3  # pyright: ignore[reportMissingTypeStubs] -- boto3 is untyped
import pytest

from ops.smoke import Smoke
from ops.stack import Stack
from sandbox.emulator import ACCOUNT
from sandbox.program import ROOT
from tests.local import REGION, LocalAws

ENFORCED = {"AUTH": "true", "CLOUDTRAIL_RECORDING": "1", "AWS_ACCESS_KEY_ID": "sandbox"}
SEND_ANYWHERE = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "ses:SendEmail", "Resource": "*"}}
BY_THE_MAPPING = {
    "dynamodb:DescribeStream",
    "dynamodb:GetRecords",
    "dynamodb:GetShardIterator",
    "dynamodb:ListStreams",
    "s3:ListBucket",
}
BY_LAMBDA = {"logs:CreateLogStream", "logs:PutLogEvents"}


@pytest.fixture(scope="module")
def guarded() -> Generator[LocalAws]:
    """An emulator that asks IAM before each call, and keeps a record of them."""
    local = LocalAws(ENFORCED)
    yield local
    local.close()


@pytest.fixture(scope="module")
def outputs(guarded: LocalAws) -> dict[str, Any]:
    """The whole program's outputs, deployed; it goes with its emulator."""
    outputs = guarded.deploy().outputs
    role = outputs["consumers"]["welcome-email"]["role"]
    guarded.client("iam").put_role_policy(RoleName=role, PolicyName="mail", PolicyDocument=json.dumps(SEND_ANYWHERE))
    return outputs


@pytest.fixture(scope="module")
def calls(guarded: LocalAws, outputs: dict[str, Any]) -> dict[str, set[str]]:
    """What each consumer's function called while changes succeeded, failed and were parked."""
    users = [
        {"id": "1", "email": "ada@example.com"},
        {"id": "2", "email": "bob@example.com", "language": "xx"},
        {"id": "3", "email": 3},
    ]
    orders = [{"customer_id": "c", "order_id": "1"}]
    return {
        "change-log": deliver(guarded, outputs, "change-log", "users", users[:1]),
        "mirror": deliver(guarded, outputs, "mirror", "orders", orders),
        "welcome-email": deliver(guarded, outputs, "welcome-email", "users", users),
    }


def deliver(
    guarded: LocalAws, outputs: dict[str, Any], consumer: str, table: str, items: list[dict[str, Any]]
) -> set[str]:
    """Invoke a consumer's function with inserts of `items`, twice, as a mapping may; the actions that it called."""
    records = [inserted(outputs["tables"][table]["streamArn"], number, item) for number, item in enumerate(items)]
    before = {name for name, _ in recorded(guarded)}
    for _ in range(2):
        answer = guarded.client("lambda").invoke(
            FunctionName=outputs["consumers"][consumer]["function"], Payload=json.dumps({"Records": records})
        )
        assert "FunctionError" not in answer, answer["Payload"].read()
        failed = [failure["itemIdentifier"] for failure in json.load(answer["Payload"])["batchItemFailures"]]
        assert failed == [record["dynamodb"]["SequenceNumber"] for record in records if fails(record)]
    mailed = {"ses:SendEmail"} if guarded.mails() else set[str]()  # the emulator's record leaves mail out
    return {action for name, action in recorded(guarded) if name not in before} | mailed


def fails(record: Mapping[str, Any]) -> bool:
    """A user whose address is a number can be neither welcomed nor parked."""
    return "N" in record["dynamodb"]["NewImage"].get("email", {})


def inserted(stream_arn: str, number: int, item: Mapping[str, Any]) -> dict[str, Any]:
    image = {name: {"N": str(value)} if isinstance(value, int) else {"S": value} for name, value in item.items()}
    keys = {name: value for name, value in image.items() if name == "id" or name.endswith("_id")}
    return {
        "eventID": f"event-{number}",
        "eventName": "INSERT",
        "eventSource": "aws:dynamodb",
        "eventSourceARN": stream_arn,
        "dynamodb": {"Keys": keys, "NewImage": image, "SequenceNumber": str(10**20 + number)},
    }


def recorded(guarded: LocalAws) -> set[tuple[str, str]]:
    """Who called which action: one name an assumed role, as the emulator's CloudTrail has it."""
    pages = guarded.client("cloudtrail").get_paginator("lookup_events").paginate()
    return {
        (event["Username"], f"{event['EventSource'].split('.')[0]}:{event['EventName']}")
        for page in pages
        for event in page["Events"]
        if event["Username"] != "sandbox"
    }


def granted(guarded: LocalAws, outputs: dict[str, Any], consumer: str) -> set[str]:
    """Actions that the role's policy allows to the function itself."""
    iam, role = guarded.client("iam"), outputs["consumers"][consumer]["role"]
    names = [name for name in iam.list_role_policies(RoleName=role)["PolicyNames"] if name != "mail"]
    documents = [iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"] for name in names]
    statements = [statement for document in documents for statement in document["Statement"]]
    return {action for statement in statements for action in statement["Action"]} - BY_THE_MAPPING - BY_LAMBDA


@pytest.mark.parametrize("consumer", ["change-log", "mirror", "welcome-email"])
def test_a_function_calls_only_what_its_role_grants(
    consumer: str, guarded: LocalAws, outputs: dict[str, Any], calls: dict[str, set[str]]
) -> None:
    assert calls[consumer] <= granted(guarded, outputs, consumer)


def test_every_right_is_used_by_some_consumer(
    guarded: LocalAws, outputs: dict[str, Any], calls: dict[str, set[str]]
) -> None:
    """The engine's rights are the same for all: whether a handler claims stands in its code alone."""
    rights = {action for consumer in calls for action in granted(guarded, outputs, consumer)}
    assert rights == {action for made in calls.values() for action in made}


def test_smoke_needs_what_its_document_grants_and_nothing_else(guarded: LocalAws, outputs: dict[str, Any]) -> None:
    """The deploy role's smoke.json, with a user in the place of the role."""
    stack = Stack.model_validate(outputs)
    document = (ROOT / "docs" / "roles" / "smoke.json").read_text()
    rights = json.loads(document.replace("ACCOUNT_ID", ACCOUNT).replace("REGION", REGION))
    granted = {action for statement in rights["Statement"] for action in statement["Action"]}
    iam = guarded.client("iam")
    iam.create_user(UserName="smoke")
    iam.put_user_policy(UserName="smoke", PolicyName="rights", PolicyDocument=json.dumps(rights))
    key = iam.create_access_key(UserName="smoke")["AccessKey"]

    called: set[str] = set()

    def call(model: Any, **_: Any) -> None:
        called.add(f"{model.service_model.endpoint_prefix}:{model.name}")

    def client(service: str) -> Any:
        made = cast("Any", boto3).client(
            service,
            endpoint_url=guarded.sandbox.emulator.endpoint,
            region_name=REGION,
            aws_access_key_id=key["AccessKeyId"],
            aws_secret_access_key=key["SecretAccessKey"],
        )
        made.meta.events.register("before-call", call)
        return made

    assert Smoke(stack, client).run(60, lambda effect, _: None) == []
    assert called == granted


def test_what_is_not_granted_is_refused(guarded: LocalAws, outputs: dict[str, Any]) -> None:
    """Without the mirror's right to write, its change is reported: the emulator does enforce."""
    iam, role = guarded.client("iam"), outputs["consumers"]["mirror"]["role"]
    denied = {"Version": "2012-10-17", "Statement": {"Effect": "Deny", "Action": "dynamodb:PutItem", "Resource": "*"}}
    iam.put_role_policy(RoleName=role, PolicyName="denied", PolicyDocument=json.dumps(denied))
    record = inserted(outputs["tables"]["orders"]["streamArn"], 9, {"customer_id": "c", "order_id": "9"})
    answer = guarded.client("lambda").invoke(
        FunctionName=outputs["consumers"]["mirror"]["function"], Payload=json.dumps({"Records": [record]})
    )
    assert json.load(answer["Payload"]) == {
        "batchItemFailures": [{"itemIdentifier": record["dynamodb"]["SequenceNumber"]}]
    }
