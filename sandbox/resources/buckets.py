"""S3 buckets, their settings (separate resources in Pulumi), and objects."""

# ruff: noqa: ARG002, D102 -- ResourceType documents the methods of every type, and fixes their arguments

import base64
from typing import Any, ClassVar

from sandbox.resources.assets import Asset, zipped
from sandbox.resources.resource_type import Inputs, ResourceType, parse_properties


class Bucket(ResourceType):
    """A bucket. With forceDestroy, its deletion deletes its objects, too."""

    type, service, id_argument = "aws:s3/bucket:Bucket", "s3", "Bucket"
    create_call, delete_call = "create_bucket", "delete_bucket"
    name_property, id_format = "bucket", "{bucket}"
    replacement_properties = frozenset({"bucket"})
    properties = parse_properties("bucket forceDestroy=")
    outputs: ClassVar = {"arn": "arn", "region": "region"}

    def request(self, inputs: Inputs) -> Inputs:
        located = {"CreateBucketConfiguration": {"LocationConstraint": self.aws.region}}
        return {**super().request(inputs), **(located if self.aws.region != "us-east-1" else {})}

    def describe(self, identity: str) -> Inputs:
        self.client.head_bucket(Bucket=identity)
        return {"arn": f"arn:aws:s3:::{identity}", "region": self.aws.region}

    def update(self, identity: str, old: Inputs, new: Inputs) -> None:
        """Do nothing: the only property that can change in place matters at the deletion only."""

    def delete(self, identity: str, inputs: Inputs) -> None:
        if inputs.get("forceDestroy"):
            for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=identity):
                for item in page.get("Contents", ()):
                    self.client.delete_object(Bucket=identity, Key=item["Key"])
        super().delete(identity, inputs)


class BucketSetting(ResourceType):
    """A setting of a bucket that is a separate resource; its call takes the setting as one argument."""

    service, id_argument, name_property, id_format = "s3", "Bucket", None, "{bucket}"
    replacement_properties = frozenset({"bucket"})
    argument: ClassVar[str]

    def request(self, inputs: Inputs) -> Inputs:
        setting = super().request(inputs)
        return {"Bucket": setting.pop("Bucket"), self.argument: setting}


class BucketPublicAccessBlock(BucketSetting):
    """The block of public access to a bucket."""

    type, argument = "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock", "PublicAccessBlockConfiguration"
    create_call, describe_call = "put_public_access_block", "get_public_access_block"
    delete_call = "delete_public_access_block"
    properties = parse_properties("bucket blockPublicAcls blockPublicPolicy ignorePublicAcls restrictPublicBuckets")


class BucketLifecycleConfiguration(BucketSetting):
    """The lifecycle rules of a bucket. The emulator stores them and expires no object."""

    type = "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration"
    argument = "LifecycleConfiguration"
    create_call, describe_call = "put_bucket_lifecycle_configuration", "get_bucket_lifecycle_configuration"
    delete_call = "delete_bucket_lifecycle"
    properties = parse_properties(
        """bucket rules.id=ID rules.status rules.filter rules.filter.prefix rules.expiration.days
        rules.abortIncompleteMultipartUpload.daysAfterInitiation"""
    )


class BucketServerSideEncryptionConfiguration(BucketSetting):
    """The default encryption of a bucket. The emulator reports the key and encrypts nothing."""

    type = "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
    argument = "ServerSideEncryptionConfiguration"
    create_call, describe_call, delete_call = (
        "put_bucket_encryption",
        "get_bucket_encryption",
        "delete_bucket_encryption",
    )
    properties = parse_properties(
        """bucket rules.applyServerSideEncryptionByDefault.sseAlgorithm=SSEAlgorithm
        rules.applyServerSideEncryptionByDefault.kmsMasterKeyId=KMSMasterKeyID rules.bucketKeyEnabled"""
    )

    def read(self, identity: str) -> Inputs | None:
        if (outputs := super().read(identity)) is None:
            return None
        rules = self.describe(identity)["ServerSideEncryptionConfiguration"]["Rules"]
        own = [rule for rule in rules if rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] != "AES256"]
        return outputs if own else None  # AES256 is the default of a bucket without this resource


class BucketPolicy(ResourceType):
    """The policy of a bucket. The emulator enforces it only if AUTH is set."""

    type, service, id_argument = "aws:s3/bucketPolicy:BucketPolicy", "s3", "Bucket"
    create_call, describe_call, delete_call = "put_bucket_policy", "get_bucket_policy", "delete_bucket_policy"
    name_property, id_format = None, "{bucket}"
    replacement_properties = frozenset({"bucket"})
    properties = parse_properties("bucket policy")


class BucketObjectv2(ResourceType):
    """An object of a bucket, from a file or a text; its id is the bucket's name and the key."""

    type, service = "aws:s3/bucketObjectv2:BucketObjectv2", "s3"
    create_call, describe_call, delete_call = "put_object", "head_object", "delete_object"
    name_property = "key"
    replacement_properties = frozenset({"bucket", "key"})
    properties = parse_properties(
        """bucket key source= content= contentBase64= sourceHash= etag= forceDestroy= contentType contentEncoding
        contentDisposition contentLanguage cacheControl metadata storageClass serverSideEncryption
        kmsKeyId=SSEKMSKeyId"""
    )
    outputs: ClassVar = {"versionId": "VersionId || ''"}

    def generate_name(self, prefix: str) -> str:
        return prefix.removesuffix("-")

    def id_arguments(self, identity: str) -> Inputs:
        bucket, _, key = identity.partition("/")
        return {"Bucket": bucket, "Key": key}

    def create(self, inputs: Inputs) -> str:
        self.client.put_object(**self.request(inputs), Body=_body(inputs))
        return f"{inputs['bucket']}/{inputs['key']}"

    def update(self, identity: str, old: Inputs, new: Inputs) -> None:
        self.create(new)


class BucketObject(BucketObjectv2):
    """The older name of BucketObjectv2."""

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
