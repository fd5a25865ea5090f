"""Reads the facts of a sandbox that runs in another process."""

import json
from collections.abc import Generator
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlencode, urlsplit

from sandbox import SandboxError
from sandbox.running import RunningSandbox
from sandbox.watch.feed import Fact

NEVER = 10**12
"""A number that no fact has."""
HEARTBEAT_SECONDS = 60.0
"""The longest time without a line, which the server's empty lines shorten."""


class WatchError(SandboxError):
    """The sandbox does not answer."""


def facts_of(running: RunningSandbox, after: int = 0) -> Generator[Fact]:
    """Yield the facts of a sandbox until it stops: the kept ones with a larger `n` than `after`, then each new one.

    Raises
    ------
    WatchError
        The sandbox does not answer.
    """
    page = urlsplit(running.page)
    with closing(HTTPConnection(page.hostname or "", page.port, timeout=HEARTBEAT_SECONDS)) as connection:
        try:
            connection.request("GET", f"/facts?{page.query}&{urlencode({'after': after})}")
            response = connection.getresponse()
        except (OSError, HTTPException) as error:
            raise WatchError(f"the sandbox at {running.endpoint} does not answer: {error}") from error
        if response.status != 200:
            raise WatchError(f"the sandbox at {running.endpoint} answers with status {response.status}")
        try:
            for line in response:
                if line.strip():
                    yield json.loads(line)
        except (OSError, HTTPException):
            return  # the sandbox has stopped


def latest_facts(running: RunningSandbox) -> dict[str, Fact]:
    """Return the latest facts `deployed` and `state` of a sandbox. Raises WatchError."""
    latest: dict[str, Fact] = {}
    for fact in facts_of(running, after=NEVER):
        latest[fact["kind"]] = fact
        if latest.keys() >= {"deployed", "state"}:
            return latest
    raise WatchError(f"the sandbox at {running.endpoint} has stopped")
