"""DynamoDB in memory refuses what DynamoDB refuses, so that a test fails where production would."""

from typing import Any

import pytest
from botocore.exceptions import ClientError  # pyright: ignore[reportMissingTypeStubs] # botocore has none

from handler.stream.testing.dynamodb import MemoryDynamoDB


def key(sort: str) -> dict[str, Any]:
    return {"pk": {"S": "p"}, "sk": {"S": sort}}


def put(sort: str, **more: Any) -> dict[str, Any]:
    return {"PutRequest": {"Item": {**key(sort), **more}}}


def asked(condition: str, **names: str) -> dict[str, Any]:
    """The fields of a Query; each value is its placeholder's letter."""
    values = {f":{name}": {"S": name} for name in "pab" if f":{name}" in condition}
    request = {"KeyConditionExpression": condition, "ExpressionAttributeValues": values}
    return request | ({"ExpressionAttributeNames": {f"#{name}": name for name in names}} if names else {})


LARGE = {"text": {"B": bytes(400 * 1024)}}
GROW = {"UpdateExpression": "SET large = :large", "ExpressionAttributeValues": {":large": LARGE["text"]}}


@pytest.mark.parametrize(
    ("operation", "request_", "message"),
    [
        ("query", asked("pk = :p AND sk BETWEEN :b AND :a"), "upper bound"),
        ("query", asked("pk = :p", sk="sk"), r"unused in expressions, or undefined: \['#sk'\]"),
        ("query", asked("#pk = :p"), "'#pk'"),
        ("update_item", {"Key": key("a"), "UpdateExpression": "SET x = :y"}, "':y'"),
        ("put_item", {"Item": {**key("a"), **LARGE}}, "Item size has exceeded"),
        ("update_item", {"Key": key("a"), **GROW}, "Item size has exceeded"),
        ("batch_write_item", [put("b"), put("a", **LARGE)], "Item size has exceeded"),
        ("batch_write_item", [put("b"), put("b")], "contains duplicates"),
        ("batch_write_item", [put(str(place)) for place in range(26)], "26 of at most 25"),
        ("batch_get_item", {"Keys": [key("a"), key("a")]}, "contains duplicates"),
        ("batch_get_item", {"Keys": [key(str(place)) for place in range(101)]}, "101 of at most 100"),
    ],
)
def test_what_dynamodb_refuses_is_refused_and_nothing_is_written(operation: str, request_: Any, message: str) -> None:
    dynamodb = MemoryDynamoDB()
    request = {"RequestItems": {"t": request_}} if operation.startswith("batch") else {"TableName": "t", **request_}
    with pytest.raises(ClientError, match=f"ValidationException.*{message}"):
        getattr(dynamodb, operation)(**request)
    assert dynamodb.items("t") == []


def test_a_page_ends_at_its_limit_or_size_even_where_nothing_more_is_there() -> None:
    dynamodb = MemoryDynamoDB()
    dynamodb.batch_write_item(RequestItems={"t": [put(sort, text={"S": "x" * 100}) for sort in "abc"]})
    request = {"TableName": "t", **asked("pk = :p")}
    assert "LastEvaluatedKey" not in dynamodb.query(**request)
    assert dynamodb.query(**request, Limit=3)["LastEvaluatedKey"] == key("c")
    dynamodb.page_bytes = 150
    first = dynamodb.query(**request, ProjectionExpression="sk")
    assert first == {"Items": [{"sk": {"S": "a"}}, {"sk": {"S": "b"}}], "LastEvaluatedKey": key("b")}
    second = dynamodb.query(**request, ExclusiveStartKey=key("b"))
    assert [item["sk"] for item in second["Items"]] == [{"S": "c"}]
