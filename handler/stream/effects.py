"""Effects in DynamoDB that may be repeated: fenced writes, and transactions with a claim."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from handler.stream.aws import client, error_code
from handler.stream.change import Change, PermanentError
from handler.stream.codec import encode_item
from handler.stream.environment import current

VERSION, EXPIRY = "change_version", "expiry"
"""The attributes of the fence in a target table; the table's time to live (TTL) uses `expiry`."""


class OtherSourceError(PermanentError):
    """The target's item comes from another source table, and changes of two tables have no common order."""


class UnfencedItemError(PermanentError):
    """The item is too large to add a fence, or uses the attribute names of the fence."""


def put_if_newer(
    change: Change, table: str, item: Mapping[str, Any] | None = None, *, key: Mapping[str, Any] | None = None
) -> bool:
    """Write a whole item, unless this or a newer change has already written it.

    A removal writes a tombstone, an item with only the key and the fence. The tombstone expires REMEMBER_SECONDS after
    the write, when no older change can arrive any more. A consumer that calls this function must receive every change
    of an item, or it could miss a removal: its filters may use keys only.

    The function calls `put_item` once, with a condition.

    Parameters
    ----------
    change : Change
        The change whose version becomes the fence.
    table : str
        The target table.
    item : mapping, optional
        The item to write; by default the change's new image.
    key : mapping, optional
        The key to remove if there is no item; by default the change's own key.

    Returns
    -------
    bool
        False if this or a newer change has already been written.

    Raises
    ------
    OtherSourceError
        If the target's item comes from another source table.
    UnfencedItemError
        If the item uses the fence's attribute names, or is larger than DynamoDB's 400 KB with the fence.
    """
    content = item if item is not None or key is not None else change.new_image
    fence: dict[str, Any] = {VERSION: change.version}
    if content is None:
        content = change.keys if key is None else key
        fence[EXPIRY] = int(time.time() + current().remember_seconds)
    if reserved := {VERSION, EXPIRY} & content.keys():
        raise UnfencedItemError(f"{change!r}: the fence in {table} reserves {', '.join(sorted(reserved))}; rename it")
    source = f"{change.stream.table_arn}/stream/"
    try:
        client("dynamodb").put_item(
            TableName=table,
            Item=encode_item({**content, **fence}),
            ConditionExpression="attribute_not_exists(#v) OR (begins_with(#v, :source) AND #v < :version)",
            ExpressionAttributeNames={"#v": VERSION},
            ExpressionAttributeValues=encode_item({":source": source, ":version": change.version}),
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    except Exception as error:
        match error_code(error):
            case "ConditionalCheckFailedException":
                version: str = getattr(error, "response", {})["Item"][VERSION].get("S", "another source")
                if version.startswith(source):
                    return False
                raise OtherSourceError(f"{change!r}: the item in {table} was written from {version}") from error
            case "ValidationException" if "size" in str(error):
                raise UnfencedItemError(f"{change!r}: too large for {table} with the fence: {error}") from error
            case _:
                raise
    return True


def transact(change: Change, items: Sequence[Mapping[str, Any]]) -> bool:
    """Write items and a claim on the change in one transaction, for example to keep counters.

    The claim has the partition `claim#<consumer>#<event id>` and the sort key `transact` in the ledger, so a consumer
    can make one transaction per change. The function calls `transact_write_items` once.

    Parameters
    ----------
    change : Change
        The change to claim.
    items : sequence
        Up to 99 `TransactItems` of DynamoDB, as boto3's client takes them.

    Returns
    -------
    bool
        False if an earlier call has already made the change's transaction.

    Raises
    ------
    botocore.exceptions.ClientError
        If DynamoDB cancels the transaction for another reason, such as a condition of one of the items.
    """
    settings = current()
    claim = {
        "pk": f"claim#{settings.consumer}#{change.event_id}",
        "sk": "transact",
        "expiry": int(time.time() + settings.remember_seconds),
    }
    put = {
        "TableName": settings.ledger_table,
        "Item": encode_item(claim),
        "ConditionExpression": "attribute_not_exists(pk)",
    }
    try:
        client("dynamodb").transact_write_items(TransactItems=[{"Put": put}, *items])
    except Exception as error:
        reasons: list[dict[str, Any]] = getattr(error, "response", {}).get("CancellationReasons", [])
        if reasons and reasons[0]["Code"] == "ConditionalCheckFailed":
            return False
        raise
    return True
