"""A loopback proxy between the functions and the emulator, which can make calls to AWS fail."""

import contextlib
import http.client
import json
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from sandbox.emulator import HOST

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "expect"}
REFUSAL = b'{"__type": "com.amazonaws.dynamodb.v20120810#InternalServerError", "message": "refused on purpose"}'
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


class Proxy:
    """Forwards every request to the emulator's port; a call for which `refuses` is true fails instead.

    Several threads call `refuses` at the same time.
    """

    def __init__(self, port: int, refuses: Callable[[Call], bool]) -> None:
        class Handler(_Handler):
            upstream = port
            is_refused = staticmethod(refuses)

        self._server = ThreadingHTTPServer((HOST, 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://{HOST}:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=[0.02], name="proxy", daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _end_to_end_headers(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers if name.lower() not in HOP_BY_HOP}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    upstream: int
    is_refused: Callable[[Call], bool]

    def setup(self) -> None:
        super().setup()
        self._emulator = http.client.HTTPConnection(HOST, self.upstream)

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # the caller or the emulator has ended during a call
            super().handle()

    def finish(self) -> None:
        self._emulator.close()
        super().finish()

    def _forward(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        if len(body) < length:
            raise ConnectionError("the caller ended before the end of its request")
        if self._refused(body):
            self._respond(500, {"content-length": str(len(REFUSAL))}, REFUSAL)
            return
        self._emulator.request(self.command, self.path, body, _end_to_end_headers(self.headers.items()))
        answer = self._emulator.getresponse()
        content = answer.read()
        self._respond(
            answer.status, {"content-length": str(len(content)), **_end_to_end_headers(answer.getheaders())}, content
        )

    def _refused(self, body: bytes) -> bool:
        service, _, operation = self.headers.get("X-Amz-Target", "").partition(".")
        call = self.headers.get("amz-sdk-invocation-id", "")
        if service.startswith("DynamoDB_"):
            return self.is_refused(Call(operation, call, json.loads(body)))
        return not service and self.is_refused(Call(self.command, call, {}, self.path))

    def _respond(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _forward  # noqa: N815 -- names of http.server
