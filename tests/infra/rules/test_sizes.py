"""The least time that a full batch takes, by both bounds."""

import pytest

from infra.rules.sizes import CLAIM_SECONDS, LOG_SECONDS, WRITE_SECONDS, batch_seconds, changes_a_second


@pytest.mark.parametrize(
    ("memory_size", "logged", "written", "claimed"),
    [
        (128, 362, 22, 11),
        (256, 724, 44, 22),
        (512, 1_447, 88, 43),
        (1_024, 2_894, 175, 86),
        (1_769, 5_000, 303, 149),
        (3_538, 5_000, 303, 149),  # Python uses one vCPU
    ],
)
def test_changes_a_second_by_memory(memory_size: int, logged: int, written: int, claimed: int) -> None:
    """README contains these figures."""
    kinds = (LOG_SECONDS, WRITE_SECONDS, CLAIM_SECONDS)
    assert [round(changes_a_second(memory_size, cpu)) for cpu in kinds] == [logged, written, claimed]


@pytest.mark.parametrize(
    ("batch_size", "memory_size", "workers", "least"),
    [
        (10_000, 128, 10, 456.1),
        (100, 512, 10, 1.1),
        (100, 256, 10, 2.3),
        (1, 128, 1, 0.0),
        (10_000, 10_240, 10, 33.0),  # the CPU's bound
        (10_000, 10_240, 1, 50.0),  # what one worker waits
    ],
)
def test_seconds_of_a_full_batch(batch_size: int, memory_size: int, workers: int, least: float) -> None:
    assert round(batch_seconds(batch_size, memory_size, workers), 1) == least
