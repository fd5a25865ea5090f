"""How a mapping retries and gives up: every line recorded on AWS, and both readings of what is not documented."""

import dataclasses
from itertools import pairwise
from typing import Any

import pytest

from sandbox.mapping.configuration import Assumptions
from sandbox.mapping.protocol import AGE_EXCEEDED, RETRIES_EXHAUSTED, Failed, InvocationResult, Returned, Throttled
from tests.fakes.records import sequence
from tests.fakes.stream import Stream, change
from tests.sandbox.mapping.mapping_driver import Driver, Function, partial

PARTIAL: dict[str, Any] = {"FunctionResponseTypes": ["ReportBatchItemFailures"]}


BISECT: dict[str, Any] = {"BisectBatchOnFunctionError": True}


def stream_of(*numbers: int, at: float = 0) -> Stream:
    stream = Stream()
    stream.put(*(change(number, at=at) for number in numbers))
    return stream


def fail(_: list[int]) -> InvocationResult:
    return Failed()


def failing_on(*numbers: int) -> Function:
    return lambda given: Failed() if set(given) & set(numbers) else Returned(None)


def answering(payload: object) -> Function:
    return lambda given: Returned(payload)


def in_turn(*answers: InvocationResult) -> Function:
    """Each answer once, then success."""
    left = iter(answers)
    return lambda given: next(left, Returned(None))


def test_progress_restarts_the_count_of_retries() -> None:
    """Recorded: the sixth record is delivered five times, and the destination counts four invocations."""
    driver = Driver({**PARTIAL, "BatchSize": 3, "MaximumRetryAttempts": 3}, partial(6), stream=stream_of(*range(1, 8)))
    driver.run(until=60)
    assert driver.invoked == [[1, 2, 3], [4, 5, 6], [6], [6], [6], [6], [7]]
    assert driver.gone == [(RETRIES_EXHAUSTED, [6], 4)]


def test_progress_after_tries_in_vain_restarts_the_count_too() -> None:
    answers = iter([Failed(), partial(2)([1, 2])])
    driver = Driver(
        {**PARTIAL, "MaximumRetryAttempts": 1}, lambda given: next(answers, Failed()), stream=stream_of(1, 2)
    )
    driver.run(until=60)
    assert driver.invoked == [[1, 2], [1, 2], [2], [2]]
    assert driver.gone == [(RETRIES_EXHAUSTED, [2], 2)]


def test_invocations_without_progress_are_one_and_the_retries() -> None:
    driver = Driver({"MaximumRetryAttempts": 2}, fail, stream=stream_of(1, 2))
    driver.run(until=60)
    assert driver.invoked == [[1, 2]] * 3
    assert [attempt for _, attempt in driver.attempts] == [1, 2, 3]
    assert driver.gone == [(RETRIES_EXHAUSTED, [1, 2], 3)]
    assert driver.mapping.last_result == "PROBLEM: Function call failed"


def test_without_retries_a_failure_is_final() -> None:
    driver = Driver({"MaximumRetryAttempts": 0}, fail, stream=stream_of(1))
    driver.run(until=60)
    assert driver.gone == [(RETRIES_EXHAUSTED, [1], 1)]


@pytest.mark.parametrize("identifier", [123, "", None, "unknown", [sequence(2)]])
def test_an_identifier_of_no_record_fails_the_whole_batch(identifier: object) -> None:
    """Recorded: it ends at the destination as an exception does, but without a function error."""
    payload = {"batchItemFailures": [{"itemIdentifier": sequence(2)}, {"itemIdentifier": identifier}]}
    driver = Driver({**PARTIAL, "MaximumRetryAttempts": 1}, answering(payload), stream=stream_of(1, 2))
    driver.run(until=60)
    assert driver.invoked == [[1, 2]] * 2
    assert driver.gone == [(RETRIES_EXHAUSTED, [1, 2], 2)]
    assert driver.discarded[0].function_error is None


@pytest.mark.parametrize("failure", [{"foo": sequence(2)}, {"foo": None}, {}, sequence(2), None])
def test_an_item_without_an_identifier_fails_the_whole_batch(failure: object) -> None:
    payload = {"batchItemFailures": [failure]}
    driver = Driver({**PARTIAL, "MaximumRetryAttempts": 0}, answering(payload), stream=stream_of(1, 2))
    driver.run(until=60)
    assert driver.gone == [(RETRIES_EXHAUSTED, [1, 2], 1)]


