"""The one Logger, and the counts that alarms watch."""

import json
import os
import time
from typing import Any

from aws_lambda_powertools import Logger

logger = Logger(serialize_stacktrace=False)
"""Fields appended with `logger.thread_safe_append_keys` belong to one change; the engine clears them after it."""


def count(**counts: int) -> None:
    """Print what is not zero as one line of CloudWatch's embedded metric format, by consumer.

    Powertools' Metrics would keep counts between threads and invocations, for some 15 ms of each cold start; here each
    invocation has at most one line, and most have none.
    """
    found = {name: value for name, value in counts.items() if value}
    if not found:
        return
    metrics: dict[str, Any] = {
        "Namespace": os.environ.get("POWERTOOLS_METRICS_NAMESPACE", "table-stream"),
        "Dimensions": [["service"]],
        "Metrics": [{"Name": name, "Unit": "Count"} for name in found],
    }
    line = {"_aws": {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [metrics]}, "service": logger.service}
    print(json.dumps(line | found), flush=True)
