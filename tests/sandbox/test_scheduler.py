"""The scheduler in the emulator invokes functions as long as they hold items; test_schedule shows at which times."""

from collections.abc import Callable

import pytest

from sandbox.mapping.invocation import RefusalError
from sandbox.scheduler import Scheduler
from tests.local import wait_for
from tests.sandbox.mapping.source import Source

RETRY = {"table-stream": "retry"}


def test_a_function_is_invoked_until_it_holds_no_item(source: Callable[..., Source]) -> None:
    scheduled = source("scheduled")
    scheduler = Scheduler(scheduled.poller)
    scheduler.schedule(scheduled.function_arn, '{"table-stream": "retry"}', enabled=True)

    def settle() -> None:
        wait_for(lambda: scheduled.poller.is_idle(scheduler.is_idle), "no item is held", timeout_seconds=30)

    scheduled.attach()
    scheduled.put("a")
    settle()
    assert [each.scheduled for each in scheduled.invocations] == [None]
    scheduled.put("held")
    wait_for(lambda: list(scheduler.held_items()) == [scheduled.function], "an item is held")
    scheduled.settle()
    settle()
    runs = [each for each in scheduled.invocations if each.scheduled is not None]
    described = [(each.scheduled, each.function, each.stream_arn, each.records) for each in runs]
    assert described == [(RETRY, scheduled.function, "", ())] * 3
    assert [each.response for each in runs] == [{"held": 1}, {"held": 1}, {"held": 0}]
    assert scheduler.held_items() == {}

    scheduler.make_all_due()
    settle()
    assert scheduled.invocations[-1].scheduled == {**RETRY, "now": True}
    scheduler.unschedule(scheduled.function_arn)
    scheduled.put("b")
    settle()
    scheduler.make_all_due()
    settle()
    assert scheduled.invocations[-1].scheduled is None


def test_a_schedule_needs_its_function(source: Callable[..., Source]) -> None:
    scheduler = Scheduler(source("unscheduled").poller)
    with pytest.raises(RefusalError, match=r"^ResourceNotFoundException: Function does not exist: .*nobody"):
        scheduler.schedule("arn:aws:lambda:eu-west-1:000000000000:function:nobody", "{}", enabled=True)
