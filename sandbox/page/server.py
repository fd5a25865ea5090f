"""Serves the page, the facts and the page's actions on loopback, to whoever knows the token in the address."""

import base64
import contextlib
import hashlib
import hmac
import json
import logging
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from types import UnionType
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from sandbox import SandboxError
from sandbox.emulator import HOST
from sandbox.front.loopback import LoopbackHandler, LoopbackServer
from sandbox.page.actions import Actions
from sandbox.watch.feed import Fact, Feed, Reader

MAX_BODY_BYTES = 1_000_000
"""The longest body of a request: an item of DynamoDB has 400 KB at most, and its JSON is longer."""
MAX_SKIPPED_BYTES, PIECE_BYTES = 16_000_000, 16_384
"""How much of a longer body is skipped, so that the client gets the answer, and how much of it at a time."""
HEARTBEAT_SECONDS = 1.0
"""How long a stream without facts is silent; the next heartbeat fails if the reader is gone."""
WRITE_SECONDS = 30.0
"""How long a reader may take nothing, or a connection may be idle, before the server ends the connection."""
FACTS_A_WRITE = 200
"""The most facts that are sent in one piece."""

_PAGE = Path(__file__).with_name("page.html")
_INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)
_HOSTS = (HOST, "localhost")
_log = logging.getLogger(__name__)


