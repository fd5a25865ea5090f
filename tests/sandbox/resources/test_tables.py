"""Tables with what Pulumi gives them, changed as AWS's plugin changes them."""

import json
from typing import Any

import pytest

from sandbox.program.lookups import answer
from sandbox.resources.catalog import resource
from sandbox.resources.resource_type import ResourceError
from tests.local import REGION, LocalAws
from tests.sandbox.making import ACCOUNT, ANYONE, STREAM, Maker, nowhere

ATTRIBUTES = [{"name": name, "type": "S"} for name in ("id", "at", "city")]
BY_CITY = {"name": "by-city", "hashKey": "city", "rangeKey": "at", "projectionType": "ALL"}
BY_DAY = {"name": "by-day", "hashKey": "day", "projectionType": "INCLUDE", "nonKeyAttributes": ["total"]}
BY_TIME = {"name": "by-time", "rangeKey": "time", "projectionType": "KEYS_ONLY"}


def test_a_table_with_stream_expiry_and_recovery(maker: Maker, aws: LocalAws):
    made, name, _ = maker.table(
        **STREAM, pointInTimeRecovery={"enabled": True}, ttl={"enabled": True, "attributeName": "expiry"}
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
    made, name, old = maker.table(**STREAM)
    before = made.read(name)
    made.update(name, old, {**old, "streamViewType": "KEYS_ONLY"})
    after = made.read(name)
    assert before
    assert after
    assert before["streamArn"] != after["streamArn"]


def test_a_table_without_a_stream(maker: Maker):
    made, name, old = maker.table(rangeKey=None)
    without = made.read(name)
    made.update(name, old, {**old, **STREAM, "deletionProtectionEnabled": False})
    having = made.read(name)
    assert without
    assert having
    assert without["streamArn"] == ""
    assert having["streamArn"].startswith(f"{having['arn']}/stream/")


def found_by(aws: LocalAws, table: str, index: str, **key: str) -> list[dict[str, Any]]:
    """What a query of an index finds by one attribute."""
    [(name, value)] = key.items()
    found = aws.client("dynamodb").query(
        TableName=table,
        IndexName=index,
        KeyConditionExpression="#name = :value",
        ExpressionAttributeNames={"#name": name},
        ExpressionAttributeValues={":value": {"S": value}},
    )
    return [{attribute: next(iter(held.values())) for attribute, held in item.items()} for item in found["Items"]]


def test_indexes_answer_queries_and_change_one_at_a_time(maker: Maker, aws: LocalAws):
    given: dict[str, Any] = {
        "attributes": [*ATTRIBUTES, {"name": "time", "type": "S"}],
        "rangeKey": "at",
        "globalSecondaryIndexes": [BY_CITY],
        "localSecondaryIndexes": [BY_TIME],
    }
    made, name, old = maker.table(**given)
    item = {"id": "1", "at": "9", "city": "Bern", "time": "x", "day": "Monday", "total": "3"}
    aws.write(name, item)
    assert found_by(aws, name, "by-city", city="Bern") == [item]
    assert found_by(aws, name, "by-time", id="1") == [{key: item[key] for key in ("id", "at", "time")}]

    attributes = [*given["attributes"], {"name": "day", "type": "S"}]
    both = {**old, "attributes": attributes, "globalSecondaryIndexes": [BY_CITY, BY_DAY]}
    made.update(name, old, both)
    assert found_by(aws, name, "by-day", day="Monday") == [{key: item[key] for key in ("id", "at", "day", "total")}]

    less = {**BY_CITY, "projectionType": "KEYS_ONLY"}
    other = {**both, "attributes": given["attributes"], "globalSecondaryIndexes": [less]}
    made.update(name, both, other)
    described = aws.client("dynamodb").describe_table(TableName=name)["Table"]
    assert [index["IndexName"] for index in described["GlobalSecondaryIndexes"]] == ["by-city"]
    assert {each["AttributeName"] for each in described["AttributeDefinitions"]} == {"id", "at", "city", "time"}
    assert found_by(aws, name, "by-city", city="Bern") == [{key: item[key] for key in ("id", "at", "city")}]
    made.update(name, other, old)
    assert found_by(aws, name, "by-city", city="Bern") == [item]
    assert {"localSecondaryIndexes", "hashKey", "rangeKey"} < made.replaced_by


def test_an_index_of_several_key_attributes(maker: Maker, aws: LocalAws):
    parts = [("city", "HASH"), ("id", "HASH"), ("at", "RANGE")]
    schema = [{"attributeName": name, "keyType": kind} for name, kind in parts]
    index = {"name": "by-parts", "keySchemas": schema, "projectionType": "ALL"}
    _, name, _ = maker.table(attributes=ATTRIBUTES, globalSecondaryIndexes=[index])
    [described] = aws.client("dynamodb").describe_table(TableName=name)["Table"]["GlobalSecondaryIndexes"]
    assert [(each["AttributeName"], each["KeyType"]) for each in described["KeySchema"]] == parts
    [found] = answer("aws:dynamodb/getTable:getTable", {"name": name}, maker.aws)["globalSecondaryIndexes"]
    assert found["keySchemas"] == schema


def test_capacity_of_a_table_and_its_index(maker: Maker, aws: LocalAws):
    index = {**BY_CITY, "readCapacity": 2, "writeCapacity": 1}
    capacity = {"billingMode": "PROVISIONED", "readCapacity": 4, "writeCapacity": 3}
    made, name, old = maker.table(attributes=ATTRIBUTES, globalSecondaryIndexes=[index], **capacity)
    more = {**old, "readCapacity": 5, "globalSecondaryIndexes": [{**index, "readCapacity": 7}]}

    def units() -> list[tuple[int, int]]:
        described = aws.client("dynamodb").describe_table(TableName=name)["Table"]
        each = (described, *described["GlobalSecondaryIndexes"])
        given = [one["ProvisionedThroughput"] for one in each]
        return [(one["ReadCapacityUnits"], one["WriteCapacityUnits"]) for one in given]

    assert units() == [(4, 3), (2, 1)]
    made.update(name, old, more)
    assert units() == [(5, 3), (7, 1)]
    assert made.unimitated(more) == [
        *("globalSecondaryIndexes.readCapacity", "globalSecondaryIndexes.writeCapacity"),
        *("readCapacity", "writeCapacity"),
    ]


def expiry(aws: LocalAws, table: str) -> str | None:
    """The attribute by which items expire."""
    found = aws.client("dynamodb").describe_time_to_live(TableName=table)["TimeToLiveDescription"]
    return found["AttributeName"] if found["TimeToLiveStatus"] == "ENABLED" else None


def test_expiry_is_off_from_the_start_switched_on_and_off_again(maker: Maker, aws: LocalAws):
    made, name, off = maker.table(ttl={"enabled": False})
    assert expiry(aws, name) is None
    on = {**off, "ttl": {"enabled": True, "attributeName": "expiry"}}
    made.update(name, off, on)
    assert expiry(aws, name) == "expiry"
    made.update(name, on, {**on, "ttl": {"enabled": False, "attributeName": "expiry"}})
    assert expiry(aws, name) is None
    made.update(name, off, {**on, "ttl": {"enabled": True, "attributeName": "other"}})
    assert expiry(aws, name) == "other"


def test_expiry_that_is_left_out_stays_as_it_is(maker: Maker, aws: LocalAws):
    made, name, on = maker.table(ttl={"enabled": True, "attributeName": "expiry"})
    silent = {key: value for key, value in on.items() if key != "ttl"}
    made.update(name, on, silent)
    assert expiry(aws, name) == "expiry"


@pytest.mark.parametrize("ttl", [{"enabled": True, "attributeName": "other"}, {"enabled": False}])
def test_expiry_is_switched_off_by_its_name_alone(maker: Maker, aws: LocalAws, ttl: dict[str, Any]):
    made, name, old = maker.table(ttl={"enabled": True, "attributeName": "expiry"})
    with pytest.raises(ResourceError, match=f"{name}: the time to live is on, by expiry, and AWS switches it off by"):
        made.update(name, old, {**old, "ttl": ttl})
    assert expiry(aws, name) == "expiry"


def test_encryption_is_off_from_the_start_switched_on_and_off_again(maker: Maker, aws: LocalAws):
    key = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1"

    def seen() -> Any:
        return answer("aws:dynamodb/getTable:getTable", {"name": name}, maker.aws)["serverSideEncryption"]

    made, name, off = maker.table(serverSideEncryption={"enabled": False})
    assert "SSEDescription" not in aws.client("dynamodb").describe_table(TableName=name)["Table"]
    on = {**off, "serverSideEncryption": {"enabled": True, "kmsKeyArn": key}}
    made.update(name, off, on)
    assert seen() == {"enabled": True, "kmsKeyArn": key}
    made.update(name, on, {**off, "serverSideEncryption": {"enabled": False, "kmsKeyArn": key}})
    assert seen() is None


def test_tags_class_and_recovery(maker: Maker):
    given: dict[str, Any] = {
        "tags": {"team": "a", "cost": "b"},
        "tableClass": "STANDARD_INFREQUENT_ACCESS",
        "onDemandThroughput": {"maxReadRequestUnits": 5, "maxWriteRequestUnits": 6},
        "pointInTimeRecovery": {"enabled": True, "recoveryPeriodInDays": 7},
    }
    made, name, old = maker.table(**given)

    def seen() -> list[Any]:
        found = answer("aws:dynamodb/getTable:getTable", {"name": name}, maker.aws)
        assert found["pointInTimeRecovery"]["enabled"] is True
        return [found[each] for each in ("tags", "tableClass", "onDemandThroughputs")]

    ceiling = given["onDemandThroughput"]
    assert seen() == [given["tags"], "STANDARD_INFREQUENT_ACCESS", [ceiling]]
    assert made.unimitated(old) == ["onDemandThroughput", "pointInTimeRecovery.recoveryPeriodInDays", "tableClass"]
    made.update(name, old, {**old, "tags": {"team": "c"}, "tableClass": "STANDARD"})
    assert seen() == [{"team": "c"}, "STANDARD", [ceiling]]


def test_what_only_matters_on_aws_is_taken_and_mentioned(maker: Maker):
    throughput = {"readUnitsPerSecond": 12000, "writeUnitsPerSecond": 4000}
    source = {"inputFormat": "DYNAMODB_JSON", "s3BucketSource": {"bucket": "b"}}
    made, _, inputs = maker.table(
        replicas=[{"regionName": "eu-central-1", "consistencyMode": "EVENTUAL"}],
        warmThroughput=throughput,
        importTable=source,
        region="eu-central-1",
        tableClass="STANDARD",
        globalSecondaryIndexes=[{**BY_CITY, "rangeKey": None, "warmThroughput": throughput}],
        attributes=[ATTRIBUTES[0], ATTRIBUTES[2]],
    )
    assert made.unimitated(inputs) == [
        *("globalSecondaryIndexes.warmThroughput", "importTable", "replicas", "warmThroughput")
    ]


def test_the_policy_of_a_table(maker: Maker, aws: LocalAws):
    table, name, _ = maker.table()
    arn = (table.read(name) or {})["arn"]
    made, identity, old = maker.make("ResourcePolicy", resourceArn=arn, policy=ANYONE)
    statement = {"Effect": "Allow", "Principal": "*", "Action": "dynamodb:GetItem", "Resource": arn}
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    made.update(identity, old, made.check("thing", {**old, "policy": policy}))
    found = aws.client("dynamodb").get_resource_policy(ResourceArn=arn)
    assert (identity, json.loads(found["Policy"])) == (arn, policy)
    assert made.read(identity) == {"revisionId": found["RevisionId"]}


def test_an_item(maker: Maker, aws: LocalAws):
    _, name, _ = maker.table()
    given = {"tableName": name, "hashKey": "id"}
    made, identity, old = maker.make("TableItem", **given, item=json.dumps({"id": {"S": "1"}, "n": {"N": "1"}}))
    made.update(identity, old, {**old, "item": json.dumps({"id": {"S": "1"}, "n": {"N": "2"}})})
    assert aws.items(name) == [{"id": "1", "n": 2}]
    with pytest.raises(ResourceError, match="an item with another key is another item"):
        made.update(identity, old, {**old, "item": json.dumps({"id": {"S": "2"}})})


def test_an_unknown_property_of_a_table_is_named():
    inputs = {"hashKey": "id", "restoreSourceName": "old", "ttl": {"enabled": True, "after": 3}}
    with pytest.raises(
        ResourceError,
        match=r"^aws:dynamodb/table:Table t: .* does not know the property restoreSourceName, ttl\.after$",
    ):
        resource("aws:dynamodb/table:Table", "t", nowhere()).check("t", inputs)
