"""Each resource type is made, read, changed and unmade in the real emulator, and refuses what it does not know."""

import contextlib
import io
import json
import zipfile
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sandbox.program import Archive
from sandbox.resource import Aws, Resource, ResourceError
from sandbox.resources import TYPES, answer, resource
from tests.local import REGION, LocalAws

ACCOUNT = "000000000000"
STATEMENT = {"Sid": "one", "Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*"}
POLICY = json.dumps({"Version": "2012-10-17", "Statement": [STATEMENT]})
ANYONE = json.dumps({"Version": "2012-10-17", "Statement": []})


@dataclass
class Mappings:
    """Keeps what it is told to do, and does none of it."""

    told: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list[tuple[str, Mapping[str, Any]]])
    refuses: bool = False

    def attach(self, uuid: str, request: Mapping[str, Any]) -> None:
        if self.refuses:
            raise ValueError("no such stream")
        self.told.append(("attach", request))

    def update(self, uuid: str, request: Mapping[str, Any]) -> None:
        self.told.append(("update", request))

    def detach(self, uuid: str) -> None:
        self.told.append(("detach", {}))

    def schedule(self, function_arn: str, input_text: str, *, enabled: bool) -> None:
        if self.refuses:
            raise ValueError("no such function")
        self.told.append(("schedule", {"arn": function_arn, "input": input_text, "enabled": enabled}))

    def unschedule(self, function_arn: str) -> None:
        self.told.append(("unschedule", {"arn": function_arn}))

    def quiet(self, function_name: str) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()


@dataclass
class Maker:
    """Makes resources by their short type names, and unmakes at the end what a test has left."""

    aws: Aws
    mappings: Mappings
    made: list[tuple[Resource, str, dict[str, Any]]] = field(default_factory=list[tuple[Resource, str, dict[str, Any]]])

    def of(self, kind: str) -> Resource:
        return next(made for made in TYPES.values() if made.__name__ == kind)(self.aws)

    def make(self, kind: str, name: str = "thing", **inputs: Any) -> tuple[Resource, str, dict[str, Any]]:
        made = self.of(kind)
        inputs = made.check(name, inputs)
        self.made.append((made, made.create(inputs), inputs))
        return self.made[-1]


@pytest.fixture
def maker(aws: LocalAws) -> Generator[Maker]:
    mappings = Mappings()
    maker = Maker(Aws(aws.client, REGION, mappings), mappings)
    yield maker
    for made, identity, inputs in reversed(maker.made):
        made.delete(identity, inputs)
        assert made.read(identity) is None, f"{made.type} is left"


@pytest.fixture
def code(tmp_path: Path) -> Callable[[str], Archive]:
    def write(answer: str) -> Archive:
        path = tmp_path / f"{answer}.zip"
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("m.py", f"def handler(event, context): return {answer!r}\n")
        path.write_bytes(packed.getvalue())
        return Archive(str(path))

    return write


def function(maker: Maker, code: Archive, **inputs: Any) -> tuple[Resource, str, dict[str, Any]]:
    role = maker.of("Role").read(maker.make("Role", assumeRolePolicy=ANYONE)[1])
    assert role
    return maker.make(
        "Function", role=role["arn"], handler="m.handler", runtime="python3.11", code=code, timeout=5, **inputs
    )


def table(maker: Maker, **inputs: Any) -> tuple[Resource, str, dict[str, Any]]:
    keys = [{"name": "id", "type": "S"}]
    return maker.make("Table", attributes=keys, hashKey="id", billingMode="PAY_PER_REQUEST", **inputs)


STREAM = {"streamEnabled": True, "streamViewType": "NEW_AND_OLD_IMAGES"}


