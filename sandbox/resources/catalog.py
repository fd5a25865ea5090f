"""The resource types that the sandbox can make, one small class each."""

# ruff: noqa: D102 -- every type has the operations of ResourceType, which says what they do and take

from typing import ClassVar

from sandbox.program.unsupported import PlaceholderResource
from sandbox.resources import buckets, functions, keys, messaging, parameters, roles, schedules, tables
from sandbox.resources.resource_type import Aws, Inputs, ResourceError, ResourceType, parse_properties


class LogGroup(ResourceType):
    """A log group with its retention."""

    type, service, id_argument = "aws:cloudwatch/logGroup:LogGroup", "logs", "logGroupName"
    create_call, delete_call = "create_log_group", "delete_log_group"
    replacement_properties = frozenset({"name", "logGroupClass"})
    properties = parse_properties(
        "name=logGroupName logGroupClass=logGroupClass kmsKeyId=kmsKeyId retentionInDays= skipDestroy="
    )
    outputs: ClassVar = {"arn": "arn"}

    def create(self, inputs: Inputs) -> str:
        identity = super().create(inputs)
        self.update(identity, {}, inputs)
        return identity

    def read(self, identity: str) -> Inputs | None:
        groups = self.client.describe_log_groups(logGroupNamePrefix=identity)["logGroups"]
        arns = (group["arn"] for group in groups if group["logGroupName"] == identity)
        return next(({"arn": arn.removesuffix(":*")} for arn in arns), None)

    def update(self, identity: str, old: Inputs, new: Inputs) -> None:
        if old and old.get("kmsKeyId") != new.get("kmsKeyId"):
            raise ResourceError(f"{identity}: the emulator cannot give a log group another key: make it anew")
        if days := new.get("retentionInDays"):
            self.client.put_retention_policy(logGroupName=identity, retentionInDays=days)
        elif old.get("retentionInDays"):
            self.client.delete_retention_policy(logGroupName=identity)


_CLASSES: tuple[type[ResourceType], ...] = (
    *(buckets.Bucket, buckets.BucketLifecycleConfiguration, buckets.BucketObject, buckets.BucketObjectv2),
    *(buckets.BucketPolicy, buckets.BucketPublicAccessBlock, buckets.BucketServerSideEncryptionConfiguration),
    *(functions.EventSourceMapping, functions.Function, functions.LayerVersion, keys.Alias, keys.Key, LogGroup),
    *(messaging.Queue, messaging.QueuePolicy, messaging.Topic, messaging.TopicPolicy, messaging.TopicSubscription),
    *(parameters.Parameter, parameters.Secret, parameters.SecretVersion),
    *(roles.Policy, roles.Role, roles.RolePoliciesExclusive, roles.RolePolicy, roles.RolePolicyAttachment),
    *(roles.RolePolicyAttachmentsExclusive, schedules.FunctionEventInvokeConfig, schedules.Schedule),
    *(tables.ResourcePolicy, tables.Table, tables.TableItem),
)
TYPES: dict[str, type[ResourceType]] = {each.type: each for each in _CLASSES}


def resource(type_: str, name: str, aws: Aws) -> ResourceType:
    """The class for a registered resource; `PlaceholderResource` where the pipeline does not need its type.

    Raises
    ------
    ResourceError
        The sandbox does not know its type, and cannot go on without it.
    """
    return TYPES[type_](aws) if type_ in TYPES else PlaceholderResource(type_, name, aws)
