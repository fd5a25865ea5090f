"""What a mapping delivers, when, and from where: batches, windows, lanes, shards, positions."""

from typing import Any

import pytest
from pydantic import ValidationError

from sandbox.mapping.configuration import Assumptions
from sandbox.mapping.machine import PAYLOAD_BYTES, RETENTION_SECONDS
from sandbox.mapping.protocol import AGE_EXCEEDED, RETENTION_PASSED, Invoke, Read, Returned
from tests.fakes.stream import Stream, change
from tests.sandbox.mapping.mapping_driver import DELAYED, Driver, configuration, numbers_of, partial

PARTIAL: dict[str, Any] = {"FunctionResponseTypes": ["ReportBatchItemFailures"]}
INSERTS: dict[str, Any] = {"FilterCriteria": {"Filters": [{"Pattern": '{"eventName": ["INSERT"]}'}]}}


def filled(count: int, **options: Any) -> Stream:
    stream = Stream()
    stream.put(*(change(number, item=f"item-{number}", **options) for number in range(1, count + 1)))
    return stream


def test_records_are_delivered_in_stream_order_in_batches_of_the_batch_size() -> None:
    driver = Driver({"BatchSize": 3}, stream=filled(7))
    driver.run(until=0)
    assert driver.invoked == [[1, 2, 3], [4, 5, 6], [7]]


def test_defaults_are_those_of_aws() -> None:
    """Recorded on AWS: age and retries -1, parallelization 1, window 0; documented: batch size 100."""
    plain = configuration()
    assert (plain.maximum_record_age_in_seconds, plain.maximum_retry_attempts) == (-1, -1)
    assert (plain.parallelization_factor, plain.maximum_batching_window_in_seconds, plain.batch_size) == (1, 0, 100)


def test_a_new_mapping_has_processed_no_records_and_later_is_ok() -> None:
    driver = Driver()
    assert driver.mapping.last_result == "No records processed"
    driver.stream.put(change(1))
    driver.run(until=0)
    assert driver.mapping.last_result == "OK"


def test_a_shard_at_its_end_is_read_four_times_a_second() -> None:
    driver = Driver()
    driver.run(until=0)
    driver.stream.put(change(1))
    driver.run(until=0.24)
    assert driver.invoked == []
    driver.run(until=0.25)
    assert driver.invoked == [[1]]


def test_a_window_gathers_records_until_it_is_over() -> None:
    driver = Driver({"BatchSize": 10, "MaximumBatchingWindowInSeconds": 5}, stream=filled(1))
    driver.run(until=4)
    driver.stream.put(change(2))
    driver.run(until=4.9)
    assert driver.invoked == []
    driver.run(until=5)
    assert driver.invoked == [[1, 2]]


def test_a_window_begins_with_the_first_record_that_waits() -> None:
    driver = Driver({"BatchSize": 10, "MaximumBatchingWindowInSeconds": 5})
    driver.run(until=7)
    driver.stream.put(change(1))
    driver.run(until=11.9)
    assert driver.invoked == []
    driver.run(until=12.25)
    assert driver.invoked == [[1]]


def test_a_batch_that_is_full_by_bytes_waits_for_no_window() -> None:
    stream = Stream()
    stream.put(*(change(number, image={"v": {"S": "x" * 2_000_000}}) for number in range(1, 5)))
    driver = Driver({"MaximumBatchingWindowInSeconds": 5}, stream=stream)
    driver.run(until=0)
    assert driver.invoked == [[1, 2, 3]]
    driver.run(until=5)
    assert driver.invoked == [[1, 2, 3], [4]]


def test_a_full_batch_waits_for_no_window() -> None:
    driver = Driver({"BatchSize": 2, "MaximumBatchingWindowInSeconds": 5}, stream=filled(3))
    driver.run(until=0)
    assert driver.invoked == [[1, 2]]
    driver.run(until=5)
    assert driver.invoked == [[1, 2], [3]]


@pytest.mark.parametrize(("invoke_on_empty_window", "invoked"), [(False, 0), (True, 2)])
def test_a_window_without_records_invokes_or_not(*, invoke_on_empty_window: bool, invoked: int) -> None:
    """Not documented; the switch's two readings."""
    driver = Driver(
        {"MaximumBatchingWindowInSeconds": 5}, assumptions=Assumptions(invoke_on_empty_window=invoke_on_empty_window)
    )
    driver.now = 100
    driver.run(until=106)
    assert driver.invoked == [[]] * invoked


