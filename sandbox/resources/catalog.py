"""The resource types that the sandbox can make, one small class each."""

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
"""Types of the services that the sandbox shows which observe, label, copy or permit.

The sandbox asks nobody for rights, is in one Region, and runs the Python of this machine: without these resources its
functions and tables do the same.
"""


class PlaceholderResource(ResourceType):
    """A resource that is not made. It says what its inputs say, and has an id, a name and an ARN that are made up.

    Raises
    ------
    ResourceError
        What functions, mappings, tables and streams do may depend on the type, so that going on would show something
        false.
    """

    properties: ClassVar = {}
    outputs: ClassVar = {"arn": "arn", "name": "name"}

    def __init__(self, type_: str, name: str, aws: Aws) -> None:
        if type_.startswith(STRICT_SERVICES) and type_ not in SAFE_TO_SKIP:
            raise ResourceError(
                f"{name}: the sandbox does not know resources of type {type_}, and what functions and tables do may "
                "depend on it: let the program register it only where pulumi.get_stack() is not 'local'"
            )
        self.kind, self.aws = type_, aws  # and no client: nothing is asked of the emulator

    def check(self, name: str, inputs: Inputs) -> Inputs:
        """`inputs` with a name, which stays the same from run to run."""
        return {"name": name, **inputs}

    def create(self, inputs: Inputs) -> str:
        """Nothing is made; the name is the id."""
        return str(inputs["name"])

    def read(self, identity: str) -> Inputs | None:
        """The made-up outputs."""
        package, module, *_ = self.kind.split(":")
        if package != "aws":
            return {"name": identity}
        service, _, kind = module.partition("/")
        return {"name": identity, "arn": f"arn:aws:{service}:{self.aws.region}:{ACCOUNT}:{kind}/{identity}"}

    def update(self, identity: str, old: Inputs, new: Inputs) -> None:
        """Nothing is changed."""

    def delete(self, identity: str, inputs: Inputs) -> None:
        """Nothing is unmade."""


_CLASSES: tuple[type[ResourceType], ...] = (
    *(buckets.Bucket, buckets.BucketLifecycleConfiguration, buckets.BucketObject, buckets.BucketObjectv2),
    *(buckets.BucketPolicy, buckets.BucketPublicAccessBlock, buckets.BucketServerSideEncryptionConfiguration),
    *(
        functions.EventSourceMapping,
        functions.Function,
        functions.LayerVersion,
        keys_and_secrets.Alias,
        keys_and_secrets.Key,
        functions.LogGroup,
    ),
    *(messaging.Queue, messaging.QueuePolicy, messaging.Topic, messaging.TopicPolicy, messaging.TopicSubscription),
    *(keys_and_secrets.Parameter, keys_and_secrets.Secret, keys_and_secrets.SecretVersion),
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
