"""The formulas of bench/capacity.py beside the simulation, and docs/capacity.md beside the formulas.

The simulation has one shard, and a handler waits instead of computing: one worker stands for a vCPU. Not simulated:
throttling, cold starts, the time between Lambda and the function. Seconds are those of the simulation's clock.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, inf
from random import Random
from typing import Any

import pytest

from bench import capacity
from bench.capacity import Consumer, Handler, hold_reads, items_a_minute, plan, turn_seconds
from bench.questions import capacity as capacity_page
from bench.questions.cost import Meter, size
from bench.questions.drain import fill
from bench.simulation import MAPPING, InvocationResult, MappingSimulation, Traffic, returned
from bench.virtual import VirtualFunction
from handler.stream.change import Change
from infra.settings import Tuning
from tests.fakes.aws import Clock, silence
from tests.fakes.records import START, number_of, record

SHORT, LONG = Handler("5 ms", 0.005, 0.0), Handler("50 ms", 0.05, 0.0)


@dataclass(frozen=True)
class Simulated:
    """What a simulation of some seconds shows."""

    changes: int
    batches: float
    concurrency: float
    read_units: float
    latest_seconds: float


def random_changes(rate: float, seconds: float, items: int) -> Iterator[tuple[float, int]]:
    rng, now, number = Random(1), START, 0
    while (now := now + rng.expovariate(rate)) < START + seconds:
        yield now, number % items
        number += 1


def simulate(consumer: Consumer, seconds: float, items: int = 10**9) -> Simulated:
    """Run a consumer of one shard, whose changes come at random, each of another item unless set otherwise."""
    sizes, meter, busy = consumer.tuning, Meter(), list[float]()
    traffic = Traffic(random_changes(consumer.rate, seconds, items))

    def handle(change: Change, clock: Clock) -> None:
        clock.advance(consumer.handler.seconds)
        traffic.apply(number_of(change.record), clock.now)

    function = VirtualFunction(handle, meter, workers=sizes.workers)

    def invoke(records: Sequence[Mapping[str, Any]], now: float) -> tuple[InvocationResult, float]:
        answer, end = function({"Records": list(records)}, now)
        busy.append(end - now)
        return returned(answer, end)

    mapping = {
        "BatchSize": sizes.batch_size,
        "ParallelizationFactor": sizes.parallelization_factor,
        "MaximumBatchingWindowInSeconds": sizes.maximum_batching_window_in_seconds,
    }
    with silence():
        MappingSimulation(traffic, MAPPING | mapping, invoke).run()
    # At the end, a window waits for changes that do not come.
    last = START + seconds - sizes.maximum_batching_window_in_seconds
    latest = traffic.lateness(lambda number: traffic.created[number] < last)[-1]
    return Simulated(
        len(traffic.created), len(busy) / seconds, sum(busy) / seconds, meter.units["read units"] / seconds, latest
    )


def consumer(rate: float, handler: Handler, **sizes: int) -> Consumer:
    return Consumer(rate, handler, 1, Tuning.model_validate(sizes))


# The page


def test_the_page_has_the_figures_of_the_module() -> None:
    """Write them with `python -m bench.questions.capacity`."""
    page = capacity_page.PAGE.read_text(encoding="utf-8")
    assert capacity_page.filled(page) == page


def test_a_page_without_a_ceiling_is_refused() -> None:
    page = capacity_page.PAGE.read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="0 places"):
        capacity_page.filled(page.replace("| claims |", "| claim |"))


# The steady state


@pytest.mark.parametrize(
    ("case", "seconds"),
    [
        (consumer(2.5, SHORT), 80),
        (consumer(25, SHORT), 40),
        (consumer(250, LONG, parallelization_factor=10), 6),
        (consumer(1_000, SHORT, parallelization_factor=4), 3),
        (consumer(1_000, LONG, parallelization_factor=10), 3),
        (consumer(150, LONG), 15),
        (consumer(100, SHORT, batch_size=1_000, maximum_batching_window_in_seconds=2), 30),
        (consumer(100, SHORT, batch_size=200, maximum_batching_window_in_seconds=5), 30),
        (consumer(2, SHORT, maximum_batching_window_in_seconds=5), 60),
    ],
    ids=lambda value: f"{value.rate:g}/s" if isinstance(value, Consumer) else "",
)
def test_a_steady_consumer(case: Consumer, seconds: float) -> None:
    simulated = simulate(case, seconds)
    assert simulated.batches == pytest.approx(case.batches, rel=0.12)
    assert simulated.concurrency == pytest.approx(case.concurrency, rel=0.12)
    assert simulated.read_units == capacity.LEDGER_CALLS * simulated.batches
    assert 0.6 * case.latest_seconds < simulated.latest_seconds < 1.05 * case.latest_seconds


def test_computing_is_as_slow_as_one_worker() -> None:
    """A vCPU computes for one change after the other, however many workers wait."""
    case = consumer(200, Handler("computes", 0.0033, 0.0033), memory_size=1769)
    simulated = simulate(replace(case, tuning=Tuning(workers=1)), 10)
    assert simulated.concurrency == pytest.approx(case.concurrency, rel=0.1)
    assert simulated.latest_seconds < 1.05 * case.latest_seconds


def test_half_a_vcpu_takes_twice_as_long() -> None:
    computes = Handler("computes", 0.0, 0.002)
    whole, half = (consumer(10, computes, memory_size=size).batch_seconds(100) for size in (1_770, 885))
    calls = capacity.LEDGER_CALLS * capacity.CALL_SECONDS
    assert half - calls == pytest.approx(2 * (whole - calls), rel=0.01)


# Above the capacity


def test_a_consumer_above_its_capacity_falls_behind() -> None:
    case, seconds = consumer(250, LONG), 10
    assert case.load > 1
    simulated = simulate(case, seconds)
    behind = simulated.changes / case.capacity - seconds  # the last change waits for the changes before it
    assert simulated.latest_seconds == pytest.approx(behind, abs=0.5)


def test_one_item_is_as_fast_as_its_handler() -> None:
    """Its changes run one after the other; the ledger's two reads a batch come on top."""
    case, seconds = consumer(250, SHORT), 10
    one_after_the_other = case.rate * (SHORT.seconds + 2 * capacity.CALL_SECONDS / case.tuning.batch_size)
    behind = seconds * (one_after_the_other - 1)
    assert simulate(case, seconds, items=1).latest_seconds == pytest.approx(behind, abs=0.5)


