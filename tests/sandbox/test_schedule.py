"""When a schedule invokes its function: as long as something is held, once at a time, and at once when told so."""

from collections.abc import Mapping
from typing import Any

import pytest

from sandbox.schedule import CHECK_SECONDS, MINUTE_SECONDS, Schedule

RETRY = '{"table-stream": "retry"}'
ASKED: Mapping[str, Any] = {"table-stream": "retry"}
ALL_ASKED: Mapping[str, Any] = {"table-stream": "retry", "now": True}
HELD = '{"level": "ERROR", "message": "item held", "item": "a"}\n'
WAITS = '{"level": "INFO", "message": "changes wait", "item": "a"}\n'


class Clock:
    """A schedule on a clock: its invocations end after `takes` seconds with the next of `answers`, then with none held.

    An answer of None is a failure.
    """

    def __init__(self, *answers: object, takes: float = 0.0, enabled: bool = True) -> None:
        self.now, self.takes = 100.0, takes
        self.schedule = Schedule(RETRY, self.now, enabled=enabled)
        self.answers = list(answers)
        self.invoked: list[tuple[float, Mapping[str, Any]]] = []
        self._ends: float | None = None

    def run(self, until: float) -> None:
        while True:
            if self._ends is not None and self._ends <= self.now:
                answer = self.answers.pop(0) if self.answers else {"held": 0}
                self._ends = None
                self.schedule.record_run(answer, self.now, failed=answer is None)
            if (event := self.schedule.advance(self.now)) is not None:
                assert self._ends is None, "two at once"
                self.invoked.append((self.now - 100, event))
                self._ends = self.now + self.takes
                continue
            moments = [each for each in (self.schedule.due(), self._ends) if each is not None]
            if not moments or min(moments) > 100 + until:
                self.now = 100 + until
                return
            self.now = max(min(moments), self.now)

    def batch(self, log: str = "", *, failed: bool = False) -> None:
        self.schedule.record_batch(log, self.now, failed=failed)

    @property
    def times(self) -> list[float]:
        return [round(when, 3) for when, _ in self.invoked]


def test_a_function_that_was_never_invoked_is_not_asked() -> None:
    clock = Clock()
    clock.run(until=3600)
    assert clock.invoked == []
    assert clock.schedule.is_idle()


@pytest.mark.parametrize("log", [HELD, WAITS])
def test_what_is_held_is_asked_for_every_second_until_nothing_is(log: str) -> None:
    clock = Clock({"held": 2}, {"held": 1}, {"held": 0})
    clock.run(until=0.3)
    clock.batch(log)
    assert not clock.schedule.is_idle()
    clock.run(until=2.5)
    assert (clock.schedule.held, clock.schedule.is_idle()) == (1, False)
    clock.run(until=CHECK_SECONDS - 0.1)
    assert clock.invoked == [(1, ASKED), (2, ASKED), (3, ASKED)]
    assert clock.schedule.is_idle()


def test_what_a_run_releases_is_held_no_longer() -> None:
    """A run tells of what was held when it began."""
    clock = Clock({"held": 3, "released": 2}, {"held": 1, "released": 1})
    clock.batch(HELD)
    clock.run(until=1.5)
    assert clock.schedule.held == 1
    clock.run(until=CHECK_SECONDS - 0.1)
    assert clock.times == [1, 2]
    assert clock.schedule.is_idle()


def test_a_function_that_holds_nothing_is_asked_now_and_then() -> None:
    """An operator's tool may have put changes into a hold."""
    clock = Clock()
    clock.batch("done")
    clock.run(until=2.5 * CHECK_SECONDS)
    assert clock.times == [CHECK_SECONDS, 2 * CHECK_SECONDS]


def test_a_batch_that_failed_may_have_held_something() -> None:
    clock = Clock()
    clock.batch(failed=True)
    assert not clock.schedule.is_idle()
    clock.run(until=1)
    assert clock.times == [1]
    assert clock.schedule.is_idle()


def test_a_run_never_overlaps_another_and_the_seconds_it_takes_are_skipped() -> None:
    clock = Clock({"held": 1}, {"held": 1}, {"held": 0}, takes=2.4 * MINUTE_SECONDS)
    clock.batch(HELD)
    clock.run(until=9.5)
    assert clock.times == [1, 4, 7]


def test_what_a_batch_holds_while_a_run_ends_is_asked_for_again() -> None:
    clock = Clock({"held": 0}, {"held": 0}, takes=0.5)
    clock.batch(HELD)
    clock.run(until=1.2)
    clock.batch(HELD)
    clock.run(until=1.6)
    assert not clock.schedule.is_idle()
    clock.run(until=4)
    assert clock.times == [1, 2]
    assert clock.schedule.is_idle()


def test_a_run_that_failed_is_followed_by_another() -> None:
    clock = Clock(None, None, {"held": 0})
    clock.batch(HELD)
    clock.run(until=4)
    assert clock.times == [1, 2, 3]


def test_all_is_due_at_once_after_a_redeployment_and_only_for_one_run_that_answers() -> None:
    clock = Clock(None, {"held": 1}, {"held": 0})
    clock.run(until=0.5)
    clock.schedule.make_all_due(clock.now)
    clock.run(until=4)
    assert clock.invoked == [(0.5, ALL_ASKED), (1, ALL_ASKED), (2, ASKED)]


def test_all_that_becomes_due_during_a_run_is_asked_for_right_after_it() -> None:
    clock = Clock({"held": 1}, {"held": 0}, takes=0.5)
    clock.batch(HELD)
    clock.run(until=1.2)
    clock.schedule.make_all_due(clock.now)
    clock.run(until=4)
    assert clock.invoked == [(1, ASKED), (1.5, ALL_ASKED)]


def test_a_schedule_that_is_off_asks_for_nothing_and_is_nothing_to_wait_for() -> None:
    clock = Clock(enabled=False)
    clock.batch(HELD)
    clock.run(until=10)
    assert clock.invoked == []
    assert clock.schedule.is_idle()
    clock.schedule.configure(RETRY, enabled=True)
    assert not clock.schedule.is_idle()
    clock.run(until=11)
    assert clock.times == [10]
