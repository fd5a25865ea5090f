"""A resource as rules see it, whoever shows it to them, and how they look at its inputs; standard library only."""

import fnmatch
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

MAPPING = "aws:lambda/eventSourceMapping:EventSourceMapping"
FUNCTION = "aws:lambda/function:Function"
TABLE = "aws:dynamodb/table:Table"
QUEUE, QUEUE_POLICY = "aws:sqs/queue:Queue", "aws:sqs/queuePolicy:QueuePolicy"
TOPIC, TOPIC_POLICY = "aws:sns/topic:Topic", "aws:sns/topicPolicy:TopicPolicy"
BUCKET, BUCKET_POLICY = "aws:s3/bucket:Bucket", "aws:s3/bucketPolicy:BucketPolicy"
BUCKET_PRIVATE = "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock"
LOG_GROUP = "aws:cloudwatch/logGroup:LogGroup"
SCHEDULE = "aws:scheduler/schedule:Schedule"
ROLE, ROLE_POLICY = "aws:iam/role:Role", "aws:iam/rolePolicy:RolePolicy"
POLICY, ATTACHMENT = "aws:iam/policy:Policy", "aws:iam/rolePolicyAttachment:RolePolicyAttachment"

TYPED = {"dynamodb", "ec2", "iam", "kms", "lambda", "logs", "secretsmanager", "ses", "states"}
"""Services whose resources begin with their type, as in table/NAME."""

TABLE_WRITES = [f"dynamodb:{call}" for call in ("PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem")]


@dataclass(frozen=True)
class Resource:
    """A resource as a rule sees it: in the program, in an engine's preview, or after an update."""

    type: str
    name: str  # as the program calls it
    inputs: Mapping[str, Any] = field(default_factory=dict[str, Any])  # Pulumi's names, plain Python; `UNKNOWN` within
    urn: str = ""
    dependencies: Mapping[str, Collection[str]] = field(default_factory=dict[str, Collection[str]])
    """URNs of the resources that a property is made of: known at preview, where ARNs are not."""


@dataclass(frozen=True)
class Unknown:
    """What stands for an input that is known after the update only: it breaks no rule."""

    made_of: frozenset[str] = frozenset()  # URNs


UNKNOWN = Unknown()


def number(value: object, otherwise: int) -> int:
    """The value, or `otherwise` where it is not given, not known or no whole number."""
    return value if isinstance(value, int) and not isinstance(value, bool) else otherwise


def within(value: Any, *path: str) -> Any:
    """What stands at `path`; UNKNOWN where that begins to be unknown, None where there is nothing."""
    for name in path:
        if value is UNKNOWN:
            break
        value = cast("Mapping[str, Any]", value).get(name) if isinstance(value, Mapping) else None
    return value


def texts(value: object) -> list[str]:
    """The strings of a list, whose one element may stand for it."""
    values = cast("list[object]", value) if isinstance(value, list) else [value]
    return [each for each in values if isinstance(each, str)]


def allowed(document: Any) -> Iterator[Mapping[str, Any]]:
    """What a policy document, a mapping or JSON, allows; nothing while it is unknown."""
    if isinstance(document, str):
        try:
            document = json.loads(document)
        except json.JSONDecodeError:
            return  # AWS refuses it, and better than a rule could
    statements = within(document, "Statement")
    for statement in cast("list[Any]", statements) if isinstance(statements, list) else [statements]:
        if within(statement, "Effect") == "Allow":
            yield statement


def names_nothing(resource: str) -> bool:
    """Whether an ARN, or `*`, leaves open which resource of a service it is."""
    _, _, service, *_, path = ["", "", "", *resource.split(":", 5)][-6:]
    pieces = re.split("[:/]", path)
    return pieces[1 if len(pieces) > 1 and service in TYPED else 0].startswith("*")


def may_write(policy: Resource, table_arn: object) -> bool:
    """Whether a policy, as far as it is known, allows a write of the table."""
    return isinstance(table_arn, str) and any(
        fnmatch.filter(TABLE_WRITES, action) and fnmatch.fnmatchcase(table_arn, resource)
        for statement in allowed(policy.inputs.get("policy"))
        for action in texts(statement.get("Action"))
        for resource in texts(statement.get("Resource"))
    )


def _type(urn: str) -> str:
    return urn.split("::")[-2].rpartition("$")[2] if "::" in urn else ""


def called(source: str) -> str:
    """What a source is called: its name in a URN, or the table's in a stream's ARN."""
    return source.rpartition("::")[2] if "::" in source else source.partition("/stream/")[0].rpartition("/")[2]


def sources(mapping: Resource) -> list[str]:
    """URNs of the tables whose streams a mapping reads, or the ARN of one that is not made here."""
    made = [urn for urn in mapping.dependencies.get("eventSourceArn", ()) if _type(urn) == TABLE]
    arn = mapping.inputs.get("eventSourceArn")
    return made or ([arn] if isinstance(arn, str) and ":dynamodb:" in arn else [])


def reads_a_stream(mapping: Resource) -> bool:
    """Whether a mapping reads a stream: only of these, Kafka and DocumentDB is a position asked."""
    others = {"topics", "selfManagedEventSource", "documentDbEventSourceConfig"}
    return "startingPosition" in mapping.inputs and not any(mapping.inputs.get(each) for each in others)


def of(resources: Sequence[Resource], kind: str) -> Iterator[Resource]:
    """Those of one type."""
    return (resource for resource in resources if resource.type == kind)


def linked(resources: Sequence[Resource], kind: str, by: str, other: str) -> Iterator[tuple[Resource, Resource]]:
    """Pairs of which the one's property `by` is made of the other."""
    targets = {resource.urn: resource for resource in of(resources, other)}
    for resource in of(resources, kind):
        yield from ((resource, targets[urn]) for urn in resource.dependencies.get(by, ()) if urn in targets)
