"""The threads of a function: their number, lifetime, errors and deadline."""

import threading
import time
from collections.abc import Iterator

import pytest

from handler.stream.engine.workers import SimulatedCrash, Workers


def no_deadline() -> None:
    raise AssertionError("no item runs at the deadline")


def test_items_run_concurrently_and_each_in_its_own_order() -> None:
    meeting, seen = threading.Barrier(4), list[tuple[int, int]]()

    def item(name: int) -> Iterator[None]:
        for step in range(3):
            yield
            meeting.wait(timeout=10)  # fails unless all four items run
            seen.append((name, step))

    Workers(4)([item(name) for name in range(4)], None, no_deadline)
    assert sorted(seen) == [(name, step) for name in range(4) for step in range(3)]
    for name in range(4):
        assert [step for other, step in seen if other == name] == [0, 1, 2]


def test_threads_are_created_once_and_no_more_than_items() -> None:
    workers, used = Workers(3), set[int]()

    def item(meeting: threading.Barrier) -> Iterator[None]:
        yield
        meeting.wait(timeout=10)
        used.add(threading.get_ident())

    before = threading.active_count()
    workers([item(threading.Barrier(1))], None, no_deadline)
    assert (threading.active_count(), used) == (before, {threading.get_ident()})
    meeting = threading.Barrier(3)
    for _ in range(20):
        workers([item(meeting) for _ in range(9)], None, no_deadline)
    assert threading.active_count() == before + 2
    assert len(used) == 3


def test_items_that_compute_leave_no_helper_behind() -> None:
    """A helper that comes too late must not take an item of the next batch twice."""
    workers, ran = Workers(10), list[int]()

    def item(number: int) -> Iterator[None]:
        yield
        ran.append(number)

    for batch in range(200):
        workers([item(batch * 10 + number) for number in range(10)], None, no_deadline)
    assert sorted(ran) == list(range(2_000))


def test_no_items_need_no_work() -> None:
    Workers(3)([], lambda: 0.0, no_deadline)


@pytest.mark.parametrize("broken_one", [0, 1])
def test_after_an_error_no_item_begins_and_the_running_ones_end(broken_one: int) -> None:
    meeting, has_raised, ended = threading.Barrier(2), threading.Event(), list[int]()

    def item(number: int) -> Iterator[None]:
        yield
        if number < 2:
            meeting.wait(timeout=10)
        if number == broken_one:
            has_raised.set()
            raise SimulatedCrash
        has_raised.wait(timeout=10)
        time.sleep(0.05)
        ended.append(number)

    with pytest.raises(SimulatedCrash):
        Workers(2)([item(number) for number in range(10)], None, no_deadline)
    assert ended[0] == 1 - broken_one
    assert len(ended) < 9


def test_on_deadline_is_called_once_and_then_the_handlers_end() -> None:
    calls, ended, queries = list[str](), list[str](), list[float]()
    go_on = threading.Event()

    def item(name: str) -> Iterator[None]:
        yield
        go_on.wait(timeout=10)
        ended.append(name)

    def seconds_left() -> float:
        queries.append(0.0)
        return 0.0

    def on_deadline() -> None:
        assert ended == []
        calls.append("on_deadline")
        go_on.set()

    Workers(2)([item("a"), item("b")], seconds_left, on_deadline)
    assert calls == ["on_deadline"]
    assert len(queries) == 1
    assert sorted(ended) == ["a", "b"]


def test_an_item_that_ends_in_time_is_not_interrupted_and_the_next_batch_has_its_own_deadline() -> None:
    """The thread sleeps until the first batch's deadline, which is later than the second one's."""
    workers, reached = Workers(2), threading.Event()

    def quick() -> Iterator[None]:
        yield

    def slow() -> Iterator[None]:
        yield
        assert reached.wait(timeout=10)

    workers([quick()], lambda: 60.0, no_deadline)
    workers([slow()], lambda: 0.01, reached.set)
    reached.clear()
    workers([quick()], lambda: 0.0, lambda: None)
    workers([slow()], lambda: 0.01, reached.set)


def test_an_error_of_on_deadline_is_raised_after_the_items() -> None:
    reached = threading.Event()

    def slow() -> Iterator[None]:
        yield
        assert reached.wait(timeout=10)

    def on_deadline() -> None:
        reached.set()
        raise ValueError("cannot be noted")

    with pytest.raises(ValueError, match="cannot be noted"):
        Workers(2)([slow()], lambda: 0.0, on_deadline)


def test_the_batch_ends_after_on_deadline() -> None:
    reached, calls = threading.Event(), list[str]()

    def slow() -> Iterator[None]:
        yield
        assert reached.wait(timeout=10)
        calls.append("item")

    def on_deadline() -> None:
        reached.set()
        time.sleep(0.05)
        calls.append("on_deadline")

    Workers(2)([slow()], lambda: 0.0, on_deadline)
    assert sorted(calls) == ["item", "on_deadline"]
