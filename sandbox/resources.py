"""The resource types that the sandbox can make, one small class each, and the functions that it can answer."""

# ruff: noqa: ARG002, D102 -- every type has the operations of Resource, which says what they do and take

import json
from pathlib import Path
from typing import ClassVar

import jmespath  # pyright: ignore[reportMissingTypeStubs] -- untyped, as botocore is

from sandbox import buckets, keys, schedules
from sandbox.resource import Aws, Inputs, Resource, ResourceError, known


class Table(Resource):
    """A table with its stream, expiry and point-in-time recovery."""

    type, service, key = "aws:dynamodb/table:Table", "dynamodb", "TableName"
    created, described, deleted = "create_table", "describe_table", "delete_table"
    replaced_by = frozenset({"name", "hashKey", "rangeKey"})
    properties = known(
        """name=TableName attributes=AttributeDefinitions attributes.name=AttributeName attributes.type=AttributeType
        hashKey= rangeKey= billingMode streamEnabled= streamViewType= deletionProtectionEnabled tags=
        serverSideEncryption=SSESpecification serverSideEncryption.enabled
        serverSideEncryption.kmsKeyArn=KMSMasterKeyId ttl= ttl.enabled ttl.attributeName
        pointInTimeRecovery= pointInTimeRecovery.enabled=PointInTimeRecoveryEnabled"""
    )
    outputs: ClassVar = {"arn": "Table.TableArn", "streamArn": "Table.LatestStreamArn || ''"}

    def create(self, inputs: Inputs) -> str:
        identity = super().create(inputs)
        self._settle({}, inputs)
        return identity

    def request(self, inputs: Inputs) -> Inputs:
        keys = {"HASH": inputs["hashKey"], "RANGE": inputs.get("rangeKey")}
        schema = [{"AttributeName": name, "KeyType": kind} for kind, name in keys.items() if name]
        return {**super().request(inputs), "KeySchema": schema, **_stream(inputs)}

    def update(self, identity: str, old: Inputs, new: Inputs) -> None:
        if _stream(old) != _stream(new):
            if _stream(old):  # a stream's view is its own for good: another one takes another stream
                self.client.update_table(TableName=identity, StreamSpecification={"StreamEnabled": False})
            if _stream(new):
                self.client.update_table(TableName=identity, **_stream(new))
        changed = {key: value for key, value in new.items() if old.get(key) != value}
        if request := super().request(changed):
            self.client.update_table(**self.at(identity), **request)
        self._settle(old, new)

    def _settle(self, old: Inputs, new: Inputs) -> None:
        """Make real what create_table does not take."""
        for setting, call, argument in (
            ("pointInTimeRecovery", "update_continuous_backups", "PointInTimeRecoverySpecification"),
            ("ttl", "update_time_to_live", "TimeToLiveSpecification"),
        ):
            if (value := new.get(setting)) and value != old.get(setting):
                specification = {self.properties[f"{setting}.{part}"]: content for part, content in value.items()}
                getattr(self.client, call)(TableName=new["name"], **{argument: specification})


def _stream(inputs: Inputs) -> Inputs:
    if not inputs.get("streamEnabled"):
        return {}
    return {"StreamSpecification": {"StreamEnabled": True, "StreamViewType": inputs["streamViewType"]}}


class Role(Resource):
    """A role that functions run as; the emulator asks for its rights only where it is told to (AUTH)."""

    type, service, key = "aws:iam/role:Role", "iam", "RoleName"
    created, described, deleted = "create_role", "get_role", "delete_role"
    replaced_by = frozenset({"name", "path"})
    properties = known(
        "name=RoleName assumeRolePolicy=AssumeRolePolicyDocument description maxSessionDuration path tags="
    )
    outputs: ClassVar = {"arn": "Role.Arn", "uniqueId": "Role.RoleId"}

    def update(self, identity: str, old: Inputs, new: Inputs) -> None:
        self.client.update_assume_role_policy(RoleName=identity, PolicyDocument=new["assumeRolePolicy"])
        rest = {name: value for name, value in new.items() if name not in {"assumeRolePolicy", "path"}}
        self.client.update_role(**self.request(rest))


class RolePolicy(Resource):
    """A policy within a role."""

    type, service = "aws:iam/rolePolicy:RolePolicy", "iam"
    created, described, deleted = "put_role_policy", "get_role_policy", "delete_role_policy"
    id_from = "{role}:{name}"
    replaced_by = frozenset({"name", "role"})
    properties = known("name=PolicyName role=RoleName policy=PolicyDocument")

    def at(self, identity: str) -> Inputs:
        role, _, name = identity.partition(":")
        return {"RoleName": role, "PolicyName": name}


