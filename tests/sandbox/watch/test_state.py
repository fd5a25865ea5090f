"""The state of each consumer, in numbers and in words."""

from collections.abc import Callable, Mapping
from typing import Any, cast

import pytest

from sandbox.mapping.poller import Poller
from sandbox.watch import state as module
from sandbox.watch.feed import Feed
from sandbox.watch.state import LATE_SECONDS, RATE_SECONDS, State

OUTPUTS = {
    "consumers": {"mirror": {"function": "mirror-function-1", "ledgerName": "mirror"}},
    "stores": {"ledger": {"name": "ledger-1"}, "failures": {"bucket": "failures-1"}},
}


class Aws:
    """The clients of DynamoDB and S3, as far as paginators of one page go, and the poller's two reports."""

    def __init__(self) -> None:
        self.waiting: list[int] = []
        self.parked = 0
        self.reads = 0
        self.lag: dict[str, float] = {}
        self.off = set[str]()

    def __call__(self, service: str) -> Any:
        return self

    def get_paginator(self, operation: str) -> Any:
        return self

    def paginate(self, **arguments: Any) -> list[dict[str, Any]]:
        if "Bucket" in arguments:
            return [{"KeyCount": self.parked}]
        self.reads += 1
        return [{"Items": [{"waiting": {"N": str(count)}} for count in self.waiting]}]

    def lags(self) -> Mapping[str, float]:
        return self.lag

    def switched_off(self) -> set[str]:
        return self.off


@pytest.fixture
def aws() -> Aws:
    return Aws()


@pytest.fixture
def published(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any] | None]:
    """Take facts in, publish at a time, and return the state of mirror if it is published."""
    feed = Feed()
    state = State(feed, cast("Poller", aws), aws)
    state.use(OUTPUTS)

    def publish(*facts: Mapping[str, Any], at: float = 0.0) -> dict[str, Any] | None:
        monkeypatch.setattr(module.time, "time", lambda: at)
        before = feed.latest("state")
        for fact in facts:
            state.take(fact)
        state.publish()
        after = feed.latest("state")
        return None if after is before or after is None else after["consumers"]["mirror"]

    return publish


Published = Callable[..., dict[str, Any] | None]


def batch(*outcomes: str, error: str | None = None, at: float = 0.0) -> dict[str, Any]:
    changes = [{"outcome": outcome, "error": "SomeError: no" if outcome == "held" else None} for outcome in outcomes]
    return {"kind": "batch", "at": at, "consumer": "mirror", "changes": changes, "error": error}


def words(state: dict[str, Any] | None) -> tuple[str, str]:
    assert state
    return state["level"], state["state"]


def test_a_consumer_without_work_has_caught_up(published: Published):
    state = published()
    assert words(state) == ("well", "caught up")
    assert published() is None, "nothing has changed"


def test_the_rate_is_that_of_the_last_seconds(published: Published):
    state = published(batch(*["done"] * 50), at=1.0)
    assert words(state) == ("busy", "processes changes")
    assert state
    assert state["rate"] == 50 / RATE_SECONDS
    assert words(published(at=RATE_SECONDS + 2)) == ("well", "caught up")


def test_a_consumer_may_be_behind_or_switched_off(published: Published, aws: Aws):
    aws.lag = {"mirror-function-1": LATE_SECONDS + 1}
    assert words(published()) == ("busy", "4 s behind")
    aws.off = {"mirror-function-1"}
    assert words(published()) == ("off", "switched off: python -m ops resume mirror")


def test_held_items_are_counted_after_a_batch_or_a_retry_run_only(published: Published, aws: Aws):
    published()
    aws.waiting, aws.parked = [3, 1], 2
    assert published() is None
    state = published(batch("held", "waiting"))
    assert words(state) == ("held", "2 items held, 4 changes waiting")
    assert state
    assert (state["parked"], state["last_error"]) == (2, "SomeError: no")
    reads = aws.reads
    published(at=1.0)
    assert aws.reads == reads


def test_a_function_that_fails_is_said_until_it_succeeds(published: Published):
    state = published(batch("failed", error="Runtime.ExitError: killed"))
    assert words(state) == ("failing", "its function fails")
    assert state
    assert state["last_error"] == "Runtime.ExitError: killed"
    assert words(published(batch("done"), at=99.0)) == ("well", "caught up")
