"""Factory of stream records as Lambda's event has them."""

from collections.abc import Mapping
from typing import Any

STREAM = "arn:aws:dynamodb:eu-central-1:111122223333:table/orders/stream/2026-01-01T00:00:00.000"
START = 1_800_000_000.0
FIRST = 10**20
"""The sequence number of change 0, as long as AWS's."""


def sequence(number: int) -> str:
    """Return the sequence number of a change."""
    return str(FIRST + number)


def number_of(stream_record: Mapping[str, Any]) -> int:
    """Return the number of a record's change."""
    return int(stream_record["dynamodb"]["SequenceNumber"]) - FIRST


def record(
    number: int, item: str = "a", *, name: str = "MODIFY", at: float = START, stream: str = STREAM, **body: Any
) -> dict[str, Any]:
    """Return the record of a change; `body` replaces parts of `dynamodb`.

    The item's key is the text `item`. An item such as `n=1.0` has the number after the equals sign as its key.
    """
    digits = item.partition("=")[2]
    keys = {"id": {"N": digits} if digits else {"S": item}}
    image = {**keys, "n": {"N": str(number)}}
    images = {"NewImage": image, "OldImage": image}
    if name != "MODIFY":
        del images["OldImage" if name == "INSERT" else "NewImage"]
    return {
        "eventID": f"event-{number}",
        "eventName": name,
        "eventSource": "aws:dynamodb",
        "eventSourceARN": stream,
        "dynamodb": {
            "ApproximateCreationDateTime": at,
            "Keys": keys,
            **images,
            "SequenceNumber": sequence(number),
            "StreamViewType": "NEW_AND_OLD_IMAGES",
            **body,
        },
    }


def nested(levels: int) -> Any:
    """Return a value with so many levels, in DynamoDB's JSON."""
    value: Any = {"S": "deep"}
    for _ in range(levels):
        value = {"M": {"a": value}}
    return value
