"""Queues and topics, their policies, and subscriptions that deliver."""

import json
from typing import Any

import pytest

from tests.local import REGION, LocalAws
from tests.sandbox.resource_factory import ACCOUNT, ResourceFactory


def policy(arn: str, action: str) -> dict[str, Any]:
    statement = {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": action, "Resource": arn}
    return {"Version": "2012-10-17", "Statement": [statement]}


def test_a_queue(factory: ResourceFactory, aws: LocalAws):
    resource_type, address, old = factory.create("Queue", messageRetentionSeconds=1209600, sqsManagedSseEnabled=True)
    resource_type.update(address, old, {**old, "visibilityTimeoutSeconds": 90})
    actual = aws.client("sqs").get_queue_attributes(QueueUrl=address, AttributeNames=["All"])["Attributes"]
    assert (actual["MessageRetentionPeriod"], actual["VisibilityTimeout"]) == ("1209600", "90")
    assert resource_type.read(address) == {"arn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{old['name']}", "url": address}


def test_a_topic(factory: ResourceFactory, aws: LocalAws):
    resource_type, arn, old = factory.create("Topic", displayName="old")
    resource_type.update(arn, old, {**old, "displayName": "new"})
    assert aws.client("sns").get_topic_attributes(TopicArn=arn)["Attributes"]["DisplayName"] == "new"
    assert resource_type.read(arn) == {"arn": f"arn:aws:sns:{REGION}:{ACCOUNT}:{old['name']}"}


def test_a_subscribed_queue_gets_the_messages_of_a_topic(factory: ResourceFactory, aws: LocalAws):
    _, topic, _ = factory.create("Topic")
    queue, url, _ = factory.create("Queue")
    endpoint = (queue.read(url) or {})["arn"]
    properties: dict[str, Any] = {"topic": topic, "protocol": "sqs", "endpoint": endpoint, "rawMessageDelivery": True}
    properties["filterPolicy"] = json.dumps({"kind": ["a"]})
    resource_type, arn, old = factory.create("TopicSubscription", **properties)
    confirmation = {"pendingConfirmation": False, "confirmationWasAuthenticated": True}
    assert resource_type.read(arn) == {"arn": arn, "ownerId": ACCOUNT, **confirmation}
    assert resource_type.list_unsupported(old) == []

    def publish(text: str, kind: str) -> list[str]:
        attributes = {"kind": {"DataType": "String", "StringValue": kind}}
        aws.client("sns").publish(TopicArn=topic, Message=text, MessageAttributes=attributes)
        received = aws.client("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
        for each in received:
            aws.client("sqs").delete_message(QueueUrl=url, ReceiptHandle=each["ReceiptHandle"])
        return [each["Body"] for each in received]

    assert publish("one", "a") == ["one"]
    assert publish("two", "b") == []
    resource_type.update(arn, old, {name: value for name, value in old.items() if name != "filterPolicy"})
    assert publish("three", "b") == ["three"]


@pytest.mark.parametrize("protocol", ["email", "https"])
def test_subscriptions_without_delivery_are_reported(factory: ResourceFactory, protocol: str):
    _, topic, _ = factory.create("Topic")
    endpoint = {"email": "me@example.com", "https": "https://127.0.0.1:1/"}[protocol]
    resource_type, _, inputs = factory.create("TopicSubscription", topic=topic, protocol=protocol, endpoint=endpoint)
    assert resource_type.list_unsupported(inputs) == [f"protocol {protocol}"]


def test_the_policy_of_a_queue(factory: ResourceFactory, aws: LocalAws):
    queue, url, _ = factory.create("Queue")
    arn = (queue.read(url) or {})["arn"]
    resource_type, identity, old = factory.create("QueuePolicy", queueUrl=url, policy=policy(arn, "sqs:SendMessage"))
    resource_type.update(identity, old, {**old, "policy": json.dumps(policy(arn, "sqs:*"))})
    actual = aws.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"])["Attributes"]["Policy"]
    assert (identity, json.loads(actual)) == (url, policy(arn, "sqs:*"))
    resource_type.delete(identity, old)
    assert resource_type.read(identity) is None


def test_the_policy_of_a_topic(factory: ResourceFactory, aws: LocalAws):
    topic, arn, _ = factory.create("Topic")

    def current() -> Any:
        return json.loads(topic.describe(arn)["Attributes"]["Policy"])

    before = current()
    resource_type, identity, old = factory.create("TopicPolicy", arn=arn, policy=policy(arn, "sns:Publish"))
    resource_type.update(identity, old, {**old, "policy": json.dumps(policy(arn, "sns:*"))})
    assert (identity, current()) == (arn, policy(arn, "sns:*"))
    resource_type.delete(identity, old)
    assert (resource_type.read(identity), current()) == (None, before)
    assert before["Statement"][0]["Resource"] == f"arn:aws:sns:{REGION}:{ACCOUNT}:{arn.rsplit(':', 1)[1]}"
