"""A resource as the rules see it, and how they look at its inputs; standard library only."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

MAPPING = "aws:lambda/eventSourceMapping:EventSourceMapping"
FUNCTION = "aws:lambda/function:Function"
TABLE, TABLE_POLICY = "aws:dynamodb/table:Table", "aws:dynamodb/resourcePolicy:ResourcePolicy"
TABLE_REPLICA = "aws:dynamodb/tableReplica:TableReplica"
QUEUE, QUEUE_POLICY = "aws:sqs/queue:Queue", "aws:sqs/queuePolicy:QueuePolicy"
TOPIC, TOPIC_POLICY = "aws:sns/topic:Topic", "aws:sns/topicPolicy:TopicPolicy"
BUCKET, BUCKET_POLICY = "aws:s3/bucket:Bucket", "aws:s3/bucketPolicy:BucketPolicy"
BUCKET_PRIVATE = "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock"
LOG_GROUP = "aws:cloudwatch/logGroup:LogGroup"
SCHEDULE = "aws:scheduler/schedule:Schedule"
ALIAS = "aws:kms/alias:Alias"
ROLE, ROLE_POLICY = "aws:iam/role:Role", "aws:iam/rolePolicy:RolePolicy"
POLICY, ROLE_ATTACHMENT = "aws:iam/policy:Policy", "aws:iam/rolePolicyAttachment:RolePolicyAttachment"
ATTACHMENT = "aws:iam/policyAttachment:PolicyAttachment"
CONSUMER = "table-stream:index:StreamConsumer"
EXISTING_TABLE = "table-stream:index:ExistingTable"
"""A table that another program made. Only the program's own registry knows of it: it is not registered."""


@dataclass(frozen=True)
class Unknown:
    """Stands for an input, or a part of one, that only the update will know."""

    origins: frozenset[str] = frozenset()  # URNs of the resources whose outputs it is made of


UNKNOWN = Unknown()


@dataclass(frozen=True)
class ResourceView:
    """A resource in the program, in an engine's preview, or after an update."""

    type: str
    name: str  # in the program
    inputs: Mapping[str, Any] = field(default_factory=dict[str, Any])  # Pulumi's names, plain Python, `Unknown` within
    urn: str = ""
    dependencies: Mapping[str, Collection[str]] = field(default_factory=dict[str, Collection[str]])
    """URNs of the resources that a property is made of. Previews know them where they do not know ARNs."""
    parent: str = ""
    protect: bool = False
    sandbox_only: bool = False  # whether it is for the sandbox alone, so that Lambda need not support its run-time


def as_number(value: object, otherwise: int) -> int:
    """The whole number, which may be written as text or as 60.0; `otherwise` where it is none, or not known."""
    if isinstance(value, bool):
        return otherwise
    try:
        return int(value) if isinstance(value, (int, float, str)) and int(value) == float(value) else otherwise
    except ValueError:
        return otherwise


def as_flag(value: object) -> object:
    """The truth value, which may be written as text."""
    return value.lower() == "true" if isinstance(value, str) else value


def value_at(value: Any, *path: str) -> Any:
    """What stands at `path`: an Unknown where that begins to be unknown, None where there is nothing."""
    for name in path:
        if isinstance(value, Unknown):
            break
        value = cast("Mapping[str, Any]", value).get(name) if isinstance(value, Mapping) else None
    return value


def as_list(value: Any) -> list[Any]:
    """The elements of a list; a single value is a list of one, and None or an Unknown is an empty list."""
    if isinstance(value, (list, tuple)):
        return list(cast("Sequence[Any]", value))
    return [] if value is None or isinstance(value, Unknown) else [value]


def as_strings(value: object) -> list[str]:
    """The strings of a list, or of a single value."""
    return [each for each in as_list(value) if isinstance(each, str)]


def of_type(resources: Sequence[ResourceView], *types: str) -> Iterator[ResourceView]:
    """Those of some types."""
    return (resource for resource in resources if resource.type in types)


def links(
    resources: Sequence[ResourceView], kind: str, by: str, other: str
) -> Iterator[tuple[ResourceView, ResourceView]]:
    """Pairs of resources of which the first one's property `by` is made of the second one, or names it."""
    urns = {resource.urn: resource for resource in of_type(resources, other)}
    names = {physical: resource for resource in of_type(resources, other) for physical in physical_names(resource)}
    for resource in of_type(resources, kind):
        origins = [urns[urn] for urn in resource.dependencies.get(by, ()) if urn in urns]
        named = [names[value] for value in as_strings(resource.inputs.get(by)) if value in names]
        yield from ((resource, each) for each in {each.urn: each for each in origins + named}.values())


def physical_names(resource: ResourceView) -> list[str]:
    """What AWS calls a resource, as far as that is known."""
    return [text for text in (resource.inputs.get("name"), resource.inputs.get("arn")) if isinstance(text, str)]


def reads_a_stream(mapping: ResourceView) -> bool:
    """Whether a mapping reads a stream of DynamoDB or Kinesis: Kafka and DocumentDB have a position, too."""
    others = {"topics", "selfManagedEventSource", "documentDbEventSourceConfig"}
    return "startingPosition" in mapping.inputs and not any(mapping.inputs.get(each) for each in others)


class Tables:
    """The tables of a program, each under one identity, however it is referred to.

    The identity of a table that the program makes is its URN; that of another table is its ARN.
    """

    def __init__(self, resources: Sequence[ResourceView]) -> None:
        self.by_identity = {
            resource.urn or resource.inputs["arn"]: resource for resource in of_type(resources, TABLE, EXISTING_TABLE)
        }
        arns = {resource.inputs.get("arn"): identity for identity, resource in self.by_identity.items()}
        self._by_arn = {arn: identity for arn, identity in arns.items() if isinstance(arn, str)}

    def identities(self, reference: Any, origins: Collection[str] = ()) -> list[str]:
        """The tables that an ARN (of a table or its stream), an identity or an Unknown refers to."""
        if isinstance(reference, str) and reference:
            arn = reference.partition("/stream/")[0]
            if ":dynamodb:" in arn and ":table/" in arn:
                return [self._by_arn.get(arn, arn)]
            return [reference] if reference in self.by_identity else []
        urns = {*origins, *(reference.origins if isinstance(reference, Unknown) else ())}
        return sorted(urn for urn in urns if urn in self.by_identity)

    def sources(self, mapping: ResourceView) -> list[str]:
        """Identities of the tables whose streams a mapping is about."""
        return self.identities(mapping.inputs.get("eventSourceArn"), mapping.dependencies.get("eventSourceArn", ()))

    def read_by(self, mapping: ResourceView) -> list[str]:
        """Identities of the tables whose streams an enabled mapping reads."""
        return [] if as_flag(mapping.inputs.get("enabled")) is False else self.sources(mapping)

    def name(self, identity: str) -> str:
        """What the program calls a table, or AWS where the program does not know it."""
        known = self.by_identity.get(identity)
        return known.name if known else identity.rpartition("/")[2]

    def __getitem__(self, identity: str) -> ResourceView:
        """The table, without inputs where the program does not know it."""
        return self.by_identity.get(identity) or ResourceView(EXISTING_TABLE, self.name(identity), {"arn": identity})
