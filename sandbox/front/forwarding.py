"""An HTTP/1.1 server on loopback that forwards every request to another port, unless it has an answer of its own.

The server copies bodies while they arrive, and keeps one connection to the other port for each connection of a client.
It reads only what it needs of a message: the standard library's server and client add 1.5 ms to a call, this 0.2 ms.
"""

import contextlib
import json
import logging
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from io import BufferedReader
from typing import Any, Self

from sandbox.emulator import HOST, free_port

IDLE_SECONDS = 75.0
"""How long a connection waits for the client's next bytes."""
PART_BYTES = 65_536
"""Bytes of a body that are read before they are sent on."""
HEAD_LINES = 200
"""Header lines of a message, at most."""

_HOP_BY_HOP = frozenset({"connection", "keep-alive", "proxy-connection", "expect"})
_log = logging.getLogger(__name__)


class MessageError(ConnectionError):
    """A message is not HTTP/1.1, or its sender ended before its end."""


@dataclass(frozen=True)
class Request:
    """A request of a client: the target is path and query as sent; the names of headers are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def operation(self) -> tuple[str, str]:
        """The service's target prefix and the operation, as in DynamoDB_20120810 and PutItem; empty for REST."""
        prefix, _, operation = self.headers.get("x-amz-target", "").partition(".")
        return prefix, operation

    @property
    def service(self) -> str:
        """The service for which the request is signed, as in lambda; empty for an unsigned request."""
        credential = self.headers.get("authorization", "").partition("Credential=")[2].partition(",")[0]
        return credential.split("/")[3] if credential.count("/") == 4 else ""

    def json(self) -> dict[str, Any]:
        """Return the body as a JSON object; raises ValueError if the body is anything else."""
        value = json.loads(self.body or b"{}")
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
"""Sends a request to the other port, and returns the response with its whole body."""
Answer = Callable[[Request, Forward], Response | None]
"""Answers a request; None forwards the request as it is."""
Route = Callable[[Request], Answer | None]
"""Chooses who answers a request, of which the body is not yet read; None forwards the request while it arrives."""