def test_time_until_loss_and_until_caught_up() -> None:
    slow = consumer(200, LONG)
    twice, half = (replace(slow, rate=factor * slow.capacity) for factor in (2, 0.5))
    assert (twice.seconds_until_loss(), half.seconds_until_loss()) == (pytest.approx(2 * 86_100), inf)
    assert (twice.catch_up_seconds(60), half.catch_up_seconds(60)) == (inf, pytest.approx(60))


# The ledger


@pytest.mark.parametrize("rows", [0, 1, 50, 99, 100, 300])
def test_what_a_batch_reads_of_the_holds(rows: int) -> None:
    meter, items = Meter(), 40
    function = VirtualFunction(lambda _, __: None, meter)
    fill(function.tables, rows, 1, START)
    event = {"Records": [record(10**6 + number, f"other-{number}", at=START) for number in range(items)]}
    with silence():
        function(event, START)
    of_the_note = 1
    assert 0 <= hold_reads(rows, items) + of_the_note - meter.units["read units"] <= 1


def test_the_bytes_of_a_hold_row() -> None:
    function = VirtualFunction(lambda _, __: None)
    fill(function.tables, 1, 1_000, START)
    [row] = function.tables["ledger"]["hold#consumer"].values()
    assert 0.8 * capacity.HOLD_ROW_BYTES < size(row) <= capacity.HOLD_ROW_BYTES


def test_the_writes_of_a_failing_change_to_the_partition_of_the_holds() -> None:
    writes, failed = Counter[str](), False

    def ignore(_: object) -> None:
        """Take an answer."""

    def observe(operation: str, request: Mapping[str, Any], _: object) -> Callable[[object], None]:
        writes[operation] += request.get("Key", {}).get("pk") == {"S": "hold#consumer"}
        return ignore

    def fail_once(_: Change, __: Clock) -> None:
        nonlocal failed
        if function.invocations == 0:
            failed = True
            raise ValueError

    function = VirtualFunction(fail_once, observe)
    with silence():
        function({"Records": [record(1, at=START)]}, START)
        function.retry(START + 120)
        function.retry(START + 7_200)
    assert failed
    assert not function.tables["ledger"]["hold#consumer"]
    assert writes.total() == capacity.HOLD_WRITES


@pytest.mark.parametrize("changes", [1, 25, 60])
def test_the_seconds_of_a_turn(changes: int) -> None:
    function = VirtualFunction(lambda _, clock: clock.advance(SHORT.seconds))
    fill(function.tables, 1, changes, START)
    with silence():
        function.retry(START)
    of_the_rows = capacity.CALL_SECONDS  # the run reads them before its first turn
    assert function.seconds - of_the_rows == pytest.approx(turn_seconds(changes, SHORT.seconds), abs=0.001)


@pytest.mark.parametrize(("items", "changes", "seconds"), [(400, 1, 2.0), (700, 1, 2.0), (300, 3, 1.0)])
def test_how_many_items_the_runs_of_a_minute_release(items: int, changes: int, seconds: float) -> None:
    function = VirtualFunction(lambda _, clock: clock.advance(seconds))
    fill(function.tables, items, changes, START)
    with silence():
        function.retry(START)
    released = sum(row["state"]["S"] == "done" for row in function.tables["ledger"]["hold#consumer"].values())
    runs = ceil(items / capacity.ITEMS_PER_RUN)
    assert released == pytest.approx(items_a_minute(changes, seconds, runs), rel=0.05)


# Plans


@pytest.mark.parametrize("handler", capacity.HANDLERS, ids=lambda handler: handler.name)
def test_plans_keep_to_their_share_of_the_ceilings(handler: Handler) -> None:
    for rate in capacity.RATES:
        planned = plan(rate, handler)
        assert planned.load <= capacity.PLANNED_LOAD
        assert planned.read_units / capacity.LEDGER_CALLS <= capacity.PLANNED_LOAD * capacity.PARTITION_READS
        assert planned.rate / planned.shards <= capacity.PARTITION_WRITES
        assert planned.changes <= planned.tuning.batch_size


def test_from_which_rate_on_failures_are_beyond_a_partition() -> None:
    """The page says so below its table."""
    reads = {rate: plan(rate, capacity.HANDLERS[0]).hold_reads for rate in capacity.RATES}
    assert min(rate for rate, units in reads.items() if units > capacity.PARTITION_READS) == 10_000


def test_a_handler_that_is_too_slow_has_no_plan() -> None:
    with pytest.raises(ValueError, match="too slow"):
        plan(1_000_000, Handler("1 s", 1.0, 0.0))


def test_the_text_of_figures() -> None:
    figures = (0.254, 12.34, 123.4, 2_777.8, 1_620_000.0, 4_096, "x")
    assert [capacity_page.text(each) for each in figures] == ["0.25", "12.3", "123", "2,780", "1,620,000", "4,096", "x"]