def test_a_table_with_stream_expiry_and_recovery(maker: Maker, aws: LocalAws):
    made, name, _ = table(
        maker, **STREAM, pointInTimeRecovery={"enabled": True}, ttl={"enabled": True, "attributeName": "expiry"}
    )
    outputs = made.read(name)
    assert name.startswith("thing-")
    assert outputs
    assert outputs["arn"] == f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{name}"
    assert outputs["streamArn"].startswith(f"{outputs['arn']}/stream/")
    dynamodb = aws.client("dynamodb")
    described = dynamodb.describe_table(TableName=name)["Table"]
    assert described["KeySchema"] == [{"AttributeName": "id", "KeyType": "HASH"}]
    assert described["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    expiry = dynamodb.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
    assert expiry == {"TimeToLiveStatus": "ENABLED", "AttributeName": "expiry"}
    backups = dynamodb.describe_continuous_backups(TableName=name)["ContinuousBackupsDescription"]
    assert backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"] == "ENABLED"


def test_another_view_type_takes_another_stream(maker: Maker):
    made, name, old = table(maker, **STREAM)
    before = made.read(name)
    made.update(name, old, {**old, "streamViewType": "KEYS_ONLY"})
    after = made.read(name)
    assert before
    assert after
    assert before["streamArn"] != after["streamArn"]


def test_a_table_without_a_stream(maker: Maker):
    made, name, old = table(maker, rangeKey=None)
    without = made.read(name)
    made.update(name, old, {**old, **STREAM, "deletionProtectionEnabled": False})
    having = made.read(name)
    assert without
    assert having
    assert without["streamArn"] == ""
    assert having["streamArn"].startswith(f"{having['arn']}/stream/")


def test_a_role_and_its_policy(maker: Maker, aws: LocalAws):
    made, name, old = maker.make("Role", assumeRolePolicy=ANYONE, description="old")
    policy, identity, _ = maker.make("RolePolicy", role=name, policy=POLICY)
    made.update(name, old, {**old, "description": "new"})
    changed = {"role": name, "name": identity.split(":")[1], "policy": POLICY.replace("one", "two")}
    policy.update(identity, {}, changed)
    assert aws.client("iam").get_role(RoleName=name)["Role"]["Description"] == "new"
    found = aws.client("iam").get_role_policy(RoleName=name, PolicyName=changed["name"])
    assert [statement["Sid"] for statement in found["PolicyDocument"]["Statement"]] == ["two"]


def test_a_function_and_its_next_version(maker: Maker, aws: LocalAws, code: Callable[[str], Archive]):
    made, name, old = function(maker, code("one"), reservedConcurrentExecutions=3, memorySize=256)
    new = {**old, "code": code("two"), "memorySize": 512, "environment": {"variables": {"A": "b"}}}
    new.pop("reservedConcurrentExecutions")
    client = aws.client("lambda")
    assert client.invoke(FunctionName=name)["Payload"].read() == b'"one"'
    assert client.get_function_concurrency(FunctionName=name)["ReservedConcurrentExecutions"] == 3
    made.update(name, old, new)
    assert client.invoke(FunctionName=name)["Payload"].read() == b'"two"'
    configuration = client.get_function_configuration(FunctionName=name)
    assert (configuration["MemorySize"], configuration["Environment"]["Variables"]) == (512, {"A": "b"})
    assert "ReservedConcurrentExecutions" not in client.get_function_concurrency(FunctionName=name)
    outputs = made.read(name)
    assert outputs
    assert outputs["arn"] == f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}"


def mapping(maker: Maker, code: Archive, **inputs: Any) -> tuple[Resource, str, dict[str, Any]]:
    stream = maker.of("Table").read(table(maker, **STREAM)[1])
    assert stream
    return maker.make(
        "EventSourceMapping",
        eventSourceArn=stream["streamArn"],
        functionName=function(maker, code)[1],
        startingPosition="TRIM_HORIZON",
        filterCriteria={"filters": [{"pattern": "{}"}]},
        destinationConfig={"onFailure": {"destinationArn": "arn:aws:s3:::b"}},
        **inputs,
    )


def test_a_mapping_is_switched_off_and_its_work_handed_over(
    maker: Maker, aws: LocalAws, code: Callable[[str], Archive]
):
    made, uuid, old = mapping(maker, code("x"), enabled=True)
    asked = {
        "EventSourceArn": old["eventSourceArn"],
        "FunctionName": old["functionName"],
        "StartingPosition": "TRIM_HORIZON",
        "FilterCriteria": {"Filters": [{"Pattern": "{}"}]},
        "DestinationConfig": {"OnFailure": {"Destination": "arn:aws:s3:::b"}},
        "BatchSize": 100,
        "Enabled": True,
    }
    assert maker.mappings.told == [("attach", asked)]
    found = aws.client("lambda").get_event_source_mapping(UUID=uuid)
    assert (found["State"], found["BatchSize"]) == ("Disabled", 100)
    made.update(uuid, old, {**old, "batchSize": 7})
    assert maker.mappings.told[1:] == [("update", {**asked, "BatchSize": 7})]
    assert aws.client("lambda").get_event_source_mapping(UUID=uuid)["State"] == "Disabled"


