"""The environment variables of a Lambda function, as one typed value."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

DAY = 86_400.0


class VariableError(ValueError):
    """An environment variable has an invalid value."""


@dataclass(frozen=True)
class Environment:
    """The settings of a function: each field is the environment variable of that name in capitals.

    The defaults suit tests and functions without stores.
    """

    powertools_service_name: str = "consumer"  # the function's name in logs and metrics
    powertools_metrics_namespace: str = "table-stream"
    failure_bucket: str = ""  # if empty, no change is parked
    ledger_table: str = ""  # if empty, no change is held, noted or claimed
    ledger_name: str = ""  # the name in ledger and failure bucket; by default the service name
    remember_seconds: float = 9 * DAY  # lifetime of claims and tombstones; no redelivery or redrive comes later
    give_up_after_seconds: float = 7 * DAY  # how long an item's first waiting change may fail
    batching_window_seconds: float = 0.0  # the mapping's batching window: how long a record may wait for its batch
    handler_timeout_seconds: float = 10.0  # the longest time that a handler may take for one change
    minute_seconds: float = 60.0  # a minute of the retry schedule; the sandbox uses 1 s
    workers: int = 10  # how many items run concurrently
    tracing: bool = False  # whether each change gets an X-Ray subsegment

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise VariableError(f"WORKERS is {self.workers}; it must be at least 1, so that items can run")

    @property
    def consumer(self) -> str:
        """The consumer's name in ledger and failure bucket, which stays the same if the consumer is renamed."""
        return self.ledger_name or self.powertools_service_name

    @classmethod
    def read(cls, environ: Mapping[str, str] = os.environ) -> "Environment":
        """Return the settings in the environment variables.

        Raises
        ------
        VariableError
            If a variable does not have the type of its field.
        """
        values: dict[str, Any] = {}
        for field in fields(cls):
            text = environ.get(field.name.upper())
            if text is None:
                continue
            try:
                values[field.name] = text == "true" if field.type is bool else type(field.default)(text)
            except ValueError as error:
                raise VariableError(f"{field.name.upper()} is {text!r}, which is not a number") from error
        return cls(**values)


_current: Environment | None = None


def set_current(settings: Environment | None) -> Environment | None:
    """Make `current` return these settings, or read the variables if None; return the former settings."""
    global _current
    former, _current = _current, settings
    return former


def current() -> Environment:
    """Return the function's settings: in Lambda those of the cold start, even if a handler changes `os.environ`."""
    return _current or Environment.read()
