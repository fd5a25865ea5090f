"""The demo's workload: its items, the write that fails for a while, and the measures of order and delay."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from sandbox.demo.proxy import Call

USERS, ORDERS, VERSIONS, GROUP_SIZE = 12, 40, 6, 8
"""The demo writes the orders in groups of GROUP_SIZE, each group version by version."""
GROUPS = ORDERS // GROUP_SIZE
FAILING_USER, FAILING_ORDER, FAILING_VERSION = "9", "31", 3
FAILING_LANGUAGE = "xx"
"""The language of FAILING_USER, which has no template."""
WRITE_FAILURE_SECONDS = 3.0
"""How long the writes of FAILING_VERSION of FAILING_ORDER fail at least, counted from the first."""

Version = tuple[str, int]
"""The id and the version of an order."""


def user_items() -> list[dict[str, Any]]:
    """Return the users; FAILING_USER has FAILING_LANGUAGE."""
    languages = {
        number: FAILING_LANGUAGE if str(number) == FAILING_USER else ("en", "de", "es")[number % 3]
        for number in range(1, USERS + 1)
    }
    return [
        _typed(id=str(number), email=f"user{number}@example.com", name=f"User {number}", language=language)
        for number, language in languages.items()
    ]


def order_groups() -> Iterator[list[list[dict[str, Any]]]]:
    """Yield the groups of orders; a group is a list of batches, each with one version of its orders.

    FAILING_ORDER is in the second group, so that most changes of other orders come after its failure.
    """
    for group in range(GROUPS):
        numbers = [number for number in range(1, ORDERS + 1) if number % GROUPS == group]
        yield [
            [
                _typed(customer_id=f"c{number % 7}", order_id=str(number), version=version, total=version * 10)
                for number in numbers
            ]
            for version in range(1, VERSIONS + 1)
        ]


def failing_group() -> set[Version]:
    """Return the versions of the orders in the group of FAILING_ORDER, without it: its batch has them all."""
    groups = [{version_of(item) for together in group for item in together} for group in order_groups()]
    [group] = [group for group in groups if (FAILING_ORDER, FAILING_VERSION) in group]
    return {version for version in group if version[0] != FAILING_ORDER}


def expected_versions() -> list[Version]:
    """Return every version of every order, in the order of the writes."""
    return [version_of(item) for group in order_groups() for together in group for item in together]


def _typed(**item: str | int) -> dict[str, Any]:
    return {name: {"S": value} if isinstance(value, str) else {"N": str(value)} for name, value in item.items()}


def version_of(item: Mapping[str, Any]) -> Version:
    """Return the id and version of an order; for a user, the id and 1."""
    return (item["order_id"]["S"], int(item["version"]["N"])) if "order_id" in item else (item["id"]["S"], 1)


def version_of_event(event: Mapping[str, Any]) -> Version:
    """Return the version that an event of a stream writes."""
    return version_of(event["dynamodb"]["NewImage"])


def sequence_of(event: Mapping[str, Any]) -> int:
    """Return an event's place in its stream."""
    return int(event["dynamodb"]["SequenceNumber"])


def count_out_of_order(writes: Iterable[Version]) -> int:
    """Count the writes that came after a later version of their order."""
    latest: dict[str, int] = {}
    behind = 0
    for order, version in writes:
        behind += version < latest.get(order, 0)
        latest[order] = max(version, latest.get(order, 0))
    return behind


def max_delay_of_others(written: Mapping[Version, float], applied: Mapping[Version, float]) -> float:
    """Return the longest time in seconds from the write of a change to its effect, of all orders but FAILING_ORDER."""
    return max(applied[version] - at for version, at in written.items() if version[0] != FAILING_ORDER)


class WriteFailure:
    """Refuses FAILING_VERSION of FAILING_ORDER, for WRITE_FAILURE_SECONDS from its first write."""

    def __init__(self) -> None:
        self.began_at: float | None = None

    def refuses(self, version: Version, now: float) -> bool:
        """Whether the write of a version fails now."""
        if version != (FAILING_ORDER, FAILING_VERSION):
            return False
        if self.began_at is None:
            self.began_at = now
        return now < self.began_at + WRITE_FAILURE_SECONDS


class MirrorWrites:
    """The writes to the mirror that the proxy sees, in order, without those that it refuses.

    The failure goes on until `hold_is_seen`, so that also on a busy machine the item is held before the write succeeds.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.table: str | None = None
        self.hold_is_seen = False
        self.failure = WriteFailure()
        self.versions: list[Version] = []
        self.written_at: dict[Version, float] = {}  # the time of each version's first write, in epoch seconds
        self._clock = clock
        self._seen: set[str] = set()
        self._refused: dict[str, tuple[float, float]] = {}  # the times of the first and the last attempt, by call id
        self._lock = threading.Lock()

    def refuses(self, call: Call) -> bool:
        """Record a write and return whether it fails. All attempts of the SDK at one call count once."""
        if call.operation != "PutItem" or call.body["TableName"] != self.table:
            return False
        version = version_of(call.body["Item"])
        with self._lock:
            now = self._clock()
            is_too_early = version == (FAILING_ORDER, FAILING_VERSION) and not self.hold_is_seen
            if self.failure.refuses(version, now) or is_too_early:
                self._refused[call.id] = (self._refused.get(call.id, (now, now))[0], now)
                return True
            if call.id not in self._seen:
                self._seen.add(call.id)
                self.versions.append(version)
                self.written_at.setdefault(version, now)
            return False

    @property
    def refused_write_seconds(self) -> float:
        """The mean duration of a refused call, with the SDK's retries."""
        return sum(last - first for first, last in self._refused.values()) / max(len(self._refused), 1)
