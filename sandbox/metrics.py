"""Publishes, in the emulator's CloudWatch, the metrics that AWS makes of invocations, mappings and log lines.

The emulator itself publishes Invocations, Errors, Throttles and Duration of every function.
"""

import json
import logging
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, cast

from botocore.exceptions import BotoCoreError, ClientError  # pyright: ignore[reportMissingTypeStubs] -- boto3 is untyped

from sandbox.mapping.invocation import Client, ObservedInvocation

PUBLISH_SECONDS = 1.0
"""Seconds between two calls of PutMetricData. On AWS, Lambda's metrics come every minute; here a user waits."""
PENDING = 10_000
"""Observations that wait to be published, at most; the oldest ones are dropped."""
VALUES, DATA = 150, 1000
"""Most values of a datum, and most data of a call (AWS: PutMetricData)."""

_log = logging.getLogger(__name__)


class Metric(NamedTuple):
    """A metric at a time; the time is in whole epoch seconds."""

    namespace: str
    name: str
    unit: str
    dimensions: tuple[tuple[str, str], ...]
    at: int


Sample = tuple[Metric, float]


class MetricsPublisher:
    """Takes observations on any thread, and publishes them on a thread of its own until it is closed.

    `observe` and `count` are for a poller's `observers` and `counters`, `add_log` is for logs of other invocations. A
    call keeps the observation and does nothing else.

    Parameters
    ----------
    client
        Returns the emulator's boto3 client of a service.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._pending: deque[Iterable[Sample]] = deque(maxlen=PENDING)
        self._closed = threading.Event()
        self._has_failed = False
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
        self._thread.start()

    def observe(self, invocation: ObservedInvocation) -> None:
        """Take IteratorAge, and the log's metrics, of an invocation by a mapping or a schedule."""
        if invocation.refusal:
            return
        if invocation.records:
            self._pending.append(_iterator_age(invocation))
        self.add_log(invocation.log)

    def count(self, dimensions: Mapping[str, str], counts: Mapping[str, int]) -> None:
        """Take counts of AWS/Lambda. A count of 0 is not published, unlike AWS's for a mapping that reads nothing."""
        now = int(time.time())
        samples = [
            (Metric("AWS/Lambda", name, "Count", tuple(dimensions.items()), now), float(value))
            for name, value in counts.items()
            if value
        ]
        if samples:
            self._pending.append(samples)

    def add_log(self, log: str) -> None:
        """Take the metrics of a function's log lines in CloudWatch's embedded metric format."""
        if '"_aws"' in log:
            self._pending.append(_embedded_metrics(log))

    def _publish(self) -> None:
        """Publish all observations so far. An error is logged once; its metrics are lost."""
        values: defaultdict[Metric, Counter[float]] = defaultdict(Counter)
        for _ in range(len(self._pending)):
            for metric, value in self._pending.popleft():
                values[metric][value] += 1
        data: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        for metric, counts in values.items():
            data[metric.namespace] += _data(metric, list(counts.items()))
        for namespace, each in data.items():
            for start in range(0, len(each), DATA):
                try:
                    self._client("cloudwatch").put_metric_data(
                        Namespace=namespace, MetricData=each[start : start + DATA]
                    )
                except (ClientError, BotoCoreError) as error:
                    self._report(error)

    def close(self) -> None:
        """Stop, and wait for the call that runs; observations that are not published are lost."""
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closed.wait(PUBLISH_SECONDS):
            self._publish()

    def _report(self, error: Exception) -> None:
        if not self._has_failed and not self._closed.is_set():
            self._has_failed = True
            _log.error("metrics cannot be published: %s", error)


def _iterator_age(invocation: ObservedInvocation) -> Iterator[Sample]:
    """Yield the age of a batch's last record when the mapping sends it, in milliseconds (AWS: IteratorAge)."""
    sent_at = invocation.ended_at - invocation.duration_seconds
    age = max(sent_at - float(invocation.records[-1]["dynamodb"]["ApproximateCreationDateTime"]), 0.0)
    dimensions = (("FunctionName", invocation.function),)
    yield Metric("AWS/Lambda", "IteratorAge", "Milliseconds", dimensions, int(sent_at)), round(age * 1000)


def _embedded_metrics(log: str) -> Iterator[Sample]:
    """Yield the metrics of all lines that CloudWatch's embedded metric format describes; CloudWatch skips others."""
    for line in log.splitlines():
        if '"_aws"' in line:
            try:
                yield from list(_line_metrics(json.loads(line)))
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                continue


def _line_metrics(entry: dict[str, Any]) -> Iterator[Sample]:
    at = int(entry["_aws"]["Timestamp"] / 1000)
    for directive in entry["_aws"]["CloudWatchMetrics"]:
        dimension_sets: list[list[str]] = directive["Dimensions"] or [[]]
        for names in dimension_sets:
            dimensions = tuple((name, str(entry[name])) for name in names)
            for metric in directive["Metrics"]:
                key = Metric(directive["Namespace"], metric["Name"], metric.get("Unit", "None"), dimensions, at)
                value = entry[metric["Name"]]
                values = cast("list[Any]", value) if isinstance(value, list) else [value]
                yield from ((key, float(each)) for each in values)


def _data(metric: Metric, counts: list[tuple[float, int]]) -> Iterator[dict[str, Any]]:
    """Yield PutMetricData's data of a metric: as many values as a datum may have."""
    for start in range(0, len(counts), VALUES):
        part = counts[start : start + VALUES]
        yield {
            "MetricName": metric.name,
            "Dimensions": [{"Name": name, "Value": value} for name, value in metric.dimensions],
            "Timestamp": metric.at,
            "Unit": metric.unit,
            "Values": [value for value, _ in part],
            "Counts": [float(count) for _, count in part],
        }