@pytest.mark.parametrize("payload", [None, {}, [], "", {"batchItemFailures": []}, {"batchItemFailures": None}])
def test_empty_answers_are_success(payload: object) -> None:
    driver = Driver(PARTIAL, answering(payload), stream=stream_of(1, 2))
    driver.run(until=60)
    assert (driver.invoked, driver.gone) == ([[1, 2]], [])


@pytest.mark.parametrize("payload", ["text", 7, [1], {"foo": []}, {"batchItemFailures": "text"}])
@pytest.mark.parametrize(("malformed_response_fails", "discards"), [(True, 1), (False, 0)])
def test_answers_of_a_shape_that_no_document_names(
    payload: object, *, malformed_response_fails: bool, discards: int
) -> None:
    """Not documented; the switch's two readings."""
    driver = Driver(
        {**PARTIAL, "MaximumRetryAttempts": 0},
        answering(payload),
        Assumptions(malformed_response_fails=malformed_response_fails),
        stream_of(1, 2),
    )
    driver.run(until=60)
    assert len(driver.gone) == discards


def test_without_report_batch_item_failures_an_answer_is_not_looked_at() -> None:
    payload = {"batchItemFailures": [{"itemIdentifier": sequence(1)}]}
    driver = Driver({}, answering(payload), stream=stream_of(1, 2))
    driver.run(until=60)
    assert driver.invoked == [[1, 2]]


def test_the_lowest_reported_record_is_the_checkpoint() -> None:
    """It and all after it are retried, those already successful included."""
    failing = [4, 2]
    driver = Driver(PARTIAL, lambda given: partial(*failing)(given), stream=stream_of(1, 2, 3, 4, 5))
    driver.run(until=0)
    failing.clear()
    driver.run(until=5)
    assert driver.invoked == [[1, 2, 3, 4, 5], [2, 3, 4, 5]]


def test_a_record_older_than_the_limit_is_discarded_untried() -> None:
    """Recorded: with a count of one; the younger ones of the batch are delivered."""
    stream = stream_of(1, 2, at=0)
    stream.put(change(3, at=90))
    driver = Driver({"MaximumRecordAgeInSeconds": 60}, stream=stream)
    driver.now = 100
    driver.run(until=100)
    assert driver.gone == [(AGE_EXCEEDED, [1, 2], 1)]
    assert driver.invoked == [[3]]


def test_unlimited_retries_end_with_the_age() -> None:
    """Recorded: eight invocations within an age of 60 s, a second or so apart at first, then more.

    And that the ninth is not waited for: the record was discarded after 60 to 71 s.
    """
    driver = Driver(
        {**PARTIAL, "MaximumRecordAgeInSeconds": 60, "BatchSize": 1}, partial(1), Assumptions(), stream_of(1)
    )
    driver.run(until=59)
    assert driver.gone == []
    driver.run(until=60)
    assert driver.gone == [(AGE_EXCEEDED, [1], 8)]
    times = [when for when, _ in driver.attempts]
    waits = [later - earlier for earlier, later in pairwise(times)]
    assert waits == sorted(waits)
    assert 0.5 < waits[0] < 1.5


def test_of_a_failing_batch_only_records_over_age_go() -> None:
    stream = stream_of(1, at=0)
    stream.put(change(2, at=30))
    driver = Driver({"MaximumRecordAgeInSeconds": 60}, failing_on(1), stream=stream)
    driver.now = 58
    driver.run(until=100)
    assert driver.invoked == [[1, 2], [1, 2], [2]]
    assert driver.gone == [(AGE_EXCEEDED, [1], 2)]


