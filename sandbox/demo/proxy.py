"""The proxy between the functions and the emulator, which can make calls to AWS fail."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sandbox.front.forwarding import Answer, Forward, ForwardingServer, Request, Response

REFUSAL = Response.error("com.amazonaws.dynamodb.v20120810#InternalServerError", "refused on purpose", 500)
"""A DynamoDB error; for any other service only the status 500 matters."""


@dataclass(frozen=True)
class Call:
    """One attempt of a call; all attempts of the SDK at one call have the same `id`.

    A DynamoDB call has the operation and its arguments. A call to a REST service such as S3 has the HTTP method as the
    operation, the path, and no arguments.
    """

    operation: str
    id: str
    body: dict[str, Any]
    path: str = "/"


class Proxy(ForwardingServer):
    """Forwards every request to the emulator's port; a call for which `refuses` is true fails instead.

    Several threads call `refuses` at the same time.
    """

    def __init__(self, port: int, refuses: Callable[[Call], bool]) -> None:
        def answer(request: Request, forward: Forward) -> Response | None:
            del forward
            return REFUSAL if refuses(_call(request)) else None

        def route(request: Request) -> Answer | None:
            service, _ = request.operation
            return answer if not service or service.startswith("DynamoDB_") else None

        super().__init__(port, route)


def _call(request: Request) -> Call:
    identity = request.headers.get("amz-sdk-invocation-id", "")
    service, operation = request.operation
    if service:
        return Call(operation, identity, request.json())
    return Call(request.method, identity, {}, request.target)
