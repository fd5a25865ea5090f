"""Follows the log groups of consumers, without losing or repeating a line."""

import heapq
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from handler.stream.aws import error_code
from ops import OpsError
from ops.errors import THROTTLED, unless_gone
from ops.stack import Client

CALL_SECONDS = 0.25
"""Between two calls of FilterLogEvents: CloudWatch Logs allows an account five a second, and others need some."""
POLL_SECONDS = 1.0
"""Between two looks at all log groups."""
LATE_SECONDS = 30
"""How much later than a newer line an older line may arrive: each look reads the last 30 s again."""
SKEW_SECONDS = 300
"""How far the clocks of this machine and of CloudWatch may differ."""
MAX_THROTTLED = 10
"""Looks in a row that CloudWatch may refuse, after boto3's own attempts, before the command gives up."""


@dataclass(frozen=True)
class Line:
    """A line of a consumer's log."""

    at: int
    """Milliseconds since 1970."""
    consumer: str
    message: str


@dataclass
class _Group:
    """A log group, and which of its lines have been read."""

    consumer: str
    name: str
    start: int
    """The next look reads lines from this time on (milliseconds since 1970)."""
    seen: dict[Any, int] = field(default_factory=dict[Any, int])


class Tail:
    """Reads the lines of log groups as they come.

    Parameters
    ----------
    groups : mapping
        The names of the log groups, by consumer.
    since : float
        The time of the first lines, in seconds since 1970.
    """

    def __init__(
        self,
        groups: Mapping[str, str],
        client: Client,
        since: float,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._groups = [_Group(consumer, name, int(since * 1000)) for consumer, name in groups.items()]
        self._client, self._clock, self._sleep = client, clock, sleep

    def follow(self) -> Iterator[Line]:
        """Yield the lines, each once, until the caller stops. Those of one look are in the order of their times.

        Raises
        ------
        OpsError
            A log group does not exist, or CloudWatch throttles every look.
        """
        throttled = 0
        while True:
            try:
                yield from self.look()
                throttled = 0
            except Exception as error:
                throttled += 1
                if error_code(error) not in THROTTLED or throttled == MAX_THROTTLED:
                    raise
            self._sleep(POLL_SECONDS)

    def look(self) -> Iterator[Line]:
        """Yield the lines that no earlier look has read."""
        yield from heapq.merge(*map(self._new_lines, self._groups), key=lambda line: line.at)

    def _new_lines(self, group: _Group) -> Iterator[Line]:
        began, newest = self._clock(), group.start
        token: dict[str, str] = {}
        while True:
            answer = self._page(group, token)
            for event in sorted(answer["events"], key=lambda event: event["timestamp"]):
                newest = max(newest, event["timestamp"])
                identity = event.get("eventId") or (event["logStreamName"], event["timestamp"], event["message"])
                if identity not in group.seen:
                    group.seen[identity] = event["timestamp"]
                    yield Line(event["timestamp"], group.consumer, event["message"])
            if "nextToken" not in answer:
                break
            token = {"nextToken": answer["nextToken"]}
        # Only a look at all pages moves the start on, so that an interrupted look is repeated.
        group.start = max(group.start, newest - LATE_SECONDS * 1000, int((began - SKEW_SECONDS) * 1000))
        group.seen = {identity: at for identity, at in group.seen.items() if at >= group.start}

    def _page(self, group: _Group, token: Mapping[str, str]) -> dict[str, Any]:
        self._sleep(CALL_SECONDS)
        find = self._client("logs").filter_log_events
        answer = unless_gone(find, logGroupName=group.name, startTime=group.start, **token)
        if answer is None:
            raise OpsError(f"the log group {group.name} of {group.consumer} does not exist")
        return answer
