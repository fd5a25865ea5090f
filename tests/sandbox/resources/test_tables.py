"""Tables, created and changed as by the AWS plugin."""

import json
from typing import Any

import pytest

from sandbox.resources.catalog import resource
from sandbox.resources.resource_type import ResourceError
from tests.local import REGION, LocalAws
from tests.sandbox.resource_factory import ACCOUNT, ANYONE, STREAM, ResourceFactory, disconnected_aws

ATTRIBUTES = [{"name": name, "type": "S"} for name in ("id", "at", "city")]
BY_CITY = {"name": "by-city", "hashKey": "city", "rangeKey": "at", "projectionType": "ALL"}
BY_DAY = {"name": "by-day", "hashKey": "day", "projectionType": "INCLUDE", "nonKeyAttributes": ["total"]}
EXPIRY = {"enabled": True, "attributeName": "expiry"}
BY_TIME = {"name": "by-time", "rangeKey": "time", "projectionType": "KEYS_ONLY"}


def test_a_table_with_stream_expiry_and_recovery(factory: ResourceFactory, aws: LocalAws):
    resource_type, name, _ = factory.create_table(**STREAM, pointInTimeRecovery={"enabled": True}, ttl=EXPIRY)
    outputs = resource_type.read(name) or {}
    assert name.startswith("thing-")
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


def test_another_view_type_takes_another_stream(factory: ResourceFactory):
    resource_type, name, old = factory.create_table(**STREAM)
    before = (resource_type.read(name) or {})["streamArn"]
    resource_type.update(name, old, {**old, "streamViewType": "KEYS_ONLY"})
    assert before != (resource_type.read(name) or {})["streamArn"]


def test_a_table_without_a_stream(factory: ResourceFactory):
    resource_type, name, old = factory.create_table(rangeKey=None)
    assert (resource_type.read(name) or {})["streamArn"] == ""
    resource_type.update(name, old, {**old, **STREAM, "deletionProtectionEnabled": False})
    having = resource_type.read(name) or {}
    assert having["streamArn"].startswith(f"{having['arn']}/stream/")


def query_index(aws: LocalAws, table: str, index: str, **key: str) -> list[dict[str, Any]]:
    """Return the items that a query of an index finds by one attribute."""
    [(name, value)] = key.items()
    actual = aws.client("dynamodb").query(
        TableName=table,
        IndexName=index,
        KeyConditionExpression="#name = :value",
        ExpressionAttributeNames={"#name": name},
        ExpressionAttributeValues={":value": {"S": value}},
    )
    return [{attribute: next(iter(held.values())) for attribute, held in item.items()} for item in actual["Items"]]


def test_indexes_answer_queries_and_change_one_at_a_time(factory: ResourceFactory, aws: LocalAws):
    properties: dict[str, Any] = {
        "attributes": [*ATTRIBUTES, {"name": "time", "type": "S"}],
        "rangeKey": "at",
        "globalSecondaryIndexes": [BY_CITY],
        "localSecondaryIndexes": [BY_TIME],
    }
    resource_type, name, old = factory.create_table(**properties)
    item = {"id": "1", "at": "9", "city": "Bern", "time": "x", "day": "Monday", "total": "3"}
    aws.write(name, item)
    assert query_index(aws, name, "by-city", city="Bern") == [item]
    assert query_index(aws, name, "by-time", id="1") == [{key: item[key] for key in ("id", "at", "time")}]

    attributes = [*properties["attributes"], {"name": "day", "type": "S"}]
    both = {**old, "attributes": attributes, "globalSecondaryIndexes": [BY_CITY, BY_DAY]}
    resource_type.update(name, old, both)
    assert query_index(aws, name, "by-day", day="Monday") == [{key: item[key] for key in ("id", "at", "day", "total")}]

    less = {**BY_CITY, "projectionType": "KEYS_ONLY"}
    other = {**both, "attributes": properties["attributes"], "globalSecondaryIndexes": [less]}
    resource_type.update(name, both, other)
    described = aws.client("dynamodb").describe_table(TableName=name)["Table"]
    assert [index["IndexName"] for index in described["GlobalSecondaryIndexes"]] == ["by-city"]
    assert {each["AttributeName"] for each in described["AttributeDefinitions"]} == {"id", "at", "city", "time"}
    assert query_index(aws, name, "by-city", city="Bern") == [{key: item[key] for key in ("id", "at", "city")}]
    resource_type.update(name, other, old)
    assert query_index(aws, name, "by-city", city="Bern") == [item]
    assert {"localSecondaryIndexes", "hashKey", "rangeKey"} < resource_type.replacement_properties


