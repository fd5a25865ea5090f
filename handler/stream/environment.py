"""The environment variables of a function, as one typed value."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

DAY = 86_400.0


class VariableError(ValueError):
    """A variable of the function's environment cannot be read."""


@dataclass(frozen=True)
class Environment:
    """The settings of a function; each field is a variable of that name in capitals.

    The defaults are for tests and for a function without stores.
    """

    powertools_service_name: str = "consumer"  # its name in logs and metrics
    powertools_metrics_namespace: str = "table-stream"
    failure_bucket: str = ""  # empty: no change is parked
    ledger_table: str = ""  # empty: no change is held, noted or claimed
    ledger_name: str = ""  # its name in ledger and failure bucket; empty: the service name
    remember_seconds: float = 9 * DAY  # lifetime of claims and tombstones: longer than a change can come again
    give_up_after_seconds: float = 7 * DAY  # how long an item's first waiting change may fail
    batching_window_seconds: float = 0.0  # the mapping's: how long a record may wait for its batch
    handler_timeout_seconds: float = 10.0  # the longest a handler may take for one change
    minute_seconds: float = 60.0  # a minute of the retry schedule; the sandbox's is a second
    workers: int = 10  # how many items run at once
    tracing: bool = False  # whether changes become X-Ray subsegments

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise VariableError(f"WORKERS is {self.workers}: at least one worker must run the items")

    @property
    def consumer(self) -> str:
        """The consumer's name in ledger and failure bucket; it outlives a rename."""
        return self.ledger_name or self.powertools_service_name

    @classmethod
    def read(cls, environ: Mapping[str, str] = os.environ) -> "Environment":
        """The settings that the variables give now.

        Raises
        ------
        VariableError
            Where a variable is not of its type.
        """
        values: dict[str, Any] = {}
        for field in fields(cls):
            text = environ.get(field.name.upper())
            if text is None:
                continue
            try:
                values[field.name] = text == "true" if field.type is bool else type(field.default)(text)
            except ValueError as error:
                raise VariableError(f"{field.name.upper()} is {text!r}, not a number") from error
        return cls(**values)


_fixed: Environment | None = None


def set_current(settings: Environment | None) -> Environment | None:
    """Let `settings` be what `current` gives from now on; None makes it read the variables. Returns the former ones."""
    global _fixed
    former, _fixed = _fixed, settings
    return former


def current() -> Environment:
    """The function's settings: in Lambda those of its start, whatever a handler does to `os.environ` later."""
    return _fixed or Environment.read()
