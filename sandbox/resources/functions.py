"""Lambda functions with their layers, log groups and event source mappings."""

# ruff: noqa: ARG002, D102 -- ResourceType documents the methods of every type, and fixes their arguments

from typing import Any, ClassVar

from sandbox.emulator import ACCOUNT
from sandbox.gate.calls import APP_ID, APP_ID_LENGTH
from sandbox.resources.assets import Archive, Bundle, zipped
from sandbox.resources.resource_type import Inputs, ResourceError, ResourceType, parse_properties

_CODE_PROPERTIES = ("code", "sourceCodeHash", "codeSha256", "architectures", "s3Bucket", "s3Key", "s3ObjectVersion")
_EMPTY_VALUES: Inputs = {
    "description": "",
    "kmsKeyArn": "",
    "layers": [],
    "environment": {"variables": {}},
    "vpcConfig": {"subnetIds": [], "securityGroupIds": []},
}
"""The values that an update sends for removed properties. All others keep their values, as with the AWS plugin."""


class Function(ResourceType):
    """A function, from an archive or from an object of a bucket."""

    type, service, id_argument = "aws:lambda/function:Function", "lambda", "FunctionName"
    create_call, describe_call, delete_call = "create_function", "get_function_configuration", "delete_function"
    replacement_properties = frozenset({"name", "packageType"})
    properties = parse_properties(
        """name=FunctionName role handler runtime architectures code= s3Bucket= s3Key= s3ObjectVersion= sourceCodeHash=
        codeSha256= description memorySize timeout environment.variables kmsKeyArn=KMSKeyArn loggingConfig.logFormat
        loggingConfig.logGroup loggingConfig.applicationLogLevel loggingConfig.systemLogLevel tracingConfig.mode
        packageType layers vpcConfig.subnetIds vpcConfig.securityGroupIds vpcConfig.ipv6AllowedForDualStack
        vpcConfig.vpcId= ephemeralStorage.size reservedConcurrentExecutions= snapStart= deadLetterConfig=
        fileSystemConfig= codeSigningConfigArn= sourceKmsKeyArn= publish= skipDestroy= replacementSecurityGroupIds=
        replaceSecurityGroupsOnDestroy= useResourceTimeoutForPropagation="""
    )
    outputs: ClassVar = {
        "arn": "FunctionArn",
        "version": "Version",
        "codeSha256": "CodeSha256",
        "qualifiedArn": "join(':', [FunctionArn, Version])",
    }
    # Functions of the emulator are processes of this machine: they use its network and its disk.
    only_on_aws: ClassVar = {
        **dict.fromkeys(("vpcConfig.subnetIds", "deadLetterConfig", "fileSystemConfig", "codeSigningConfigArn")),
        "tracingConfig.mode": "PassThrough",
        "ephemeralStorage.size": 512,
        "snapStart.applyOn": "None",
        "publish": False,
    }

    def list_unsupported(self, inputs: Inputs) -> list[str]:
        elsewhere = [layer for layer in inputs.get("layers", ()) if ACCOUNT not in layer.split(":")]
        return super().list_unsupported(inputs) + [f"layer {layer}" for layer in elsewhere]

    def request(self, inputs: Inputs) -> Inputs:
        """Add the variable by which the gate knows the function."""
        request = super().request(inputs)
        if "Environment" in request:
            variables = {**request["Environment"]["Variables"], APP_ID: inputs["name"][:APP_ID_LENGTH]}
            request["Environment"] = {"Variables": variables}
        return request

    def describe(self, identity: str) -> Inputs:
        """Leave out the variable that `request` adds."""
        description = super().describe(identity)
        description.get("Environment", {}).get("Variables", {}).pop(APP_ID, None)
        return description

    def create(self, inputs: Inputs) -> str:
        self.client.create_function(**self.request(inputs), Code=_code(inputs))
        self._set_concurrency(inputs["name"], {}, inputs)
        return inputs["name"]

    def update(self, identity: str, old: Inputs, new: Inputs) -> None:
        with self.aws.mappings.pause(identity):
            self._update(identity, old, new)

    def _update(self, identity: str, old: Inputs, new: Inputs) -> None:
        if any(old.get(each) != new.get(each) for each in _CODE_PROPERTIES):
            architectures = self.request({"architectures": new["architectures"]} if "architectures" in new else {})
            self.client.update_function_code(FunctionName=identity, **_code(new), **architectures)
        fixed = {"architectures", "packageType"}
        off = {name: value for name, value in _EMPTY_VALUES.items() if name in old}
        self.client.update_function_configuration(
            **self.request({name: value for name, value in (off | new).items() if name not in fixed})
        )
        self._set_concurrency(identity, old, new)

    def _set_concurrency(self, identity: str, old: Inputs, new: Inputs) -> None:
        before, after = (inputs.get("reservedConcurrentExecutions", -1) for inputs in (old, new))
        if after != before and after >= 0:
            self.client.put_function_concurrency(FunctionName=identity, ReservedConcurrentExecutions=after)
        elif after != before:
            self.client.delete_function_concurrency(FunctionName=identity)


