"""Keys and their names. The emulator keeps and shows which key encrypts what, but encrypts nothing with it."""

# ruff: noqa: ARG002, D102 -- every type has the operations of ResourceType, which says what they do and take

from typing import ClassVar

from sandbox.resources.resource_type import Inputs, ResourceType, parse_properties


class Key(ResourceType):
    """A key; deleted, it is kept for its window, of no use."""

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
    """A key's name among people."""

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
