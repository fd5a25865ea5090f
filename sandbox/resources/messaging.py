"""SQS queues and SNS topics with their policies, and subscriptions."""

# ruff: noqa: ARG002, D102 -- ResourceType documents the methods of every type, and fixes their arguments

import json
from typing import ClassVar

from sandbox.resources.resource_type import Inputs, ResourceType, parse_properties

DELIVERED_PROTOCOLS = ("sqs", "lambda")
"""The protocols to which the emulator delivers as AWS does."""


class Queue(ResourceType):
    """A queue; its id is its URL."""

    type, service, id_argument = "aws:sqs/queue:Queue", "sqs", "QueueUrl"
    create_call, delete_call = "create_queue", "delete_queue"
    id_format = "{QueueUrl}"
    replacement_properties = frozenset({"name", "fifoQueue"})
    properties = parse_properties(
        """name= fifoQueue contentBasedDeduplication delaySeconds policy redrivePolicy redriveAllowPolicy
        sqsManagedSseEnabled kmsMasterKeyId visibilityTimeoutSeconds=VisibilityTimeout
        messageRetentionSeconds=MessageRetentionPeriod maxMessageSize=MaximumMessageSize
        receiveWaitTimeSeconds=ReceiveMessageWaitTimeSeconds"""
    )
    outputs: ClassVar = {"arn": "Attributes.QueueArn", "url": "url"}

    def request(self, inputs: Inputs) -> Inputs:
        return {"QueueName": inputs["name"], "Attributes": _to_strings(super().request(inputs))}

    def describe(self, identity: str) -> Inputs:
        return {"url": identity, **self.client.get_queue_attributes(QueueUrl=identity, AttributeNames=["QueueArn"])}

    def update(self, identity: str, old: Inputs, new: Inputs) -> None:
        changeable = {name: value for name, value in new.items() if name != "fifoQueue"}
        attributes = self.request(changeable)["Attributes"]
        self.client.set_queue_attributes(QueueUrl=identity, Attributes=attributes)


class QueuePolicy(ResourceType):
    """The policy of a queue; its id is the id of the queue."""

    type, service = "aws:sqs/queuePolicy:QueuePolicy", "sqs"
    name_property = None
    replacement_properties = frozenset({"queueUrl"})
    properties = parse_properties("queueUrl policy")

    def create(self, inputs: Inputs) -> str:
        self._put(inputs["queueUrl"], inputs["policy"])
        return inputs["queueUrl"]

    def describe(self, identity: str) -> Inputs:
        return self.client.get_queue_attributes(QueueUrl=identity, AttributeNames=["Policy"]).get("Attributes", {})

    def read(self, identity: str) -> Inputs | None:
        outputs = super().read(identity)
        return outputs if outputs is not None and "Policy" in self.describe(identity) else None

    def update(self, identity: str, old: Inputs, new: Inputs) -> None:
        self.create(new)

    def delete(self, identity: str, inputs: Inputs) -> None:
        if self.read(identity) is not None:
            self._put(identity, "")

    def _put(self, queue: str, policy: str) -> None:
        self.client.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": policy})


class Topic(ResourceType):
    """A topic; its id is its ARN."""

    type, service, id_argument = "aws:sns/topic:Topic", "sns", "TopicArn"
    create_call, describe_call, delete_call = "create_topic", "get_topic_attributes", "delete_topic"
    id_format = "{TopicArn}"
    replacement_properties = frozenset({"name", "fifoTopic"})
    properties = parse_properties(
        "name= displayName fifoTopic contentBasedDeduplication kmsMasterKeyId policy deliveryPolicy"
    )
    outputs: ClassVar = {"arn": "Attributes.TopicArn"}

    def request(self, inputs: Inputs) -> Inputs:
        return {"Name": inputs["name"], "Attributes": _to_strings(super().request(inputs))}

    def update(self, identity: str, old: Inputs, new: Inputs) -> None:
        for name, value in self.request(new)["Attributes"].items():
            self.client.set_topic_attributes(TopicArn=identity, AttributeName=name, AttributeValue=value)


