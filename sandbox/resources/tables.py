"""DynamoDB tables with their resource policies and items."""

# ruff: noqa: D102 -- ResourceType documents the methods of every type

import json
from collections.abc import Iterator
from typing import Any, ClassVar

from sandbox.resources.resource_type import Inputs, ResourceError, ResourceType, parse_properties

_UPDATABLE = ("billingMode", "deletionProtectionEnabled", "onDemandThroughput", "serverSideEncryption", "tableClass")
_CAPACITY = ("readCapacity", "writeCapacity")
_INDEX_IDENTITY = ("name", "hashKey", "rangeKey", "keySchemas", "projectionType")
"""The properties whose change replaces an index, besides its projected attributes."""


class Table(ResourceType):
    """A table with its stream, indexes, time to live and point-in-time recovery.

    As with the AWS plugin, an update without encryption, time to live, recovery or class leaves the setting as it is.
    """

    type, service, id_argument = "aws:dynamodb/table:Table", "dynamodb", "TableName"
    create_call, describe_call, delete_call = "create_table", "describe_table", "delete_table"
    replacement_properties = frozenset({"name", "hashKey", "rangeKey", "localSecondaryIndexes"})
    properties = parse_properties(
        """name=TableName attributes=AttributeDefinitions attributes.name=AttributeName attributes.type=AttributeType
        hashKey= rangeKey= billingMode readCapacity= writeCapacity= streamEnabled= streamViewType= tableClass
        deletionProtectionEnabled onDemandThroughput.maxReadRequestUnits onDemandThroughput.maxWriteRequestUnits
        serverSideEncryption=SSESpecification serverSideEncryption.enabled
        serverSideEncryption.kmsKeyArn=KMSMasterKeyId ttl= ttl.enabled ttl.attributeName
        pointInTimeRecovery= pointInTimeRecovery.enabled=PointInTimeRecoveryEnabled
        pointInTimeRecovery.recoveryPeriodInDays localSecondaryIndexes= localSecondaryIndexes.name
        localSecondaryIndexes.rangeKey localSecondaryIndexes.projectionType localSecondaryIndexes.nonKeyAttributes
        globalSecondaryIndexes= globalSecondaryIndexes.name globalSecondaryIndexes.hashKey
        globalSecondaryIndexes.rangeKey globalSecondaryIndexes.keySchemas globalSecondaryIndexes.projectionType
        globalSecondaryIndexes.nonKeyAttributes globalSecondaryIndexes.readCapacity
        globalSecondaryIndexes.writeCapacity globalSecondaryIndexes.onDemandThroughput
        globalSecondaryIndexes.warmThroughput warmThroughput= replicas= globalTableWitness= importTable="""
    )
    outputs: ClassVar = {"arn": "Table.TableArn", "streamArn": "Table.LatestStreamArn || ''"}
    # The emulator does not limit throughput, has one Region, cannot restore a table, and cannot import from a bucket on
    # AWS.
    only_on_aws: ClassVar = {
        "tableClass": "STANDARD",
        "pointInTimeRecovery.recoveryPeriodInDays": None,
        **dict.fromkeys((*_CAPACITY, "onDemandThroughput", "warmThroughput")),
        **{f"globalSecondaryIndexes.{each}": None for each in (*_CAPACITY, "onDemandThroughput", "warmThroughput")},
        **dict.fromkeys(("replicas", "globalTableWitness", "importTable")),
    }

    def create(self, inputs: Inputs) -> str:
        identity = super().create(inputs)
        self._apply_settings({}, inputs)
        return identity

    def request(self, inputs: Inputs) -> Inputs:
        request = {**super().request(inputs), **_stream(inputs), **_throughput(inputs)}
        if not inputs.get("serverSideEncryption", {}).get("enabled"):
            request.pop("SSESpecification", None)
        if tags := inputs.get("tags"):
            request["Tags"] = _pairs(tags)
        for field, property_ in (("Local", "localSecondaryIndexes"), ("Global", "globalSecondaryIndexes")):
            if indexes := inputs.get(property_):
                request[f"{field}SecondaryIndexes"] = [_index(each, inputs) for each in indexes]
        return {**request, "KeySchema": _key_schema(inputs)}

    def update(self, identity: str, old: Inputs, new: Inputs) -> None:
        if _stream(old) != _stream(new):
            if _stream(old):  # a stream's view type cannot change: another view type needs another stream
                self.client.update_table(TableName=identity, StreamSpecification={"StreamEnabled": False})
            if _stream(new):
                self.client.update_table(TableName=identity, **_stream(new))
        for change in _index_changes(old, new):  # AWS accepts one change at a time (UpdateTable)
            definitions = super().request({"attributes": new["attributes"]})
            self.client.update_table(TableName=identity, GlobalSecondaryIndexUpdates=[change], **definitions)
        changed = {name: new[name] for name in _UPDATABLE if name in new and old.get(name) != new[name]}
        if not changed.get("serverSideEncryption", {}).get("enabled", True):
            changed["serverSideEncryption"] = {"enabled": False}
        throughput = _throughput(new) if _throughput(old) != _throughput(new) else {}
        if request := {**super().request(changed), **throughput}:
            self.client.update_table(TableName=identity, **request)
        self._set_tags(identity, old.get("tags", {}), new.get("tags", {}))
        self._apply_settings(old, new)

    def _apply_settings(self, old: Inputs, new: Inputs) -> None:
        """Apply the settings that create_table does not accept."""
        recovery = new.get("pointInTimeRecovery")
        if recovery and recovery != old.get("pointInTimeRecovery"):
            specification = {self.properties[f"pointInTimeRecovery.{part}"]: value for part, value in recovery.items()}
            self.client.update_continuous_backups(TableName=new["name"], PointInTimeRecoverySpecification=specification)
        if (expiry := new.get("ttl")) is not None:
            self._set_expiry(new["name"], expiry.get("attributeName"), enabled=bool(expiry.get("enabled")))

    def _set_expiry(self, table: str, attribute: str | None, *, enabled: bool) -> None:
        """Enable the time to live, or disable it by the name of its attribute.

        AWS rejects another attribute while one is enabled, and rejects disabling without the name of the enabled one
        (API reference of UpdateTimeToLive and the service's messages, November 2026).
        """
        description = self.client.describe_time_to_live(TableName=table)["TimeToLiveDescription"]
        before = description["AttributeName"] if description["TimeToLiveStatus"] == "ENABLED" else None
        if before and before != attribute:
            raise ResourceError(
                f"{table}: the time to live is enabled for {before}. AWS disables it only by that name: set "
                f"ttl: {{enabled: false, attributeName: {before}}} first, then the other attribute"
            )
        if enabled != (before is not None):
            specification = {"Enabled": enabled, "AttributeName": attribute}
            self.client.update_time_to_live(TableName=table, TimeToLiveSpecification=specification)

    def _set_tags(self, table: str, old: dict[str, str], new: dict[str, str]) -> None:
        if old == new:
            return
        arn = self.describe(table)["Table"]["TableArn"]
        if removed := sorted(old.keys() - new.keys()):
            self.client.untag_resource(ResourceArn=arn, TagKeys=removed)
        if new:
            self.client.tag_resource(ResourceArn=arn, Tags=_pairs(new))


