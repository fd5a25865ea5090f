"""KMS keys with their aliases, secrets, and parameters. The emulator stores keys and encrypts nothing."""

# ruff: noqa: ARG002, D102 -- ResourceType documents the methods of every type, and fixes their arguments

import base64
from typing import ClassVar

from sandbox.resources.resource_type import Inputs, ResourceType, parse_properties


class Key(ResourceType):
    """A key. A deleted key stays for its deletion window and cannot be used."""

    type, service, id_argument = "aws:kms/key:Key", "kms", "KeyId"
    create_call, describe_call, delete_call = "create_key", "describe_key", "schedule_key_deletion"
    name_property, id_format = None, "{KeyMetadata[KeyId]}"
    properties = parse_properties("description policy enableKeyRotation= deletionWindowInDays=")
    outputs: ClassVar = {"arn": "KeyMetadata.Arn", "keyId": "KeyMetadata.KeyId"}

    def create(self, inputs: Inputs) -> str:
        identity = super().create(inputs)
        self._set_rotation(identity, inputs)
        return identity

    def read(self, identity: str) -> Inputs | None:
        outputs = super().read(identity)
        return outputs if self.describe(identity)["KeyMetadata"]["KeyState"] != "PendingDeletion" else None

    def update(self, identity: str, old: Inputs, new: Inputs) -> None:
        if policy := new.get("policy"):
            self.client.put_key_policy(KeyId=identity, PolicyName="default", Policy=policy)
        self.client.update_key_description(KeyId=identity, Description=new.get("description", ""))
        self._set_rotation(identity, new)

    def delete(self, identity: str, inputs: Inputs) -> None:
        self.client.schedule_key_deletion(KeyId=identity, PendingWindowInDays=inputs.get("deletionWindowInDays", 30))

    def _set_rotation(self, identity: str, inputs: Inputs) -> None:
        enabled = inputs.get("enableKeyRotation", False)
        (self.client.enable_key_rotation if enabled else self.client.disable_key_rotation)(KeyId=identity)


class Alias(ResourceType):
    """An alias of a key."""

    type, service, id_argument = "aws:kms/alias:Alias", "kms", "AliasName"
    create_call, delete_call = "create_alias", "delete_alias"
    replacement_properties = frozenset({"name"})
    properties = parse_properties("name=AliasName targetKeyId")

    def read(self, identity: str) -> Inputs | None:
        pages = self.client.get_paginator("list_aliases").paginate()
        aliases = (alias for page in pages for alias in page["Aliases"] if alias["AliasName"] == identity)
        return next(({"arn": alias["AliasArn"]} for alias in aliases), None)

    def update(self, identity: str, old: Inputs, new: Inputs) -> None:
        self.client.update_alias(**self.request(new))


class Secret(ResourceType):
    """A secret without its value; its id is its ARN."""

    type, service, id_argument = "aws:secretsmanager/secret:Secret", "secretsmanager", "SecretId"
    create_call, describe_call, delete_call = "create_secret", "describe_secret", "delete_secret"
    id_format = "{ARN}"
    replacement_properties = frozenset({"name"})
    properties = parse_properties(
        "name description kmsKeyId recoveryWindowInDays= policy= forceOverwriteReplicaSecret= replicas="
    )
    outputs: ClassVar = {"arn": "ARN"}
    only_on_aws: ClassVar = {"replicas": None}

    def create(self, inputs: Inputs) -> str:
        identity = super().create(inputs)
        self._set_policy({}, inputs, identity)
        return identity

    def read(self, identity: str) -> Inputs | None:
        outputs = super().read(identity)
        return outputs if outputs is None or "DeletedDate" not in self.describe(identity) else None

    def update(self, identity: str, old: Inputs, new: Inputs) -> None:
        description = {name: new.get(name, "") for name in ("description", "kmsKeyId") if name in old | new}
        self.client.update_secret(SecretId=identity, **self.request(description))
        self._set_policy(old, new, identity)

    def delete(self, identity: str, inputs: Inputs) -> None:
        days = inputs.get("recoveryWindowInDays", 30)
        retention = {"RecoveryWindowInDays": days} if days else {"ForceDeleteWithoutRecovery": True}
        if self.read(identity) is not None:
            self.client.delete_secret(SecretId=identity, **retention)

    def _set_policy(self, old: Inputs, new: Inputs, identity: str) -> None:
        if policy := new.get("policy"):
            self.client.put_resource_policy(SecretId=identity, ResourcePolicy=policy)
        elif old.get("policy"):
            self.client.delete_resource_policy(SecretId=identity)


class SecretVersion(ResourceType):
    """A value of a secret. The secret keeps the value after the deletion of this resource, until the next value."""

    type, service = "aws:secretsmanager/secretVersion:SecretVersion", "secretsmanager"
    create_call, describe_call = "put_secret_value", "get_secret_value"
    name_property, id_format = None, "{ARN}|{VersionId}"
    properties = parse_properties(
        "secretId secretString secretBinary= secretStringWo= secretStringWoVersion= versionStages"
    )
    replacement_properties = frozenset(properties)
    outputs: ClassVar = {"arn": "ARN", "versionId": "VersionId"}

    def request(self, inputs: Inputs) -> Inputs:
        request = super().request(inputs)
        if "secretBinary" in inputs:
            request["SecretBinary"] = base64.b64decode(inputs["secretBinary"])
        if "secretStringWo" in inputs:
            request["SecretString"] = inputs["secretStringWo"]
        return request

    def id_arguments(self, identity: str) -> Inputs:
        secret, _, version = identity.partition("|")
        return {"SecretId": secret, "VersionId": version}

    def delete(self, identity: str, inputs: Inputs) -> None:
        """Do nothing: Secrets Manager does not delete a version that is in use."""


class Parameter(ResourceType):
    """A parameter of Systems Manager; its id is its name."""

    type, service, id_argument = "aws:ssm/parameter:Parameter", "ssm", "Name"
    create_call, describe_call, delete_call = "put_parameter", "get_parameter", "delete_parameter"
    replacement_properties = frozenset({"name", "dataType"})
    properties = parse_properties(
        """name type value insecureValue=Value valueWo=Value valueWoVersion= description keyId allowedPattern tier
        dataType overwrite= arn="""
    )
    outputs: ClassVar = {"arn": "Parameter.ARN", "version": "Parameter.Version"}

    def update(self, identity: str, old: Inputs, new: Inputs) -> None:
        self.client.put_parameter(**self.request(new), Overwrite=True)
