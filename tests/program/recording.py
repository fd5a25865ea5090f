"""Records the resources that a program registers, in place of the Pulumi engine and AWS.

The recording makes up outputs, does not check inputs against AWS, and neither compares nor deletes resources.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sandbox.program.in_process import InvokeError, Program, Registration, run, stack_config
from sandbox.program.values import UNKNOWN
from tests.consumers.project import SAMPLE

ACCOUNT, REGION = "123456789012", "eu-central-1"
TABLE = "aws:dynamodb/table:Table"
BUCKET = "aws:s3/bucket:Bucket"
BUCKET_PRIVATE = "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock"
BUCKET_POLICY = "aws:s3/bucketPolicy:BucketPolicy"
BUCKET_ENCRYPTION = "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
BUCKET_EXPIRY = "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration"
KEY = "aws:kms/key:Key"
ALIAS = "aws:kms/alias:Alias"
ROLE = "aws:iam/role:Role"
POLICY = "aws:iam/rolePolicy:RolePolicy"
EXCLUSIVE = "aws:iam/rolePoliciesExclusive:RolePoliciesExclusive"
ATTACHED = "aws:iam/rolePolicyAttachmentsExclusive:RolePolicyAttachmentsExclusive"
LOG_GROUP = "aws:cloudwatch/logGroup:LogGroup"
FUNCTION = "aws:lambda/function:Function"
MAPPING = "aws:lambda/eventSourceMapping:EventSourceMapping"
INVOCATIONS = "aws:lambda/functionEventInvokeConfig:FunctionEventInvokeConfig"
SCHEDULE = "aws:scheduler/schedule:Schedule"
QUEUE = "aws:sqs/queue:Queue"
TOPIC = "aws:sns/topic:Topic"
SUBSCRIPTION = "aws:sns/topicSubscription:TopicSubscription"
ALARM = "aws:cloudwatch/metricAlarm:MetricAlarm"
COMPOSITE = "aws:cloudwatch/compositeAlarm:CompositeAlarm"
DASHBOARD = "aws:cloudwatch/dashboard:Dashboard"
COMPONENTS = STREAM_TABLE, STREAM_CONSUMER, STORES, ENCRYPTION_KEY, ALARMS = tuple(
    f"table-stream:index:{name}" for name in ("StreamTable", "StreamConsumer", "Stores", "EncryptionKey", "Alarms")
)

Outputs = dict[str, Any]


def arn(service: str, resource: str) -> str:
    return f"arn:aws:{service}:{REGION}:{ACCOUNT}:{resource}"


def physical(name: str) -> str:
    """What AWS calls a resource, made from what the program calls it."""
    return f"{name}-0a1b2c3"


def table_arn(name: str) -> str:
    return arn("dynamodb", f"table/{physical(name)}")


def stream_arn(name: str) -> str:
    return f"{table_arn(name)}/stream/2026-01-01T00:00:00.000"


def key_arn(name: str) -> str:
    return arn("kms", f"key/id-of-{name}")


def _named(service: str, prefix: str) -> Callable[[str], Outputs]:
    return lambda name: {"name": physical(name), "arn": arn(service, prefix + physical(name))}


def _existing_table(name: str) -> Outputs:
    table = {"id": name, "name": name, "arn": arn("dynamodb", f"table/{name}"), "hashKey": "id", "rangeKey": ""}
    stream = {"streamArn": f"{table['arn']}/stream/2026-01-01T00:00:00.000", "streamEnabled": True}
    return {**table, **stream, "attributes": [{"name": "id", "type": "S"}], "streamViewType": "NEW_AND_OLD_IMAGES"}


WITHOUT_OUTPUTS = (
    *("pulumi:providers:aws", ALIAS, EXCLUSIVE, ATTACHED, INVOCATIONS),
    *(BUCKET_PRIVATE, BUCKET_POLICY, BUCKET_ENCRYPTION, BUCKET_EXPIRY, DASHBOARD, SUBSCRIPTION),
)
KNOWN: Mapping[str, Callable[[str], Outputs]] = {
    **dict.fromkeys((*COMPONENTS, *WITHOUT_OUTPUTS), lambda name: {}),
    TABLE: lambda name: {"name": physical(name), "arn": table_arn(name), "streamArn": stream_arn(name)},
    BUCKET: lambda name: {"bucket": physical(name), "arn": f"arn:aws:s3:::{physical(name)}"},
    KEY: lambda name: {"keyId": f"id-of-{name}", "arn": key_arn(name)},
    ROLE: _named("iam", "role/"),
    POLICY: lambda name: {"name": physical(name)},
    LOG_GROUP: _named("logs", "log-group:"),
    FUNCTION: lambda name: {
        **_named("lambda", "function:")(name),
        "qualifiedArn": arn("lambda", f"function:{physical(name)}:7"),
    },
    MAPPING: lambda name: {"uuid": f"uuid-of-{name}"},
    SCHEDULE: _named("scheduler", "schedule/default/"),
    QUEUE: lambda name: {**_named("sqs", "")(name), "visibilityTimeoutSeconds": 30},
    TOPIC: _named("sns", ""),
    ALARM: _named("cloudwatch", "alarm:"),
    COMPOSITE: lambda name: {"arn": arn("cloudwatch", f"alarm:{name}")},
}


@dataclass
class RecordingBackend:
    """A backend for `sandbox.program.in_process.run`; `tables` are those that exist already, by name.

    In a preview every resource is new: no output is known. A lenient recording also takes resources and functions of
    AWS that it does not know, as a user's program may have them.
    """

    tables: Mapping[str, Outputs] = field(default_factory=dict[str, Outputs])
    preview: bool = False
    lenient: bool = False
    registered: dict[tuple[str, str], Registration] = field(default_factory=dict[tuple[str, str], Registration])
    invoked: list[str] = field(default_factory=list[str])
    providers: list[str] = field(default_factory=list[str])  # by their names, of each call
    outputs: Outputs = field(default_factory=dict[str, Any])  # of the stack, when `record_program` has run it

    def register(self, registration: Registration) -> tuple[str, Outputs]:
        key = registration.type, registration.name
        assert registration.type in KNOWN or self.lenient, f"unexpected resource {key}"
        assert key not in self.registered, f"registered twice: {key}"
        self.registered[key] = registration
        outputs = KNOWN.get(registration.type, _named("service", ""))(registration.name)
        if self.preview:
            return "", dict.fromkeys(outputs, UNKNOWN)
        return f"id-of-{registration.name}" if registration.custom else "", outputs

    def invoke(self, token: str, args: Mapping[str, Any], provider: str) -> Outputs:
        self.invoked.append(token)
        self.providers.append(provider.partition("::")[2].rpartition("::")[0].rpartition("::")[2])
        match token:
            case "aws:index/getCallerIdentity:getCallerIdentity":
                return {"accountId": ACCOUNT, "arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/deployer/me"}
            case "aws:index/getRegion:getRegion":
                return {"region": REGION}
            case "aws:dynamodb/getTable:getTable" if args["name"] in self.tables:
                return self.tables[args["name"]]
            case "aws:dynamodb/getTable:getTable" if self.lenient:
                return _existing_table(args["name"])
            case "aws:dynamodb/getTable:getTable":
                raise InvokeError(f"reading DynamoDB Table ({args['name']}): couldn't find resource")
            case _ if self.lenient:
                return dict(args)
            case _:
                raise AssertionError(f"unexpected invoke {token}")

    def counts(self) -> Counter[str]:
        return Counter(kind for kind, _ in self.registered)

    def one(self, kind: str, name: str) -> Registration:
        return self.registered[kind, name]

    def of_type(self, kind: str) -> list[Registration]:
        return [each for each in self.registered.values() if each.type == kind]

    def of_components(self) -> list[Registration]:
        """The components of this project and their children: everything but the resources of a user's own."""
        urns = {each.urn for each in self.registered.values() if each.type in COMPONENTS}
        return [each for each in self.registered.values() if each.urn in urns or each.parent in urns]

    def statements(self, consumer: str) -> list[dict[str, Any]]:
        """The statements of the policy of a consumer's role."""
        document = json.loads(self.one(POLICY, f"{consumer}-policy").inputs["policy"])
        assert document.keys() == {"Version", "Statement"}
        assert document["Version"] == "2012-10-17"
        return document["Statement"]


def record(
    program: Callable[[], object],
    config: Mapping[str, str] | None = None,
    tables: Mapping[str, Outputs] | None = None,
    *,
    preview: bool = False,
) -> RecordingBackend:
    """Run `program` in a stack of its own and return the recording; archives are for this interpreter."""
    recording = RecordingBackend(tables or {}, preview)

    def main() -> None:
        program()

    settings = {"target": "host"} | dict(config or {})
    run(Program(main, stack="test", config=settings), recording, preview=preview)
    return recording


def record_program(root: Path, stack: str, **settings: str) -> RecordingBackend:
    """Run the program in `root` with a stack file and these settings over it, and return the recording.

    Archives are for this interpreter unless `settings` has another target.
    """
    recording = RecordingBackend(lenient=root != SAMPLE)
    config = stack_config(stack, root) | {"target": "host"} | settings
    recording.outputs = run(Program(root, stack, config), recording)
    return recording


def stacks(root: Path) -> list[str]:
    """The names of a project's stack files."""
    return sorted(path.name.split(".")[1] for path in root.glob("Pulumi.*.yaml"))
