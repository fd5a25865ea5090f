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
    """What the function is told; each field is a variable of that name in capitals, all times are seconds.

    The defaults are for tests and for a function without stores.

    Attributes
    ----------
    powertools_service_name : str
        The consumer's name, in logs, in the ledger and in the failure bucket.
    failure_bucket, ledger_table : str
        The stores; empty where there are none: then nothing is parked, noted or claimed.
    remember_seconds : float
        Lifetime of claims and tombstones: more than a stream's 24 hours.
    maximum_record_age_seconds : float
        When the mapping discards a record; at most the stream's own 24 hours count, also for -1 (never).
    give_up_after_seconds, give_up_alone_after_seconds : float
        How long a failing item's change is tried, where other items succeed and where nothing does.
    handler_timeout_seconds : float
        The longest a handler may take for one change.
    workers : int
        How many items run at once.
    tracing : bool
        Whether changes become X-Ray subsegments.
    """

    powertools_service_name: str = "consumer"
    powertools_metrics_namespace: str = "table-stream"
    failure_bucket: str = ""
    ledger_table: str = ""
    remember_seconds: float = 2 * DAY
    maximum_record_age_seconds: float = DAY
    give_up_after_seconds: float = 900.0
    give_up_alone_after_seconds: float = 3600.0
    handler_timeout_seconds: float = 10.0
    workers: int = 10
    tracing: bool = False

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