class LayerVersion(ResourceType):
    """A version of a layer; its id is its ARN. Every change creates another version."""

    type, service = "aws:lambda/layerVersion:LayerVersion", "lambda"
    create_call, describe_call, delete_call, id_argument = (
        *("publish_layer_version", "get_layer_version_by_arn", "delete_layer_version"),
        "Arn",
    )
    name_property, id_format = None, "{LayerVersionArn}"
    properties = parse_properties(
        """layerName code= s3Bucket= s3Key= s3ObjectVersion= sourceCodeHash= description compatibleRuntimes
        compatibleArchitectures licenseInfo skipDestroy="""
    )
    replacement_properties = frozenset(properties)
    outputs: ClassVar = {
        "arn": "LayerVersionArn",
        "layerArn": "LayerArn",
        "version": "to_string(Version)",
        "codeSha256": "Content.CodeSha256",
    }

    def request(self, inputs: Inputs) -> Inputs:
        return {**super().request(inputs), "Content": _code(inputs)}

    def delete(self, identity: str, inputs: Inputs) -> None:
        *_, name, version = identity.split(":")
        self.client.delete_layer_version(LayerName=name, VersionNumber=int(version))


def _code(inputs: Inputs) -> dict[str, Any]:
    """Return boto3's arguments for the code."""
    match inputs.get("code"):
        case Archive() | Bundle() as archive:
            return {"ZipFile": zipped(archive)}
        case _:
            places = {"S3Bucket": "s3Bucket", "S3Key": "s3Key", "S3ObjectVersion": "s3ObjectVersion"}
            return {place: inputs[name] for place, name in places.items() if name in inputs}


class EventSourceMapping(ResourceType):
    """An event source mapping. It is disabled in the emulator; `Aws.mappings` does its work.

    An update changes the arguments that the program has changed, so that a mapping that an operator has disabled stays
    disabled, as with the AWS plugin.
    """

    type, service, id_argument = "aws:lambda/eventSourceMapping:EventSourceMapping", "lambda", "UUID"
    create_call, describe_call = "create_event_source_mapping", "get_event_source_mapping"
    delete_call = "delete_event_source_mapping"
    name_property, id_format = None, "{UUID}"
    replacement_properties = frozenset({"eventSourceArn", "startingPosition"})
    properties = parse_properties(
        """eventSourceArn functionName enabled startingPosition batchSize maximumBatchingWindowInSeconds
        parallelizationFactor maximumRetryAttempts maximumRecordAgeInSeconds bisectBatchOnFunctionError
        functionResponseTypes filterCriteria.filters.pattern kmsKeyArn=KMSKeyArn tumblingWindowInSeconds
        metricsConfig.metrics destinationConfig.onFailure.destinationArn=Destination"""
    )
    defaults: ClassVar = {"batchSize": 100}
    outputs: ClassVar = {"uuid": "UUID", "arn": "EventSourceMappingArn", "functionArn": "FunctionArn"}

    def create(self, inputs: Inputs) -> str:
        source = inputs.get("eventSourceArn", "")
        if source and ":dynamodb:" not in source:
            raise ResourceError(f"the sandbox supports mappings of DynamoDB streams only, not of {source}")
        uuid = super().create({**inputs, "enabled": False})
        try:
            self.aws.mappings.attach(uuid, self.request(inputs))
        except Exception:
            super().delete(uuid, inputs)
            raise
        return uuid

    def update(self, identity: str, old: Inputs, new: Inputs) -> None:
        changeable = {name: value for name, value in new.items() if name not in self.replacement_properties}
        request = self.request({**changeable, "enabled": False})
        self.client.update_event_source_mapping(UUID=identity, **request)
        before, after = self.request(old), self.request(new)
        names = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
        self.aws.mappings.update(identity, {name: after.get(name) for name in names})

    def delete(self, identity: str, inputs: Inputs) -> None:
        self.aws.mappings.detach(identity)
        super().delete(identity, inputs)


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
            raise ResourceError(f"{identity}: the emulator cannot change the key of a log group: replace the log group")
        if days := new.get("retentionInDays"):
            self.client.put_retention_policy(logGroupName=identity, retentionInDays=days)
        elif old.get("retentionInDays"):
            self.client.delete_retention_policy(logGroupName=identity)