def test_an_index_of_several_key_attributes(factory: ResourceFactory, aws: LocalAws):
    parts = [("city", "HASH"), ("id", "HASH"), ("at", "RANGE")]
    schema = [{"attributeName": name, "keyType": kind} for name, kind in parts]
    index = {"name": "by-parts", "keySchemas": schema, "projectionType": "ALL"}
    _, name, _ = factory.create_table(attributes=ATTRIBUTES, globalSecondaryIndexes=[index])
    [described] = aws.client("dynamodb").describe_table(TableName=name)["Table"]["GlobalSecondaryIndexes"]
    assert [(each["AttributeName"], each["KeyType"]) for each in described["KeySchema"]] == parts
    [actual] = factory.describe_table(name)["globalSecondaryIndexes"]
    assert actual["keySchemas"] == schema


def test_capacity_of_a_table_and_its_index(factory: ResourceFactory, aws: LocalAws):
    index = {**BY_CITY, "readCapacity": 2, "writeCapacity": 1}
    capacity = {"billingMode": "PROVISIONED", "readCapacity": 4, "writeCapacity": 3}
    resource_type, name, old = factory.create_table(attributes=ATTRIBUTES, globalSecondaryIndexes=[index], **capacity)
    more = {**old, "readCapacity": 5, "globalSecondaryIndexes": [{**index, "readCapacity": 7}]}

    def units() -> list[tuple[int, int]]:
        described = aws.client("dynamodb").describe_table(TableName=name)["Table"]
        each = (described, *described["GlobalSecondaryIndexes"])
        properties = [one["ProvisionedThroughput"] for one in each]
        return [(one["ReadCapacityUnits"], one["WriteCapacityUnits"]) for one in properties]

    assert units() == [(4, 3), (2, 1)]
    resource_type.update(name, old, more)
    assert units() == [(5, 3), (7, 1)]
    assert resource_type.list_unsupported(more) == [
        *("globalSecondaryIndexes.readCapacity", "globalSecondaryIndexes.writeCapacity"),
        *("readCapacity", "writeCapacity"),
    ]


def expiry(aws: LocalAws, table: str) -> str | None:
    """Return the attribute of the time to live, if it is enabled."""
    actual = aws.client("dynamodb").describe_time_to_live(TableName=table)["TimeToLiveDescription"]
    return actual["AttributeName"] if actual["TimeToLiveStatus"] == "ENABLED" else None


def test_time_to_live_is_disabled_enabled_and_disabled_again(factory: ResourceFactory, aws: LocalAws):
    resource_type, name, off = factory.create_table(ttl={"enabled": False})
    assert expiry(aws, name) is None
    on = {**off, "ttl": EXPIRY}
    resource_type.update(name, off, on)
    assert expiry(aws, name) == "expiry"
    resource_type.update(name, on, {**on, "ttl": {"enabled": False, "attributeName": "expiry"}})
    assert expiry(aws, name) is None
    resource_type.update(name, off, {**on, "ttl": {"enabled": True, "attributeName": "other"}})
    assert expiry(aws, name) == "other"


def test_an_update_without_time_to_live_keeps_it(factory: ResourceFactory, aws: LocalAws):
    resource_type, name, on = factory.create_table(ttl=EXPIRY)
    silent = {key: value for key, value in on.items() if key != "ttl"}
    resource_type.update(name, on, silent)
    assert expiry(aws, name) == "expiry"


@pytest.mark.parametrize("ttl", [{"enabled": True, "attributeName": "other"}, {"enabled": False}])
def test_time_to_live_is_disabled_only_by_its_attribute(factory: ResourceFactory, aws: LocalAws, ttl: dict[str, Any]):
    resource_type, name, old = factory.create_table(ttl=EXPIRY)
    with pytest.raises(ResourceError, match=f"{name}: the time to live is enabled for expiry. AWS disables it only by"):
        resource_type.update(name, old, {**old, "ttl": ttl})
    assert expiry(aws, name) == "expiry"