def test_a_mapping_that_is_refused_is_not_left_behind(maker: Maker, aws: LocalAws, code: Callable[[str], Archive]):
    maker.mappings.refuses = True
    with pytest.raises(ValueError, match="no such stream"):
        mapping(maker, code("x"))
    functions = [identity for made, identity, _ in maker.made if made.service == "lambda"]
    listed = aws.client("lambda").list_event_source_mappings(FunctionName=functions[0])
    assert listed["EventSourceMappings"] == []


def test_a_log_group_and_its_retention(maker: Maker, aws: LocalAws):
    made, name, old = maker.make("LogGroup", retentionInDays=30)

    def retention() -> int | None:
        groups = aws.client("logs").describe_log_groups(logGroupNamePrefix=name)["logGroups"]
        return groups[0].get("retentionInDays")

    assert made.read(name) == {"arn": f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{name}"}
    assert retention() == 30
    made.update(name, old, {**old, "retentionInDays": 7})
    assert retention() == 7
    made.update(name, old, {"name": name})
    assert retention() is None


def test_a_bucket_with_its_settings_and_what_is_in_it(maker: Maker, aws: LocalAws):
    made, name, old = maker.make("Bucket", forceDestroy=True)
    made.update(name, old, old)
    maker.make("BucketPublicAccessBlock", bucket=name, blockPublicAcls=True, restrictPublicBuckets=True)
    aborting = {"abortIncompleteMultipartUpload": {"daysAfterInitiation": 1}}
    rules = [{"id": "expiry", "status": "Enabled", "filter": {}, "expiration": {"days": 30}, **aborting}]
    lifecycle, _, _ = maker.make("BucketLifecycleConfiguration", bucket=name, rules=rules)
    lifecycle.update(name, {}, {"bucket": name, "rules": [{**rules[0], "expiration": {"days": 7}}]})
    s3 = aws.client("s3")
    s3.put_object(Bucket=name, Key="left/behind", Body=b"x")
    assert made.read(name) == {"arn": f"arn:aws:s3:::{name}", "region": REGION}
    assert s3.get_public_access_block(Bucket=name)["PublicAccessBlockConfiguration"]["BlockPublicAcls"] is True
    found = s3.get_bucket_lifecycle_configuration(Bucket=name)["Rules"]
    assert [(rule["ID"], rule["Expiration"]["Days"]) for rule in found] == [("expiry", 7)]
    assert found[0]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}