def _pairs(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"Key": name, "Value": value} for name, value in tags.items()]


def _stream(inputs: Inputs) -> Inputs:
    if not inputs.get("streamEnabled"):
        return {}
    return {"StreamSpecification": {"StreamEnabled": True, "StreamViewType": inputs["streamViewType"]}}


def _throughput(inputs: Inputs, billing_mode: str | None = None) -> Inputs:
    """Return the provisioned throughput of a table or index; empty in on-demand mode."""
    if (billing_mode or inputs.get("billingMode")) == "PAY_PER_REQUEST" or "readCapacity" not in inputs:
        return {}
    units = {"ReadCapacityUnits": inputs["readCapacity"], "WriteCapacityUnits": inputs.get("writeCapacity")}
    return {"ProvisionedThroughput": units}


def _key_schema(inputs: Inputs) -> list[dict[str, str]]:
    keys = {"HASH": inputs["hashKey"], "RANGE": inputs.get("rangeKey")}
    return [{"AttributeName": name, "KeyType": kind} for kind, name in keys.items() if name]


def _index(index: Inputs, table: Inputs) -> Inputs:
    """Return boto3's argument for an index; a local index has the table's partition key."""
    schema = [
        {"AttributeName": each["attributeName"], "KeyType": each["keyType"]} for each in index.get("keySchemas", ())
    ]
    projection: Inputs = {"ProjectionType": index["projectionType"]}
    if attributes := index.get("nonKeyAttributes"):
        projection["NonKeyAttributes"] = attributes
    return {
        "IndexName": index["name"],
        "KeySchema": schema or _key_schema({"hashKey": table["hashKey"], **index}),
        "Projection": projection,
        **_throughput(index, table.get("billingMode")),
    }