def test_a_batch_is_cut_where_its_payload_would_pass_6_mb() -> None:
    image = {"v": {"S": "x" * 2_000_000}}
    stream = Stream()
    stream.put(*(change(number, image=image) for number in range(1, 5)))
    driver = Driver(stream=stream)
    driver.run(until=0)
    assert 3 * 2_000_000 < PAYLOAD_BYTES < 4 * 2_000_000
    assert driver.invoked == [[1, 2, 3], [4]]


def test_a_record_larger_than_any_payload_still_goes_alone() -> None:
    stream = Stream()
    stream.put(change(1, image={"v": {"S": "x" * 7_000_000}}), change(2))
    driver = Driver(stream=stream)
    driver.run(until=0)
    assert driver.invoked == [[1], [2]]


def test_lanes_run_at_once_and_keep_the_order_of_an_item() -> None:
    stream = Stream()
    stream.put(*(change(number, item=f"item-{number % 4}") for number in range(1, 17)))
    driver = Driver({"BatchSize": 2, "ParallelizationFactor": 4}, stream=stream)
    driver.hold = True
    driver.run(until=0)
    running = driver.held
    lanes = numbers_of(running)
    assert len(lanes) > 1
    items = [{number % 4 for number in numbers} for numbers in lanes]
    assert all(not one & other for index, one in enumerate(items) for other in items[:index])
    while driver.held:
        driver.answer(driver.held[0])
        driver.run(until=0)
    for item in range(4):
        seen = [number for numbers in driver.invoked for number in numbers if number % 4 == item]
        assert seen == [number for number in range(1, 17) if number % 4 == item]


def test_a_failing_lane_holds_no_other() -> None:
    driver = Driver(
        {"BatchSize": 1, "ParallelizationFactor": 10, **PARTIAL},
        partial(1),
        stream=filled(30),
    )
    driver.run(until=0)
    delivered = {number for numbers in driver.invoked for number in numbers}
    assert len(delivered) > 20
    assert driver.mapping.due() == 0.25


def test_a_child_shard_is_read_after_its_parent_is_finished() -> None:
    """Also where the parent's last batch fails for a while."""
    stream = filled(2)
    stream.split("shard-0", "left", "right")
    stream.put(change(3), shard="left")
    stream.put(change(4), shard="right")
    failing = {1}
    driver = Driver(PARTIAL, lambda ns: partial(*failing)(ns), stream=stream)
    driver.run(until=1)
    assert driver.invoked == [[1, 2], [1, 2]]
    failing.clear()
    driver.run(until=2)
    assert driver.invoked == [[1, 2], [1, 2], [1, 2], [3], [4]]


def test_a_child_whose_parent_is_no_longer_listed_is_read() -> None:
    stream = Stream()
    stream.shards["shard-0"].parent = "long gone"
    stream.put(change(1))
    driver = Driver(stream=stream)
    driver.run(until=0)
    assert driver.invoked == [[1]]


def test_latest_starts_after_what_is_there_and_misses_nothing_that_comes() -> None:
    driver = Driver({"StartingPosition": "LATEST"}, stream=filled(2))
    driver.run(until=1)
    driver.stream.put(change(3))
    driver.run(until=2)
    assert driver.invoked == [[3]]


def test_latest_knows_its_place_before_anything_is_settled() -> None:
    """Disabled while the first batch has yet to succeed: it is delivered again, not skipped."""
    driver = Driver({"StartingPosition": "LATEST", **PARTIAL}, partial(3))
    driver.run(until=1)
    driver.stream.put(change(3))
    driver.run(until=1.3)
    driver.configure(Enabled=False)
    driver.run(until=20)
    driver.configure(Enabled=True)
    driver.run(until=20)
    assert driver.invoked == [[3], [3]]


