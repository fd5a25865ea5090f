"""Resources and policy documents for the tests of the rules, and the findings about them."""

import json
from collections.abc import Mapping
from typing import Any

from infra import rules
from infra.rules.view import UNKNOWN, ResourceView, Type

TABLE_ARN = "arn:aws:dynamodb:eu-central-1:1:table/items"
STREAM = f"{TABLE_ARN}/stream/2026-01-01T00:00:00.000"
SOUND: Mapping[str, Any] = {
    "eventSourceArn": UNKNOWN,
    "startingPosition": "TRIM_HORIZON",
    "maximumRecordAgeInSeconds": 86_100,
    "bisectBatchOnFunctionError": True,
    "destinationConfig": {"onFailure": {"destinationArn": UNKNOWN}},
    "functionResponseTypes": ["ReportBatchItemFailures"],
}
"""A mapping that breaks no rule."""

SAFE_TABLE = {"pointInTimeRecovery": {"enabled": True}, "deletionProtectionEnabled": True}


def urn(kind: str, name: str) -> str:
    return f"urn:pulumi:dev::shop::shop:index:Shop${kind}::{name}"


def view(kind: str, name: str, inputs: Mapping[str, Any], **origins: str) -> ResourceView:
    """A resource with properties that contain outputs of others, by their URNs."""
    return ResourceView(kind, name, inputs, urn(kind, name), {name: [origin] for name, origin in origins.items()})


def mapping(name: str = "late", origins: Mapping[str, str] | None = None, **changes: Any) -> ResourceView:
    return view(Type.MAPPING, name, {**SOUND, **changes}, **(origins or {}))


def table_view(name: str, **inputs: Any) -> ResourceView:
    return view(Type.TABLE, name, {**SAFE_TABLE, "hashKey": "id", **inputs})


def policy(kind: str, *statements: Mapping[str, Any], text: bool = True) -> ResourceView:
    return view(kind, "policy", {"policy": json.dumps(document(*statements)) if text else document(*statements)})


def allow(action: Any, resource: Any, **rest: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **rest}


def deny(action: Any, resource: Any, **rest: Any) -> dict[str, Any]:
    return allow(action, resource, **rest) | {"Effect": "Deny"}


def document(*statements: Any) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def when(operator: str, key: str, *values: Any) -> dict[str, Any]:
    """A condition."""
    return {operator: {key: values[0] if len(values) == 1 else list(values)}}


def messages(*resources: ResourceView) -> list[str]:
    return [message for _, _, message in rules.findings(resources)]


def beginnings(*resources: ResourceView) -> list[str]:
    """The beginning of each message: the resource, and what is wrong with it."""
    return [": ".join(message.split(": ")[:2]) for message in messages(*resources)]