@pytest.mark.parametrize(("outcome", "failures"), [(Failed(), 2), (Throttled(), 1)])
def test_what_passes_its_age_while_it_waits_for_its_next_try_goes_then(
    outcome: InvocationResult, failures: int
) -> None:
    """The younger ones of its batch go on at once. Only tries that were invocations are counted."""
    stream = stream_of(1, at=0)
    stream.put(change(2, at=30))
    slowly = Assumptions(back_off=lambda tries: 40.0)
    driver = Driver({"MaximumRecordAgeInSeconds": 60}, in_turn(outcome, outcome), slowly, stream)
    driver.run(until=200)
    assert driver.gone == [(AGE_EXCEEDED, [1], failures)]
    assert driver.invoked == [[1, 2], [1, 2], [2]]
    assert [when for when, _ in driver.attempts] == [0, 40, 60]


def test_each_half_of_a_batch_is_discarded_at_its_own_age() -> None:
    stream = stream_of(1, at=0)
    stream.put(change(2, at=20))
    slowly = Assumptions(back_off=lambda tries: 90.0)
    driver = Driver({**BISECT, "MaximumRecordAgeInSeconds": 60}, fail, slowly, stream)
    driver.run(until=79)
    assert driver.gone == [(AGE_EXCEEDED, [1], 1)]
    driver.run(until=80)
    assert driver.gone == [(AGE_EXCEEDED, [1], 1), (AGE_EXCEEDED, [2], 1)]
    assert driver.invoked == [[1, 2]]


def test_retries_may_run_out_before_the_age() -> None:
    driver = Driver({"MaximumRecordAgeInSeconds": 60, "MaximumRetryAttempts": 2}, fail, stream=stream_of(1))
    driver.run(until=200)
    assert driver.gone == [(RETRIES_EXHAUSTED, [1], 3)]


@pytest.mark.parametrize(
    ("discard_rest_of_batch", "gone", "invoked"),
    [
        (True, [(RETRIES_EXHAUSTED, [2, 3], 2)], [[1, 2, 3], [2, 3], [2, 3]]),
        (False, [(RETRIES_EXHAUSTED, [2], 2)], [[1, 2, 3], [2, 3], [2, 3], [3]]),
    ],
)
def test_what_goes_along_with_a_checkpoint_that_fails_for_good(
    *, discard_rest_of_batch: bool, gone: list[Any], invoked: list[list[int]]
) -> None:
    """Not documented; the switch's two readings. What was before the checkpoint never goes."""
    driver = Driver(
        {**PARTIAL, "MaximumRetryAttempts": 1},
        partial(2),
        Assumptions(discard_rest_of_batch=discard_rest_of_batch),
        stream_of(1, 2, 3),
    )
    driver.run(until=60)
    assert (driver.gone, driver.invoked) == (gone, invoked)


def test_an_exception_takes_the_whole_batch_along() -> None:
    """No record is reported, so none is spared."""
    driver = Driver(
        {**PARTIAL, "MaximumRetryAttempts": 0}, fail, Assumptions(discard_rest_of_batch=False), stream_of(1, 2)
    )
    driver.run(until=60)
    assert driver.gone == [(RETRIES_EXHAUSTED, [1, 2], 1)]


def test_what_is_left_of_a_half_comes_before_the_other_half() -> None:
    stream = stream_of(1, at=0)
    stream.put(*(change(number, at=50) for number in (2, 3, 4)))
    driver = Driver({**BISECT, "MaximumRecordAgeInSeconds": 60}, in_turn(Failed()), stream=stream)
    driver.now = 59.5
    driver.run(until=100)
    assert driver.gone == [(AGE_EXCEEDED, [1], 1)]
    assert driver.invoked == [[1, 2, 3, 4], [2], [3, 4]]


def test_bisecting_finds_the_poison_and_delivers_the_rest() -> None:
    driver = Driver({**BISECT, "MaximumRetryAttempts": 1}, failing_on(3), stream=stream_of(1, 2, 3, 4))
    driver.run(until=60)
    assert driver.invoked == [[1, 2, 3, 4], [1, 2], [3, 4], [3], [3], [4]]
    assert driver.gone == [(RETRIES_EXHAUSTED, [3], 2)]


def test_splitting_consumes_no_retry() -> None:
    driver = Driver({**BISECT, "MaximumRetryAttempts": 0}, failing_on(1), stream=stream_of(1, 2, 3, 4))
    driver.run(until=60)
    assert driver.invoked == [[1, 2, 3, 4], [1, 2], [1], [2], [3, 4]]
    assert driver.gone == [(RETRIES_EXHAUSTED, [1], 1)]


