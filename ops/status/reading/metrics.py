"""Reads metrics from CloudWatch: all series of all consumers in a few calls."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from ops.concurrency import in_chunks
from ops.status.facts import HISTORY_PERIOD, HISTORY_SECONDS, RECENT_PERIOD, RECENT_SECONDS, Series

QUERIES_PER_CALL = 100
"""Queries of one GetMetricData call, which allows 100,800 datapoints: a query of the history has up to 576."""
AHEAD_SECONDS = 300
"""Limit for how far this machine's clock may be behind AWS's: AWS refuses the signature of a later request."""


class Metric(NamedTuple):
    """A metric of CloudWatch, and the statistic of it."""

    namespace: str
    name: str
    dimensions: tuple[tuple[str, str], ...]
    statistic: str = "Sum"


Scoped = Mapping[str, Sequence[Metric]]
"""Metrics by the thing that they are about."""


def consumer_metrics(name: str, function: str, namespace: str) -> tuple[list[Metric], list[Metric]]:
    """Return the recent metrics and the history that status needs of a consumer.

    The engine's metrics have the consumer's name in the dimension `service`. Lambda's have the function's name.
    """
    engine, function_name = (("service", name),), (("FunctionName", function),)
    recent = [
        Metric("AWS/Lambda", "IteratorAge", function_name, "Maximum"),
        Metric("AWS/Lambda", "Duration", function_name, "p99"),
        *(Metric("AWS/Lambda", each, function_name) for each in ("Errors", "Invocations", "Throttles")),
        Metric(namespace, "HeldItems", engine, "Maximum"),
        Metric(namespace, "HoldBroken", engine),
    ]
    history = [
        Metric("AWS/Lambda", "IteratorAge", function_name, "Maximum"),
        Metric("AWS/Lambda", "DestinationDeliveryFailures", function_name),
        Metric(namespace, "HeldItems", engine, "Maximum"),
    ]
    return recent, history


def mapping_metrics(uuid: str) -> tuple[list[Metric], list[Metric]]:
    """Return the recent metrics and the history that status needs of a mapping."""
    dimension = (("EventSourceMappingUUID", uuid),)
    recent = ["PolledEventCount"]
    history = ["PolledEventCount", "DroppedEventCount", "OnFailureDestinationDeliveredEventCount"]
    return (
        [Metric("AWS/Lambda", each, dimension) for each in recent],
        [Metric("AWS/Lambda", each, dimension) for each in history],
    )


def table_metrics(name: str) -> tuple[list[Metric], list[Metric]]:
    """Return the recent metrics and the history that status needs of a table."""
    dimension = (("TableName", name),)
    recent = ["ConsumedWriteCapacityUnits", "ReadThrottleEvents", "WriteThrottleEvents"]
    return (
        [Metric("AWS/DynamoDB", each, dimension) for each in recent],
        [Metric("AWS/DynamoDB", "ConsumedWriteCapacityUnits", dimension)],
    )


def read_recent(cloudwatch: Any, metrics: Scoped, now: float) -> dict[str, dict[str, Series]]:
    """Return the metrics of the last hour, minute by minute, by scope and name."""
    return _read(cloudwatch, metrics, now, RECENT_SECONDS, RECENT_PERIOD)


def read_history(cloudwatch: Any, metrics: Scoped, now: float) -> dict[str, dict[str, Series]]:
    """Return the metrics of the last 48 hours in periods of 5 minutes, by scope and name."""
    return _read(cloudwatch, metrics, now, HISTORY_SECONDS, HISTORY_PERIOD)


def _read(cloudwatch: Any, metrics: Scoped, now: float, seconds: int, period: int) -> dict[str, dict[str, Series]]:
    # CloudWatch answers fastest for a start at a multiple of the period (GetMetricData).
    start = (now - seconds) // period * period
    times = {"StartTime": start, "EndTime": now + AHEAD_SECONDS}
    window = {name: datetime.fromtimestamp(at, UTC) for name, at in times.items()}
    wanted = [(scope, metric) for scope, scoped in metrics.items() for metric in scoped]
    result: dict[str, dict[str, Series]] = {scope: {} for scope in metrics}
    for group in in_chunks(wanted, QUERIES_PER_CALL):
        queries = [_query(f"m{number}", metric, period) for number, (_, metric) in enumerate(group)]
        points: dict[str, list[tuple[float, float]]] = {query["Id"]: [] for query in queries}
        pages = cloudwatch.get_paginator("get_metric_data").paginate(MetricDataQueries=queries, **window)
        for each in (each for page in pages for each in page["MetricDataResults"]):
            starts = (time.timestamp() for time in each["Timestamps"])
            points[each["Id"]] += zip(starts, map(float, each["Values"]), strict=True)
        for number, (scope, metric) in enumerate(group):
            result[scope][metric.name] = tuple(sorted(points[f"m{number}"]))
    return result


def _query(identity: str, metric: Metric, period: int) -> dict[str, Any]:
    dimensions = [{"Name": name, "Value": value} for name, value in metric.dimensions]
    named = {"Namespace": metric.namespace, "MetricName": metric.name, "Dimensions": dimensions}
    return {"Id": identity, "MetricStat": {"Metric": named, "Period": period, "Stat": metric.statistic}}


def consumers_with_metrics(cloudwatch: Any, namespaces: Iterable[str]) -> set[str]:
    """Return the names of the consumers whose retry runs have reported in the last two weeks (ListMetrics)."""
    names: set[str] = set()
    for namespace in namespaces:
        pages = cloudwatch.get_paginator("list_metrics").paginate(Namespace=namespace, MetricName="HeldItems")
        dimensions = (each for page in pages for metric in page["Metrics"] for each in metric["Dimensions"])
        names |= {each["Value"] for each in dimensions if each["Name"] == "service"}
    return names
