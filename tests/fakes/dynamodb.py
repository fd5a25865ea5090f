"""What the DynamoDB doubles share: a test's clock in place of the machine's, and a name for each request."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from botocore.exceptions import ClientError  # pyright: ignore[reportMissingTypeStubs] # botocore has none

from handler.stream.testing.dynamodb import MemoryDynamoDB

Item = dict[str, Any]

CLAIM_TIMES = {"expiry": 1, "in_progress_expiration": 1000, ":now": 1, ":now_in_millis": 1000, ":expiry": 1}
"""Attributes and values of a claim that Powertools takes from the machine's clock: their units in a second."""


class ClockedDynamoDB(MemoryDynamoDB):
    """MemoryDynamoDB in which the times of claims follow `clock`.

    Powertools reads the machine's clock. A request's times are moved to `clock`, and an answer's times back.
    """

    def __init__(
        self, keys: Mapping[str, tuple[str, ...]] | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        super().__init__(keys)
        self._clock = clock

    def put_item(self, **request: Any) -> dict[str, Any]:
        """Write an item whole."""
        shift = self._shift(request)
        try:
            return super().put_item(**_shifted(request, shift))
        except ClientError as refusal:
            response: Any = refusal.response
            if "Item" in response:
                response["Item"] = _moved(response["Item"], -shift)
            raise

    def update_item(self, **request: Any) -> dict[str, Any]:
        """Change attributes of an item."""
        return super().update_item(**_shifted(request, self._shift(request)))

    def _shift(self, request: Mapping[str, Any]) -> float:
        return self._clock() - time.time() if touched(request) == "claim" else 0


def _shifted(request: dict[str, Any], shift: float) -> dict[str, Any]:
    parts = ("Item", "ExpressionAttributeValues") if shift else ()
    return request | {part: _moved(request[part], shift) for part in parts if part in request}


def _moved(values: Mapping[str, Any], shift: float) -> Item:
    times = {name: unit for name, unit in CLAIM_TIMES.items() if name in values}
    return {**values, **{name: {"N": str(int(float(values[name]["N"]) + shift * times[name]))} for name in times}}


def first_key(request: Mapping[str, Any]) -> Item:
    """Return the key of the first item that a request touches, or the item; of a query the partition alone."""
    if "RequestItems" in request:
        [wanted] = request["RequestItems"].values()
        if "Keys" in wanted:
            return wanted["Keys"][0]
        [body] = wanted[0].values()
        return body.get("Key") or body["Item"]
    return request.get("Key") or request.get("Item") or {"pk": request["ExpressionAttributeValues"][":pk"]}


def touched(request: Mapping[str, Any]) -> str:
    """Return what a request is about: a kind of the ledger's rows, or the name of another table."""
    if "TransactItems" in request:
        return "items"
    key = first_key(request)
    if "pk" not in key:
        return next(iter(request.get("RequestItems", [request.get("TableName")])))
    parts = key["pk"]["S"].split("#")
    if parts[0] != "hold" or len(parts) == 2:
        return parts[0]
    return "description" if key.get("sk") == {"S": "!"} and "table" not in key else "change"
