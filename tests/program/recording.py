"""A strict stand-in for the Pulumi engine and AWS: it knows what the program may register, and records it.

It makes up outputs, does not check inputs against AWS, and neither diffs nor deletes anything.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sandbox.program.in_process import InvokeError, Registration, run
from sandbox.program.values import UNKNOWN

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
STREAM_TABLE, STREAM_CONSUMER, STORES, ENCRYPTION_KEY = (
    f"table-stream:index:{component}" for component in ("StreamTable", "StreamConsumer", "Stores", "EncryptionKey")
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


KNOWN: Mapping[str, Callable[[str], Outputs]] = {
    "pulumi:providers:aws": lambda name: {},
    STREAM_TABLE: lambda name: {},
    STREAM_CONSUMER: lambda name: {},
    STORES: lambda name: {},
    ENCRYPTION_KEY: lambda name: {},
    TABLE: lambda name: {"name": physical(name), "arn": table_arn(name), "streamArn": stream_arn(name)},
    BUCKET: lambda name: {"bucket": physical(name), "arn": f"arn:aws:s3:::{physical(name)}"},
    BUCKET_PRIVATE: lambda name: {},
    BUCKET_POLICY: lambda name: {},
    BUCKET_ENCRYPTION: lambda name: {},
    BUCKET_EXPIRY: lambda name: {},
    KEY: lambda name: {"keyId": f"id-of-{name}", "arn": key_arn(name)},
    ALIAS: lambda name: {},
    ROLE: _named("iam", "role/"),
    POLICY: lambda name: {"name": physical(name)},
    EXCLUSIVE: lambda name: {},
    ATTACHED: lambda name: {},
    LOG_GROUP: _named("logs", "log-group:"),
    FUNCTION: lambda name: {
        **_named("lambda", "function:")(name),
        "qualifiedArn": arn("lambda", f"function:{physical(name)}:7"),
    },
    MAPPING: lambda name: {"uuid": f"uuid-of-{name}"},
    INVOCATIONS: lambda name: {},
    SCHEDULE: _named("scheduler", "schedule/default/"),
    QUEUE: lambda name: {**_named("sqs", "")(name), "visibilityTimeoutSeconds": 30},
    TOPIC: _named("sns", ""),
}


@dataclass
class Recorder:
    """A backend for `sandbox.program.in_process.run`; `tables` are those that exist already, by name.

    In a preview everything is new: no output is known.
    """

    tables: Mapping[str, Outputs] = field(default_factory=dict[str, Outputs])
    preview: bool = False
    registered: dict[tuple[str, str], Registration] = field(default_factory=dict[tuple[str, str], Registration])
    invoked: list[str] = field(default_factory=list[str])
    providers: list[str] = field(default_factory=list[str])  # by their names, of each call

    def register(self, registration: Registration) -> tuple[str, Outputs]:
        key = registration.type, registration.name
        assert registration.type in KNOWN, f"unexpected resource {key}"
        assert key not in self.registered, f"registered twice: {key}"
        self.registered[key] = registration
        outputs = KNOWN[registration.type](registration.name)
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
            case "aws:dynamodb/getTable:getTable":
                raise InvokeError(f"reading DynamoDB Table ({args['name']}): couldn't find resource")
            case _:
                raise AssertionError(f"unexpected invoke {token}")

    def counts(self) -> Counter[str]:
        return Counter(kind for kind, _ in self.registered)

    def one(self, kind: str, name: str) -> Registration:
        return self.registered[kind, name]

    def statements(self, consumer: str) -> list[dict[str, Any]]:
        """What the role of `consumer` may do."""
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
) -> Recorder:
    """Run `program` in a stack of its own and return what it registered; archives are for this interpreter."""
    recorder = Recorder(tables or {}, preview)

    def main() -> None:
        program()

    run(
        main,
        stack="test",
        config={"target": "host"} | dict(config or {}),
        backend=recorder,
        preview=preview,
    )
    return recorder
