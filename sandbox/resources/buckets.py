"""Buckets, and what Pulumi keeps apart from them."""

# ruff: noqa: ARG002, D102 -- every type has the operations of ResourceType, which says what they do and take

import base64
from typing import Any, ClassVar

from sandbox.program.values import Asset, zipped
from sandbox.resources.resource_type import Inputs, ResourceType, known


class Bucket(ResourceType):
    """A bucket; with forceDestroy its objects go with it."""

    type, service, key = "aws:s3/bucket:Bucket", "s3", "Bucket"
    created, deleted = "create_bucket", "delete_bucket"
    named_by, id_from = "bucket", "{bucket}"
    replaced_by = frozenset({"bucket"})
    properties = known("bucket forceDestroy=")
    outputs: ClassVar = {"arn": "arn", "region": "region"}

    def request(self, inputs: Inputs) -> Inputs:
        located = {"CreateBucketConfiguration": {"LocationConstraint": self.aws.region}}
        return {**super().request(inputs), **(located if self.aws.region != "us-east-1" else {})}

    def describe(self, identity: str) -> Inputs:
        self.client.head_bucket(Bucket=identity)
        return {"arn": f"arn:aws:s3:::{identity}", "region": self.aws.region}

    def update(self, identity: str, old: Inputs, new: Inputs) -> None:
        """Nothing: what can be changed in place means something at the deletion only."""

    def delete(self, identity: str, inputs: Inputs) -> None:
        if inputs.get("forceDestroy"):
            for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=identity):
                for item in page.get("Contents", ()):
                    self.client.delete_object(Bucket=identity, Key=item["Key"])
        super().delete(identity, inputs)


class BucketSetting(ResourceType):
    """What Pulumi keeps apart from a bucket: put as one argument."""

    service, key, named_by, id_from = "s3", "Bucket", None, "{bucket}"
    replaced_by = frozenset({"bucket"})
    argument: ClassVar[str]

    def request(self, inputs: Inputs) -> Inputs:
        setting = super().request(inputs)
        return {"Bucket": setting.pop("Bucket"), self.argument: setting}


class BucketPublicAccessBlock(BucketSetting):
    """What of a bucket may be public."""

    type, argument = "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock", "PublicAccessBlockConfiguration"
    created, described = "put_public_access_block", "get_public_access_block"
    deleted = "delete_public_access_block"
    properties = known("bucket blockPublicAcls blockPublicPolicy ignorePublicAcls restrictPublicBuckets")


class BucketLifecycleConfiguration(BucketSetting):
    """When a bucket's objects expire; the emulator keeps them for as long as it runs."""

    type = "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration"
    argument = "LifecycleConfiguration"
    created, described = "put_bucket_lifecycle_configuration", "get_bucket_lifecycle_configuration"
    deleted = "delete_bucket_lifecycle"
    properties = known(
        """bucket rules.id=ID rules.status rules.filter rules.filter.prefix rules.expiration.days
        rules.abortIncompleteMultipartUpload.daysAfterInitiation"""
    )


class BucketServerSideEncryptionConfiguration(BucketSetting):
    """With whose key a bucket's objects are encrypted; the emulator only says so."""

    type = "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
    argument = "ServerSideEncryptionConfiguration"
    created, described, deleted = "put_bucket_encryption", "get_bucket_encryption", "delete_bucket_encryption"
    properties = known(
        """bucket rules.applyServerSideEncryptionByDefault.sseAlgorithm=SSEAlgorithm
        rules.applyServerSideEncryptionByDefault.kmsMasterKeyId=KMSMasterKeyID rules.bucketKeyEnabled"""
    )

    def read(self, identity: str) -> Inputs | None:
        if (found := super().read(identity)) is None:
            return None
        rules = self.describe(identity)["ServerSideEncryptionConfiguration"]["Rules"]
        own = [rule for rule in rules if rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] != "AES256"]
        return found if own else None  # AES256 is what a bucket has where nobody has said anything


class BucketPolicy(ResourceType):
    """A bucket's own policy; the emulator asks it only where it is told to (AUTH)."""

    type, service, key = "aws:s3/bucketPolicy:BucketPolicy", "s3", "Bucket"
    created, described, deleted = "put_bucket_policy", "get_bucket_policy", "delete_bucket_policy"
    named_by, id_from = None, "{bucket}"
    replaced_by = frozenset({"bucket"})
    properties = known("bucket policy")


class BucketObjectv2(ResourceType):
    """An object of a bucket, from a file or a text; its id is where it is."""

    type, service = "aws:s3/bucketObjectv2:BucketObjectv2", "s3"
    created, described, deleted = "put_object", "head_object", "delete_object"
    named_by = "key"
    replaced_by = frozenset({"bucket", "key"})
    properties = known(
        """bucket key source= content= contentBase64= sourceHash= etag= forceDestroy= contentType contentEncoding
        contentDisposition contentLanguage cacheControl metadata storageClass serverSideEncryption
        kmsKeyId=SSEKMSKeyId"""
    )
    outputs: ClassVar = {"versionId": "VersionId || ''"}

    def physical_name(self, prefix: str) -> str:
        return prefix.removesuffix("-")

    def at(self, identity: str) -> Inputs:
        bucket, _, key = identity.partition("/")
        return {"Bucket": bucket, "Key": key}

    def create(self, inputs: Inputs) -> str:
        self.client.put_object(**self.request(inputs), Body=_body(inputs))
        return f"{inputs['bucket']}/{inputs['key']}"

    def update(self, identity: str, old: Inputs, new: Inputs) -> None:
        self.create(new)


class BucketObject(BucketObjectv2):
    """The same by its older name."""

    type = "aws:s3/bucketObject:BucketObject"


def _body(inputs: Inputs) -> bytes:
    source: Any = inputs.get("source")
    if isinstance(source, Asset):
        return source.content
    if source is not None:
        return zipped(source)
    return (
        base64.b64decode(inputs["contentBase64"]) if "contentBase64" in inputs else inputs.get("content", "").encode()
    )