@pytest.mark.parametrize(
    ("new_shards_start_at", "invoked"), [("TRIM_HORIZON", [[1], [2], [3]]), ("LATEST", [[1], [3]])]
)
def test_latest_in_shards_that_appear_later(new_shards_start_at: Any, invoked: list[list[int]]) -> None:
    """Not documented; the switch's two readings. Record 2 is there before the mapping has heard of its shard."""
    driver = Driver({"StartingPosition": "LATEST"}, assumptions=Assumptions(new_shards_start_at=new_shards_start_at))
    driver.run(until=1)
    driver.stream.put(change(1))
    driver.stream.split("shard-0", "child")
    driver.stream.put(change(2))
    driver.run(until=2)
    driver.stream.put(change(3))
    driver.run(until=3)
    assert driver.invoked == invoked


def test_a_disabled_mapping_keeps_its_position() -> None:
    driver = Driver({"BatchSize": 2}, stream=filled(2))
    driver.run(until=0)
    driver.configure(Enabled=False)
    driver.stream.put(change(3))
    driver.run(until=100)
    assert driver.invoked == [[1, 2]]
    driver.configure(Enabled=True)
    driver.run(until=101)
    assert driver.invoked == [[1, 2], [3]]


def test_what_runs_while_a_mapping_is_disabled_is_settled_by_its_answer() -> None:
    driver = Driver({"BatchSize": 2, **PARTIAL}, partial(2), stream=filled(3))
    driver.hold = True
    driver.run(until=0)
    driver.configure(Enabled=False)
    driver.run(until=1)
    driver.configure(Enabled=True)
    driver.run(until=2)
    assert driver.invoked == [[1, 2]]
    driver.answer(driver.held[0])
    driver.run(until=3)
    assert driver.invoked == [[1, 2], [2, 3]]


def test_a_new_batch_size_cuts_what_is_not_settled_anew() -> None:
    driver = Driver({"BatchSize": 4, **PARTIAL}, partial(2), stream=filled(4))
    driver.run(until=0)
    driver.configure(BatchSize=2)
    driver.run(until=0.5)
    assert driver.invoked == [[1, 2, 3, 4], [2, 3]]


def test_lanes_may_change_without_repeating_what_any_lane_has_settled() -> None:
    driver = Driver(
        {"BatchSize": 10, "ParallelizationFactor": 10, **PARTIAL},
        partial(1),
        stream=filled(20),
    )
    driver.run(until=0)
    unsettled = next(numbers for numbers in driver.invoked if 1 in numbers)
    before = len(driver.invoked)
    driver.configure(ParallelizationFactor=1)
    driver.run(until=0)
    assert driver.invoked[before:] == [unsettled]


@pytest.mark.parametrize(
    ("filtered_records_advance", "reread"), [(True, "AFTER_SEQUENCE_NUMBER"), (False, "TRIM_HORIZON")]
)
def test_filtered_records_and_the_checkpoint(*, filtered_records_advance: bool, reread: str) -> None:
    """Not documented; the switch's two readings. Either way a filtered record is never delivered."""
    driver = Driver(
        {"FilterCriteria": {"Filters": [{"Pattern": '{"eventName": ["REMOVE"]}'}]}},
        assumptions=Assumptions(filtered_records_advance=filtered_records_advance),
        stream=filled(3),
    )
    driver.run(until=0)
    driver.configure(BatchSize=7)
    actions = driver.mapping.advance(10)
    assert [getattr(action, "position").kind for action in actions] == [reread]  # noqa: B009 -- all are reads
    assert driver.invoked == []


def test_batches_are_filled_with_records_that_pass() -> None:
    stream = Stream()
    stream.put(*(change(number, name="INSERT" if number % 2 else "MODIFY") for number in range(1, 9)))
    driver = Driver({"BatchSize": 3, **INSERTS}, stream=stream)
    driver.run(until=0)
    assert driver.invoked == [[1, 3, 5], [7]]


@pytest.mark.parametrize(("resumes", "invoked"), [("TRIM_HORIZON", [[1], [3]]), ("LATEST", [[1]])])
def test_a_position_that_retention_has_passed(resumes: Any, invoked: list[list[int]]) -> None:
    """Not documented; the switch's two readings. Record 2 is lost in both, unseen by any metric."""
    driver = Driver(stream=filled(1), assumptions=Assumptions(resume_after_trim_at=resumes))
    driver.run(until=0)
    driver.configure(Enabled=False)
    driver.stream.put(change(2, at=10), change(3, at=RETENTION_SECONDS))
    driver.run(until=RETENTION_SECONDS + 100)
    driver.configure(Enabled=True)
    driver.run(until=RETENTION_SECONDS + 101)
    assert driver.invoked == invoked
    assert driver.gone == []


