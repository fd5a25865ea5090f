"""The threads of a function: how many, for how long, and what becomes of an error."""

import threading
from collections.abc import Iterator

import pytest

from handler.stream.engine.workers import SimulatedCrash, Workers


def no_last_words() -> None:
    raise AssertionError("nothing was left unfinished")


def test_items_run_at_once_and_each_in_its_own_order() -> None:
    meeting, seen = threading.Barrier(4), list[tuple[int, int]]()

    def item(name: int) -> Iterator[None]:
        for step in range(3):
            yield
            meeting.wait(timeout=10)  # breaks unless all four are here
            seen.append((name, step))

    Workers(4)([item(name) for name in range(4)], None, no_last_words)
    assert sorted(seen) == [(name, step) for name in range(4) for step in range(3)]
    for name in range(4):
        assert [step for other, step in seen if other == name] == [0, 1, 2]


def test_threads_are_made_once_and_no_more_than_items() -> None:
    workers, used = Workers(3), list[int]()

    def item() -> Iterator[None]:
        yield
        used.append(threading.get_ident())

    workers([item()], None, no_last_words)
    before = threading.active_count()
    workers([item()], None, no_last_words)
    assert threading.active_count() == before
    for _ in range(20):
        workers([item() for _ in range(10)], None, no_last_words)
    assert threading.active_count() == before + 2
    assert len(set(used)) <= 3


def test_no_items_are_no_work() -> None:
    Workers(3)([], lambda: 0.0, no_last_words)


def test_an_items_error_is_raised_when_every_item_has_ended() -> None:
    gone_on = threading.Event()

    def broken() -> Iterator[None]:
        yield
        raise SimulatedCrash

    def slow() -> Iterator[None]:
        yield
        gone_on.set()

    with pytest.raises(SimulatedCrash):
        Workers(2)([broken(), slow()], None, no_last_words)
    assert gone_on.is_set()


def test_last_words_are_spoken_once_and_then_the_handlers_are_waited_for() -> None:
    spoken, ended, asked = list[str](), list[str](), list[float]()
    go_on = threading.Event()

    def item(name: str) -> Iterator[None]:
        yield
        go_on.wait(timeout=10)
        ended.append(name)

    def left() -> float:
        asked.append(0.0)
        return 0.0

    def last_words() -> None:
        assert ended == []
        spoken.append("last words")
        go_on.set()

    Workers(2)([item("a"), item("b")], left, last_words)
    assert spoken == ["last words"]
    assert len(asked) == 1
    assert sorted(ended) == ["a", "b"]
