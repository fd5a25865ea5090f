"""All resource types of the sandbox, and the placeholder for a type that it does not support."""

from typing import ClassVar

from sandbox.emulator import ACCOUNT
from sandbox.resources import buckets, functions, keys_and_secrets, messaging, roles, schedules, tables
from sandbox.resources.resource_type import STRICT_SERVICES, Aws, Inputs, ResourceError, ResourceType

SAFE_TO_SKIP = frozenset(
    {
        *("aws:dynamodb/contributorInsights:ContributorInsights", "aws:dynamodb/tableExport:TableExport"),
        *("aws:dynamodb/tableReplica:TableReplica", "aws:dynamodb/tag:Tag"),
        *("aws:lambda/codeSigningConfig:CodeSigningConfig", "aws:lambda/permission:Permission"),
        *("aws:lambda/layerVersionPermission:LayerVersionPermission", "aws:lambda/resourcePolicy:ResourcePolicy"),
        "aws:lambda/runtimeManagementConfig:RuntimeManagementConfig",
    }
)
"""Types of STRICT_SERVICES that only observe, label, copy or permit.

Without them, the sandbox's functions and tables behave the same: the sandbox does not enforce permissions, has one
Region, and runs functions with the Python of this machine.
"""


class PlaceholderResource(ResourceType):
    """Stands for a resource of an unsupported type: its id, name and ARN are invented, other outputs are inputs.

    Raises
    ------
    ResourceError
        The behaviour of functions, mappings, tables or streams may depend on the type.
    """

    properties: ClassVar = {}
    outputs: ClassVar = {"arn": "arn", "name": "name"}

    def __init__(self, type_: str, name: str, aws: Aws) -> None:
        if type_.startswith(STRICT_SERVICES) and type_ not in SAFE_TO_SKIP:
            raise ResourceError(
                f"{name}: the sandbox does not support resources of type {type_}, and functions or tables may depend "
                "on them: register it only where pulumi.get_stack() is not 'local'"
            )
        self.kind, self.aws = type_, aws  # no client: a placeholder never calls the emulator

    def check(self, name: str, inputs: Inputs) -> Inputs:
        """Return `inputs` with a name, which is the same in every run."""
        return {"name": name, **inputs}

    def create(self, inputs: Inputs) -> str:
        """Create nothing; return the name as the id."""
        return str(inputs["name"])

    def read(self, identity: str) -> Inputs | None:
        """Return the invented outputs."""
        package, module, *_ = self.kind.split(":")
        if package != "aws":
            return {"name": identity}
        service, _, kind = module.partition("/")
        return {"name": identity, "arn": f"arn:aws:{service}:{self.aws.region}:{ACCOUNT}:{kind}/{identity}"}

    def update(self, identity: str, old: Inputs, new: Inputs) -> None:
        """Do nothing."""

    def delete(self, identity: str, inputs: Inputs) -> None:
        """Do nothing."""


_CLASSES: tuple[type[ResourceType], ...] = (
    *(buckets.Bucket, buckets.BucketLifecycleConfiguration, buckets.BucketObject, buckets.BucketObjectv2),
    *(buckets.BucketPolicy, buckets.BucketPublicAccessBlock, buckets.BucketServerSideEncryptionConfiguration),
    *(functions.EventSourceMapping, functions.Function, functions.LayerVersion, functions.LogGroup),
    *(keys_and_secrets.Alias, keys_and_secrets.Key),
    *(messaging.Queue, messaging.QueuePolicy, messaging.Topic, messaging.TopicPolicy, messaging.TopicSubscription),
    *(keys_and_secrets.Parameter, keys_and_secrets.Secret, keys_and_secrets.SecretVersion),
    *(roles.Policy, roles.Role, roles.RolePoliciesExclusive, roles.RolePolicy, roles.RolePolicyAttachment),
    *(roles.RolePolicyAttachmentsExclusive, schedules.FunctionEventInvokeConfig, schedules.Schedule),
    *(tables.ResourcePolicy, tables.Table, tables.TableItem),
)
TYPES: dict[str, type[ResourceType]] = {each.type: each for each in _CLASSES}


def resource(type_: str, name: str, aws: Aws) -> ResourceType:
    """Return the type of a registered resource; a `PlaceholderResource` for an unsupported type.

    Raises
    ------
    ResourceError
        The sandbox does not support the type, and functions or tables may depend on it.
    """
    return TYPES[type_](aws) if type_ in TYPES else PlaceholderResource(type_, name, aws)
