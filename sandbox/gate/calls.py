"""Reads a function's call to AWS: the service, the operation and its arguments, in AWS's three protocols."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from sandbox.front.forwarding import Request

APP_ID = "AWS_SDK_UA_APP_ID"
"""The variable that makes a function's SDK name it in each call, as `app/NAME` in the header User-Agent."""
APP_ID_LENGTH = 50
"""The longest name that the SDK accepts."""

_APP = re.compile(r"\bapp/(\S+)")
_RPC = re.compile(r"/service/[^/]+/operation/(\w+)")
_INVOKE = re.compile(r"/2015-03-31/functions/([^/]+)/invocations")
_S3_OPERATIONS = {
    ("GET", True): "GetObject",
    ("HEAD", True): "HeadObject",
    ("PUT", True): "PutObject",
    ("POST", True): "PutObject",
    ("DELETE", True): "DeleteObject",
    ("GET", False): "ListObjectsV2",
}
_READS = ("Get", "Head", "List", "Describe", "Query", "Scan", "BatchGet", "TransactGet")


@dataclass(frozen=True)
class Call:
    """One attempt of a call; all attempts of the SDK at one call have the same `id`.

    Attributes
    ----------
    function
        The physical name of the function that calls, cut to APP_ID_LENGTH characters; empty if it is unknown.
    service
        The name for which the request is signed, such as dynamodb.
    operation
        AWS's name of the operation, such as PutItem; empty for an operation that the sandbox cannot name.
    arguments
        Bucket and Key for S3, FunctionName for Lambda; else the arguments as sent.
    """

    function: str
    service: str
    operation: str
    arguments: Mapping[str, Any]
    id: str

    @classmethod
    def of(cls, request: Request) -> "Call":
        """Read a request; one that is not understood has no operation and no arguments."""
        service, app = request.scope[1], _APP.search(request.headers.get("user-agent", ""))
        try:
            operation, arguments = _operation(request, service)
        except ValueError:
            operation, arguments = "", dict[str, Any]()
        identity = request.headers.get("amz-sdk-invocation-id", "")
        return cls(app.group(1) if app else "", service, operation, arguments, identity)

    @property
    def is_read(self) -> bool:
        """Whether the call changes nothing."""
        return self.operation.startswith(_READS)

    @property
    def tables(self) -> set[str]:
        """The names or ARNs of the tables that a DynamoDB call names."""
        requests: Any = self.arguments.get("RequestItems") or {}
        single: Any = self.arguments.get("TableName")
        parts: list[dict[str, Any]] = self.arguments.get("TransactItems") or []
        names = {each["TableName"] for part in parts for each in part.values()}
        return names | set(requests) | ({single} if single else set[str]())


def _operation(request: Request, service: str) -> tuple[str, Mapping[str, Any]]:
    url = urlsplit(request.target)
    if "x-amz-target" in request.headers:
        return request.operation[1], request.json()
    if rpc := _RPC.fullmatch(url.path):
        return rpc.group(1), {}
    if request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        form = dict(parse_qsl(request.body.decode()))
        return form.get("Action", ""), form
    if service == "s3":
        bucket, _, key = unquote(url.path).lstrip("/").partition("/")
        return _S3_OPERATIONS.get((request.method, bool(key)), ""), {"Bucket": bucket, "Key": key}
    if invoke := _INVOKE.fullmatch(url.path):
        return "Invoke", {"FunctionName": unquote(invoke.group(1))}
    if (request.method, url.path) == ("POST", "/v2/email/outbound-emails"):
        return "SendEmail", request.json()
    return "", {}
