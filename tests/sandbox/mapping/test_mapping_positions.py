"""Where a mapping begins and continues to read: shards, starting positions, updates and retention."""

from typing import Any

import pytest

from sandbox.mapping.configuration import Assumptions
from sandbox.mapping.machine import RETENTION_SECONDS
from sandbox.mapping.protocol import RETENTION_PASSED, Describe, Invoke, Read, Returned
from tests.fakes.stream import change
from tests.sandbox.mapping.mapping_driver import PARTIAL, Driver, filled, numbers_of, partial

LATEST: dict[str, Any] = {"StartingPosition": "LATEST"}


def test_a_child_shard_is_read_after_its_parent_is_finished() -> None:
    """The parent's last batch fails for some time."""
    stream = filled(2)
    stream.split("shard-0", "left", "right")
    stream.put(change(3), shard="left")
    stream.put(change(4), shard="right")
    failing = {1}
    driver = Driver(PARTIAL, lambda numbers: partial(*failing)(numbers), stream=stream)
    assert driver.run(until=1).invoked == [[1, 2], [1, 2]]
    failing.clear()
    assert driver.run(until=2).invoked == [[1, 2], [1, 2], [1, 2], [3], [4]]


def test_a_child_shard_whose_parent_is_no_longer_listed_is_read() -> None:
    stream = filled(1)
    stream.shards["shard-0"].parent = "expired"
    assert Driver(stream=stream).run(until=0).invoked == [[1]]


def test_latest_begins_after_the_existing_records() -> None:
    assert Driver(LATEST, stream=filled(2)).run(until=1).run(change(3), until=2).invoked == [[3]]


def test_latest_has_a_position_before_any_record_is_settled() -> None:
    """The mapping is disabled before its first batch succeeds: it delivers the batch again, and skips none."""
    driver = Driver({**LATEST, **PARTIAL}, partial(3)).run(until=1).run(change(3), until=1.3)
    assert driver.run(until=20, Enabled=False).run(until=20, Enabled=True).invoked == [[3], [3]]


@pytest.mark.parametrize(
    ("new_shards_start_at", "invoked"), [("TRIM_HORIZON", [[1], [2], [3]]), ("LATEST", [[1], [3]])]
)
def test_latest_in_shards_that_appear_later(new_shards_start_at: Any, invoked: list[list[int]]) -> None:
    """AWS does not document this: both readings. Record 2 exists before the mapping discovers its shard."""
    driver = Driver(LATEST, assumptions=Assumptions(new_shards_start_at=new_shards_start_at)).run(until=1)
    driver.stream.put(change(1))
    driver.stream.split("shard-0", "child")
    assert driver.run(change(2), until=2).run(change(3), until=3).invoked == invoked


def test_a_disabled_mapping_keeps_its_position() -> None:
    driver = Driver({"BatchSize": 2}, stream=filled(2)).run(until=0)
    assert driver.run(change(3), until=100, Enabled=False).invoked == [[1, 2]]
    assert driver.run(until=101, Enabled=True).invoked == [[1, 2], [3]]


def test_an_invocation_that_runs_while_its_mapping_is_disabled_still_settles_records() -> None:
    driver = Driver({"BatchSize": 2, **PARTIAL}, partial(2), stream=filled(3))
    driver.hold = True
    driver.run(until=0).run(until=1, Enabled=False).run(until=2, Enabled=True)
    assert driver.invoked == [[1, 2]]
    driver.answer(driver.held[0])
    assert driver.run(until=3).invoked == [[1, 2], [2, 3]]


@pytest.mark.parametrize(
    ("filtered_records_advance", "reread"), [(True, "AFTER_SEQUENCE_NUMBER"), (False, "TRIM_HORIZON")]
)
def test_filtered_records_and_the_checkpoint(*, filtered_records_advance: bool, reread: str) -> None:
    """AWS does not document this: both readings. With either, no filtered record is delivered."""
    removals = {"FilterCriteria": {"Filters": [{"Pattern": '{"eventName": ["REMOVE"]}'}]}}
    assumptions = Assumptions(filtered_records_advance=filtered_records_advance)
    driver = Driver(removals, assumptions=assumptions, stream=filled(3)).run(until=0)
    driver.configure(BatchSize=7)
    [read] = driver.mapping.advance(10)
    assert isinstance(read, Read)
    assert read.position.kind == reread
    assert driver.invoked == []


