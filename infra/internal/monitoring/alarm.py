"""An alarm on metrics: its condition, its level and what it says."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from infra.internal.monitoring.metrics import Metric

Level = Literal["page", "ticket"]
"""A page is for now, a ticket for working hours."""

METRICS_OF_AN_ALARM = 10
"""The metrics that the expressions of one alarm may use (CloudWatch's quota)."""

MINUTE, FIVE_MINUTES = 60, 300


@dataclass(frozen=True)
class Alarm:
    """An alarm. It fires if `datapoints` of the last `periods` periods, of `period` seconds each, meet the condition.

    The condition is about the only metric, or about the last expression. Expressions use the metrics and each other by
    their ids. A period without data does not meet the condition, unless `missing_data` says otherwise.
    """

    name: str
    level: Level
    section: str  # of the runbook
    says: str
    metrics: Mapping[str, Metric]
    threshold: float
    period: int
    datapoints: int = 1
    periods: int = 1
    expressions: Mapping[str, str] = field(default_factory=dict[str, str])
    comparison: Literal["GreaterThanOrEqualToThreshold", "GreaterThanThreshold", "LessThanThreshold"] = (
        "GreaterThanOrEqualToThreshold"
    )
    missing_data: Literal["notBreaching", "breaching", "ignore"] = "notBreaching"
    warm_up_minutes: int = 0  # after the alarm is made, in which it is not evaluated

    def inputs(self, runbook: str) -> dict[str, Any]:
        """Return the inputs of the resource; the description ends with the section in the runbook."""
        inputs: dict[str, Any] = {
            "alarm_description": f"{self.says} See {runbook}#{self.section}",
            "comparison_operator": self.comparison,
            "threshold": self.threshold,
            "evaluation_periods": self.periods,
            "datapoints_to_alarm": self.datapoints,
            "treat_missing_data": self.missing_data,
        }
        if self.warm_up_minutes:
            inputs["warm_up_configuration"] = {
                "warm_up_period_duration_in_minutes": self.warm_up_minutes,
                "only_start_evaluating_after_warm_up_period_ends": True,
            }
        return inputs | (self._queries() if self.expressions else self._metric())

    def _metric(self) -> dict[str, Any]:
        [metric] = self.metrics.values()
        statistic = "extended_statistic" if metric.statistic.startswith("p") else "statistic"
        return {
            "namespace": metric.namespace,
            "metric_name": metric.name,
            "dimensions": metric.dimensions,
            statistic: metric.statistic,
            "period": self.period,
        }

    def _queries(self) -> dict[str, Any]:
        *_, compared = self.expressions
        queries: list[dict[str, Any]] = [
            {"id": id_, "expression": expression, "label": self.name, "return_data": id_ == compared}
            for id_, expression in self.expressions.items()
        ]
        for id_, metric in self.metrics.items():
            query = {"namespace": metric.namespace, "metric_name": metric.name, "dimensions": metric.dimensions}
            queries.append({"id": id_, "metric": query | {"stat": metric.statistic, "period": self.period}})
        return {"metric_queries": queries}


def any_of(alarm: Alarm, metrics: Sequence[Metric]) -> Iterator[Alarm]:
    """Yield the alarm for the sum of these metrics; of more than ten metrics, an alarm for each ten.

    A metric without data in a period counts as 0 there.
    """
    for first in range(0, len(metrics), METRICS_OF_AN_ALARM):
        named = {f"m{number}": metric for number, metric in enumerate(metrics[first : first + METRICS_OF_AN_ALARM], 1)}
        name = alarm.name if first == 0 else f"{alarm.name}-{first // METRICS_OF_AN_ALARM + 1}"
        total = " + ".join(f"FILL({id_}, 0)" for id_ in named)
        yield replace(alarm, name=name, metrics=named, expressions={"total": total})
