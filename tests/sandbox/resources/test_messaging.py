"""Queues and topics, who may use them, and subscriptions that deliver."""

import json
from typing import Any

import pytest

from tests.local import REGION, LocalAws
from tests.sandbox.making import ACCOUNT, Maker


def policy(arn: str, action: str) -> dict[str, Any]:
    statement = {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": action, "Resource": arn}
    return {"Version": "2012-10-17", "Statement": [statement]}


def test_a_queue(maker: Maker, aws: LocalAws):
    made, address, old = maker.make("Queue", messageRetentionSeconds=1209600, sqsManagedSseEnabled=True)
    made.update(address, old, {**old, "visibilityTimeoutSeconds": 90})
    found = aws.client("sqs").get_queue_attributes(QueueUrl=address, AttributeNames=["All"])["Attributes"]
    assert (found["MessageRetentionPeriod"], found["VisibilityTimeout"]) == ("1209600", "90")
    assert made.read(address) == {"arn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{old['name']}", "url": address}


def test_a_topic(maker: Maker, aws: LocalAws):
    made, arn, old = maker.make("Topic", displayName="old")
    made.update(arn, old, {**old, "displayName": "new"})
    assert aws.client("sns").get_topic_attributes(TopicArn=arn)["Attributes"]["DisplayName"] == "new"
    assert made.read(arn) == {"arn": f"arn:aws:sns:{REGION}:{ACCOUNT}:{old['name']}"}


def test_what_a_topic_hands_on_reaches_the_queue(maker: Maker, aws: LocalAws):
    _, topic, _ = maker.make("Topic")
    queue, url, _ = maker.make("Queue")
    endpoint = (queue.read(url) or {})["arn"]
    given = {"topic": topic, "protocol": "sqs", "endpoint": endpoint, "rawMessageDelivery": True}
    made, arn, old = maker.make("TopicSubscription", **given, filterPolicy=json.dumps({"kind": ["a"]}))
    assert made.read(arn) == {
        "arn": arn,
        "ownerId": ACCOUNT,
        "pendingConfirmation": False,
        "confirmationWasAuthenticated": True,
    }
    assert made.unimitated(old) == []

    def publish(text: str, kind: str) -> list[str]:
        attributes = {"kind": {"DataType": "String", "StringValue": kind}}
        aws.client("sns").publish(TopicArn=topic, Message=text, MessageAttributes=attributes)
        received = aws.client("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
        for each in received:
            aws.client("sqs").delete_message(QueueUrl=url, ReceiptHandle=each["ReceiptHandle"])
        return [each["Body"] for each in received]

    assert publish("one", "a") == ["one"]
    assert publish("two", "b") == []
    made.update(arn, old, {name: value for name, value in old.items() if name != "filterPolicy"})
    assert publish("three", "b") == ["three"]


@pytest.mark.parametrize("protocol", ["email", "https"])
def test_subscriptions_that_nobody_receives_are_mentioned(maker: Maker, protocol: str):
    _, topic, _ = maker.make("Topic")
    endpoint = {"email": "me@example.com", "https": "https://127.0.0.1:1/"}[protocol]
    made, _, inputs = maker.make("TopicSubscription", topic=topic, protocol=protocol, endpoint=endpoint)
    assert made.unimitated(inputs) == [f"protocol {protocol}"]


def test_who_may_use_a_queue(maker: Maker, aws: LocalAws):
    queue, url, _ = maker.make("Queue")
    arn = (queue.read(url) or {})["arn"]
    made, identity, old = maker.make("QueuePolicy", queueUrl=url, policy=policy(arn, "sqs:SendMessage"))
    made.update(identity, old, {**old, "policy": json.dumps(policy(arn, "sqs:*"))})
    found = aws.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"])["Attributes"]["Policy"]
    assert (identity, json.loads(found)) == (url, policy(arn, "sqs:*"))
    made.delete(identity, old)
    assert made.read(identity) is None


def test_who_may_use_a_topic(maker: Maker, aws: LocalAws):
    topic, arn, _ = maker.make("Topic")

    def seen() -> Any:
        return json.loads(topic.describe(arn)["Attributes"]["Policy"])

    before = seen()
    made, identity, old = maker.make("TopicPolicy", arn=arn, policy=policy(arn, "sns:Publish"))
    made.update(identity, old, {**old, "policy": json.dumps(policy(arn, "sns:*"))})
    assert (identity, seen()) == (arn, policy(arn, "sns:*"))
    made.delete(identity, old)
    assert (made.read(identity), seen()) == (None, before)
    assert before["Statement"][0]["Resource"] == f"arn:aws:sns:{REGION}:{ACCOUNT}:{arn.rsplit(':', 1)[1]}"