@pytest.mark.parametrize(("resume_at", "invoked"), [("TRIM_HORIZON", [[1], [3]]), ("LATEST", [[1]])])
def test_a_position_that_retention_has_passed(resume_at: Any, invoked: list[list[int]]) -> None:
    """AWS does not document this: both readings. With either, record 2 is lost and no metric shows it."""
    driver = Driver(stream=filled(1), assumptions=Assumptions(resume_after_trim_at=resume_at)).run(until=0)
    driver.run(change(2, at=10), change(3, at=RETENTION_SECONDS), until=RETENTION_SECONDS + 100, Enabled=False)
    assert driver.run(until=RETENTION_SECONDS + 101, Enabled=True).invoked == invoked
    assert driver.discards == []


def test_the_position_after_retention_is_kept_like_any_other() -> None:
    """The mapping is disabled again before a later record is settled: it skips no later record."""
    driver = Driver(stream=filled(1), assumptions=Assumptions(resume_after_trim_at="LATEST")).run(until=0)
    driver.run(change(2, at=10), until=RETENTION_SECONDS + 100, Enabled=False)
    driver.run(until=RETENTION_SECONDS + 101, Enabled=True).configure(Enabled=False)
    driver.run(change(3, at=RETENTION_SECONDS + 101), until=RETENTION_SECONDS + 102, Enabled=True)
    assert driver.invoked == [[1], [3]]


def test_the_result_of_a_read_from_before_an_update_is_ignored() -> None:
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
        mapping.retry(read, 0)
    for expected in ([1], [2]):
        [invocation] = mapping.advance(0)
        assert isinstance(invocation, Invoke)
        assert numbers_of([invocation]) == [expected]
        mapping.complete(invocation, Returned(None), 0)
    assert all(isinstance(action, Read) for action in mapping.advance(0))


def test_retention_removes_records_that_were_read_and_could_not_be_delivered() -> None:
    slowly = Assumptions(back_off=lambda attempts: 3600.0)
    driver = Driver(PARTIAL, partial(1), slowly, filled(1), poll=3600)
    assert driver.run(until=RETENTION_SECONDS - 1).discards == []
    assert driver.run(until=RETENTION_SECONDS).discards == [(RETENTION_PASSED, [1], 24)]


def test_a_drained_mapping_is_next_due_at_its_next_read() -> None:
    driver = Driver(stream=filled(1))
    assert not driver.mapping.is_idle()
    assert driver.run(until=0).mapping.is_drained(since=0)
    assert not driver.mapping.is_drained(since=0.1)
    assert driver.mapping.due() == 0.25


def test_a_mapping_that_polls_slowly_can_be_told_to_read_now() -> None:
    driver = Driver(poll=2.0, stream=filled(1)).run(until=0)
    assert driver.mapping.due() == 2.0
    driver.mapping.read_now()
    assert driver.mapping.due() == 0.0


def test_a_failed_description_or_read_is_repeated_after_the_poll_interval_and_drains_nothing() -> None:
    mapping = Driver().mapping
    [describe] = mapping.advance(0)
    assert isinstance(describe, Describe)
    mapping.retry(describe, 0)
    assert (mapping.is_idle(), mapping.due(), mapping.advance(0.2)) == (False, 0.25, [])
    assert mapping.advance(0.25) == [describe]
    mapping.discover([("shard-0", None)])
    [read] = mapping.advance(0.3)
    assert isinstance(read, Read)
    mapping.retry(read, 0.3)
    assert (mapping.is_drained(since=0.3), mapping.due(), mapping.advance(0.5)) == (False, 0.55, [])
    [again] = mapping.advance(0.55)
    assert isinstance(again, Read)
    mapping.receive(again, [], 0.55)
    assert mapping.is_drained(since=0.55)