class Function(Resource):
    """A function from an archive."""

    type, service, key = "aws:lambda/function:Function", "lambda", "FunctionName"
    created, described, deleted = "create_function", "get_function_configuration", "delete_function"
    replaced_by = frozenset({"name", "packageType"})
    properties = known(
        """name=FunctionName role handler runtime architectures code= sourceCodeHash= description memorySize timeout
        environment.variables kmsKeyArn=KMSKeyArn loggingConfig.logFormat loggingConfig.logGroup
        loggingConfig.applicationLogLevel loggingConfig.systemLogLevel tracingConfig.mode packageType
        reservedConcurrentExecutions= tags="""
    )
    outputs: ClassVar = {"arn": "FunctionArn", "version": "Version", "codeSha256": "CodeSha256"}

    def create(self, inputs: Inputs) -> str:
        self.client.create_function(**self.request(inputs), Code={"ZipFile": self._zip(inputs)})
        self._reserve(inputs["name"], {}, inputs)
        return inputs["name"]

    def update(self, identity: str, old: Inputs, new: Inputs) -> None:
        with self.aws.mappings.quiet(identity):
            self._update(identity, old, new)

    def _update(self, identity: str, old: Inputs, new: Inputs) -> None:
        if any(old.get(each) != new.get(each) for each in ("code", "sourceCodeHash", "architectures")):
            architectures = self.request({"architectures": new["architectures"]} if "architectures" in new else {})
            self.client.update_function_code(FunctionName=identity, ZipFile=self._zip(new), **architectures)
        fixed = {"architectures", "packageType", "publish"}
        self.client.update_function_configuration(
            **self.request({name: value for name, value in new.items() if name not in fixed})
        )
        self._reserve(identity, old, new)

    @staticmethod
    def _zip(inputs: Inputs) -> bytes:
        return Path(inputs["code"].path).read_bytes()

    def _reserve(self, identity: str, old: Inputs, new: Inputs) -> None:
        before, after = (inputs.get("reservedConcurrentExecutions", -1) for inputs in (old, new))
        if after != before and after >= 0:
            self.client.put_function_concurrency(FunctionName=identity, ReservedConcurrentExecutions=after)
        elif after != before:
            self.client.delete_function_concurrency(FunctionName=identity)


class EventSourceMapping(Resource):
    """A mapping, always switched off in the emulator: somebody else does its work, as it is asked for."""

    type, service, key = "aws:lambda/eventSourceMapping:EventSourceMapping", "lambda", "UUID"
    created, described = "create_event_source_mapping", "get_event_source_mapping"
    deleted = "delete_event_source_mapping"
    named_by, id_from = None, "{UUID}"
    replaced_by = frozenset({"eventSourceArn", "startingPosition"})
    properties = known(
        """eventSourceArn functionName enabled startingPosition batchSize maximumBatchingWindowInSeconds
        parallelizationFactor maximumRetryAttempts maximumRecordAgeInSeconds bisectBatchOnFunctionError
        functionResponseTypes filterCriteria.filters.pattern tumblingWindowInSeconds metricsConfig.metrics
        destinationConfig.onFailure.destinationArn=Destination tags="""
    )
    defaults: ClassVar = {"batchSize": 100}
    outputs: ClassVar = {"uuid": "UUID", "arn": "EventSourceMappingArn", "functionArn": "FunctionArn"}

    def create(self, inputs: Inputs) -> str:
        uuid = super().create({**inputs, "enabled": False})
        try:
            self.aws.mappings.attach(uuid, self.request(inputs))
        except Exception:
            super().delete(uuid, inputs)
            raise
        return uuid

    def update(self, identity: str, old: Inputs, new: Inputs) -> None:
        changeable = {name: value for name, value in new.items() if name not in self.replaced_by}
        request = self.request({**changeable, "enabled": False})
        self.client.update_event_source_mapping(UUID=identity, **request)
        self.aws.mappings.update(identity, self.request(new))

    def delete(self, identity: str, inputs: Inputs) -> None:
        self.aws.mappings.detach(identity)
        super().delete(identity, inputs)


