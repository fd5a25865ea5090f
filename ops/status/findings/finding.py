"""A finding: something that is wrong, in words, with the command that helps."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

Section = Literal[
    "held",
    "many-held",
    "giving-up-soon",
    "not-retrying",
    "parked",
    "late",
    "losing-soon",
    "lost",
    "discarded",
    "broken",
    "throttled",
    "near-the-time-out",
    "nothing-read",
    "tables-and-ledger",
]
"""The runbook's section about a fault."""

REDEPLOY = "pulumi up --refresh"
"""Restores what somebody has changed or deleted in AWS."""


class Level(IntEnum):
    """How urgent a finding is."""

    NOW = 1
    """Changes are lost, or are not processed."""
    SOON = 2
    """Something is left to do, and can wait for the morning."""
    NOTE = 3
    """Nothing is left to do."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong."""

    kind: str
    """A name for scripts, which stays the same when the words change."""
    level: Level
    consumer: str | None
    """None for a finding about all consumers."""
    state: str
    """A sentence that says what is wrong, and since when."""
    meaning: str
    """A sentence about the consequence."""
    section: Section
    command: str | None = None
    """The command that helps, if there is one."""
