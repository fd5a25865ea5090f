"""Functions, their layers, and the mappings that call them."""

# ruff: noqa: ARG002, D102 -- every type has the operations of ResourceType, which says what they do and take

from typing import Any, ClassVar

from sandbox.emulator import ACCOUNT
from sandbox.program.values import Archive, Bundle, zipped
from sandbox.resources.resource_type import Inputs, ResourceError, ResourceType, known

_CODE = ("code", "sourceCodeHash", "codeSha256", "architectures", "s3Bucket", "s3Key", "s3ObjectVersion")
_OFF: Inputs = {
    "description": "",
    "kmsKeyArn": "",
    "layers": [],
    "environment": {"variables": {}},
    "vpcConfig": {"subnetIds": [], "securityGroupIds": []},
}
"""What a function has of a property that is there no more; of any other it keeps what it had, as with AWS's plugin."""


class Function(ResourceType):
    """A function from an archive, or from an object of a bucket."""

    type, service, key = "aws:lambda/function:Function", "lambda", "FunctionName"
    created, described, deleted = "create_function", "get_function_configuration", "delete_function"
    replaced_by = frozenset({"name", "packageType"})
    properties = known(
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
    # Functions of the emulator are processes on this machine: they reach what it reaches, and have its disk.
    mentioned: ClassVar = {
        **dict.fromkeys(("vpcConfig.subnetIds", "deadLetterConfig", "fileSystemConfig", "codeSigningConfigArn")),
        "tracingConfig.mode": "PassThrough",
        "ephemeralStorage.size": 512,
        "snapStart.applyOn": "None",
        "publish": False,
    }

    def unimitated(self, inputs: Inputs) -> list[str]:
        elsewhere = [layer for layer in inputs.get("layers", ()) if ACCOUNT not in layer.split(":")]
        return super().unimitated(inputs) + [f"layer {layer}" for layer in elsewhere]

    def create(self, inputs: Inputs) -> str:
        self.client.create_function(**self.request(inputs), Code=_code(inputs))
        self._reserve(inputs["name"], {}, inputs)
        return inputs["name"]

    def update(self, identity: str, old: Inputs, new: Inputs) -> None:
        with self.aws.mappings.pause(identity):
            self._update(identity, old, new)

    def _update(self, identity: str, old: Inputs, new: Inputs) -> None:
        if any(old.get(each) != new.get(each) for each in _CODE):
            architectures = self.request({"architectures": new["architectures"]} if "architectures" in new else {})
            self.client.update_function_code(FunctionName=identity, **_code(new), **architectures)
        fixed = {"architectures", "packageType"}
        off = {name: value for name, value in _OFF.items() if name in old}
        self.client.update_function_configuration(
            **self.request({name: value for name, value in (off | new).items() if name not in fixed})
        )
        self._reserve(identity, old, new)

    def _reserve(self, identity: str, old: Inputs, new: Inputs) -> None:
        before, after = (inputs.get("reservedConcurrentExecutions", -1) for inputs in (old, new))
        if after != before and after >= 0:
            self.client.put_function_concurrency(FunctionName=identity, ReservedConcurrentExecutions=after)
        elif after != before:
            self.client.delete_function_concurrency(FunctionName=identity)


class LayerVersion(ResourceType):
    """Files that functions find beside their own; its id is its ARN. Every change is another version."""

    type, service = "aws:lambda/layerVersion:LayerVersion", "lambda"
    created, described, deleted, key = (
        *("publish_layer_version", "get_layer_version_by_arn", "delete_layer_version"),
        "Arn",
    )
    named_by, id_from = None, "{LayerVersionArn}"
    properties = known(
        """layerName code= s3Bucket= s3Key= s3ObjectVersion= sourceCodeHash= description compatibleRuntimes
        compatibleArchitectures licenseInfo skipDestroy="""
    )
    replaced_by = frozenset(properties)
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
    """Where the code is, as boto3 takes it."""
    match inputs.get("code"):
        case Archive() | Bundle() as archive:
            return {"ZipFile": zipped(archive)}
        case _:
            places = {"S3Bucket": "s3Bucket", "S3Key": "s3Key", "S3ObjectVersion": "s3ObjectVersion"}
            return {place: inputs[name] for place, name in places.items() if name in inputs}


class EventSourceMapping(ResourceType):
    """A mapping, always switched off in the emulator: somebody else does its work, as it is asked for."""

    type, service, key = "aws:lambda/eventSourceMapping:EventSourceMapping", "lambda", "UUID"
    created, described = "create_event_source_mapping", "get_event_source_mapping"
    deleted = "delete_event_source_mapping"
    named_by, id_from = None, "{UUID}"
    replaced_by = frozenset({"eventSourceArn", "startingPosition"})
    properties = known(
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
            raise ResourceError(f"the sandbox imitates the mappings of DynamoDB streams, and no mapping of {source}")
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
