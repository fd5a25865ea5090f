"""A schedule invokes its function while items are held, once at a time, and at once when all items are due."""

from collections.abc import Mapping
from typing import Any, Self

import pytest

from sandbox.schedule import CHECK_SECONDS, MINUTE_SECONDS, Schedule

RETRY_INPUT = '{"table-stream": "retry"}'
RETRY_DUE: Mapping[str, Any] = {"table-stream": "retry"}
RETRY_ALL: Mapping[str, Any] = {"table-stream": "retry", "now": True}
HELD = '{"level": "ERROR", "message": "item held", "item": "a"}\n'
WAITS = '{"level": "INFO", "message": "changes wait", "item": "a"}\n'


class Clock:
    """A schedule on a clock. Each invocation takes `takes_seconds` and returns the next of `answers`, then none held.

    An answer of None is a failure.
    """

    def __init__(self, *answers: object, takes_seconds: float = 0.0, enabled: bool = True) -> None:
        self.now, self.takes_seconds = 100.0, takes_seconds
        self.schedule = Schedule(RETRY_INPUT, self.now, enabled=enabled)
        self.answers = list(answers)
        self.invoked: list[tuple[float, Mapping[str, Any]]] = []
        self._ends: float | None = None

    def run(self, until: float) -> Self:
        while True:
            if self._ends is not None and self._ends <= self.now:
                answer = self.answers.pop(0) if self.answers else {"held": 0}
                self._ends = None
                self.schedule.record_run(answer, self.now, failed=answer is None)
            if (event := self.schedule.advance(self.now)) is not None:
                assert self._ends is None, "two at once"
                self.invoked.append((self.now - 100, event))
                self._ends = self.now + self.takes_seconds
                continue
            moments = [each for each in (self.schedule.due(), self._ends) if each is not None]
            if not moments or min(moments) > 100 + until:
                self.now = 100 + until
                return self
            self.now = max(min(moments), self.now)

    def batch(self, log: str = "", *, failed: bool = False) -> Self:
        self.schedule.record_batch(log, self.now, failed=failed)
        return self

    @property
    def times(self) -> list[float]:
        return [round(when, 3) for when, _ in self.invoked]


def test_a_function_that_was_never_invoked_has_no_retry_run() -> None:
    clock = Clock().run(until=3600)
    assert (clock.invoked, clock.schedule.is_idle()) == ([], True)


@pytest.mark.parametrize("log", [HELD, WAITS])
def test_retry_runs_follow_each_other_until_no_item_is_held(log: str) -> None:
    clock = Clock({"held": 2}, {"held": 1}, {"held": 0}).run(until=0.3).batch(log)
    assert not clock.schedule.is_idle()
    clock.run(until=2.5)
    assert (clock.schedule.held, clock.schedule.is_idle()) == (1, False)
    clock.run(until=CHECK_SECONDS - 0.1)
    assert clock.invoked == [(1, RETRY_DUE), (2, RETRY_DUE), (3, RETRY_DUE)]
    assert clock.schedule.is_idle()


def test_an_item_that_a_run_releases_is_not_held() -> None:
    """The answer of a run has the number of items that were held when it began."""
    clock = Clock({"held": 3, "released": 2}, {"held": 1, "released": 1}).batch(HELD).run(until=1.5)
    assert clock.schedule.held == 1
    assert clock.run(until=CHECK_SECONDS - 0.1).times == [1, 2]
    assert clock.schedule.is_idle()


def test_a_function_without_held_items_has_a_retry_run_now_and_then() -> None:
    """An operator's tool may add changes to a hold."""
    assert Clock().batch("done").run(until=2.5 * CHECK_SECONDS).times == [CHECK_SECONDS, 2 * CHECK_SECONDS]


def test_a_batch_that_failed_may_have_held_an_item() -> None:
    clock = Clock().batch(failed=True)
    assert not clock.schedule.is_idle()
    assert clock.run(until=1).times == [1]
    assert clock.schedule.is_idle()


def test_a_run_never_overlaps_another() -> None:
    clock = Clock({"held": 1}, {"held": 1}, {"held": 0}, takes_seconds=2.4 * MINUTE_SECONDS)
    assert clock.batch(HELD).run(until=9.5).times == [1, 4, 7]


def test_an_item_that_is_held_during_a_run_has_another_run() -> None:
    clock = Clock({"held": 0}, {"held": 0}, takes_seconds=0.5).batch(HELD).run(until=1.2).batch(HELD).run(until=1.6)
    assert not clock.schedule.is_idle()
    assert clock.run(until=4).times == [1, 2]
    assert clock.schedule.is_idle()


def test_another_run_follows_a_failed_one() -> None:
    assert Clock(None, None, {"held": 0}).batch(HELD).run(until=4).times == [1, 2, 3]


def test_all_items_are_due_at_once_until_one_run_has_succeeded() -> None:
    clock = Clock(None, {"held": 1}, {"held": 0}).run(until=0.5)
    clock.schedule.make_all_due(clock.now)
    assert clock.run(until=4).invoked == [(0.5, RETRY_ALL), (1, RETRY_ALL), (2, RETRY_DUE)]


def test_when_all_items_become_due_during_a_run_the_next_run_follows_at_once() -> None:
    clock = Clock({"held": 1}, {"held": 0}, takes_seconds=0.5).batch(HELD).run(until=1.2)
    clock.schedule.make_all_due(clock.now)
    assert clock.run(until=4).invoked == [(1, RETRY_DUE), (1.5, RETRY_ALL)]


def test_a_schedule_that_is_off_has_no_retry_run_and_is_idle() -> None:
    clock = Clock(enabled=False).batch(HELD).run(until=10)
    assert (clock.invoked, clock.schedule.is_idle()) == ([], True)
    clock.schedule.configure(RETRY_INPUT, enabled=True)
    assert not clock.schedule.is_idle()
    assert clock.run(until=11).times == [10]
