"""Factory of stream records as Lambda's event has them."""

from typing import Any

STREAM = "arn:aws:dynamodb:eu-central-1:111122223333:table/orders/stream/2026-01-01T00:00:00.000"
START = 1_800_000_000.0


def record(
    number: int,
    item: str = "a",
    *,
    name: str = "MODIFY",
    at: float = START,
    stream: str = STREAM,
    **body: Any,
) -> dict[str, Any]:
    """Return a stream record; `body` replaces parts of `dynamodb`."""
    image = {"id": {"S": item}, "n": {"N": str(number)}}
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
            "Keys": {"id": {"S": item}},
            **images,
            "SequenceNumber": str(10**20 + number),
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