def test_encryption_is_disabled_enabled_and_disabled_again(factory: ResourceFactory, aws: LocalAws):
    key = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1"

    resource_type, name, off = factory.create_table(serverSideEncryption={"enabled": False})
    assert "SSEDescription" not in aws.client("dynamodb").describe_table(TableName=name)["Table"]
    on = {**off, "serverSideEncryption": {"enabled": True, "kmsKeyArn": key}}
    resource_type.update(name, off, on)
    assert factory.describe_table(name)["serverSideEncryption"] == {"enabled": True, "kmsKeyArn": key}
    resource_type.update(name, on, {**off, "serverSideEncryption": {"enabled": False, "kmsKeyArn": key}})
    assert factory.describe_table(name)["serverSideEncryption"] is None


def test_tags_class_and_recovery(factory: ResourceFactory):
    properties: dict[str, Any] = {
        "tags": {"team": "a", "cost": "b"},
        "tableClass": "STANDARD_INFREQUENT_ACCESS",
        "onDemandThroughput": {"maxReadRequestUnits": 5, "maxWriteRequestUnits": 6},
        "pointInTimeRecovery": {"enabled": True, "recoveryPeriodInDays": 7},
    }
    resource_type, name, old = factory.create_table(**properties)

    def current() -> list[Any]:
        actual = factory.describe_table(name)
        assert actual["pointInTimeRecovery"]["enabled"] is True
        return [actual[each] for each in ("tags", "tableClass", "onDemandThroughputs")]

    ceiling = properties["onDemandThroughput"]
    assert current() == [properties["tags"], "STANDARD_INFREQUENT_ACCESS", [ceiling]]
    unsupported = ["onDemandThroughput", "pointInTimeRecovery.recoveryPeriodInDays", "tableClass"]
    assert resource_type.list_unsupported(old) == unsupported
    resource_type.update(name, old, {**old, "tags": {"team": "c"}, "tableClass": "STANDARD"})
    assert current() == [{"team": "c"}, "STANDARD", [ceiling]]


def test_properties_with_an_effect_on_aws_only_are_reported(factory: ResourceFactory):
    throughput = {"readUnitsPerSecond": 12000, "writeUnitsPerSecond": 4000}
    source = {"inputFormat": "DYNAMODB_JSON", "s3BucketSource": {"bucket": "b"}}
    resource_type, _, inputs = factory.create_table(
        replicas=[{"regionName": "eu-central-1", "consistencyMode": "EVENTUAL"}],
        warmThroughput=throughput,
        importTable=source,
        region="eu-central-1",
        tableClass="STANDARD",
        globalSecondaryIndexes=[{**BY_CITY, "rangeKey": None, "warmThroughput": throughput}],
        attributes=[ATTRIBUTES[0], ATTRIBUTES[2]],
    )
    assert resource_type.list_unsupported(inputs) == [
        *("globalSecondaryIndexes.warmThroughput", "importTable", "replicas", "warmThroughput")
    ]


def test_the_policy_of_a_table(factory: ResourceFactory, aws: LocalAws):
    arn = factory.outputs(factory.create_table())["arn"]
    resource_type, identity, old = factory.create("ResourcePolicy", resourceArn=arn, policy=ANYONE)
    statement = {"Effect": "Allow", "Principal": "*", "Action": "dynamodb:GetItem", "Resource": arn}
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    resource_type.update(identity, old, resource_type.check("thing", {**old, "policy": policy}))
    actual = aws.client("dynamodb").get_resource_policy(ResourceArn=arn)
    assert (identity, json.loads(actual["Policy"])) == (arn, policy)
    assert resource_type.read(identity) == {"revisionId": actual["RevisionId"]}


def test_an_item(factory: ResourceFactory, aws: LocalAws):
    _, name, _ = factory.create_table()
    one, two = (json.dumps({"id": {"S": "1"}, "n": {"N": number}}) for number in "12")
    resource_type, identity, old = factory.create("TableItem", tableName=name, hashKey="id", item=one)
    resource_type.update(identity, old, {**old, "item": two})
    assert aws.items(name) == [{"id": "1", "n": 2}]
    with pytest.raises(ResourceError, match="the key of an item cannot change"):
        resource_type.update(identity, old, {**old, "item": json.dumps({"id": {"S": "2"}})})


def test_an_unknown_property_of_a_table_is_named():
    inputs = {"hashKey": "id", "restoreSourceName": "old", "ttl": {"enabled": True, "after": 3}}
    message = r"^aws:dynamodb/table:Table t: .* does not support the property restoreSourceName, ttl\.after$"
    with pytest.raises(ResourceError, match=message):
        resource("aws:dynamodb/table:Table", "t", disconnected_aws()).check("t", inputs)
