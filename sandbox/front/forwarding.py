"""An HTTP/1.1 server on loopback that forwards every request to another port, unless it has an answer of its own.

Messages are whole in memory. The server keeps one connection to the other port for each connection of a client.
"""

import contextlib
import json
import logging
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from typing import Any

from sandbox.emulator import HOST
from sandbox.front.loopback import LoopbackHandler, LoopbackServer

IDLE_SECONDS = 75.0
"""How long a connection waits for the client's next bytes."""
MAX_LINE_BYTES = 65_536
"""The longest line of a chunked body, as http.server has it for the lines of the head."""

_HOP_BY_HOP = frozenset({"connection", "keep-alive", "proxy-connection", "expect", "transfer-encoding"})
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """A request of a client: the target is path and query as sent; the names of headers are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""
    client_port: int = 0
    """The client's port of the connection."""

    @property
    def operation(self) -> tuple[str, str]:
        """The service's target prefix and the operation, as in DynamoDB_20120810 and PutItem; empty for REST."""
        prefix, _, operation = self.headers.get("x-amz-target", "").partition(".")
        return prefix, operation

    @property
    def scope(self) -> tuple[str, str]:
        """The Region and the service for which the request is signed; empty for an unsigned request."""
        credential = self.headers.get("authorization", "").partition("Credential=")[2].partition(",")[0]
        match credential.split("/"):
            case [_, _, region, service, _]:
                return region, service
            case _:
                return "", ""

    def json(self) -> dict[str, Any]:
        """Return the body as a JSON object; raises ValueError if the body is anything else."""
        try:
            value = json.loads(self.body or b"{}")
        except RecursionError as error:
            raise ValueError("the body is nested too deeply") from error
        if not isinstance(value, dict):
            raise ValueError("the body is not a JSON object")  # noqa: TRY004 -- the content is wrong, not a type
        return value  # pyright: ignore[reportUnknownVariableType] -- the values of JSON are of any type


@dataclass(frozen=True)
class Response:
    """A response with its whole body; the names of headers are in lower case."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])

    @classmethod
    def of(cls, value: object, status: int = 200) -> "Response":
        """Return a response whose body is a value as JSON."""
        return cls(status, json.dumps(value).encode(), {"content-type": "application/json"})

    @classmethod
    def error(cls, code: str, message: str, status: int = 400) -> "Response":
        """Return an error in the shape of AWS's JSON protocols."""
        headers = {"content-type": "application/json", "x-amzn-errortype": code}
        return cls(status, json.dumps({"__type": code, "message": message}).encode(), headers)


Forward = Callable[[Request], Response]
"""Sends a request to the other port, and returns the response. Raises UpstreamError."""
Answer = Callable[[Request, Forward], Response | None]
"""Answers a request; None forwards the request as it is."""
Route = Callable[[Request], Answer | None]
"""Chooses who answers a request; None forwards it as it is."""


class UpstreamError(Exception):
    """The other port does not answer, or ends during its response."""


class ForwardingServer(LoopbackServer):
    """Serves on loopback until it is closed; several threads call `route` and the answers at the same time.

    Parameters
    ----------
    upstream
        The port to which the server forwards.
    route
        Chooses the requests that the server answers itself.
    port
        The server's own port. Default: a free port.

    Raises
    ------
    sandbox.emulator.EmulatorError
        The port is taken.
    """

    def __init__(self, upstream: int, route: Route, port: int | None = None) -> None:
        self.upstream, self.route = upstream, route
        super().__init__(_Handler, "front", port)


class _Handler(LoopbackHandler):
    timeout = IDLE_SECONDS
    server: ForwardingServer  # pyright: ignore[reportIncompatibleVariableOverride] -- the one server that uses this class

    def setup(self) -> None:
        super().setup()
        self._upstream = HTTPConnection(HOST, self.server.upstream)

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # the client has ended
            super().handle()

    def finish(self) -> None:
        self._upstream.close()
        super().finish()

    def _serve(self) -> None:
        try:
            request = self._read()
        except ValueError as error:
            self.send_error(400, str(error))
            return
        try:
            answer = self.server.route(request)
            response = answer(request, self._forward) if answer else None
            self._send(response or self._forward(request))
        except UpstreamError:
            self._send(Response.error("ServiceUnavailable", "the embedded AWS does not answer", 503))
        except ConnectionError:
            raise
        except Exception as error:
            _log.exception("%s %s failed", request.method, request.target)
            self._send(Response.error("InternalFailure", f"{type(error).__name__}: {error}", 500))

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = _serve  # noqa: N815 -- http.server's names

    def _read(self) -> Request:
        """Read the request's body. Raises ValueError if the request is malformed."""
        if self.headers.defects:
            raise ValueError("a line is not a header")
        headers = {name.lower(): value for name, value in self.headers.items()}
        if "chunked" in headers.get("transfer-encoding", "").lower():
            return Request(self.command, self.path, headers, self._read_chunks(), self.client_address[1])
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit():
            raise ValueError(f"content-length {length!r} is not a number")
        return Request(self.command, self.path, headers, self._read_exactly(int(length)), self.client_address[1])

    def _read_chunks(self) -> bytes:
        parts: list[bytes] = []
        while size := int(self.rfile.readline(MAX_LINE_BYTES).split(b";")[0], 16):
            parts.append(self._read_exactly(size + 2)[:-2])
        while self.rfile.readline(MAX_LINE_BYTES) not in (b"\r\n", b"\n", b""):
            pass  # a trailer
        return b"".join(parts)

    def _read_exactly(self, size: int) -> bytes:
        content = self.rfile.read(size)
        if len(content) < size:
            raise ConnectionError("the client ended before the end of its request")
        return content

    def _forward(self, request: Request) -> Response:
        headers = {name: value for name, value in request.headers.items() if name not in _HOP_BY_HOP}
        if request.body or "content-length" in headers:
            headers["content-length"] = str(len(request.body))
        try:
            if self._upstream.sock and _is_stale(self._upstream.sock):
                self._upstream.close()
            self._upstream.request(request.method, request.target, request.body or None, headers)
            answer = self._upstream.getresponse()
            body = answer.read()
        except (OSError, HTTPException) as error:
            self._upstream.close()
            raise UpstreamError from error
        kept = {name.lower(): value for name, value in answer.getheaders() if name.lower() not in _HOP_BY_HOP}
        return Response(answer.status, body, kept)

    def _send(self, response: Response) -> None:
        headers = dict(response.headers)
        if self.command != "HEAD" or "content-length" not in headers:  # the length of a body that HEAD does not have
            headers["content-length"] = str(len(response.body))
        self.send_response_only(response.status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer a malformed request as AWS does, and end the connection."""
        del explain
        self.request_version = self.protocol_version  # the first line may have no version
        error = Response.error("SerializationException", f"malformed request: {message}", code)
        self._send(Response(code, error.body, {**error.headers, "connection": "close"}))


def _is_stale(connection: socket.socket) -> bool:
    """Whether the other side has ended the connection, or has sent bytes without a request."""
    try:
        connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True
