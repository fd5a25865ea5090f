"""What the demo writes, the one call that it lets fail, and how it tells order from disorder."""

import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sandbox.proxy import Call

USERS, ORDERS, VERSIONS, TOGETHER = 12, 40, 6, 8
"""Orders are written TOGETHER at a time, version by version, so that several versions of one share a batch."""
ODD_USER, ODD_ORDER, ODD_VERSION = "9", "31", 3


def users() -> list[dict[str, Any]]:
    """The users; one has a language without a template."""
    languages = {
        number: "xx" if str(number) == ODD_USER else ("en", "de", "es")[number % 3] for number in range(1, USERS + 1)
    }
    return [
        _typed(id=str(number), email=f"user{number}@example.com", name=f"User {number}", language=language)
        for number, language in languages.items()
    ]


def orders() -> Iterator[list[dict[str, Any]]]:
    """Writes of all orders, each list at once."""
    for first in range(1, ORDERS + 1, TOGETHER):
        for version in range(1, VERSIONS + 1):
            yield [
                _typed(customer_id=f"c{number % 7}", order_id=str(number), version=version, total=version * 10)
                for number in range(first, first + TOGETHER)
            ]


def _typed(**item: str | int) -> dict[str, Any]:
    return {name: {"S": value} if isinstance(value, str) else {"N": str(value)} for name, value in item.items()}


def version_of(item: Mapping[str, Any]) -> tuple[str, int]:
    """An order's id and version; a user's id, and 1."""
    return (item["order_id"]["S"], int(item["version"]["N"])) if "order_id" in item else (item["id"]["S"], 1)


def out_of_order(writes: Iterable[tuple[str, int]]) -> int:
    """How many writes came after a later version of their order."""
    latest: dict[str, int] = {}
    behind = 0
    for order, version in writes:
        behind += version < latest.get(order, 0)
        latest[order] = max(version, latest.get(order, 0))
    return behind


class Arrivals:
    """What reaches the mirror, as the proxy sees it: each write of an order, in order; one call is refused."""

    def __init__(self) -> None:
        self.table: str | None = None
        self.versions: list[tuple[str, int]] = []
        self.refused: str | None = None
        self._seen: set[str] = set()
        self._lock = threading.Lock()

    def refuses(self, call: Call) -> bool:
        """Note a write; whether it is to fail: the first call for the odd version, with all the SDK's own retries."""
        if call.operation != "PutItem" or call.body["TableName"] != self.table:
            return False
        version = version_of(call.body["Item"])
        with self._lock:
            if version == (ODD_ORDER, ODD_VERSION) and self.refused in (None, call.id):
                self.refused = call.id
                return True
            if call.id not in self._seen:
                self._seen.add(call.id)
                self.versions.append(version)
            return False
