"""The batches that a mapping delivers, and when: sizes, windows, filters and concurrent batches."""

from typing import Any

import pytest

from sandbox.mapping.configuration import Assumptions
from sandbox.mapping.machine import PAYLOAD_BYTES
from sandbox.mapping.protocol import AGE_EXCEEDED
from tests.fakes.stream import change
from tests.sandbox.mapping.mapping_driver import PARTIAL, Driver, filled, numbers_of, partial

WINDOW: dict[str, Any] = {"MaximumBatchingWindowInSeconds": 5}


@pytest.mark.parametrize(
    ("options", "megabytes", "at_once", "after_window"),
    [
        ({"BatchSize": 3}, [0] * 7, [[1, 2, 3], [4, 5, 6], [7]], []),
        ({}, [2, 2, 2, 2], [[1, 2, 3], [4]], []),
        ({}, [7, 0], [[1], [2]], []),
        ({**WINDOW, "BatchSize": 2}, [0, 0, 0], [[1, 2]], [[3]]),
        (WINDOW, [2, 2, 2, 2], [[1, 2, 3]], [[4]]),
    ],
    ids=["by count", "by bytes", "a record above the limit is alone", "full by count", "full by bytes"],
)
def test_a_batch_ends_at_its_size_and_a_full_batch_does_not_wait_for_the_window(
    options: dict[str, Any], megabytes: list[int], at_once: list[list[int]], after_window: list[list[int]]
) -> None:
    assert 6_000_000 < PAYLOAD_BYTES < 7_000_000
    driver = Driver(options)
    changes = [change(each, image={"v": {"S": "x" * size * 1_000_000}}) for each, size in enumerate(megabytes, 1)]
    assert driver.run(*changes, until=0).invoked == at_once
    assert driver.run(until=5).invoked == at_once + after_window


def test_a_new_mapping_has_processed_no_records_and_is_ok_later() -> None:
    driver = Driver()
    assert driver.mapping.last_result == "No records processed"
    assert driver.run(change(1), until=0).mapping.last_result == "OK"


def test_a_shard_is_read_four_times_a_second_at_its_end() -> None:
    driver = Driver().run(until=0)
    assert driver.run(change(1), until=0.24).invoked == []
    assert driver.run(until=0.25).invoked == [[1]]


@pytest.mark.parametrize(("first_at", "ends_at"), [(0, 5), (7, 12.25)])
def test_a_window_begins_with_the_first_record_and_gathers_records_until_its_end(
    first_at: float, ends_at: float
) -> None:
    """A record that is put at 7 s is read at 7.25 s."""
    driver = Driver({"BatchSize": 10, **WINDOW})
    if first_at:
        driver.run(until=first_at)
    driver.run(change(1), until=first_at + 4).run(change(2), until=first_at + 4.9)
    assert driver.invoked == []
    assert driver.run(until=ends_at).invoked == [[1, 2]]


@pytest.mark.parametrize(("invoke_on_empty_window", "invocations"), [(False, 0), (True, 2)])
def test_a_window_without_records(*, invoke_on_empty_window: bool, invocations: int) -> None:
    """AWS does not document this: both readings."""
    driver = Driver(WINDOW, assumptions=Assumptions(invoke_on_empty_window=invoke_on_empty_window), now=100)
    assert driver.run(until=106).invoked == [[]] * invocations


def test_a_record_beyond_its_age_is_discarded_in_the_window_and_the_others_wait() -> None:
    options = {"BatchSize": 3, "MaximumBatchingWindowInSeconds": 100, "MaximumRecordAgeInSeconds": 60}
    driver = Driver(options, stream=filled(1)).run(until=50)
    assert driver.run(change(2, at=50), until=59).discards == []
    assert driver.run(until=99).discards == [(AGE_EXCEEDED, [1], 1)]
    assert driver.invoked == []
    assert driver.run(until=100).invoked == [[2]]


def test_batches_are_filled_with_records_that_match_the_filter() -> None:
    changes = (change(number, name="INSERT" if number % 2 else "MODIFY") for number in range(1, 9))
    inserts = {"FilterCriteria": {"Filters": [{"Pattern": '{"eventName": ["INSERT"]}'}]}}
    assert Driver({"BatchSize": 3, **inserts}).run(*changes, until=0).invoked == [[1, 3, 5], [7]]


def test_concurrent_batches_keep_the_order_of_an_item() -> None:
    driver = Driver({"BatchSize": 2, "ParallelizationFactor": 4})
    driver.hold = True
    driver.run(*(change(number, item=f"item-{number % 4}") for number in range(1, 17)), until=0)
    batches = numbers_of(driver.held)
    assert len(batches) > 1
    items = [{number % 4 for number in numbers} for numbers in batches]
    assert all(not one & other for index, one in enumerate(items) for other in items[:index])
    while driver.held:
        driver.answer(driver.held[0])
        driver.run(until=0)
    for item in range(4):
        delivered = [number for numbers in driver.invoked for number in numbers if number % 4 == item]
        assert delivered == [number for number in range(1, 17) if number % 4 == item]


def test_a_failing_batch_does_not_hold_concurrent_batches() -> None:
    driver = Driver({"BatchSize": 1, "ParallelizationFactor": 10, **PARTIAL}, partial(1), stream=filled(30))
    driver.run(until=0)
    assert len({number for numbers in driver.invoked for number in numbers}) > 20
    assert driver.mapping.due() == 0.25


def test_a_new_batch_size_applies_to_unsettled_records() -> None:
    driver = Driver({"BatchSize": 4, **PARTIAL}, partial(2), stream=filled(4)).run(until=0)
    assert driver.run(until=0.5, BatchSize=2).invoked == [[1, 2, 3, 4], [2, 3]]


def test_a_new_parallelization_factor_repeats_no_settled_record() -> None:
    options = {"BatchSize": 10, "ParallelizationFactor": 10, **PARTIAL}
    driver = Driver(options, partial(1), stream=filled(20)).run(until=0)
    unsettled = next(numbers for numbers in driver.invoked if 1 in numbers)
    before = len(driver.invoked)
    assert driver.run(until=0, ParallelizationFactor=1).invoked[before:] == [unsettled]