class ForwardingServer:
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
        self._server = _Server(upstream, route, free_port(port))
        self.port = int(self._server.server_address[1])
        self.url = f"http://{HOST}:{self.port}"
        threading.Thread(target=self._server.serve_forever, args=[0.05], name="front", daemon=True).start()

    def close(self) -> None:
        """End all connections and stop. A second call does nothing."""
        self._server.shutdown()
        self._server.server_close()
        self._server.hang_up()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, upstream: int, route: Route, port: int) -> None:
        super().__init__((HOST, port), _Handler)
        self.upstream, self.route = upstream, route
        self._open = set[socket.socket]()
        self._lock = threading.Lock()

    def track(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.add(connection)

    def forget(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.discard(connection)

    def hang_up(self) -> None:
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        del request
        _log.exception("a connection of %s failed", client_address)


@dataclass(frozen=True)
class _Head:
    """The first line of a message, and its headers: as they came, and by name in lower case."""

    first: bytes
    lines: list[bytes]
    headers: dict[str, str]

    @property
    def is_chunked(self) -> bool:
        return "chunked" in self.headers.get("transfer-encoding", "").lower()

    @property
    def length(self) -> int | None:
        text = self.headers.get("content-length")
        if text is None:
            return None
        if not text.isascii() or not text.isdigit():
            raise MessageError(f"content-length {text!r} is not a number")
        return int(text)

    @property
    def is_unbounded(self) -> bool:
        """Whether a body of this message ends with the connection."""
        return self.length is None and not self.is_chunked

    @property
    def ends_connection(self) -> bool:
        connection = self.headers.get("connection", "").lower()
        return "close" in connection or (b"HTTP/1.0" in self.first and "keep-alive" not in connection)


class _Upstream:
    """A connection to the other port, made anew when the other side has closed it."""

    def __init__(self, server: _Server) -> None:
        self._server = server
        self._socket: socket.socket | None = None
        self.reader: BufferedReader

    def send(self, content: bytes) -> None:
        if self._socket is None or self._is_stale(self._socket):
            self.close()
            self._socket = socket.create_connection((HOST, self._server.upstream))
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.reader = self._socket.makefile("rb")
            self._server.track(self._socket)
        self._socket.sendall(content)

    def send_more(self, content: bytes) -> None:
        if self._socket:
            self._socket.sendall(content)

    @staticmethod
    def _is_stale(connection: socket.socket) -> bool:
        try:
            connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True  # the end of the connection, or bytes that nobody has asked for

    def close(self) -> None:
        if self._socket:
            self._server.forget(self._socket)
            self.reader.close()
            self._socket.close()
            self._socket = None


class _Handler(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True
    timeout = IDLE_SECONDS
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride] -- the one server that uses this class

    def setup(self) -> None:
        super().setup()
        self._upstream = _Upstream(self.server)
        self.server.track(self.connection)

    def finish(self) -> None:
        self.server.forget(self.connection)
        self._upstream.close()
        with contextlib.suppress(OSError):
            super().finish()

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError, TimeoutError):  # a side has ended
            while self._serve():
                pass

    def _serve(self) -> bool:
        """Serve one request; return whether the client may send another."""
        try:
            head = _read_head(self.rfile)
            if head is None:
                return False
            method, target, _ = head.first.decode("latin-1").split()
            _ = head.length
        except (MessageError, ValueError) as error:
            self._send(Response.error("SerializationException", f"malformed request: {error}"), close=True)
            return False
        request = Request(method, target, head.headers)
        answer = self.server.route(request)
        if head.headers.get("expect", "").lower() == "100-continue":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            if answer is None:
                return self._pass(method, head, _end_to_end(head), _raw_body(self.rfile, head))
            request = replace(request, body=_whole_body(self.rfile, head))
            response = self._answer(answer, request)
            if response is None:
                return self._pass(method, head, _framed(head, request.body), iter([request.body]))
        except ConnectionRefusedError:
            response = Response.error("ServiceUnavailable", "the embedded AWS does not answer", 503)
        self._send(response, close=head.ends_connection, without_body=method == "HEAD")
        return not head.ends_connection

    def _answer(self, answer: Answer, request: Request) -> Response | None:
        try:
            return answer(request, self._forward)
        except ConnectionError:
            raise
        except Exception as error:
            _log.exception("%s %s failed", request.method, request.target)
            return Response.error("InternalFailure", f"{type(error).__name__}: {error}", 500)

    def _pass(self, method: str, head: _Head, lines: list[bytes], body: Iterator[bytes]) -> bool:
        """Forward a request and its response, part by part; return whether the client may send another request."""
        self._upstream.send(b"".join((head.first, *lines, b"\r\n", next(body, b""))))
        for part in body:
            self._upstream.send_more(part)
        answer = _read_response_head(self._upstream.reader)
        parts = _raw_body(self._upstream.reader, answer) if _has_body(method, answer) else iter(())
        until_end = _has_body(method, answer) and answer.is_unbounded
        parts = _rest(self._upstream.reader) if until_end else parts
        ends = head.ends_connection or until_end
        lines = [*_end_to_end(answer), b"Connection: close\r\n"] if ends else _end_to_end(answer)
        self.wfile.write(b"".join((answer.first, *lines, b"\r\n", next(parts, b""))))
        for part in parts:
            self.wfile.write(part)
        if answer.ends_connection or until_end:
            self._upstream.close()
        return not ends

    def _forward(self, request: Request) -> Response:
        """Send a request, which an answer may have changed, and return the whole response."""
        lines = [f"{name}: {value}\r\n".encode("latin-1") for name, value in request.headers.items()]
        head = _Head(f"{request.method} {request.target} HTTP/1.1\r\n".encode("latin-1"), lines, dict(request.headers))
        self._upstream.send(b"".join((head.first, *_framed(head, request.body), b"\r\n", request.body)))
        answer = _read_response_head(self._upstream.reader)
        body = b""
        if _has_body(request.method, answer):
            reader = self._upstream.reader
            body = b"".join(_rest(reader)) if answer.is_unbounded else _whole_body(reader, answer)
        if answer.ends_connection or answer.is_unbounded:
            self._upstream.close()
        kept = {name: value for name, value in answer.headers.items() if name not in (*_HOP_BY_HOP, *_FRAMING)}
        return Response(int(answer.first.split()[1]), body, kept)

    def _send(self, response: Response, *, close: bool, without_body: bool = False) -> None:
        reason = HTTPStatus(response.status).phrase
        headers = {**response.headers, "content-length": str(len(response.body))} | (
            {"connection": "close"} if close else {}
        )
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"HTTP/1.1 {response.status} {reason}\r\n{lines}\r\n".encode("latin-1")
        self.wfile.write(head if without_body else head + response.body)


_FRAMING = ("content-length", "transfer-encoding")


def _read_head(reader: Any) -> _Head | None:
    """Read the first line and the headers of a message; None if the sender has ended before."""
    first: bytes = reader.readline(PART_BYTES)
    if not first:
        return None
    lines: list[bytes] = []
    headers: dict[str, str] = {}
    while (line := reader.readline(PART_BYTES)) not in (b"\r\n", b"\n"):
        if not line.endswith(b"\n") or len(lines) == HEAD_LINES:
            raise MessageError("the headers have no end")
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon:
            raise MessageError(f"{name.strip()!r} is not a header")
        lines.append(line)
        headers[name.lower()] = value.strip()
    return _Head(first, lines, headers)


def _read_response_head(reader: Any) -> _Head:
    while True:
        head = _read_head(reader)
        if head is None:
            raise MessageError("the response has no beginning")
        if not head.first.split()[1].startswith(b"1"):
            return head


def _end_to_end(head: _Head) -> list[bytes]:
    """Return the header lines that concern more than one connection."""
    if _HOP_BY_HOP.isdisjoint(head.headers):
        return head.lines
    return [line for line in head.lines if line.partition(b":")[0].decode("latin-1").lower() not in _HOP_BY_HOP]


def _framed(head: _Head, body: bytes) -> list[bytes]:
    """Return the same lines with the length of a body that is whole."""
    lines = [line for line in _end_to_end(head) if line.partition(b":")[0].decode("latin-1").lower() not in _FRAMING]
    return [*lines, f"Content-Length: {len(body)}\r\n".encode()]


def _has_body(method: str, answer: _Head) -> bool:
    return method != "HEAD" and answer.first.split()[1] not in (b"204", b"304")


def _raw_body(reader: Any, head: _Head) -> Iterator[bytes]:
    """Yield a body in parts, as it arrives; chunks keep their sizes."""
    if head.is_chunked:
        for size, content in _chunks(reader):
            yield size + content
        return
    left = head.length or 0
    while left:
        part = reader.read(min(left, PART_BYTES))
        if not part:
            raise MessageError("the body ends too early")
        left -= len(part)
        yield part


def _whole_body(reader: Any, head: _Head) -> bytes:
    if head.is_chunked:
        return b"".join(content[:-2] for size, content in _chunks(reader) if size.strip(b"0\r\n"))
    return b"".join(_raw_body(reader, head))


def _chunks(reader: Any) -> Iterator[tuple[bytes, bytes]]:
    """Yield each chunk's line with its size, and its content with the line end; at last the size 0 and the trailers."""
    while True:
        line: bytes = reader.readline(PART_BYTES)
        try:
            size = int(line.split(b";")[0], 16)
        except ValueError as error:
            raise MessageError(f"{line!r} is not the size of a chunk") from error
        if not size:
            trailers: list[bytes] = []
            while (trailer := reader.readline(PART_BYTES)) not in (b"\r\n", b"\n", b""):
                trailers.append(trailer)
            yield line, b"".join((*trailers, b"\r\n"))
            return
        content = reader.read(size + 2)
        if len(content) < size + 2:
            raise MessageError("the body ends too early")
        yield line, content


def _rest(reader: Any) -> Iterator[bytes]:
    while part := reader.read1(PART_BYTES):
        yield part
