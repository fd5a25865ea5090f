"""The gate publishes what functions send and what AWS would refuse, and faults hit the calls of handlers."""

import contextlib
import json
import uuid
from collections.abc import Generator
from typing import Any

import boto3  # pyright: ignore[reportMissingTypeStubs] -- untyped
import pytest
from botocore.config import Config  # pyright: ignore[reportMissingTypeStubs] -- untyped
from botocore.exceptions import ClientError  # pyright: ignore[reportMissingTypeStubs] -- untyped

from sandbox.emulator import ACCOUNT
from sandbox.gate import faults
from sandbox.gate.gate import Gate
from sandbox.watch.feed import Fact, Feed
from tests.local import REGION, LocalAws

FUNCTION = "mirror-function-1a2b3c4"


class Function:
    """A function behind a gate, as far as its calls to AWS go; its tables exist in the emulator."""

    def __init__(self, aws: LocalAws) -> None:
        self.feed, self.name = Feed(), f"gate-{uuid.uuid4().hex[:8]}"
        self.gate = Gate(aws.sandbox.emulator.port, aws.client, self.feed, REGION, aws.sandbox.poller.wake)
        self.table, self.ledger = f"{self.name}-table", f"{self.name}-ledger"
        for table in (self.table, self.ledger):
            aws.create_table(table)
        statement = {
            "Effect": "Allow",
            "Action": ["dynamodb:GetItem", "dynamodb:PutItem", "ses:SendEmail"],
            "Resource": [
                f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{self.table}",
                f"arn:aws:ses:{REGION}:{ACCOUNT}:identity/example.com",
            ],
        }
        iam = aws.client("iam")
        iam.create_role(RoleName=self.name, AssumeRolePolicyDocument="{}")
        policy = json.dumps({"Version": "2012-10-17", "Statement": statement})
        iam.put_role_policy(RoleName=self.name, PolicyName="own", PolicyDocument=policy)
        consumers = {"mirror": {"function": FUNCTION, "role": self.name}}
        self.gate.use({"consumers": consumers, "stores": {"ledger": {"name": self.ledger}}})

    def client(self, service: str) -> Any:
        """Return a client with the function's name in each call, which tries twice."""
        config = Config(user_agent_appid=FUNCTION, retries={"total_max_attempts": 2})
        keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x"}
        untyped: Any = boto3
        return untyped.client(service, endpoint_url=self.gate.url, region_name=REGION, config=config, **keys)

    def put(self, table: str | None = None) -> bool:
        """Put an item; return whether that succeeds."""
        with contextlib.suppress(ClientError):
            self.client("dynamodb").put_item(TableName=table or self.table, Item={"id": {"S": "1"}})
            return True
        return False

    def get(self) -> bool:
        """Get an item; return whether that succeeds."""
        with contextlib.suppress(ClientError):
            self.client("dynamodb").get_item(TableName=self.table, Key={"id": {"S": "1"}})
            return True
        return False

    def facts(self, kind: str) -> list[Fact]:
        with self.feed.read() as reader:
            facts = iter(lambda: reader.next(0), None)
            return [fact for fact in facts if fact["kind"] == kind]


@pytest.fixture
def function(aws: LocalAws) -> Generator[Function]:
    made = Function(aws)
    yield made
    made.gate.close()


def test_what_a_function_sends_is_published(function: Function, aws: LocalAws):
    aws.client("sesv2").create_email_identity(EmailIdentity="me@example.com")
    function.client("sesv2").send_email(
        FromEmailAddress="me@example.com",
        Destination={"ToAddresses": ["you@example.com"]},
        Content={"Simple": {"Subject": {"Data": "Hi"}, "Body": {"Text": {"Data": "there"}}}},
    )
    topic = function.client("sns").create_topic(Name=f"{function.name}-alerts")["TopicArn"]
    function.client("sns").publish(TopicArn=topic, Message="sold out")
    queue = function.client("sqs").create_queue(QueueName=f"{function.name}-jobs")["QueueUrl"]
    function.client("sqs").send_message(QueueUrl=queue, MessageBody="job")
    [mail] = function.facts("mail")
    assert (mail["consumer"], mail["from"], mail["to"]) == ("mirror", "me@example.com", ["you@example.com"])
    assert (mail["subject"], mail["text"]) == ("Hi", "there")
    assert [(fact["service"], fact["target"], fact["text"]) for fact in function.facts("message")] == [
        ("sns", f"{function.name}-alerts", "sold out"),
        ("sqs", f"{function.name}-jobs", "job"),
    ]


def test_a_call_that_aws_would_refuse_is_told_once(function: Function):
    assert function.put()
    dynamodb = function.client("dynamodb")
    for _ in range(2):
        dynamodb.delete_item(TableName=function.table, Key={"id": {"S": "1"}})
    put = {"Put": {"TableName": function.table, "Item": {"id": {"S": "2"}}}}
    gone = {"Delete": {"TableName": function.table, "Key": {"id": {"S": "1"}}}}
    dynamodb.transact_write_items(TransactItems=[put, gone])
    table = f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{function.table}"
    assert [(fact["action"], fact["resource"]) for fact in function.facts("refused")] == [
        ("dynamodb:DeleteItem", table)
    ]
    function.client("sns").list_topics()
    assert function.facts("refused")[-1]["action"] == "sns:ListTopics"


def test_the_next_write_fails_also_if_it_is_tried_again_and_no_other(
    function: Function, monkeypatch: pytest.MonkeyPatch
):
    function.gate.faults.set("mirror", "fail", on=True)
    assert function.put(function.ledger), "the engine's own calls are spared"
    assert function.get()
    assert not function.put()
    assert not function.put()
    function.client("dynamodb").put_item(TableName=function.table, Item={"id": {"S": "2"}})
    monkeypatch.setattr(faults.time, "monotonic", lambda: float("inf"))
    assert function.put()
    assert [fact["faults"] for fact in function.facts("faults")] == [{"mirror": ["fail"]}, {}]


def test_in_an_outage_each_call_of_the_consumer_fails_until_it_is_over(function: Function):
    function.gate.faults.set("mirror", "outage", on=True)
    assert not function.get()
    assert not function.put()
    assert function.put(function.ledger)
    function.gate.faults.set("mirror", "outage", on=False)
    assert function.put()


def test_a_slow_call_waits(function: Function, monkeypatch: pytest.MonkeyPatch):
    pauses: list[float] = []
    monkeypatch.setattr(faults.time, "sleep", pauses.append)
    function.gate.faults.set("mirror", "slow", on=True)
    assert function.put()
    assert pauses == [faults.SLOW_SECONDS]


def test_there_is_no_other_fault(function: Function):
    with pytest.raises(ValueError, match="no fault flood; there are fail, slow, crash, outage"):
        function.gate.faults.set("mirror", "flood", on=True)
