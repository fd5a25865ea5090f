"""The resources as the rules see them, and functions that read their inputs; standard library only."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast


class Type:
    """The types of resources that the rules look at, as Pulumi names them."""

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
    """A table of another program. The engine does not know it; components add it to the registry."""


@dataclass(frozen=True)
class Unknown:
    """The value of an input, or of a part of one, that is unknown until the update."""

    origins: frozenset[str] = frozenset()  # URNs of the resources whose outputs the value contains


UNKNOWN = Unknown()


@dataclass(frozen=True)
class ResourceView:
    """A resource of a program, a preview or an update."""

    type: str
    name: str  # in the program
    inputs: Mapping[str, Any] = field(default_factory=dict[str, Any])  # by Pulumi's names, in plain Python
    urn: str = ""
    dependencies: Mapping[str, Collection[str]] = field(default_factory=dict[str, Collection[str]])
    """By property, the URNs of the resources whose outputs it contains. A preview knows them before it knows ARNs."""
    parent: str = ""
    protect: bool = False
    sandbox_only: bool = False  # whether it is for the sandbox alone, where any runtime is supported


def as_number(value: object, otherwise: int) -> int:
    """Return the whole number, which may be a text or 60.0, or `otherwise` if the value is unknown or not a number."""
    if isinstance(value, bool):
        return otherwise
    try:
        return int(value) if isinstance(value, (int, float, str)) and int(value) == float(value) else otherwise
    except ValueError:
        return otherwise


def as_flag(value: object) -> object:
    """Return the truth value, which may be a text."""
    return value.lower() == "true" if isinstance(value, str) else value


def value_at(value: Any, *path: str) -> Any:
    """Return the value at `path`: an Unknown if a part of the path is unknown, None if there is no value."""
    for name in path:
        if isinstance(value, Unknown):
            break
        value = cast("Mapping[str, Any]", value).get(name) if isinstance(value, Mapping) else None
    return value


def as_list(value: Any) -> list[Any]:
    """Return the elements of a list. A single value counts as a list of one, None and an Unknown as an empty list."""
    if isinstance(value, (list, tuple)):
        return list(cast("Sequence[Any]", value))
    return [] if value is None or isinstance(value, Unknown) else [value]


def as_strings(value: object) -> list[str]:
    """Return the strings of a list, or of a single value."""
    return [each for each in as_list(value) if isinstance(each, str)]


def of_type(resources: Sequence[ResourceView], *types: str) -> Iterator[ResourceView]:
    """Return the resources of these types."""
    return (resource for resource in resources if resource.type in types)


def links(
    resources: Sequence[ResourceView], kind: str, by: str, other: str
) -> Iterator[tuple[ResourceView, ResourceView]]:
    """Yield pairs of a resource of type `kind` and one of type `other` that its property `by` refers to."""
    urns = {resource.urn: resource for resource in of_type(resources, other)}
    names = {physical: resource for resource in of_type(resources, other) for physical in physical_names(resource)}
    for resource in of_type(resources, kind):
        origins = [urns[urn] for urn in resource.dependencies.get(by, ()) if urn in urns]
        named = [names[value] for value in as_strings(resource.inputs.get(by)) if value in names]
        yield from ((resource, each) for each in {each.urn: each for each in origins + named}.values())


def physical_names(resource: ResourceView) -> list[str]:
    """Return the physical name and the ARN of a resource, as far as they are known."""
    return [text for text in (resource.inputs.get("name"), resource.inputs.get("arn")) if isinstance(text, str)]


def reads_a_stream(mapping: ResourceView) -> bool:
    """Return whether a mapping reads a stream of DynamoDB or Kinesis. Kafka and DocumentDB have a position too."""
    others = {"topics", "selfManagedEventSource", "documentDbEventSourceConfig"}
    return "startingPosition" in mapping.inputs and not any(mapping.inputs.get(each) for each in others)


class Tables:
    """The tables of a program by identity. An ARN, a stream's ARN, and an output of a table have the same identity.

    The identity of a table that the program makes is its URN; that of another table is its ARN.
    """

    def __init__(self, resources: Sequence[ResourceView]) -> None:
        self.by_identity = {
            resource.urn or resource.inputs["arn"]: resource
            for resource in of_type(resources, Type.TABLE, Type.EXISTING_TABLE)
        }
        arns = {resource.inputs.get("arn"): identity for identity, resource in self.by_identity.items()}
        self._by_arn = {arn: identity for arn, identity in arns.items() if isinstance(arn, str)}

    def identities(self, reference: Any, origins: Collection[str] = ()) -> list[str]:
        """Return the identities of the tables that an ARN, a stream's ARN, an identity or an Unknown refers to."""
        if isinstance(reference, str) and reference:
            arn = reference.partition("/stream/")[0]
            if ":dynamodb:" in arn and ":table/" in arn:
                return [self._by_arn.get(arn, arn)]
            return [reference] if reference in self.by_identity else []
        urns = {*origins, *(reference.origins if isinstance(reference, Unknown) else ())}
        return sorted(urn for urn in urns if urn in self.by_identity)

    def sources(self, mapping: ResourceView) -> list[str]:
        """Return the identities of the tables whose streams a mapping names, enabled or not."""
        return self.identities(mapping.inputs.get("eventSourceArn"), mapping.dependencies.get("eventSourceArn", ()))

    def read_by(self, mapping: ResourceView) -> list[str]:
        """Return the identities of the tables whose streams a mapping reads; none if the mapping is disabled."""
        return [] if as_flag(mapping.inputs.get("enabled")) is False else self.sources(mapping)

    def name(self, identity: str) -> str:
        """Return the table's name in the program, or its physical name if the program does not know the table."""
        known = self.by_identity.get(identity)
        return known.name if known else identity.rpartition("/")[2]

    def __getitem__(self, identity: str) -> ResourceView:
        """Return the table. It has only its ARN as input if the program does not know the table."""
        return self.by_identity.get(identity) or ResourceView(
            Type.EXISTING_TABLE, self.name(identity), {"arn": identity}
        )
