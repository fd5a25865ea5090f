"""The least time that a full batch takes, by the CPU time and the waiting time of its changes.

CPU times are those of the function's process for one change in a batch of 100. Two measurements of November 2026, on
different machines, differ by a factor of two to three. These constants are the larger figures, since Lambda does not
say which processor it uses. `python -m bench sizes` measures again: an AMD EPYC took 0.1 ms for a log line, 1.0 to
1.2 ms for a write, and 1.9 to 2.3 ms for a claim.
"""

VCPU_MEMORY = 1_769
"""MB of memory that give a function one vCPU; less memory gives a proportional share (Lambda's guide,
configuration-memory, November 2026). Python runs one thread at a time, so a second vCPU adds almost nothing."""

LOG_SECONDS = 0.0002
"""CPU time of a change whose effect is a log line."""
WRITE_SECONDS = 0.0033
"""CPU time of a change whose effect is one write to DynamoDB, for example by `put_if_newer`."""
CLAIM_SECONDS = 0.0067
"""CPU time of a claim, which takes two calls of DynamoDB. Its effect adds about the time of a write for each call."""

CALL_SECONDS = 0.005
"""Time of a DynamoDB call in the same Region: single-digit milliseconds (DynamoDB's guide, November 2026)."""


def changes_a_second(memory_size: int, cpu_seconds: float) -> float:
    """Return the changes a second that a function of `memory_size` MB processes if it never waits."""
    return min(1.0, memory_size / VCPU_MEMORY) / cpu_seconds


def batch_seconds(batch_size: int, memory_size: int, workers: int) -> float:
    """Return the least seconds that a full batch takes if each of its changes is one write to DynamoDB.

    The result is the larger of two bounds: the CPU time of all changes, and the waiting time of one worker.
    """
    return max(batch_size / changes_a_second(memory_size, WRITE_SECONDS), batch_size * CALL_SECONDS / workers)
