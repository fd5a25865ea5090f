"""How a mapping retries and gives up, as recorded on AWS, with both readings of undocumented behaviour."""

from itertools import pairwise
from typing import Any

import pytest

from sandbox.mapping.configuration import Assumptions
from sandbox.mapping.protocol import AGE_EXCEEDED, RETRIES_EXHAUSTED, Failed, InvocationResult, Returned, Throttled
from tests.fakes.records import sequence
from tests.fakes.stream import Stream, change
from tests.sandbox.mapping.mapping_driver import DELAYED, PARTIAL, Driver, Function, partial

BISECT: dict[str, Any] = {"BisectBatchOnFunctionError": True}
AGE: dict[str, Any] = {"MaximumRecordAgeInSeconds": 60}


def retries(count: int) -> dict[str, Any]:
    return {"MaximumRetryAttempts": count}


def stream_of(*numbers: int, later_at: float = 0) -> Stream:
    """Return a stream with these records; record 1 is created at 0 s, the others at `later_at`."""
    stream = Stream()
    stream.put(*(change(number, at=later_at if number > 1 else 0) for number in numbers))
    return stream


def deliver(options: dict[str, Any], function: Function, *numbers: int, assumptions: Assumptions = DELAYED) -> Driver:
    """Run a mapping over these records for 200 s."""
    return Driver(options, function, assumptions, stream_of(*numbers)).run(until=200)


def fail(_: list[int]) -> InvocationResult:
    return Failed()


def failing_on(*numbers: int) -> Function:
    return lambda batch: Failed() if set(batch) & set(numbers) else Returned(None)


def answering(payload: object) -> Function:
    return lambda batch: Returned(payload)


def in_turn(*answers: InvocationResult) -> Function:
    """Return each answer once, then success."""
    left = iter(answers)
    return lambda batch: next(left, Returned(None))


def test_progress_restarts_the_count_of_retries() -> None:
    """Recorded: the sixth record is delivered five times, and the destination counts four invocations."""
    driver = deliver({**PARTIAL, "BatchSize": 3, **retries(3)}, partial(6), *range(1, 8))
    assert driver.invoked == [[1, 2, 3], [4, 5, 6], [6], [6], [6], [6], [7]]
    assert driver.discards == [(RETRIES_EXHAUSTED, [6], 4)]


def test_progress_after_failures_restarts_the_count_of_retries() -> None:
    answers = iter([Failed(), partial(2)([1, 2])])
    driver = deliver({**PARTIAL, **retries(1)}, lambda batch: next(answers, Failed()), 1, 2)
    assert driver.invoked == [[1, 2], [1, 2], [2], [2]]
    assert driver.discards == [(RETRIES_EXHAUSTED, [2], 2)]


@pytest.mark.parametrize("count", [0, 2])
def test_a_batch_without_progress_is_invoked_once_and_for_each_retry(count: int) -> None:
    driver = deliver(retries(count), fail, 1, 2)
    assert driver.invoked == [[1, 2]] * (count + 1)
    assert [attempt for _, attempt in driver.attempts] == list(range(1, count + 2))
    assert driver.discards == [(RETRIES_EXHAUSTED, [1, 2], count + 1)]
    assert driver.mapping.last_result == "PROBLEM: Function call failed"


@pytest.mark.parametrize(
    "failure",
    [
        *({"itemIdentifier": identifier} for identifier in (123, "", None, "unknown", [sequence(2)])),
        *({"foo": sequence(2)}, {"foo": None}, {}, sequence(2), None),
    ],
)
def test_a_failure_without_the_identifier_of_a_record_fails_the_whole_batch(failure: object) -> None:
    """Recorded: the batch goes to the destination as after an exception, but without a function error."""
    payload = {"batchItemFailures": [{"itemIdentifier": sequence(2)}, failure]}
    driver = deliver({**PARTIAL, **retries(1)}, answering(payload), 1, 2)
    assert driver.invoked == [[1, 2]] * 2
    assert driver.discards == [(RETRIES_EXHAUSTED, [1, 2], 2)]
    assert driver.discarded[0].function_error is None


@pytest.mark.parametrize("payload", [None, {}, [], "", {"batchItemFailures": []}, {"batchItemFailures": None}])
def test_an_empty_answer_is_success(payload: object) -> None:
    driver = deliver(PARTIAL, answering(payload), 1, 2)
    assert (driver.invoked, driver.discards) == ([[1, 2]], [])


