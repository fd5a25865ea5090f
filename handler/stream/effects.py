"""Effects that stay right when they are repeated: fenced writes."""

import os
import time
from collections.abc import Mapping
from typing import Any

from handler.stream.aws import client
from handler.stream.change import Change, PermanentError, encode_item
from handler.stream.failures import error_code

VERSION = "change_version"
EXPIRY = "expiry"
RESERVED = (VERSION, EXPIRY)
REMEMBER_SECONDS = 8 * 86_400.0


class OtherSourceError(PermanentError):
    """The target's item was written from another source table, whose changes have no order with this one's."""


class UnfencedItemError(PermanentError):
    """The item cannot be written with a fence: it is too large for it, or uses its attribute names."""


def put_if_newer(
    change: Change,
    table: str,
    item: Mapping[str, Any] | None = None,
    *,
    key: Mapping[str, Any] | None = None,
) -> bool:
    """Write a whole item that an older change can never overwrite, whatever is repeated."""
    removed = item is None and change.new_image is None
    content = (change.keys if key is None else key) if removed else item or change.new_image or {}
    reserved = [name for name in RESERVED if name in content]
    if reserved:
        raise UnfencedItemError(f"{change!r}: attribute {', '.join(reserved)} is the fence's own; rename it")
    fence: dict[str, Any] = {VERSION: change.version}
    if removed:
        fence[EXPIRY] = int(time.time() + float(os.environ.get("REMEMBER_SECONDS", REMEMBER_SECONDS)))
    source = f"{change.stream.table_arn}/stream/"
    try:
        client("dynamodb").put_item(
            TableName=table,
            Item=encode_item({**content, **fence}),
            ConditionExpression="attribute_not_exists(#v) OR (#v < :v AND begins_with(#v, :source))",
            ExpressionAttributeNames={"#v": VERSION},
            ExpressionAttributeValues=encode_item({":v": change.version, ":source": source}),
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    except Exception as error:
        if error_code(error) == "ConditionalCheckFailedException":
            found = getattr(error, "response", {}).get("Item", {}).get(VERSION, {}).get("S", "")
            if not found.startswith(source):
                raise OtherSourceError(f"{change!r}: the item in {table} comes from {found}, not {source}") from error
            return False
        if error_code(error) == "ValidationException" and "size" in str(error):
            raise UnfencedItemError(f"{change!r}: with its fence the item is over DynamoDB's 400 KB") from error
        raise
    return True
