"""Stream records in the shape of a Lambda event."""

import base64
from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast


def lambda_record(record: Mapping[str, Any], stream_arn: str) -> dict[str, Any]:
    """Convert a record of GetRecords, as boto3 returns it, into the shape of a Lambda event."""
    event = cast("dict[str, Any]", json_value(record))
    if identity := event.get("userIdentity"):
        event["userIdentity"] = {name[0].lower() + name[1:]: value for name, value in identity.items()}
    return {**event, "eventSource": "aws:dynamodb", "eventSourceARN": stream_arn}


def json_value(value: object) -> Any:
    """Convert a value that boto3 returns into JSON: bytes into base64, times into whole seconds since 1970."""
    match value:
        case dict():
            return {key: json_value(each) for key, each in cast("dict[str, Any]", value).items()}
        case list():
            return [json_value(each) for each in cast("list[Any]", value)]
        case bytes():
            return base64.b64encode(value).decode()
        case datetime():
            return int(value.timestamp())
        case _:
            return value
