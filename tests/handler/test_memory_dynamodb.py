"""DynamoDB in memory refuses what DynamoDB refuses, so that a test fails where production would."""

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError  # pyright: ignore[reportMissingTypeStubs] # botocore has none

from handler.stream.testing.dynamodb import MemoryDynamoDB


def key(sort: str) -> dict[str, Any]:
    return {"pk": {"S": "p"}, "sk": {"S": sort}}


def put(sort: str, **more: Any) -> dict[str, Any]:
    return {"PutRequest": {"Item": {**key(sort), **more}}}


def query(dynamodb: MemoryDynamoDB, condition: str, *, names: Any = None, **request: Any) -> Any:
    values = {f":{name}": {"S": name} for name in "pabc" if f":{name}" in condition}
    return dynamodb.query(
        TableName="t",
        KeyConditionExpression=condition,
        ExpressionAttributeValues=values,
        **({"ExpressionAttributeNames": names} if names else {}),
        **request,
    )


LARGE = {"text": {"B": bytes(400 * 1024)}}
GROW = {"UpdateExpression": "SET large = :large", "ExpressionAttributeValues": {":large": LARGE["text"]}}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda db: query(db, "pk = :p AND sk BETWEEN :b AND :a"), "upper bound"),
        (lambda db: query(db, "pk = :p", names={"#sk": "sk"}), r"unused in expressions, or undefined: \['#sk'\]"),
        (lambda db: query(db, "#pk = :p"), "'#pk'"),
        (lambda db: db.update_item(TableName="t", Key=key("a"), UpdateExpression="REMOVE x AND :y"), "':y'"),
        (lambda db: db.put_item(TableName="t", Item={**key("a"), **LARGE}), "Item size has exceeded"),
        (lambda db: db.update_item(TableName="t", Key=key("a"), **GROW), "Item size has exceeded"),
        (lambda db: db.batch_write_item(RequestItems={"t": [put("b"), put("a", **LARGE)]}), "Item size has exceeded"),
        (lambda db: db.batch_write_item(RequestItems={"t": [put("b"), put("b")]}), "contains duplicates"),
        (lambda db: db.batch_write_item(RequestItems={"t": [put(str(place)) for place in range(26)]}), "26 of at most"),
        (lambda db: db.batch_get_item(RequestItems={"t": {"Keys": [key("a"), key("a")]}}), "contains duplicates"),
        (lambda db: db.batch_get_item(RequestItems={"t": {"Keys": [key(str(n)) for n in range(101)]}}), "101 of at"),
    ],
)
def test_what_dynamodb_refuses_is_refused_and_nothing_is_written(
    call: Callable[[MemoryDynamoDB], Any], message: str
) -> None:
    dynamodb = MemoryDynamoDB()
    with pytest.raises(ClientError, match=f"ValidationException.*{message}"):
        call(dynamodb)
    assert dynamodb.items("t") == []


def test_a_page_ends_at_its_limit_or_size_even_where_nothing_more_is_there() -> None:
    dynamodb = MemoryDynamoDB()
    dynamodb.batch_write_item(RequestItems={"t": [put(sort, text={"S": "x" * 100}) for sort in "abc"]})
    assert "LastEvaluatedKey" not in query(dynamodb, "pk = :p")
    assert query(dynamodb, "pk = :p", Limit=3)["LastEvaluatedKey"] == key("c")
    dynamodb.page_bytes = 150
    first = query(dynamodb, "pk = :p", ProjectionExpression="sk")
    assert first == {"Items": [{"sk": {"S": "a"}}, {"sk": {"S": "b"}}], "LastEvaluatedKey": key("b")}
    assert [item["sk"] for item in query(dynamodb, "pk = :p", ExclusiveStartKey=key("b"))["Items"]] == [{"S": "c"}]
