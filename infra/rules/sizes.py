"""How long a full batch takes at least, by what its changes cost in CPU and in waiting.

The CPU is that of the function's process alone, for one change in a batch of 100. Two measurements of November 2026, on
different machines, differ by two to three times. The larger figures stand here, since nobody knows the processor that
Lambda gives. `python -m bench sizes` measures again: an AMD EPYC took 0.1 ms for a log line, 1.0 to 1.2 ms for a write,
and 1.9 to 2.3 ms for a claim.
"""

VCPU_MEMORY = 1_769
"""MB of memory with which a function has one vCPU; with less it has a share in proportion (Lambda's guide,
configuration-memory, November 2026). Python runs one thread at a time, so a second vCPU adds next to nothing."""

LOG_SECONDS = 0.0002
"""CPU of a change whose effect is a log line."""
WRITE_SECONDS = 0.0033
"""CPU of a change that is one write to DynamoDB: `put_if_newer`, a mirror."""
CLAIM_SECONDS = 0.0067
"""CPU of a claimed change, which is two calls of DynamoDB. Its effect comes on top: about a write's for each call."""

CALL_SECONDS = 0.005
"""A call of DynamoDB in the same Region: single-digit milliseconds (DynamoDB's guide, Introduction, November 2026)."""


def changes_a_second(memory_size: int, cpu_seconds: float) -> float:
    """Changes that a function of `memory_size` MB does in a second if it never waits: one lane, batch after batch."""
    return min(1.0, memory_size / VCPU_MEMORY) / cpu_seconds


def batch_seconds(batch_size: int, memory_size: int, workers: int) -> float:
    """How long a full batch takes at least if each of its changes is one write to DynamoDB.

    The result is the larger of two bounds: the CPU of all changes, and the waiting of one worker for its part of them.
    """
    return max(batch_size / changes_a_second(memory_size, WRITE_SECONDS), batch_size * CALL_SECONDS / workers)