def test_where_reading_went_on_is_kept_like_any_position() -> None:
    """Disabled once more before anything newer is settled: nothing that came since is passed over."""
    driver = Driver(stream=filled(1), assumptions=Assumptions(resume_after_trim_at="LATEST"))
    driver.run(until=0)
    driver.configure(Enabled=False)
    driver.stream.put(change(2, at=10))
    driver.run(until=RETENTION_SECONDS + 100)
    driver.configure(Enabled=True)
    driver.run(until=RETENTION_SECONDS + 101)
    driver.configure(Enabled=False)
    driver.stream.put(change(3, at=RETENTION_SECONDS + 101))
    driver.configure(Enabled=True)
    driver.run(until=RETENTION_SECONDS + 102)
    assert driver.invoked == [[1], [3]]


def test_what_a_read_finds_that_was_asked_before_an_update_is_not_taken_in_twice() -> None:
    driver = Driver(stream=filled(2))
    mapping = driver.mapping
    mapping.advance(0)
    mapping.discover(driver.stream.lineage())
    [early] = mapping.advance(0)
    driver.configure(BatchSize=1)
    [late] = mapping.advance(0)
    assert isinstance(early, Read)
    assert isinstance(late, Read)
    for read in (early, late):
        mapping.receive(read, [change(1), change(2)], 0)
        mapping.skip_trimmed(read)
    for expected in ([1], [2]):
        [invocation] = mapping.advance(0)
        assert isinstance(invocation, Invoke)
        assert numbers_of([invocation]) == [expected]
        mapping.complete(invocation, Returned(None), 0)
    assert all(isinstance(action, Read) for action in mapping.advance(0))


def test_retention_takes_what_was_read_and_could_not_be_delivered() -> None:
    driver = Driver(
        PARTIAL,
        partial(1),
        assumptions=Assumptions(back_off=lambda tries: 3600.0),
        stream=filled(1),
        poll=3600,
    )
    driver.run(until=RETENTION_SECONDS - 1)
    assert driver.gone == []
    driver.run(until=RETENTION_SECONDS)
    assert driver.gone == [(RETENTION_PASSED, [1], 24)]


def test_what_passes_its_age_in_a_window_is_discarded_there_and_the_rest_waits_on() -> None:
    driver = Driver(
        {"BatchSize": 3, "MaximumBatchingWindowInSeconds": 100, "MaximumRecordAgeInSeconds": 60}, stream=filled(1)
    )
    driver.run(until=50)
    driver.stream.put(change(2, at=50))
    driver.run(until=59)
    assert driver.gone == []
    driver.run(until=99)
    assert driver.gone == [(AGE_EXCEEDED, [1], 1)]
    assert driver.invoked == []
    driver.run(until=100)
    assert driver.invoked == [[2]]


def test_all_that_is_due_is_known_beforehand() -> None:
    driver = Driver(stream=filled(1), assumptions=DELAYED)
    assert not driver.mapping.is_idle()
    driver.run(until=0)
    assert driver.mapping.is_drained(since=0)
    assert not driver.mapping.is_drained(since=0.1)
    assert driver.mapping.due() == 0.25


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("TumblingWindowInSeconds", 30),
        ("StartingPosition", "AT_TIMESTAMP"),
        ("BatchSize", 0),
        ("BatchSize", 10_001),
        ("MaximumBatchingWindowInSeconds", 301),
        ("ParallelizationFactor", 11),
        ("MaximumRetryAttempts", 10_001),
        ("MaximumRecordAgeInSeconds", 59),
        ("MaximumRecordAgeInSeconds", 604_801),
        ("FunctionResponseTypes", ["ReportNothing"]),
        ("FilterCriteria", {"Filters": [{"Pattern": "{}"}] * 6}),
        ("DestinationConfig", {"OnFailure": {"Destination": "arn:aws:kafka:eu-central-1:0:topic/t"}}),
        ("ProvisionedPollerConfig", {"MinimumPollers": 1}),
    ],
)
def test_what_aws_refuses_or_the_sandbox_does_not_imitate_is_refused_by_name(option: str, value: object) -> None:
    with pytest.raises(ValidationError, match=option):
        configuration(**{option: value})