@pytest.mark.parametrize("payload", ["text", 7, [1], {"foo": []}, {"batchItemFailures": "text"}])
@pytest.mark.parametrize(("malformed_response_fails", "discards"), [(True, 1), (False, 0)])
def test_an_answer_of_an_undocumented_shape(payload: object, *, malformed_response_fails: bool, discards: int) -> None:
    """AWS does not document this: both readings."""
    assumptions = Assumptions(malformed_response_fails=malformed_response_fails)
    driver = deliver({**PARTIAL, **retries(0)}, answering(payload), 1, 2, assumptions=assumptions)
    assert len(driver.discards) == discards


def test_without_report_batch_item_failures_the_answer_is_ignored() -> None:
    assert deliver({}, partial(1), 1, 2).invoked == [[1, 2]]


def test_the_lowest_reported_record_is_the_checkpoint() -> None:
    """The mapping retries it and all records after it, the successful ones included."""
    failing = [4, 2]
    driver = Driver(PARTIAL, lambda batch: partial(*failing)(batch), stream=stream_of(1, 2, 3, 4, 5)).run(until=0)
    failing.clear()
    assert driver.run(until=5).invoked == [[1, 2, 3, 4, 5], [2, 3, 4, 5]]


def test_a_record_beyond_the_age_limit_is_discarded_without_an_attempt() -> None:
    """Recorded: the destination counts one invocation, and the younger records of the batch are delivered."""
    driver = Driver(AGE, stream=stream_of(1, 2), now=100).run(change(3, at=90), until=100)
    assert driver.discards == [(AGE_EXCEEDED, [1, 2], 1)]
    assert driver.invoked == [[3]]


def test_unlimited_retries_end_at_the_age_limit() -> None:
    """Recorded: eight invocations within an age of 60 s, about 1 s apart at first, then more.

    The mapping does not wait for the ninth: it discarded the record after 60 to 71 s.
    """
    driver = Driver({**PARTIAL, **AGE, "BatchSize": 1}, partial(1), Assumptions(), stream_of(1))
    assert driver.run(until=59).discards == []
    assert driver.run(until=60).discards == [(AGE_EXCEEDED, [1], 8)]
    waits = [later - earlier for earlier, later in pairwise(when for when, _ in driver.attempts)]
    assert waits == sorted(waits)
    assert 0.5 < waits[0] < 1.5


def test_only_the_records_beyond_the_age_limit_leave_a_failing_batch() -> None:
    driver = Driver(AGE, failing_on(1), stream=stream_of(1, 2, later_at=30), now=58).run(until=100)
    assert driver.invoked == [[1, 2], [1, 2], [2]]
    assert driver.discards == [(AGE_EXCEEDED, [1], 2)]


@pytest.mark.parametrize(("result", "failures"), [(Failed(), 2), (Throttled(), 1)])
def test_a_record_is_discarded_at_its_age_limit_before_its_next_attempt(
    result: InvocationResult, failures: int
) -> None:
    """The younger records of its batch continue at once. The count does not include throttled attempts."""
    slowly = Assumptions(back_off=lambda attempts: 40.0)
    driver = Driver(AGE, in_turn(result, result), slowly, stream_of(1, 2, later_at=30)).run(until=200)
    assert driver.discards == [(AGE_EXCEEDED, [1], failures)]
    assert driver.invoked == [[1, 2], [1, 2], [2]]
    assert [when for when, _ in driver.attempts] == [0, 40, 60]


def test_each_half_of_a_batch_is_discarded_at_its_own_age_limit() -> None:
    slowly = Assumptions(back_off=lambda attempts: 90.0)
    driver = Driver({**BISECT, **AGE}, fail, slowly, stream_of(1, 2, later_at=20))
    assert driver.run(until=79).discards == [(AGE_EXCEEDED, [1], 1)]
    assert driver.run(until=80).discards == [(AGE_EXCEEDED, [1], 1), (AGE_EXCEEDED, [2], 1)]
    assert driver.invoked == [[1, 2]]


@pytest.mark.parametrize(
    ("discard_rest_of_batch", "discards", "invoked"),
    [
        (True, [(RETRIES_EXHAUSTED, [2, 3], 2)], [[1, 2, 3], [2, 3], [2, 3]]),
        (False, [(RETRIES_EXHAUSTED, [2], 2)], [[1, 2, 3], [2, 3], [2, 3], [3]]),
    ],
)
def test_the_rest_of_the_batch_when_a_partial_failure_runs_out_of_retries(
    *, discard_rest_of_batch: bool, discards: list[Any], invoked: list[list[int]]
) -> None:
    """AWS does not document this: both readings. With either, no record before the checkpoint is discarded."""
    assumptions = Assumptions(discard_rest_of_batch=discard_rest_of_batch)
    driver = deliver({**PARTIAL, **retries(1)}, partial(2), 1, 2, 3, assumptions=assumptions)
    assert (driver.discards, driver.invoked) == (discards, invoked)


