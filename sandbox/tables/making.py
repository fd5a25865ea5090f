"""Makes tables from descriptions, and fills them so that no stream has the items as changes."""

from collections.abc import Mapping, Sequence
from typing import Any

from sandbox.tables.table_file import Item, TableContent

STREAM = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
"""The stream of a table whose description is not from AWS and has none."""
BATCH = 25
"""The most items of one call (AWS: BatchWriteItem)."""
_OF_AWS = ("TableArn", "TableStatus")
"""Fields that only the answer of AWS has."""


def make_table(dynamodb: Any, name: str, content: TableContent) -> None:
    """Make the table as `content` describes it, with its items, and then with its stream, if it has one.

    The table is on demand, and DynamoDB owns its key. It has the keys, indexes and stream of the description.
    """
    description = content.description or {}
    indexes = {
        kind: [{part: index[part] for part in ("IndexName", "KeySchema", "Projection")} for index in description[kind]]
        for kind in ("GlobalSecondaryIndexes", "LocalSecondaryIndexes")
        if description.get(kind)
    }
    dynamodb.create_table(
        TableName=name,
        KeySchema=description["KeySchema"],
        AttributeDefinitions=description["AttributeDefinitions"],
        BillingMode="PAY_PER_REQUEST",
        **indexes,
    )
    put_items(dynamodb, name, content.items)
    default = {} if any(part in description for part in _OF_AWS) else STREAM
    if (stream := description.get("StreamSpecification", default)).get("StreamEnabled"):
        dynamodb.update_table(TableName=name, StreamSpecification=stream)


def fill(dynamodb: Any, name: str, items: Sequence[Item]) -> None:
    """Put items into a new table. Its stream is another one afterwards, which has no record of these items."""
    stream = dynamodb.describe_table(TableName=name)["Table"].get("StreamSpecification", {})
    if stream.get("StreamEnabled"):
        dynamodb.update_table(TableName=name, StreamSpecification={"StreamEnabled": False})
    put_items(dynamodb, name, items)
    if stream.get("StreamEnabled"):
        dynamodb.update_table(TableName=name, StreamSpecification=stream)


def put_items(dynamodb: Any, name: str, items: Sequence[Item]) -> None:
    """Put items into a table; of two with the same key, the later one stays."""
    keys = [each["AttributeName"] for each in dynamodb.describe_table(TableName=name)["Table"]["KeySchema"]]
    latest = {repr([item.get(key) for key in keys]): item for item in items}
    requests = [{"PutRequest": {"Item": item}} for item in latest.values()]
    for start in range(0, len(requests), BATCH):
        unprocessed: Mapping[str, Any] = {name: requests[start : start + BATCH]}
        while unprocessed:
            unprocessed = dynamodb.batch_write_item(RequestItems=unprocessed).get("UnprocessedItems") or {}


def key_of(description: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the names and the types of the keys, partition key first."""
    kinds = {each["AttributeName"]: each["AttributeType"] for each in description["AttributeDefinitions"]}
    order = sorted(description["KeySchema"], key=lambda each: each["KeyType"])  # HASH before RANGE
    return [(each["AttributeName"], kinds[each["AttributeName"]]) for each in order]


def invented(items: Sequence[Item]) -> Mapping[str, Any]:
    """Return a description of a table with one key: the first attribute that tells all the items apart, or else `id`.

    The key is text if there are no items.
    """
    candidates = [name for name, value in items[0].items() if value.keys() <= {"S", "N", "B"}] if items else []
    different = (name for name in candidates if len({repr(item.get(name, name)) for item in items}) == len(items))
    name = next(different, "id")
    kind = next(iter(items[0][name])) if candidates and name in items[0] else "S"
    return {
        "KeySchema": [{"AttributeName": name, "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": name, "AttributeType": kind}],
    }