class TopicPolicy(ResourceType):
    """The policy of a topic; its id is the id of the topic. Its deletion restores the default policy."""

    type, service, id_argument = "aws:sns/topicPolicy:TopicPolicy", "sns", "TopicArn"
    describe_call = "get_topic_attributes"
    name_property = None
    replacement_properties = frozenset({"arn"})
    properties = parse_properties("arn policy")

    def create(self, inputs: Inputs) -> str:
        self._put(inputs["arn"], inputs["policy"])
        return inputs["arn"]

    def read(self, identity: str) -> Inputs | None:
        outputs = super().read(identity)
        is_custom = outputs is not None and self.describe(identity)["Attributes"]["Policy"] != _default_policy(identity)
        return outputs if is_custom else None

    def update(self, identity: str, old: Inputs, new: Inputs) -> None:
        self.create(new)

    def delete(self, identity: str, inputs: Inputs) -> None:
        if self.read(identity) is not None:
            self._put(identity, _default_policy(identity))

    def _put(self, topic: str, policy: str) -> None:
        self.client.set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=policy)


def _default_policy(topic: str) -> str:
    """Return the default policy of a topic: the topic's account may use it."""
    statement = {
        "Sid": "__default_statement_ID",
        "Effect": "Allow",
        "Principal": {"AWS": "*"},
        "Action": ["SNS:Publish", "SNS:Subscribe", "SNS:Receive"],
        "Resource": topic,
        "Condition": {"StringEquals": {"AWS:SourceOwner": topic.split(":")[4]}},
    }
    return json.dumps({"Version": "2008-10-17", "Id": "__default_policy_ID", "Statement": [statement]})


class TopicSubscription(ResourceType):
    """A subscription to a topic; its id is its ARN."""

    type, service, id_argument = "aws:sns/topicSubscription:TopicSubscription", "sns", "SubscriptionArn"
    create_call, describe_call, delete_call = "subscribe", "get_subscription_attributes", "unsubscribe"
    name_property, id_format = None, "{SubscriptionArn}"
    replacement_properties = frozenset({"topic", "protocol", "endpoint"})
    properties = parse_properties(
        """topic= protocol= endpoint= rawMessageDelivery filterPolicy filterPolicyScope redrivePolicy deliveryPolicy
        subscriptionRoleArn confirmationTimeoutInMinutes= endpointAutoConfirms="""
    )
    outputs: ClassVar = {
        "arn": "Attributes.SubscriptionArn",
        "ownerId": "Attributes.Owner",
        "pendingConfirmation": "Attributes.PendingConfirmation == 'true'",
        "confirmationWasAuthenticated": "Attributes.ConfirmationWasAuthenticated == 'true'",
    }

    def list_unsupported(self, inputs: Inputs) -> list[str]:
        protocol = inputs["protocol"]
        return super().list_unsupported(inputs) + ([] if protocol in DELIVERED_PROTOCOLS else [f"protocol {protocol}"])

    def request(self, inputs: Inputs) -> Inputs:
        endpoint = {"Endpoint": inputs["endpoint"]} if "endpoint" in inputs else {}
        return {
            "TopicArn": inputs["topic"],
            "Protocol": inputs["protocol"],
            **endpoint,
            "Attributes": _to_strings(super().request(inputs)),
            "ReturnSubscriptionArn": True,
        }

    def update(self, identity: str, old: Inputs, new: Inputs) -> None:
        before, after = (self.request(inputs)["Attributes"] for inputs in (old, new))
        off = {"FilterPolicy": "{}", "RawMessageDelivery": "false"}
        for name in before.keys() | after.keys():
            self.client.set_subscription_attributes(
                SubscriptionArn=identity, AttributeName=name, AttributeValue=after.get(name, off.get(name, ""))
            )


def _to_strings(attributes: Inputs) -> dict[str, str]:
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in attributes.items()}
