"""A page server with a feed, and fakes of what its actions need: the operator's commands, and the faults."""

import http.client
import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from sandbox.emulator import HOST, client_variables
from sandbox.page.actions import Actions
from sandbox.page.commands import FinishedCommand
from sandbox.page.server import PageServer
from sandbox.watch.feed import Feed
from tests.local import REGION

NOBODY = client_variables(f"http://{HOST}:9", REGION)
OUTPUTS: dict[str, Any] = {
    "tables": {"orders": {"name": "orders-table-1a2b3c4"}},
    "consumers": {"mirror": {"function": "mirror-function-1a2b3c4"}},
}


class FakeFaults:
    """The switches, without any effect on calls."""

    def __init__(self) -> None:
        self.on: dict[str, list[str]] = {}

    def set(self, consumer: str, fault: str, on: bool) -> None:
        if fault not in ("fail", "slow"):
            raise ValueError(f"there is no fault {fault}")
        others = [each for each in self.on.get(consumer, []) if each != fault]
        self.on[consumer] = [*others, fault] if on else others

    def current(self) -> Mapping[str, Sequence[str]]:
        return self.on


@dataclass
class FakeCommand:
    """Returns what the operator's command of a name would print, `held --item` apart; nothing is read or changed."""

    results: dict[str, FinishedCommand] = field(default_factory=dict[str, FinishedCommand])
    parked: Sequence[Mapping[str, Any]] = ()
    calls: list[list[str]] = field(default_factory=list[list[str]])

    def __call__(self, arguments: Sequence[str], variables: Mapping[str, str]) -> FinishedCommand:
        self.calls.append([each for each in arguments if not each.startswith("/")])
        if "--export" in arguments:
            path = Path(arguments[arguments.index("--export") + 1])
            path.write_text("".join(json.dumps(each) + "\n" for each in self.parked), encoding="utf-8")
            return FinishedCommand(1, json.dumps({"changes": len(self.parked)}), "")
        is_one_item = arguments[0] == "held" and any(each.startswith("--item=") for each in arguments)
        return self.results["held --item" if is_one_item else arguments[0]]


@dataclass
class PageDriver:
    """A client of a page server on loopback."""

    server: PageServer
    feed: Feed
    command: FakeCommand
    faults: FakeFaults

    @property
    def token(self) -> str:
        return parse_qs(urlsplit(self.server.url).query)["token"][0]

    @contextmanager
    def answer(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Generator[http.client.HTTPResponse]:
        """Send a request with the token, unless the query has another one, and yield the response."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=5)) as connection:
            target = f"{path}?{urlencode({'token': self.token, **(query or {})})}"
            connection.request(method, target, body, dict(headers or {}))
            with closing(connection.getresponse()) as response:
                yield response

    def call(self, method: str, path: str, body: Any = None, **query: str) -> tuple[int, Any]:
        """Return the status of an answer, and its JSON. A body other than bytes is sent as JSON."""
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        with self.answer(method, path, content, query=query) as response:
            return response.status, json.load(response)


@contextmanager
def serve(variables: Mapping[str, str] = NOBODY, outputs: Mapping[str, Any] = OUTPUTS) -> Generator[PageDriver]:
    """Serve a page until the context ends; without `variables`, no AWS answers."""
    feed, command, faults = Feed(), FakeCommand(), FakeFaults()
    actions = Actions(variables, lambda: outputs, faults, command=command)
    with PageServer(feed, actions) as server:
        yield PageDriver(server, feed, command, faults)


def lines(response: http.client.HTTPResponse, prefix: str) -> Iterator[str]:
    """Yield the lines of a stream that begin with a prefix, without it."""
    while line := response.readline().decode():
        if line.startswith(prefix):
            yield line.removeprefix(prefix).rstrip("\n")