def test_a_bucket_s_own_policy(maker: Maker, aws: LocalAws):
    _, name, _ = maker.make("Bucket")
    statement = STATEMENT | {"Principal": "*", "Resource": f"arn:aws:s3:::{name}/*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    made, identity, old = maker.make("BucketPolicy", bucket=name, policy=policy)
    made.update(identity, old, {**old, "policy": policy.replace("one", "two")})
    found = json.loads(aws.client("s3").get_bucket_policy(Bucket=name)["Policy"])
    assert [each["Sid"] for each in found["Statement"]] == ["two"]


def test_a_key_its_name_and_what_it_encrypts(maker: Maker, aws: LocalAws, code: Callable[[str], Archive]):
    policy = json.dumps({"Version": "2012-10-17", "Statement": [STATEMENT | {"Principal": "*", "Action": "kms:*"}]})
    made, identity, old = maker.make("Key", description="old", policy=policy, enableKeyRotation=True)
    key = made.read(identity)
    assert key
    assert key["keyId"] == identity
    assert key["arn"] == f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{identity}"
    kms = aws.client("kms")
    assert kms.get_key_rotation_status(KeyId=identity)["KeyRotationEnabled"] is True
    made.update(identity, old, {"description": "new", "policy": policy.replace("one", "two")})
    assert kms.get_key_rotation_status(KeyId=identity)["KeyRotationEnabled"] is False
    assert kms.describe_key(KeyId=identity)["KeyMetadata"]["Description"] == "new"
    found = json.loads(kms.get_key_policy(KeyId=identity, PolicyName="default")["Policy"])
    assert [each["Sid"] for each in found["Statement"]] == ["two"]

    alias, name, given = maker.make("Alias", name="alias/thing", targetKeyId=identity)
    assert alias.read(name) == {"arn": f"arn:aws:kms:{REGION}:{ACCOUNT}:{name}"}
    _, other, _ = maker.make("Key", description="other", policy=policy)
    alias.update(name, given, {**given, "targetKeyId": other})
    assert kms.describe_key(KeyId=name)["KeyMetadata"]["KeyId"] == other

    _, named, _ = table(maker, serverSideEncryption={"enabled": True, "kmsKeyArn": key["arn"]})
    assert answer("aws:dynamodb/getTable:getTable", {"name": named}, maker.aws)["serverSideEncryption"] == {
        "enabled": True,
        "kmsKeyArn": key["arn"],
    }
    _, bucket, _ = maker.make("Bucket", forceDestroy=True)
    by_default = {"applyServerSideEncryptionByDefault": {"sseAlgorithm": "aws:kms", "kmsMasterKeyId": key["arn"]}}
    maker.make(
        "BucketServerSideEncryptionConfiguration", bucket=bucket, rules=[{**by_default, "bucketKeyEnabled": True}]
    )
    put = aws.client("s3").put_object(Bucket=bucket, Key="a", Body=b"x")
    assert (put["ServerSideEncryption"], put["SSEKMSKeyId"]) == ("aws:kms", key["arn"])
    _, function_name, _ = function(maker, code("x"), kmsKeyArn=key["arn"])
    configuration = aws.client("lambda").get_function_configuration(FunctionName=function_name)
    assert configuration["KMSKeyArn"] == key["arn"]
    for kind in ("Queue", "Topic"):
        maker.make(kind, kmsMasterKeyId=key["arn"])
    logs, group, keyed = maker.make("LogGroup", kmsKeyId=key["arn"])
    [described] = aws.client("logs").describe_log_groups(logGroupNamePrefix=group)["logGroups"]
    assert described["kmsKeyId"] == key["arn"]
    with pytest.raises(ResourceError, match=f"^{group}: the emulator cannot give a log group another key"):
        logs.update(group, keyed, {"name": group})


def test_a_queue(maker: Maker, aws: LocalAws):
    made, address, old = maker.make("Queue", messageRetentionSeconds=1209600, sqsManagedSseEnabled=True)
    made.update(address, old, {**old, "visibilityTimeoutSeconds": 90})
    found = aws.client("sqs").get_queue_attributes(QueueUrl=address, AttributeNames=["All"])["Attributes"]
    assert (found["MessageRetentionPeriod"], found["VisibilityTimeout"]) == ("1209600", "90")
    assert made.read(address) == {"arn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{old['name']}", "url": address}


def test_a_topic(maker: Maker, aws: LocalAws):
    made, arn, old = maker.make("Topic", displayName="old")
    made.update(arn, old, {**old, "displayName": "new"})
    assert aws.client("sns").get_topic_attributes(TopicArn=arn)["Attributes"]["DisplayName"] == "new"
    assert made.read(arn) == {"arn": f"arn:aws:sns:{REGION}:{ACCOUNT}:{old['name']}"}


def test_names_are_given_or_made():
    assert resource("aws:sqs/queue:Queue", "q", _nowhere()).check("q", {"name": "mine"})["name"] == "mine"
    made = resource("aws:sqs/queue:Queue", "q", _nowhere()).check("q", {})["name"]
    assert len(made) == len("q-1234567")
    assert made.startswith("q-")


def test_what_is_unknown_is_named():
    with pytest.raises(
        ResourceError, match=r"^db: the sandbox does not know resources of type aws:rds/instance:Instance$"
    ):
        resource("aws:rds/instance:Instance", "db", _nowhere())
    with pytest.raises(ResourceError, match=r"^the sandbox does not know the function aws:ec2/getAmi:getAmi$"):
        answer("aws:ec2/getAmi:getAmi", {}, _nowhere())
    inputs = {"hashKey": "id", "replicas": [{"regionName": "eu-west-1"}], "ttl": {"enabled": True, "after": 3}}
    with pytest.raises(
        ResourceError,
        match=r"^aws:dynamodb/table:Table t: .* does not know the property replicas, ttl\.after$",
    ):
        resource("aws:dynamodb/table:Table", "t", _nowhere()).check("t", inputs)


def test_functions_of_the_provider(maker: Maker):
    assert answer("aws:index/getRegion:getRegion", {}, maker.aws)["region"] == REGION
    assert answer("aws:index/getCallerIdentity:getCallerIdentity", {}, maker.aws)["accountId"] == ACCOUNT
    _, name, _ = table(maker, **STREAM)
    found = answer("aws:dynamodb/getTable:getTable", {"name": name}, maker.aws)
    assert (found["hashKey"], found["rangeKey"], found["streamViewType"]) == ("id", "", "NEW_AND_OLD_IMAGES")
    assert found["attributes"] == [{"name": "id", "type": "S"}]
    assert found["streamArn"].startswith(found["arn"])
    assert found["serverSideEncryption"] is None


def _nowhere() -> Aws:
    return Aws(lambda service: None, REGION, Mappings())
