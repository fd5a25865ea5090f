"""Effects in DynamoDB that stay right when they are repeated: fenced writes, and transactions with a claim."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from handler.stream.aws import client, error_code
from handler.stream.change import Change, PermanentError
from handler.stream.codec import encode_item
from handler.stream.environment import current

VERSION, EXPIRY = "change_version", "expiry"
"""The fence's own attributes in a target table; its time to live is on `expiry`."""


class OtherSourceError(PermanentError):
    """The target's item was written from another source table, whose changes have no order with this one's."""


class UnfencedItemError(PermanentError):
    """The item cannot carry a fence: it is too large for it, or uses its attribute names."""


def put_if_newer(
    change: Change, table: str, item: Mapping[str, Any] | None = None, *, key: Mapping[str, Any] | None = None
) -> bool:
    """Write a whole item that no older change can ever overwrite, whatever is repeated.

    A removal leaves a tombstone, an item of the key and the fence, for as long as an older change could still come
    (REMEMBER_SECONDS from the write). A consumer that uses it must see every change of the item, or it would not see a
    removal: its filters name keys only. One call: `put_item` under a condition.

    Parameters
    ----------
    change : Change
        Whose version is the fence.
    table : str
        The target table.
    item : mapping, optional
        What to write; the change's new image unless given.
    key : mapping, optional
        Given without an item: what to remove. A removed item's own key is removed without being told.

    Returns
    -------
    bool
        False where this or a newer change has been written already.

    Raises
    ------
    OtherSourceError
        Where the item there comes from another table.
    UnfencedItemError
        Where the item uses the fence's attribute names, or is over DynamoDB's 400 KB with them.
    """
    content = item if item is not None or key is not None else change.new_image
    fence: dict[str, Any] = {VERSION: change.version}
    if content is None:
        content = change.keys if key is None else key
        fence[EXPIRY] = int(time.time() + current().remember_seconds)
    taken = {VERSION, EXPIRY} & content.keys()
    if taken:
        raise UnfencedItemError(f"{change!r}: {', '.join(sorted(taken))} is the fence's own in {table}; rename it")
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
                there: str = getattr(error, "response", {})["Item"][VERSION].get("S", "something else")
                if there.startswith(source):
                    return False
                raise OtherSourceError(f"{change!r}: the item in {table} was written from {there}") from error
            case "ValidationException" if "size" in str(error):
                raise UnfencedItemError(f"{change!r}: too large for {table} with its fence: {error}") from error
            case _:
                raise
    return True


def transact(change: Change, items: Sequence[Mapping[str, Any]]) -> bool:
    """Write the items and a claim on the change in one transaction: the right way to keep counters.

    One call: `transact_write_items`. The claim is the ledger's `claim#<consumer>#<event id>`, sort key `transact`, so a
    change has one transaction a consumer.

    Parameters
    ----------
    change : Change
        What is claimed.
    items : sequence
        At most 99 of DynamoDB's `TransactItems`, as boto3's client takes them.

    Returns
    -------
    bool
        False where the change's transaction has been done already.

    Raises
    ------
    botocore.exceptions.ClientError
        Where it is cancelled for another reason, such as a condition of one of the items.
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
