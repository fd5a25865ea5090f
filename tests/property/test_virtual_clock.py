"""Tasks overlap as the clock schedules them, the same way every time, and an error ends everything."""

import threading

import pytest

from tests.property.virtual_clock import EndlessError, VirtualClock


def traced(clock: VirtualClock, trace: list[tuple[float, str]], name: str, *naps: float) -> None:
    def body() -> None:
        for nap in naps:
            trace.append((clock.now, name))
            clock.sleep(nap)
        trace.append((clock.now, f"{name} ends"))

    clock.start(body)


def test_runs_overlap_without_nesting() -> None:
    """The first task ends while the second continues, and a third one begins in between."""
    clock, trace = VirtualClock(start=0.0), list[tuple[float, str]]()
    traced(clock, trace, "a", 2, 2)
    clock.at(1, lambda: traced(clock, trace, "b", 4))
    clock.at(3, lambda: traced(clock, trace, "c", 9, 1))
    clock.run()
    assert trace == [(0, "a"), (1, "b"), (2, "a"), (3, "c"), (4, "a ends"), (5, "b ends"), (12, "c"), (13, "c ends")]


def test_a_run_that_overlaps_nothing_costs_no_thread() -> None:
    clock, trace = VirtualClock(start=0.0), list[tuple[float, str]]()
    threads = threading.active_count()
    traced(clock, trace, "a", 1, 1)
    clock.at(5, lambda: traced(clock, trace, "b", 1))
    clock.at(0.5, lambda: trace.append((clock.now, "call")))
    clock.at(3, lambda: trace.append((clock.now, str(threading.active_count() - threads))))
    clock.run()
    assert trace == [(0, "a"), (0.5, "call"), (1, "a"), (2, "a ends"), (3, "0"), (5, "b"), (6, "b ends")]


@pytest.mark.parametrize("where", ["call", "main", "other"])
def test_an_error_ends_everything_and_is_raised(where: str) -> None:
    clock, trace = VirtualClock(start=0.0), list[tuple[float, str]]()
    threads = threading.active_count()

    def fail() -> None:
        raise KeyError(where)

    def body() -> None:
        clock.sleep(1 if where == "main" else 3)
        fail()

    clock.start(body)
    traced(clock, trace, "a", 2, 2, 2)
    traced(clock, trace, "b", 2, 2, 2)
    if where == "call":
        clock.at(1, fail)
    with pytest.raises(KeyError, match=where):
        clock.run()
    assert not any(name.endswith("ends") for _, name in trace)
    assert threading.active_count() == threads


def test_a_history_without_an_end_is_an_error() -> None:
    clock = VirtualClock(start=0.0, most_events=50)

    def again() -> None:
        clock.at(clock.now + 1, again)

    again()
    with pytest.raises(EndlessError, match="50 s of virtual time"):
        clock.run()
