"""Evaluates a registered alarm from metric data, in place of CloudWatch.

This follows CloudWatch's documentation of periods, `datapointsToAlarm` of `evaluationPeriods`, missing data and metric
maths, as far as the program's alarms use them. It does not imitate that CloudWatch looks at older periods where data is
missing, that data arrives late, that alarms are evaluated once a minute, warm-up, and actions.
"""

import ast
import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

State = Literal["OK", "ALARM", "INSUFFICIENT_DATA"]
Series = Mapping[int, float]
"""The values of a metric or an expression by the second in which each period begins."""
Samples = Callable[[str, str, Mapping[str, str]], Iterable[tuple[float, float]]]
"""Returns the samples of a metric, as pairs of second and value, by its namespace, name and dimensions."""

COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "GreaterThanOrEqualToThreshold": operator.ge,
    "GreaterThanThreshold": operator.gt,
    "LessThanOrEqualToThreshold": operator.le,
    "LessThanThreshold": operator.lt,
}
OPERATORS: Mapping[type[ast.AST], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.And: lambda one, other: float(bool(one) and bool(other)),
    ast.Or: lambda one, other: float(bool(one) or bool(other)),
}


def evaluate(inputs: Mapping[str, Any], samples: Samples, now: int, state: State = "OK") -> State:
    """Return the state of an alarm at `now`, the end of its last period; its state before is `state`.

    `inputs` are those of the registration (`aws:cloudwatch/metricAlarm:MetricAlarm`).
    """
    period, count = _period(inputs), int(inputs["evaluationPeriods"])
    starts = [now - number * period for number in range(count + 1, 0, -1)]  # one more, since DIFF needs it
    series, compared = _Queries(inputs, samples, period, starts).result(), COMPARISONS[inputs["comparisonOperator"]]
    values = [series[start] for start in starts[1:] if start in series]
    breaching = sum(compared(value, inputs["threshold"]) for value in values)
    needed, missing = int(inputs.get("datapointsToAlarm", count)), count - len(values)
    match inputs.get("treatMissingData", "missing"):
        case "breaching":
            return "ALARM" if breaching + missing >= needed else "OK"
        case "notBreaching":
            return "ALARM" if breaching >= needed else "OK"
        case "ignore":
            undecided = breaching < needed <= breaching + missing
            return state if undecided else "ALARM" if breaching >= needed else "OK"
        case _:
            return "INSUFFICIENT_DATA" if not values else "ALARM" if breaching >= needed else "OK"


def composite_state(inputs: Mapping[str, Any], states: Mapping[str, State]) -> State:
    """Return the state of a composite alarm whose rule is `ALARM("…") OR …`, from the states of alarms by name."""
    terms = [term.removeprefix('ALARM("').removesuffix('")') for term in inputs["alarmRule"].split(" OR ")]
    return "ALARM" if any(states[name] == "ALARM" for name in terms) else "OK"


def _period(inputs: Mapping[str, Any]) -> int:
    if "period" in inputs:
        return int(inputs["period"])
    [period] = {int(query["metric"]["period"]) for query in inputs["metricQueries"] if "metric" in query}
    return period


@dataclass(frozen=True)
class _Queries:
    inputs: Mapping[str, Any]
    samples: Samples
    period: int
    starts: Sequence[int]

    def result(self) -> Series:
        """Return the series that the alarm compares with its threshold."""
        queries = {query["id"]: query for query in self.inputs.get("metricQueries", ())}
        if not queries:
            return self._metric(self.inputs, self.inputs.get("extendedStatistic") or self.inputs["statistic"])
        [compared] = [id_ for id_, query in queries.items() if query.get("returnData")]
        return _series(self._query(queries, compared))

    def _query(self, queries: Mapping[str, Any], id_: str) -> Series | float:
        query = queries[id_]
        if "metric" in query:
            return self._metric(query["metric"], query["metric"]["stat"])
        expression = query["expression"].replace(" AND ", " and ").replace(" OR ", " or ")
        return self._value(ast.parse(expression, mode="eval").body, queries)

    def _metric(self, metric: Mapping[str, Any], statistic: str) -> Series:
        values: dict[int, list[float]] = {}
        for second, value in self.samples(metric["namespace"], metric["metricName"], metric["dimensions"]):
            for start in self.starts:
                if start <= second < start + self.period:
                    values.setdefault(start, []).append(value)
        return {start: _statistic(statistic, each) for start, each in values.items()}

    def _value(self, node: ast.expr, queries: Mapping[str, Any]) -> Series | float:
        def of(each: ast.expr) -> Series | float:
            return self._value(each, queries)

        match node:
            case ast.Constant(value=int() | float() as number):
                return float(number)
            case ast.Name(id=id_):
                return self._query(queries, id_)
            case ast.BinOp(left=left, op=op, right=right) | ast.Compare(left=left, ops=[op], comparators=[right]):
                return _combine(OPERATORS[type(op)], of(left), of(right))
            case ast.BoolOp(op=op, values=[left, *others]):
                result = of(left)
                for other in others:
                    result = _combine(OPERATORS[type(op)], result, of(other))
                return result
            case ast.Call(func=ast.Name(id="FILL"), args=[filled, ast.Constant(value=int() | float() as number)]):
                return dict.fromkeys(self.starts, float(number)) | dict(_series(of(filled)))
            case ast.Call(func=ast.Name(id="DIFF"), args=[of_what]):
                series = _series(of(of_what))
                pairs = [(start, start - self.period) for start in series]
                return {start: series[start] - series[before] for start, before in pairs if before in series}
            case ast.Call(func=ast.Name(id="IF"), args=[condition, then, otherwise]):
                chosen = _combine(lambda yes, value: value if yes else math.nan, of(condition), of(then))
                if_not = _combine(lambda yes, value: math.nan if yes else value, of(condition), of(otherwise))
                return _combine(lambda one, other: other if math.isnan(one) else one, chosen, if_not)
            case _:
                raise NotImplementedError(f"metric maths: {ast.unparse(node)}")


def _series(value: Series | float) -> Series:
    assert isinstance(value, Mapping), f"{value} is a number, not a series"
    return value


def _combine(function: Callable[[float, float], float], one: Series | float, other: Series | float) -> Series | float:
    """Apply a function to two series, period by period where both have a value, or to series and numbers."""
    match one, other:
        case float(), float():
            return float(function(one, other))
        case float(), _:
            return {start: function(one, value) for start, value in _series(other).items()}
        case _, float():
            return {start: function(value, other) for start, value in _series(one).items()}
        case _:
            first, second = _series(one), _series(other)
            return {start: function(first[start], second[start]) for start in first if start in second}


def _statistic(name: str, values: Sequence[float]) -> float:
    match name:
        case "Sum":
            return sum(values)
        case "Maximum":
            return max(values)
        case "SampleCount":
            return len(values)
        case _ if name.startswith("p"):  # the nearest rank; CloudWatch interpolates
            return sorted(values)[max(0, math.ceil(len(values) * float(name[1:]) / 100) - 1)]
        case _:
            raise NotImplementedError(f"statistic {name}")
