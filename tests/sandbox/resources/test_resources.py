"""Keys, buckets and log groups are created, read, changed and deleted in the emulator."""

import json
import re
from collections.abc import Callable

import pytest

from sandbox.resources.assets import Archive
from sandbox.resources.catalog import resource
from sandbox.resources.resource_type import ResourceError
from tests.local import REGION, LocalAws
from tests.sandbox.resource_factory import ACCOUNT, STATEMENT, ResourceFactory, disconnected_aws


def test_a_log_group_and_its_retention(factory: ResourceFactory, aws: LocalAws):
    resource_type, name, old = factory.create("LogGroup", retentionInDays=30)

    def retention() -> int | None:
        return aws.client("logs").describe_log_groups(logGroupNamePrefix=name)["logGroups"][0].get("retentionInDays")

    assert resource_type.read(name) == {"arn": f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{name}"}
    assert retention() == 30
    resource_type.update(name, old, {**old, "retentionInDays": 7})
    assert retention() == 7
    resource_type.update(name, old, {"name": name})
    assert retention() is None


def test_a_bucket_with_its_settings_and_objects(factory: ResourceFactory, aws: LocalAws):
    resource_type, name, old = factory.create("Bucket", forceDestroy=True)
    resource_type.update(name, old, old)
    factory.create("BucketPublicAccessBlock", bucket=name, blockPublicAcls=True, restrictPublicBuckets=True)
    aborting = {"abortIncompleteMultipartUpload": {"daysAfterInitiation": 1}}
    rules = [{"id": "expiry", "status": "Enabled", "filter": {}, "expiration": {"days": 30}, **aborting}]
    lifecycle, _, _ = factory.create("BucketLifecycleConfiguration", bucket=name, rules=rules)
    lifecycle.update(name, {}, {"bucket": name, "rules": [{**rules[0], "expiration": {"days": 7}}]})
    s3 = aws.client("s3")
    s3.put_object(Bucket=name, Key="left/behind", Body=b"x")
    assert resource_type.read(name) == {"arn": f"arn:aws:s3:::{name}", "region": REGION}
    assert s3.get_public_access_block(Bucket=name)["PublicAccessBlockConfiguration"]["BlockPublicAcls"] is True
    actual = s3.get_bucket_lifecycle_configuration(Bucket=name)["Rules"]
    assert [(rule["ID"], rule["Expiration"]["Days"]) for rule in actual] == [("expiry", 7)]
    assert actual[0]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}


def test_the_policy_of_a_bucket(factory: ResourceFactory, aws: LocalAws):
    _, name, _ = factory.create("Bucket")
    statement = STATEMENT | {"Principal": "*", "Resource": f"arn:aws:s3:::{name}/*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    resource_type, identity, old = factory.create("BucketPolicy", bucket=name, policy=policy)
    resource_type.update(identity, old, {**old, "policy": policy.replace("one", "two")})
    actual = json.loads(aws.client("s3").get_bucket_policy(Bucket=name)["Policy"])
    assert [each["Sid"] for each in actual["Statement"]] == ["two"]


def test_a_key_its_alias_and_encrypted_resources(
    factory: ResourceFactory, aws: LocalAws, code: Callable[[str], Archive]
):
    policy = json.dumps({"Version": "2012-10-17", "Statement": [STATEMENT | {"Principal": "*", "Action": "kms:*"}]})
    resource_type, identity, old = factory.create("Key", description="old", policy=policy, enableKeyRotation=True)
    key = resource_type.read(identity) or {}
    assert (key["keyId"], key["arn"]) == (identity, f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{identity}")
    kms = aws.client("kms")
    assert kms.get_key_rotation_status(KeyId=identity)["KeyRotationEnabled"] is True
    resource_type.update(identity, old, {"description": "new", "policy": policy.replace("one", "two")})
    assert kms.get_key_rotation_status(KeyId=identity)["KeyRotationEnabled"] is False
    assert kms.describe_key(KeyId=identity)["KeyMetadata"]["Description"] == "new"
    actual = json.loads(kms.get_key_policy(KeyId=identity, PolicyName="default")["Policy"])
    assert [each["Sid"] for each in actual["Statement"]] == ["two"]

    alias, name, properties = factory.create("Alias", name="alias/thing", targetKeyId=identity)
    assert alias.read(name) == {"arn": f"arn:aws:kms:{REGION}:{ACCOUNT}:{name}"}
    _, other, _ = factory.create("Key", description="other", policy=policy)
    alias.update(name, properties, {**properties, "targetKeyId": other})
    assert kms.describe_key(KeyId=name)["KeyMetadata"]["KeyId"] == other

    encryption = {"enabled": True, "kmsKeyArn": key["arn"]}
    _, table, _ = factory.create_table(serverSideEncryption=encryption)
    assert factory.describe_table(table)["serverSideEncryption"] == encryption
    _, bucket, _ = factory.create("Bucket", forceDestroy=True)
    by_default = {"applyServerSideEncryptionByDefault": {"sseAlgorithm": "aws:kms", "kmsMasterKeyId": key["arn"]}}
    rules = [{**by_default, "bucketKeyEnabled": True}]
    factory.create("BucketServerSideEncryptionConfiguration", bucket=bucket, rules=rules)
    put = aws.client("s3").put_object(Bucket=bucket, Key="a", Body=b"x")
    assert (put["ServerSideEncryption"], put["SSEKMSKeyId"]) == ("aws:kms", key["arn"])
    _, function, _ = factory.create_function(code("x"), kmsKeyArn=key["arn"])
    assert aws.client("lambda").get_function_configuration(FunctionName=function)["KMSKeyArn"] == key["arn"]
    for kind in ("Queue", "Topic"):
        factory.create(kind, kmsMasterKeyId=key["arn"])
    logs, group, keyed = factory.create("LogGroup", kmsKeyId=key["arn"])
    [described] = aws.client("logs").describe_log_groups(logGroupNamePrefix=group)["logGroups"]
    assert described["kmsKeyId"] == key["arn"]
    with pytest.raises(ResourceError, match=f"^{group}: the emulator cannot change the key of a log group"):
        logs.update(group, keyed, {"name": group})


def test_names_are_inputs_or_generated():
    assert resource("aws:sqs/queue:Queue", "q", disconnected_aws()).check("q", {"name": "mine"})["name"] == "mine"
    assert re.fullmatch("q-.{7}", resource("aws:sqs/queue:Queue", "q", disconnected_aws()).check("q", {})["name"])
