"""The Logger of every consumer, and the metrics that alarms use."""

import logging
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import EphemeralMetrics

from handler.stream.change import Change
from handler.stream.codec import text_of
from handler.stream.engine.batch import Function
from handler.stream.environment import current as current_settings

LISTED = 100
"""The most sequence numbers that one log line lists."""

logger = Logger(serialize_stacktrace=False)
"""Each line that a handler logs has the change's event id and the keys added with `thread_safe_append_keys`."""

current_change: ContextVar[Change | None] = ContextVar("current_change", default=None)
"""The change whose handler this thread runs."""


def _add_event_id(line: logging.LogRecord) -> bool:
    change = current_change.get()
    if change is not None and not hasattr(line, "event_id"):
        line.event_id = change.record.get("eventID")
    return True


logger.addFilter(_add_event_id)


def begin(context: Any) -> None:
    """Add the request id to every log line of this invocation."""
    logger.append_keys(function_request_id=getattr(context, "aws_request_id", None))


def with_tracing(function: Function) -> Function:
    """Return the function with an X-Ray subsegment for each change, within the segment of the invocation."""
    from aws_lambda_powertools import Tracer  # this import takes 0.1 s, which only a traced function pays

    return Tracer().capture_method(capture_response=False)(function)


def log_failure(message: str, change: Change, error: BaseException, **more: Any) -> None:
    """Log an error for one change, with the traceback and the fields in `more`."""
    described = {"type": type(error).__name__, "text": text_of(error)}
    logger.error(message, exc_info=error, **change_fields(change), error=described, **more)


def change_fields(change: Change) -> dict[str, Any]:
    """Return the fields of a log line that identify a change and its item."""
    return {
        "event_id": change.record.get("eventID"),
        "event_name": change.record.get("eventName"),
        "table": change.stream_or_unknown.table_name,
        "keys": {name: _native_key(value) for name, value in change.record["dynamodb"]["Keys"].items()},
        "sequence_number": change.sequence_number,
    }


def summary_fields(changes: Sequence[Change]) -> dict[str, Any]:
    """Return the fields of a log line that count changes and list the first 100 sequence numbers."""
    return {"changes": len(changes), "sequence_numbers": [change.sequence_number for change in changes[:LISTED]]}


def iso_time(seconds: float) -> str:
    """Return a time in seconds since 1970 as ISO 8601 text."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _native_key(key: Any) -> Any:
    [(kind, text)] = key.items()
    return int(text) if kind == "N" and text.lstrip("-").isdecimal() else text


def emit_counts(counts: Mapping[str, int], gauges: Mapping[str, tuple[float, str]] | None = None) -> None:
    """Print one line of the embedded metric format, from which CloudWatch makes metrics by consumer.

    Zero counts are left out. A gauge is a value and its unit, and is always included.
    """
    values = {name: (float(value), "Count") for name, value in counts.items() if value} | dict(gauges or {})
    if values:
        namespace = current_settings().powertools_metrics_namespace
        metrics = EphemeralMetrics(namespace=namespace, service=logger.service)
        for name, (value, unit) in values.items():
            metrics.add_metric(name=name, unit=unit, value=value)
        metrics.flush_metrics()