def _index_changes(old: Inputs, new: Inputs) -> Iterator[Inputs]:
    """Yield the changes of the global indexes; a replaced index is deleted before it is created."""
    before, after = (
        {index["name"]: index for index in inputs.get("globalSecondaryIndexes", ())} for inputs in (old, new)
    )
    same = {name for name in before.keys() & after.keys() if _identity_of(before[name]) == _identity_of(after[name])}
    yield from ({"Delete": {"IndexName": name}} for name in before.keys() - same)
    for name, index in after.items():
        if name not in same:
            yield {"Create": _index(index, new)}
        elif (throughput := _throughput(index, new.get("billingMode"))) != _throughput(
            before[name], old.get("billingMode")
        ):
            yield {"Update": {"IndexName": name, **throughput}}


def _identity_of(index: Inputs) -> tuple[Any, ...]:
    return (*(index.get(name) for name in _INDEX_IDENTITY), sorted(index.get("nonKeyAttributes", ())))


class ResourcePolicy(ResourceType):
    """The resource policy of a table or a stream. The emulator enforces it only if AUTH is set."""

    type, service, id_argument = "aws:dynamodb/resourcePolicy:ResourcePolicy", "dynamodb", "ResourceArn"
    create_call, describe_call, delete_call = "put_resource_policy", "get_resource_policy", "delete_resource_policy"
    name_property, id_format = None, "{resourceArn}"
    replacement_properties = frozenset({"resourceArn"})
    properties = parse_properties("resourceArn policy confirmRemoveSelfResourceAccess")
    outputs: ClassVar = {"revisionId": "RevisionId"}


class TableItem(ResourceType):
    """An item that the program writes; readers of the table's stream see a change."""

    type, service = "aws:dynamodb/tableItem:TableItem", "dynamodb"
    delete_call = "delete_item"
    name_property = None
    replacement_properties = frozenset({"tableName", "hashKey", "rangeKey"})
    properties = parse_properties("tableName hashKey= rangeKey= item=")

    def id_arguments(self, identity: str) -> Inputs:
        table, _, key = identity.partition("|")
        return {"TableName": table, "Key": json.loads(key)}

    def create(self, inputs: Inputs) -> str:
        self.client.put_item(TableName=inputs["tableName"], Item=json.loads(inputs["item"]))
        return f"{inputs['tableName']}|{json.dumps(_key_of(inputs), sort_keys=True)}"

    def describe(self, identity: str) -> Inputs:
        return self.client.get_item(**self.id_arguments(identity), ConsistentRead=True)

    def read(self, identity: str) -> Inputs | None:
        outputs = super().read(identity)
        return outputs if outputs is not None and "Item" in self.describe(identity) else None

    def update(self, identity: str, old: Inputs, new: Inputs) -> None:
        if _key_of(old) != _key_of(new):
            raise ResourceError(
                f"{identity}: the key of an item cannot change: give the other item another resource name"
            )
        self.create(new)


def _key_of(inputs: Inputs) -> Inputs:
    item = json.loads(inputs["item"])
    return {name: item[name] for name in (inputs["hashKey"], inputs.get("rangeKey")) if name}
