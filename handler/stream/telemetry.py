"""The one Logger, and the counts that alarms watch."""

import logging
from contextvars import ContextVar
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import EphemeralMetrics

from handler.stream.batch import Function
from handler.stream.change import Change, text_of
from handler.stream.environment import Environment

logger = Logger(serialize_stacktrace=False)
"""Each line logged while a change is handled carries its event id, and what `thread_safe_append_keys` adds for it."""

current: ContextVar[Change | None] = ContextVar("current", default=None)
"""The change that this thread handles."""


def _name_the_change(line: logging.LogRecord) -> bool:
    change = current.get()
    if change is not None and not hasattr(line, "event_id"):
        line.event_id = change.raw.get("eventID")
    return True


logger.addFilter(_name_the_change)


def begin(context: Any) -> None:
    """Let every line of this invocation carry its request id."""
    logger.append_keys(function_request_id=getattr(context, "aws_request_id", None))


def traced(function: Function) -> Function:
    """The function with an X-Ray subsegment around each change; Lambda gives each thread the invocation's segment."""
    from aws_lambda_powertools import Tracer  # 0.1 s, which only a traced function pays

    return Tracer().capture_method(capture_response=False)(function)


def log_change(message: str, change: Change, error: BaseException) -> None:
    """One line about a change that failed or was parked, with the error's traceback."""
    logger.error(
        message,
        exc_info=error,
        event_id=change.raw.get("eventID"),
        event_name=change.raw.get("eventName"),
        table=change.place.table_name,
        keys={name: _plain(value) for name, value in change.raw["dynamodb"]["Keys"].items()},
        sequence_number=change.sequence_number,
        error={"type": type(error).__name__, "text": text_of(error)},
    )


def _plain(key: dict[str, str]) -> str | int:
    [(kind, text)] = key.items()
    return int(text) if kind == "N" and text.lstrip("-").isdecimal() else text


def count(**counts: int) -> None:
    """Print what is not zero as one line that CloudWatch reads as metrics, by consumer."""
    found = {name: value for name, value in counts.items() if value}
    if found:
        metrics = EphemeralMetrics(namespace=Environment.read().powertools_metrics_namespace, service=logger.service)
        for name, value in found.items():
            metrics.add_metric(name=name, unit="Count", value=value)
        metrics.flush_metrics()