class LogGroup(Resource):
    """A log group with its retention."""

    type, service, key = "aws:cloudwatch/logGroup:LogGroup", "logs", "logGroupName"
    created, deleted = "create_log_group", "delete_log_group"
    replaced_by = frozenset({"name", "logGroupClass"})
    properties = known(
        "name=logGroupName logGroupClass=logGroupClass kmsKeyId=kmsKeyId retentionInDays= skipDestroy= tags="
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


class Queue(Resource):
    """A queue; its id is its address."""

    type, service, key = "aws:sqs/queue:Queue", "sqs", "QueueUrl"
    created, deleted = "create_queue", "delete_queue"
    id_from = "{QueueUrl}"
    replaced_by = frozenset({"name", "fifoQueue"})
    properties = known(
        """name= fifoQueue contentBasedDeduplication delaySeconds policy redrivePolicy sqsManagedSseEnabled tags=
        kmsMasterKeyId visibilityTimeoutSeconds=VisibilityTimeout messageRetentionSeconds=MessageRetentionPeriod"""
    )
    outputs: ClassVar = {"arn": "Attributes.QueueArn", "url": "url"}

    def request(self, inputs: Inputs) -> Inputs:
        return {"QueueName": inputs["name"], "Attributes": _texts(super().request(inputs))}

    def describe(self, identity: str) -> Inputs:
        return {"url": identity, **self.client.get_queue_attributes(QueueUrl=identity, AttributeNames=["QueueArn"])}

    def update(self, identity: str, old: Inputs, new: Inputs) -> None:
        changeable = {name: value for name, value in new.items() if name != "fifoQueue"}
        attributes = self.request(changeable)["Attributes"]
        self.client.set_queue_attributes(QueueUrl=identity, Attributes=attributes)


class Topic(Resource):
    """A topic; its id is its ARN."""

    type, service, key = "aws:sns/topic:Topic", "sns", "TopicArn"
    created, described, deleted = "create_topic", "get_topic_attributes", "delete_topic"
    id_from = "{TopicArn}"
    replaced_by = frozenset({"name", "fifoTopic"})
    properties = known("name= displayName fifoTopic kmsMasterKeyId policy tags=")
    outputs: ClassVar = {"arn": "Attributes.TopicArn"}

    def request(self, inputs: Inputs) -> Inputs:
        return {"Name": inputs["name"], "Attributes": _texts(super().request(inputs))}

    def update(self, identity: str, old: Inputs, new: Inputs) -> None:
        for name, value in self.request(new)["Attributes"].items():
            self.client.set_topic_attributes(TopicArn=identity, AttributeName=name, AttributeValue=value)


def _texts(attributes: Inputs) -> dict[str, str]:
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in attributes.items()}


_CLASSES = (
    *(EventSourceMapping, Function, LogGroup, Queue, Role, RolePolicy, Table, Topic),
    *(buckets.Bucket, buckets.BucketLifecycleConfiguration, buckets.BucketPolicy, buckets.BucketPublicAccessBlock),
    *(buckets.BucketServerSideEncryptionConfiguration, keys.Alias, keys.Key),
    *(schedules.FunctionEventInvokeConfig, schedules.Schedule),
)
TYPES: dict[str, type[Resource]] = {each.type: each for each in _CLASSES}


def resource(type_: str, name: str, aws: Aws) -> Resource:
    """The class for a registered resource.

    Raises
    ------
    ResourceError
        The sandbox does not know its type.
    """
    if type_ not in TYPES:
        raise ResourceError(f"{name}: the sandbox does not know resources of type {type_}")
    return TYPES[type_](aws)


_TABLE = """{id: TableName, name: TableName, arn: TableArn, streamArn: LatestStreamArn || '',
    attributes: AttributeDefinitions[].{name: AttributeName, type: AttributeType},
    hashKey: KeySchema[?KeyType=='HASH'].AttributeName | [0],
    rangeKey: KeySchema[?KeyType=='RANGE'].AttributeName | [0] || '',
    streamEnabled: StreamSpecification.StreamEnabled || `false`,
    streamViewType: StreamSpecification.StreamViewType || '',
    serverSideEncryption: SSEDescription && {enabled: SSEDescription.Status == 'ENABLED',
                                             kmsKeyArn: SSEDescription.KMSMasterKeyArn}}"""


def answer(token: str, args: Inputs, aws: Aws) -> Inputs:
    """The result of a provider's function.

    Raises
    ------
    ResourceError
        The sandbox does not know the function.
    """
    match token:
        case "aws:index/getRegion:getRegion":
            return {"id": aws.region, "region": aws.region}
        case "aws:index/getCallerIdentity:getCallerIdentity":
            caller = aws.client("sts").get_caller_identity()
            return {"id": caller["Account"], "accountId": caller["Account"], "arn": caller["Arn"]}
        case "aws:dynamodb/getTable:getTable":
            return jmespath.search(_TABLE, aws.client("dynamodb").describe_table(TableName=args["name"])["Table"])
        case _:
            raise ResourceError(f"the sandbox does not know the function {token}")