def test_after_an_exception_the_whole_batch_is_discarded() -> None:
    """The function reports no record, so the mapping spares none."""
    assumptions = Assumptions(discard_rest_of_batch=False)
    driver = deliver({**PARTIAL, **retries(0)}, fail, 1, 2, assumptions=assumptions)
    assert driver.discards == [(RETRIES_EXHAUSTED, [1, 2], 1)]


def test_the_rest_of_a_half_is_delivered_before_the_other_half() -> None:
    stream = stream_of(1, 2, 3, 4, later_at=50)
    driver = Driver({**BISECT, **AGE}, in_turn(Failed()), stream=stream, now=59.5).run(until=100)
    assert driver.discards == [(AGE_EXCEEDED, [1], 1)]
    assert driver.invoked == [[1, 2, 3, 4], [2], [3, 4]]


BAD_IDENTIFIER = answering({"batchItemFailures": [{"itemIdentifier": "unknown"}]})


@pytest.mark.parametrize(
    ("options", "function", "numbers", "invoked", "discards"),
    [
        (retries(1), failing_on(3), 4, [[1, 2, 3, 4], [1, 2], [3, 4], [3], [3], [4]], [([3], 2)]),
        (retries(0), failing_on(1), 4, [[1, 2, 3, 4], [1, 2], [1], [2], [3, 4]], [([1], 1)]),
        ({**PARTIAL, **retries(1)}, partial(3), 4, [[1, 2, 3, 4], [3, 4], [3, 4]], [([3, 4], 2)]),
        ({**PARTIAL, **retries(0)}, BAD_IDENTIFIER, 2, [[1, 2], [1], [2]], [([1], 1), ([2], 1)]),
    ],
    ids=[
        "bisecting isolates the failing record",
        "bisecting consumes no retry",
        "a reported record splits the batch, and only a failed invocation halves it",
        "a bad identifier halves the batch as an exception does",
    ],
)
def test_bisecting(
    options: dict[str, Any], function: Function, numbers: int, invoked: Any, discards: list[Any]
) -> None:
    driver = deliver(BISECT | options, function, *range(1, numbers + 1))
    assert driver.invoked == invoked
    assert driver.discards == [(RETRIES_EXHAUSTED, *each) for each in discards]


@pytest.mark.parametrize(("halves_keep_failure_count", "alone"), [(True, 2), (False, 3)])
def test_halves_and_the_consumed_retries(*, halves_keep_failure_count: bool, alone: int) -> None:
    """AWS does not document this: both readings. The first answer consumes an attempt without splitting the batch."""
    answers = iter([partial(1)])
    options = {**PARTIAL, **BISECT, **retries(2)}
    assumptions = Assumptions(halves_keep_failure_count=halves_keep_failure_count)
    driver = deliver(options, lambda batch: next(answers, failing_on(1))(batch), 1, 2, assumptions=assumptions)
    assert driver.invoked == [[1, 2], [1, 2], *[[1]] * alone, [2]]


def test_throttling_consumes_no_retry() -> None:
    driver = deliver(retries(1), in_turn(*[Throttled()] * 5, Failed()), 1)
    assert len(driver.invoked) == 7
    assert driver.discards == []


def test_retries_may_run_out_before_the_age_limit_and_throttled_attempts_end_at_it() -> None:
    assert deliver({**AGE, **retries(2)}, fail, 1).discards == [(RETRIES_EXHAUSTED, [1], 3)]
    assert deliver({**AGE, **retries(1)}, lambda batch: Throttled(), 1).discards == [(AGE_EXCEEDED, [1], 1)]


def test_the_back_off_restarts_after_progress_or_a_split() -> None:
    """The rest of a batch counts as attempted once, however often its batch was attempted."""
    growing = Assumptions(back_off=lambda attempts: 10.0**attempts)
    answers = iter([partial(1), partial(1), partial(2), partial(2), partial()])
    progress = Driver(PARTIAL, lambda batch: next(answers)(batch), growing, stream_of(1, 2)).run(until=1000)
    assert [when for when, _ in progress.attempts] == [0, 10, 110, 120, 220]
    split = Driver(BISECT, in_turn(Failed(), Failed()), growing, stream_of(1, 2)).run(until=1000)
    assert [when for when, _ in split.attempts] == [0, 10, 110, 110]


@pytest.mark.parametrize("seconds", [1.0, 7.0])
def test_the_back_off_is_an_assumption(seconds: float) -> None:
    driver = deliver(retries(2), fail, 1, assumptions=Assumptions(back_off=lambda attempts: seconds * attempts))
    assert [when for when, _ in driver.attempts] == [0, seconds, 3 * seconds]
