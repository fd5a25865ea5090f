"""Secrets and parameters: what programs keep apart from their code, for functions to read."""

# ruff: noqa: ARG002, D102 -- every type has the operations of ResourceType, which says what they do and take

import base64
from typing import ClassVar

from sandbox.resources.resource_type import Inputs, ResourceType, known


class Secret(ResourceType):
    """A secret, without its value; its id is its ARN."""

    type, service, key = "aws:secretsmanager/secret:Secret", "secretsmanager", "SecretId"
    created, described, deleted = "create_secret", "describe_secret", "delete_secret"
    id_from = "{ARN}"
    replaced_by = frozenset({"name"})
    properties = known("name description kmsKeyId recoveryWindowInDays= policy= forceOverwriteReplicaSecret= replicas=")
    outputs: ClassVar = {"arn": "ARN"}
    mentioned: ClassVar = {"replicas": None}

    def create(self, inputs: Inputs) -> str:
        identity = super().create(inputs)
        self._allow({}, inputs, identity)
        return identity

    def read(self, identity: str) -> Inputs | None:
        found = super().read(identity)
        return found if found is None or "DeletedDate" not in self.describe(identity) else None

    def update(self, identity: str, old: Inputs, new: Inputs) -> None:
        described = {name: new.get(name, "") for name in ("description", "kmsKeyId") if name in old | new}
        self.client.update_secret(SecretId=identity, **self.request(described))
        self._allow(old, new, identity)

    def delete(self, identity: str, inputs: Inputs) -> None:
        days = inputs.get("recoveryWindowInDays", 30)
        kept = {"RecoveryWindowInDays": days} if days else {"ForceDeleteWithoutRecovery": True}
        if self.read(identity) is not None:
            self.client.delete_secret(SecretId=identity, **kept)

    def _allow(self, old: Inputs, new: Inputs, identity: str) -> None:
        if policy := new.get("policy"):
            self.client.put_resource_policy(SecretId=identity, ResourcePolicy=policy)
        elif old.get("policy"):
            self.client.delete_resource_policy(SecretId=identity)


class SecretVersion(ResourceType):
    """A secret's value. It stays the secret's value until another one comes, whoever unmakes it."""

    type, service = "aws:secretsmanager/secretVersion:SecretVersion", "secretsmanager"
    created, described = "put_secret_value", "get_secret_value"
    named_by, id_from = None, "{ARN}|{VersionId}"
    properties = known("secretId secretString secretBinary= secretStringWo= secretStringWoVersion= versionStages")
    replaced_by = frozenset(properties)
    outputs: ClassVar = {"arn": "ARN", "versionId": "VersionId"}

    def request(self, inputs: Inputs) -> Inputs:
        request = super().request(inputs)
        if "secretBinary" in inputs:
            request["SecretBinary"] = base64.b64decode(inputs["secretBinary"])
        if "secretStringWo" in inputs:
            request["SecretString"] = inputs["secretStringWo"]
        return request

    def at(self, identity: str) -> Inputs:
        secret, _, version = identity.partition("|")
        return {"SecretId": secret, "VersionId": version}

    def delete(self, identity: str, inputs: Inputs) -> None:
        """Nothing: Secrets Manager deletes no version that is in use."""


class Parameter(ResourceType):
    """A parameter of Systems Manager; its id is its name."""

    type, service, key = "aws:ssm/parameter:Parameter", "ssm", "Name"
    created, described, deleted = "put_parameter", "get_parameter", "delete_parameter"
    replaced_by = frozenset({"name", "dataType"})
    properties = known(
        """name type value insecureValue=Value valueWo=Value valueWoVersion= description keyId allowedPattern tier
        dataType overwrite= arn="""
    )
    outputs: ClassVar = {"arn": "Parameter.ARN", "version": "Parameter.Version"}

    def update(self, identity: str, old: Inputs, new: Inputs) -> None:
        self.client.put_parameter(**self.request(new), Overwrite=True)
