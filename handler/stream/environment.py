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
    """What the function is told; each field is a variable of that name in capitals.

    The defaults are for tests and for a function without stores.
    """

    powertools_service_name: str = "consumer"  # its name in logs, ledger and failure bucket
    powertools_metrics_namespace: str = "table-stream"
    failure_bucket: str = ""  # empty: nothing is parked
    ledger_table: str = ""  # empty: nothing is noted or claimed
    remember_seconds: float = 2 * DAY  # lifetime of claims and tombstones: more than a stream's 24 hours
    maximum_record_age_seconds: float = DAY  # when the mapping discards a record; -1: never, but the stream does
    give_up_after_seconds: float = 900.0  # how long a change is tried while other items succeed
    give_up_alone_after_seconds: float = 3600.0  # and while nothing else does
    handler_timeout_seconds: float = 10.0  # the longest a handler may take for one change
    workers: int = 10  # how many items run at once
    tracing: bool = False  # whether changes become X-Ray subsegments

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise VariableError(f"WORKERS is {self.workers}: with less than 1, nothing would ever run")

    @classmethod
    def read(cls, environ: Mapping[str, str] = os.environ) -> "Environment":
        """The environment as it is now.

        Raises
        ------
        VariableError
            Where a variable is not of its type.
        """
        given: dict[str, Any] = {}
        for field in fields(cls):
            text = environ.get(field.name.upper())
            if text is None:
                continue
            try:
                given[field.name] = text == "true" if field.type is bool else type(field.default)(text)
            except ValueError as error:
                raise VariableError(f"{field.name.upper()} is {text!r}, not a number") from error
        return cls(**given)
