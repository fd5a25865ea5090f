"""The threads of a function: their number, lifetime, errors and deadline."""

import threading
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
    workers, used = Workers(3), list[int]()

    def item() -> Iterator[None]:
        yield
        used.append(threading.get_ident())

    workers([item()], None, no_deadline)
    before = threading.active_count()
    workers([item()], None, no_deadline)
    assert threading.active_count() == before
    for _ in range(20):
        workers([item() for _ in range(10)], None, no_deadline)
    assert threading.active_count() == before + 2
    assert len(set(used)) <= 3


def test_no_items_need_no_work() -> None:
    Workers(3)([], lambda: 0.0, no_deadline)


def test_an_items_error_is_raised_when_every_item_has_ended() -> None:
    slow_ended = threading.Event()

    def broken() -> Iterator[None]:
        yield
        raise SimulatedCrash

    def slow() -> Iterator[None]:
        yield
        slow_ended.set()

    with pytest.raises(SimulatedCrash):
        Workers(2)([broken(), slow()], None, no_deadline)
    assert slow_ended.is_set()


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