@pytest.mark.parametrize(("halves_keep_failure_count", "alone"), [(True, 2), (False, 3)])
def test_halves_and_the_retries_already_spent(*, halves_keep_failure_count: bool, alone: int) -> None:
    """Not documented; the switch's two readings. The first answer spends a try without splitting anything."""
    answers = iter([partial(1)])
    driver = Driver(
        {**PARTIAL, **BISECT, "MaximumRetryAttempts": 2},
        lambda given: next(answers, failing_on(1))(given),
        Assumptions(halves_keep_failure_count=halves_keep_failure_count),
        stream_of(1, 2),
    )
    driver.run(until=60)
    assert driver.invoked == [[1, 2], [1, 2], *[[1]] * alone, [2]]


def test_with_partial_responses_a_batch_splits_at_the_reported_record() -> None:
    """A failure at the head splits nothing; halving happens only where the invocation itself fails."""
    driver = Driver(
        {**PARTIAL, **BISECT, "MaximumRetryAttempts": 1},
        partial(3),
        stream=stream_of(1, 2, 3, 4),
    )
    driver.run(until=60)
    assert driver.invoked == [[1, 2, 3, 4], [3, 4], [3, 4]]


def test_a_bad_identifier_is_halved_like_an_exception() -> None:
    payload = {"batchItemFailures": [{"itemIdentifier": "unknown"}]}
    driver = Driver(
        {**PARTIAL, **BISECT, "MaximumRetryAttempts": 0},
        answering(payload),
        stream=stream_of(1, 2),
    )
    driver.run(until=60)
    assert driver.invoked == [[1, 2], [1], [2]]


def test_throttling_consumes_no_retry() -> None:
    driver = Driver({"MaximumRetryAttempts": 1}, in_turn(*[Throttled()] * 5, Failed()), stream=stream_of(1))
    driver.run(until=60)
    assert len(driver.invoked) == 7
    assert driver.gone == []


def test_throttling_under_an_age_discards_records_untried() -> None:
    driver = Driver(
        {"MaximumRecordAgeInSeconds": 60, "MaximumRetryAttempts": 1}, lambda given: Throttled(), stream=stream_of(1)
    )
    driver.run(until=100)
    assert driver.gone == [(AGE_EXCEEDED, [1], 1)]


def test_after_progress_or_a_split_the_back_off_begins_anew() -> None:
    """A batch of what is left has been tried once, whatever came before."""
    growing = Assumptions(back_off=lambda tries: 10.0**tries)
    left = Driver(PARTIAL, lambda given: next(answers)(given), growing, stream_of(1, 2))
    answers = iter([partial(1), partial(1), partial(2), partial(2), partial()])
    left.run(until=1000)
    assert [when for when, _ in left.attempts] == [0, 10, 110, 120, 220]
    split = Driver(BISECT, in_turn(Failed(), Failed()), growing, stream_of(1, 2))
    split.run(until=1000)
    assert [when for when, _ in split.attempts] == [0, 10, 110, 110]


def test_what_aws_does_not_document_has_a_likelier_reading_as_its_default() -> None:
    """The one place that pins them: a change is a decision."""
    assumptions = Assumptions()
    assert dataclasses.asdict(assumptions) | {"back_off": None} == {
        "discard_rest_of_batch": True,
        "halves_keep_failure_count": True,
        "invoke_on_empty_window": False,
        "new_shards_start_at": "TRIM_HORIZON",
        "filtered_records_advance": True,
        "resume_after_trim_at": "TRIM_HORIZON",
        "malformed_response_fails": True,
        "back_off": None,
    }
    assert [round(assumptions.back_off(tries), 2) for tries in (1, 2, 3, 8, 9, 100)] == [0.9, 1.53, 2.6, 36.93, 60, 60]


@pytest.mark.parametrize("seconds", [1.0, 7.0])
def test_the_back_off_is_a_switch(seconds: float) -> None:
    driver = Driver(
        {"MaximumRetryAttempts": 2}, fail, Assumptions(back_off=lambda tries: seconds * tries), stream_of(1)
    )
    driver.run(until=100)
    assert [when for when, _ in driver.attempts] == [0, seconds, 3 * seconds]