class RequestError(Exception):
    """A request is refused."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Call:
    """A request that is allowed: its query, and its body."""

    query: Mapping[str, str]
    body: bytes

    def named(self, name: str) -> str:
        """Return a parameter of the query. Raises RequestError if it is missing."""
        if name not in self.query:
            raise RequestError(HTTPStatus.BAD_REQUEST, f"the query has no {name}=")
        return self.query[name]

    def json(self, **types: type | UnionType) -> list[Any]:
        """Return fields of the body, a JSON object, each of its type; a missing field is None.

        Raises
        ------
        RequestError
            The body is not a JSON object with these fields.
        """
        try:
            value = json.loads(self.body)
            fields = [value.get(name) for name in types]
        except (ValueError, AttributeError, RecursionError) as error:
            raise RequestError(HTTPStatus.BAD_REQUEST, "the body is not a JSON object") from error
        for (name, type_), field in zip(types.items(), fields, strict=True):
            if not isinstance(field, type_):
                raise RequestError(HTTPStatus.BAD_REQUEST, f"the body has no {name}, or one of another type")
        return fields


class PageServer(LoopbackServer):
    """Serves until it is closed.

    Parameters
    ----------
    feed
        The facts.
    actions
        What the page does.
    port
        The port on loopback. Default: a free port.

    Attributes
    ----------
    url
        The page's address with the token, which is new for each server.

    Raises
    ------
    sandbox.emulator.EmulatorError
        The port is taken.
    """

    def __init__(self, feed: Feed, actions: Actions, *, port: int | None = None) -> None:
        self.feed, self.token, self.routes = feed, secrets.token_urlsafe(), _routes(actions)
        super().__init__(_Handler, "page", port)
        self.url = f"{self.url}/?token={self.token}"


def _routes(actions: Actions) -> dict[tuple[str, str], Callable[[Call], Any]]:
    items = actions.items

    def retry(call: Call) -> Any:
        return actions.retry(*call.json(consumer=str, item=str | None))

    def skip(call: Call) -> Any:
        return actions.skip(*call.json(consumer=str, item=str))

    def redrive(call: Call) -> Any:
        consumer, item, out_of_order = call.json(consumer=str, item=str | None, out_of_order=bool | None)
        return actions.redrive(consumer, item, out_of_order=bool(out_of_order))

    def switch(call: Call) -> Any:
        consumer, fault, on = call.json(consumer=str, fault=str, on=bool)
        return {"faults": actions.switch_fault(consumer, fault, on=on)}

    return {
        ("GET", "/items"): lambda call: items.read(call.named("table")),
        ("POST", "/items"): lambda call: items.put(call.named("table"), call.body),
        ("DELETE", "/items"): lambda call: items.delete(call.named("table"), call.body),
        ("GET", "/held"): lambda call: actions.held(call.query.get("consumer"), call.query.get("item")),
        ("GET", "/failures"): lambda call: actions.failures(call.query.get("consumer")),
        ("POST", "/retry"): retry,
        ("POST", "/skip"): skip,
        ("POST", "/redrive"): redrive,
        ("GET", "/faults"): lambda _: {"faults": actions.faults()},
        ("POST", "/faults"): switch,
    }


class _Handler(LoopbackHandler):
    timeout = WRITE_SECONDS
    server: PageServer  # pyright: ignore[reportIncompatibleVariableOverride] -- the one server that uses this class

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError, TimeoutError):  # the client has ended, or takes nothing
            super().handle()

    def finish(self) -> None:
        with contextlib.suppress(ConnectionError, TimeoutError):
            super().finish()

    def _serve(self) -> None:
        address = urlsplit(self.path)
        query = dict(parse_qsl(address.query))
        try:
            call = Call(query, self._read())  # first, since a client reads no answer while it sends
            self._check(query)
            if self.command == "GET" and address.path in ("/", "/events", "/facts"):
                self._serve_page_or_facts(address.path, query)
            else:
                self._send_json(HTTPStatus.OK, self._route(address.path)(call))
        except RequestError as error:
            self.close_connection = True  # a part of the body may not have been read
            self._send_json(error.status, {"error": str(error)})
        except SandboxError as error:
            self._send_json(HTTPStatus.BAD_REQUEST, {"error": str(error)})
        except (ConnectionError, TimeoutError):
            raise
        except Exception as error:
            _log.exception("%s %s failed", self.command, address.path)
            text = f"{type(error).__name__}: {error}"
            self._send_json(HTTPStatus.INTERNAL_SERVER_ERROR, {"error": text})

    do_GET = do_POST = do_DELETE = _serve  # noqa: N815 -- http.server's names

    def _check(self, query: Mapping[str, str]) -> None:
        """Raise RequestError for a page of another origin, also one whose name leads here, and without the token."""
        host, origin = self.headers.get("Host", ""), self.headers.get("Origin")
        if host.partition(":")[0] not in _HOSTS:
            raise RequestError(HTTPStatus.FORBIDDEN, f"the page is served at {HOST} only, not at {host!r}")
        if origin not in (None, f"http://{host}"):
            raise RequestError(HTTPStatus.FORBIDDEN, f"pages of {origin} may not call this one")
        if not hmac.compare_digest(query.get("token", "").encode(), self.server.token.encode()):
            raise RequestError(
                HTTPStatus.FORBIDDEN,
                "the address has no token, or that of another sandbox: open the address that the sandbox prints",
            )

    def _read(self) -> bytes:
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not (length.isascii() and length.isdigit()):
            raise RequestError(HTTPStatus.LENGTH_REQUIRED, "the length of the body is unknown")
        if int(length) > MAX_BODY_BYTES:
            left = min(int(length), MAX_SKIPPED_BYTES)
            while left and (piece := self.rfile.read(min(left, PIECE_BYTES))):
                left -= len(piece)
            raise RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body exceeds {MAX_BODY_BYTES:,} bytes")
        return self.rfile.read(int(length))

    def _route(self, path: str) -> Callable[[Call], Any]:
        route = self.server.routes.get((self.command, path))
        if route is None:
            raise RequestError(HTTPStatus.NOT_FOUND, f"there is no {self.command} {path}")
        return route

    def _serve_page_or_facts(self, path: str, query: Mapping[str, str]) -> None:
        if path == "/":
            self._send_page()
            return
        text = self.headers.get("Last-Event-ID", query.get("after", "0"))
        if not (text.isascii() and text.isdigit()):
            raise RequestError(HTTPStatus.BAD_REQUEST, f"after={text} is not the number of a fact")
        after = int(text)
        if path == "/events":
            self._stream(after, "text/event-stream", lambda fact: _event(fact, after), b":\n\n")
        else:
            self._stream(after, "application/x-ndjson", lambda fact: json.dumps(fact) + "\n", b"\n")

    def _stream(self, after: int, kind: str, write: Callable[[Fact], str], heartbeat: bytes) -> None:
        """Send the facts until the client or the server ends the connection."""
        self.close_connection = True
        self._send_head(HTTPStatus.OK, {"Content-Type": f"{kind}; charset=utf-8", "Connection": "close"})
        with self.server.feed.read(after) as reader:
            while True:
                text = "".join(map(write, _next_facts(reader)))
                self.wfile.write(text.encode() or heartbeat)

    def _send_page(self) -> None:
        text = _PAGE.read_text(encoding="utf-8")
        headers = {
            "Content-Type": "text/html; charset=utf-8",
            "Content-Security-Policy": _content_policy(text),
            "X-Frame-Options": "DENY",
        }
        self._send(HTTPStatus.OK, text.encode(), headers)

    def _send_json(self, status: HTTPStatus, value: Any) -> None:
        self._send(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, status: HTTPStatus, body: bytes, headers: Mapping[str, str]) -> None:
        closing = {"Connection": "close"} if self.close_connection else {}
        self._send_head(status, {**headers, **closing, "Content-Length": str(len(body))})
        self.wfile.write(body)

    def _send_head(self, status: HTTPStatus, headers: Mapping[str, str]) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Cache-Control", "no-store")
        self.send_header("Referrer-Policy", "no-referrer")  # the address has the token
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()


def _next_facts(reader: Reader) -> Iterator[Fact]:
    """Yield the facts that wait, after HEARTBEAT_SECONDS at most."""
    timeout = HEARTBEAT_SECONDS
    for _ in range(FACTS_A_WRITE):
        fact = reader.next(timeout)
        if fact is None:
            return
        yield fact
        timeout = 0


def _event(fact: Fact, after: int) -> str:
    """Return a fact as a server-sent event; one that comes again, since it is the latest of its kind, has no id."""
    identity = f"id: {fact['n']}\n" if fact["n"] > after else ""
    return f"{identity}data: {json.dumps(fact)}\n\n"


def _content_policy(page: str) -> str:
    """Return a policy that allows the page's own script and style, and calls to its origin; nothing else."""
    hashes = {
        kind: f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
        for kind, content in _INLINE.findall(page)
    }
    return (
        f"default-src 'none'; script-src {hashes['script']}; style-src {hashes['style']}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
