"""The defaults and bounds of a mapping's configuration, and the defaults of the assumptions."""

import dataclasses

import pytest
from pydantic import ValidationError

from sandbox.mapping.configuration import Assumptions
from tests.sandbox.mapping.mapping_driver import configuration


def test_defaults_are_those_of_aws() -> None:
    """Recorded on AWS: age and retries -1, parallelization 1, window 0; documented: batch size 100."""
    defaults = configuration()
    assert (defaults.maximum_record_age_in_seconds, defaults.maximum_retry_attempts) == (-1, -1)
    assert (defaults.parallelization_factor, defaults.maximum_batching_window_in_seconds) == (1, 0)
    assert defaults.batch_size == 100


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("TumblingWindowInSeconds", 30),
        ("StartingPosition", "AT_TIMESTAMP"),
        *(("BatchSize", 0), ("BatchSize", 10_001), ("MaximumRetryAttempts", 10_001)),
        ("MaximumBatchingWindowInSeconds", 301),
        ("ParallelizationFactor", 11),
        *(("MaximumRecordAgeInSeconds", 59), ("MaximumRecordAgeInSeconds", 604_801)),
        ("FunctionResponseTypes", ["ReportNothing"]),
        ("FilterCriteria", {"Filters": [{"Pattern": "{}"}] * 6}),
        ("DestinationConfig", {"OnFailure": {"Destination": "arn:aws:kafka:eu-central-1:0:topic/t"}}),
        ("ProvisionedPollerConfig", {"MinimumPollers": 1}),
    ],
)
def test_an_option_that_aws_refuses_or_the_sandbox_does_not_imitate_is_refused(option: str, value: object) -> None:
    with pytest.raises(ValidationError, match=option):
        configuration(**{option: value})


def test_each_assumption_has_its_likelier_reading_as_the_default() -> None:
    """Only this test pins the defaults, so that a change of one is a decision."""
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
    delays = [round(assumptions.back_off(attempts), 2) for attempts in (1, 2, 3, 8, 9, 100)]
    assert delays == [0.9, 1.53, 2.6, 36.93, 60, 60]
