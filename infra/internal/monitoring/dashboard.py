"""The dashboard: one row for each question, with all consumers in each graph."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pulumi

from infra.consumer import StreamConsumer
from infra.internal.monitoring.metrics import of_engine, of_function, of_mapping, of_table
from infra.settings import AlarmSettings

WIDTH, HEIGHT = 24, 6
"""The units of a row and of a graph's height; CloudWatch divides a row into 24 units."""

Line = Sequence[Any]


def dashboard(
    consumers: Sequence[StreamConsumer],
    tables: Mapping[str, pulumi.Input[str]],
    composites: Sequence[pulumi.Input[str]],
    settings: AlarmSettings,
) -> dict[str, Any]:
    """Return the dashboard's body.

    Parameters
    ----------
    tables
        The physical names of the tables by their names in the program.
    composites
        The ARNs of the composite alarms.
    """
    region = consumers[0].function.arn.apply(lambda arn: arn.split(":")[3])
    header = (
        f"# {pulumi.get_project()} · {pulumi.get_stack()}\n"
        f"From the top: is anything wrong, how late is it, what is held, what failed. Runbook: {settings.runbook}"
    )
    questions = (
        _lag(consumers, settings),
        _rates(consumers),
        _held(consumers, settings),
        _kept(consumers),
        _failures(consumers),
        _durations(consumers),
        _concurrency(consumers, tables),
    )
    rows = [
        [_widget("text", {"markdown": header}, height=2)],
        [_widget("alarm", {"title": "Alarms", "alarms": list(composites)}, height=3)],
        *([_graph(region, *graph) for graph in graphs] for graphs in questions),
    ]
    return {"start": "-PT12H", "widgets": [*_placed(rows)]}


Graph = tuple[str, Sequence[Line], float | None]
"""The title of a graph, its lines, and the value from which on an alarm fires, if there is one."""


def _lag(consumers: Sequence[StreamConsumer], settings: AlarmSettings) -> Sequence[Graph]:
    lines = [of_function(each, "IteratorAge", "Maximum").line(each.name) for each in consumers]
    return [("How late: age of the oldest change when it is processed (ms)", lines, settings.late_after * 1_000)]


def _rates(consumers: Sequence[StreamConsumer]) -> Sequence[Graph]:
    counts = {
        "In: changes read": "PolledEventCount",
        "Out: changes handed to the function": "InvokedEventCount",
    }
    return [
        (
            title,
            [
                of_mapping(mapping, count).line(f"{table} → {each.name}")
                for each in consumers
                for table, mapping in each.mappings.items()
                if each.counts_events
            ],
            None,
        )
        for title, count in counts.items()
    ]


def _held(consumers: Sequence[StreamConsumer], settings: AlarmSettings) -> Sequence[Graph]:
    items = [of_engine(each, "HeldItems", "Maximum").line(each.name) for each in consumers]
    oldest = [of_engine(each, "OldestHeldSeconds", "Maximum").line(each.name) for each in consumers]
    return [
        ("Held items", items, settings.many_held),
        ("Oldest held item (s)", oldest, settings.held_after),
    ]


def _kept(consumers: Sequence[StreamConsumer]) -> Sequence[Graph]:
    parked = [of_engine(each, "ParkedChanges").line(each.name) for each in consumers]
    counts = {"DroppedEventCount": "lost", "OnFailureDestinationDeliveredEventCount": "discarded"}
    lost = [
        of_mapping(mapping, count).line(f"{table} → {each.name}: {label}")
        for each in consumers
        for table, mapping in each.mappings.items()
        for count, label in counts.items()
        if each.counts_events
    ]
    return [("Parked changes", parked, None), ("Discarded and lost changes", lost, None)]


def _failures(consumers: Sequence[StreamConsumer]) -> Sequence[Graph]:
    errors = [of_function(each, "Errors").line(each.name) for each in consumers]
    repeated = [of_engine(each, "ReportedChanges").line(each.name) for each in consumers]
    return [("Failed invocations", errors, None), ("Changes reported to the mapping, which come again", repeated, None)]


def _durations(consumers: Sequence[StreamConsumer]) -> Sequence[Graph]:
    return [
        (title, [of_function(each, "Duration", statistic).line(each.name) for each in consumers], None)
        for title, statistic in (
            ("Duration of an invocation, median (ms)", "p50"),
            ("Duration of an invocation, p99 (ms)", "p99"),
        )
    ]


def _concurrency(consumers: Sequence[StreamConsumer], tables: Mapping[str, pulumi.Input[str]]) -> Sequence[Graph]:
    running = [of_function(each, "ConcurrentExecutions", "Maximum").line(each.name) for each in consumers]
    throttled = [of_function(each, "Throttles").line(each.name) for each in consumers]
    for name, table_name in tables.items():
        throttled += [
            of_table(table_name, f"{kind}ThrottleEvents").line(f"{name}: {kind}") for kind in ("Read", "Write")
        ]
    return [("Concurrent invocations", running, None), ("Throttled: functions and tables", throttled, None)]


def _graph(region: pulumi.Input[str], title: str, lines: Sequence[Line], alarm_at: float | None) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "title": title,
        "region": region,
        "metrics": lines,
        "period": 60,
        "yAxis": {"left": {"min": 0}},
    }
    if alarm_at is not None:
        properties["annotations"] = {"horizontal": [{"label": "alarm", "value": alarm_at}]}
    return _widget("metric", properties, height=HEIGHT)


def _widget(kind: str, properties: dict[str, Any], height: int) -> dict[str, Any]:
    return {"type": kind, "height": height, "properties": properties}


def _placed(rows: Sequence[Sequence[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    """Yield the widgets with their places: those of a row share its width."""
    y = 0
    for row in rows:
        for number, widget in enumerate(row):
            width = WIDTH // len(row)
            yield widget | {"x": number * width, "y": y, "width": width}
        y += row[0]["height"]
