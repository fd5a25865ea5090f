"""Runs overlap as the clock says, the same way every time, and errors end the whole history."""

import threading

import pytest

from tests.property.kernel import EndlessError, Kernel


def traced(kernel: Kernel, trace: list[tuple[float, str]], name: str, *naps: float) -> None:
    def body() -> None:
        for nap in naps:
            trace.append((kernel.now, name))
            kernel.sleep(nap)
        trace.append((kernel.now, f"{name} ends"))

    kernel.start(body)


def test_runs_overlap_without_nesting() -> None:
    """The first ends while the second goes on, and a third begins in between."""
    kernel, trace = Kernel(start=0.0), list[tuple[float, str]]()
    traced(kernel, trace, "a", 2, 2)
    kernel.at(1, lambda: traced(kernel, trace, "b", 4))
    kernel.at(3, lambda: traced(kernel, trace, "c", 9, 1))
    kernel.run()
    assert trace == [
        (0, "a"),
        (1, "b"),
        (2, "a"),
        (3, "c"),
        (4, "a ends"),
        (5, "b ends"),
        (12, "c"),
        (13, "c ends"),
    ]


def test_a_run_that_overlaps_nothing_costs_no_thread() -> None:
    kernel, trace = Kernel(start=0.0), list[tuple[float, str]]()
    threads = threading.active_count()
    traced(kernel, trace, "a", 1, 1)
    kernel.at(5, lambda: traced(kernel, trace, "b", 1))
    kernel.at(0.5, lambda: trace.append((kernel.now, "call")))
    kernel.at(3, lambda: trace.append((kernel.now, str(threading.active_count() - threads))))
    kernel.run()
    assert trace == [(0, "a"), (0.5, "call"), (1, "a"), (2, "a ends"), (3, "0"), (5, "b"), (6, "b ends")]


@pytest.mark.parametrize("where", ["call", "main", "other"])
def test_an_error_ends_everything_and_is_raised(where: str) -> None:
    kernel, trace = Kernel(start=0.0), list[tuple[float, str]]()
    threads = threading.active_count()

    def fail() -> None:
        raise KeyError(where)

    def body() -> None:
        kernel.sleep(1 if where == "main" else 3)
        fail()

    kernel.start(body)
    traced(kernel, trace, "a", 2, 2, 2)
    traced(kernel, trace, "b", 2, 2, 2)
    if where == "call":
        kernel.at(1, fail)
    with pytest.raises(KeyError, match=where):
        kernel.run()
    assert not any(name.endswith("ends") for _, name in trace)
    assert threading.active_count() == threads


def test_a_history_without_an_end_is_an_error() -> None:
    kernel = Kernel(start=0.0, most_events=50)

    def again() -> None:
        kernel.at(kernel.now + 1, again)

    again()
    with pytest.raises(EndlessError, match="50 s of simulated time"):
        kernel.run()
