"""Alarms: their inputs, from which data on they fire, who is told, and what the dashboard shows."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from infra.alarms import Alarms
from infra.consumer import StreamConsumer
from infra.settings import NO_ADDRESS, AlarmSettings, Tuning
from infra.table import StreamTable, Table
from sandbox import ROOT
from sandbox.program.in_process import Program, run
from tests.alarm_evaluation import State, composite_state, evaluate
from tests.consumers.project import SAMPLE
from tests.infra.programs import bare_consumer, consumer, refusal, stores, users
from tests.program import recording as kinds
from tests.program.recording import RecordingBackend, arn, physical, record, record_program

ALARMS_OF_A_CONSUMER = {
    *("held", "many-held", "giving-up-soon", "not-retrying", "parked", "late", "losing-soon", "lost", "discarded"),
    *("broken", "throttled", "near-the-time-out", "users-nothing-read"),
}
ON_CALL, TEAM = "on-call@example.com", arn("sns", "team")
DAY = 86_400
NOW = 1_800_000_000


def watch(*consumers: StreamConsumer, **settings: Any) -> Alarms:
    return Alarms("alarms", consumers=consumers, settings=AlarmSettings(**settings))


def recorded(tuning: Tuning | None = None, **settings: Any) -> RecordingBackend:
    """A program with the consumer `mirror` of the table `users`, and its alarms."""
    return record(lambda: watch(consumer(users().changes(), tuning=tuning or Tuning()), **settings))


def names(recorder: RecordingBackend, prefix: str = "alarms-mirror-") -> set[str]:
    return {each.name.removeprefix(prefix) for each in recorder.of_type(kinds.ALARM) if each.name.startswith(prefix)}


def alarm(recorder: RecordingBackend, name: str) -> dict[str, Any]:
    return recorder.one(kinds.ALARM, f"alarms-{name}").inputs


def test_a_consumer_has_an_alarm_for_each_fault_and_each_table_has_two() -> None:
    recorder = recorded()
    assert names(recorder) == ALARMS_OF_A_CONSUMER
    of_tables = {f"{table}-requests-{what}" for table in ("users", "stores-ledger") for what in ("throttled", "failed")}
    assert names(recorder, "alarms-") == {f"mirror-{name}" for name in ALARMS_OF_A_CONSUMER} | of_tables


def test_an_alarm_about_one_metric_has_exactly_these_inputs() -> None:
    assert alarm(recorded(), "mirror-many-held") == {
        "alarmDescription": "mirror holds 20 items or more: its code, or a service that it calls, fails for most "
        "changes. See docs/runbook.md#many-held",
        "namespace": "table-stream",
        "metricName": "HeldItems",
        "dimensions": {"service": "mirror"},
        "statistic": "Maximum",
        "period": 60,
        "datapointsToAlarm": 5,
        "evaluationPeriods": 5,
        "comparisonOperator": "GreaterThanOrEqualToThreshold",
        "threshold": 20,
        "treatMissingData": "notBreaching",
    }


def test_an_alarm_about_several_metrics_has_exactly_these_inputs() -> None:
    def query(id_: str, name: str, dimension: str, value: str) -> dict[str, Any]:
        metric = {"namespace": "AWS/Lambda", "metricName": name, "dimensions": {dimension: value}}
        return {"id": id_, "metric": metric | {"stat": "Sum", "period": 300}}

    assert alarm(recorded(), "mirror-lost") == {
        "alarmDescription": "mirror has lost changes: the mapping gave them up, and could not write them to the "
        "failure destination. Their items exist in the table. See docs/runbook.md#lost",
        "metricQueries": [
            {"id": "total", "expression": "FILL(m1, 0) + FILL(m2, 0)", "label": "lost", "returnData": True},
            query("m1", "DestinationDeliveryFailures", "FunctionName", physical("mirror-function")),
            query("m2", "DroppedEventCount", "EventSourceMappingUUID", "uuid-of-mirror-users"),
        ],
        "datapointsToAlarm": 1,
        "evaluationPeriods": 3,
        "comparisonOperator": "GreaterThanOrEqualToThreshold",
        "threshold": 1,
        "treatMissingData": "notBreaching",
    }


@pytest.mark.parametrize(("give_up_after", "threshold"), [(7 * DAY, 6 * DAY), (2 * DAY, DAY), (DAY, DAY / 2), (60, 30)])
def test_giving_up_is_announced_a_day_before_but_never_in_the_first_half(give_up_after: int, threshold: int) -> None:
    assert alarm(recorded(Tuning(give_up_after=give_up_after)), "mirror-giving-up-soon")["threshold"] == threshold


def test_thresholds_follow_the_settings_and_the_tuning() -> None:
    settings = {"held_after": 60, "many_held": 3, "late_after": 90, "losing_after": 120, "near_timeout_share": 0.5}
    recorder = recorded(Tuning(timeout=100), runbook="https://wiki/runbook", **settings)
    thresholds = {name: alarm(recorder, f"mirror-{name}")["threshold"] for name in ("held", "many-held", "late")}
    assert thresholds == {"held": 60, "many-held": 3, "late": 90_000}
    assert alarm(recorder, "mirror-losing-soon")["threshold"] == 120_000
    assert alarm(recorder, "mirror-near-the-time-out")["threshold"] == 50_000
    assert alarm(recorder, "mirror-near-the-time-out")["extendedStatistic"] == "p99"
    assert alarm(recorder, "mirror-held")["alarmDescription"].endswith("See https://wiki/runbook#held")


def test_a_disabled_consumer_has_no_alarm_about_what_it_does_not_do_on_purpose() -> None:
    assert names(recorded(Tuning(enabled=False))) == ALARMS_OF_A_CONSUMER - {"not-retrying", "users-nothing-read"}


def test_without_event_counts_there_is_no_alarm_about_them() -> None:
    recorder = record(lambda: watch(consumer(users().changes(), mapping_args={"metrics_config": None})))
    assert names(recorder) == ALARMS_OF_A_CONSUMER - {"discarded", "users-nothing-read"}
    assert len(alarm(recorder, "mirror-lost")["metricQueries"]) == 2  # the sum, and the failed deliveries
    widgets = json.loads(recorder.one(kinds.DASHBOARD, "alarms-dashboard").inputs["dashboardBody"])["widgets"]
    assert "EventSourceMappingUUID" not in json.dumps(widgets)


def test_a_consumer_without_stores_has_no_alarms() -> None:
    seen: list[Any] = []

    def program() -> None:
        watched = bare_consumer(users().changes())
        seen.append(watch(watched).outputs_of(watched)["alarms"])

    recorder = record(program)
    assert seen == [[]]
    assert not [*recorder.of_type(kinds.ALARM), *recorder.of_type(kinds.COMPOSITE), *recorder.of_type(kinds.DASHBOARD)]


def test_a_table_of_another_account_has_no_metrics_here() -> None:
    stream = "arn:aws:dynamodb:eu-central-1:999999999999:table/orders/stream/2026-01-01T00:00:00.000"

    def program() -> None:
        table: Table = StreamTable.of_another_account("orders", stream_arn=stream, key="id", view_type="KEYS_ONLY")
        watch(consumer(table.changes(), users().changes()))

    recorder = record(program)
    assert names(recorder) == ALARMS_OF_A_CONSUMER
    assert names(recorder, "alarms-orders-") == set()


def test_an_alarm_has_at_most_ten_metrics() -> None:
    def program() -> None:
        watch(consumer(*(users(f"t{number}").changes() for number in range(12))))

    recorder = record(program)
    counts = {
        name: sum("metric" in query for query in alarm(recorder, f"mirror-{name}")["metricQueries"])
        for name in ("lost", "lost-2", "discarded", "discarded-2")
    }
    assert counts == {"lost": 10, "lost-2": 3, "discarded": 10, "discarded-2": 2}
    rule = recorder.one(kinds.COMPOSITE, "alarms-mirror-page").inputs["alarmRule"]
    assert physical("alarms-mirror-lost-2") in rule


def test_a_composite_watches_every_alarm_of_its_level_and_alone_notifies() -> None:
    recorder = recorded(page_to=ON_CALL, ticket_to=TEAM)
    watched: dict[str, str] = {}
    for level in ("page", "ticket"):
        inputs = recorder.one(kinds.COMPOSITE, f"alarms-mirror-{level}").inputs
        assert inputs["alarmName"] == f"table-stream-test-mirror-{level}"
        told = [TEAM if level == "ticket" else arn("sns", physical("alarms-page-topic"))]
        assert (inputs["alarmActions"], inputs["okActions"]) == (told, told)
        watched |= dict.fromkeys(re.findall(r'ALARM\("alarms-mirror-(.*?)-0a1b2c3"\)', inputs["alarmRule"]), level)
    tickets = {"held", "not-retrying", "parked", "throttled", "near-the-time-out"}
    assert watched == {name: "ticket" if name in tickets else "page" for name in ALARMS_OF_A_CONSUMER}
    for each in recorder.of_type(kinds.ALARM):
        told = each.inputs.get("alarmActions"), each.inputs.get("okActions")
        assert told == ((None, None) if each.name.startswith("alarms-mirror-") else ([TEAM], [TEAM]))


def test_an_e_mail_address_gets_a_topic_and_a_topic_gets_none() -> None:
    recorder = recorded(page_to=ON_CALL)
    assert recorder.one(kinds.TOPIC, "alarms-page-topic").inputs == {}
    assert recorder.one(kinds.SUBSCRIPTION, "alarms-page-email").inputs == {
        "topic": arn("sns", physical("alarms-page-topic")),
        "protocol": "email",
        "endpoint": ON_CALL,
    }
    assert (len(recorder.of_type(kinds.TOPIC)), len(recorder.of_type(kinds.SUBSCRIPTION))) == (1, 1)
    assert recorded(page_to=TEAM).of_type(kinds.TOPIC) == []
    both = recorded(page_to=ON_CALL, ticket_to="team@example.com")
    assert [each.inputs["endpoint"] for each in both.of_type(kinds.SUBSCRIPTION)] == [ON_CALL, "team@example.com"]


def test_without_an_address_nobody_is_told_and_a_protected_consumer_is_refused() -> None:
    recorder = recorded()
    for each in [*recorder.of_type(kinds.ALARM), *recorder.of_type(kinds.COMPOSITE)]:
        assert not {"alarmActions", "okActions"} & each.inputs.keys()

    def protected(**settings: Any) -> None:
        kept = stores()
        watch(consumer(users(protect=True).changes(), stores=kept), **settings)

    for preview in (True, False):
        assert f"alarms: page_to is {NO_ADDRESS}" in refusal(protected, preview=preview).splitlines()
    assert NO_ADDRESS not in refusal(lambda: protected(page_to=ON_CALL), preview=True)


def test_every_description_names_a_section_of_the_runbook_and_fits() -> None:
    headings = re.findall("^## (.*)$", (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8"), re.MULTILINE)
    anchors = {heading.lower().replace(" ", "-") for heading in headings}
    for each in record_program(SAMPLE, "local").of_type(kinds.ALARM):
        description = each.inputs["alarmDescription"]
        assert re.fullmatch(r".*\. See docs/runbook\.md#([a-z-]+)", description), description
        assert description.rpartition("#")[2] in anchors
        assert len(description) <= 1_024  # CloudWatch's limit


def test_the_dashboard_asks_one_question_a_row_with_all_consumers_in_each_graph() -> None:
    recorder = record_program(SAMPLE, "local")
    inputs = recorder.one(kinds.DASHBOARD, "alarms-dashboard").inputs
    assert inputs["dashboardName"] == "table-stream-local"
    header, alarms, *graphs = json.loads(inputs["dashboardBody"])["widgets"]
    assert header["properties"]["markdown"].startswith("# table-stream · local\n")
    assert len(alarms["properties"]["alarms"]) == 6
    assert {graph["properties"]["region"] for graph in graphs} == {kinds.REGION}
    rows: dict[int, list[Any]] = {}
    for widget in [header, alarms, *graphs]:
        rows.setdefault(widget["y"], []).append(widget)
    assert [sum(widget["width"] for widget in row) for row in rows.values()] == [24] * 9
    lag = graphs[0]["properties"]
    assert [line[-1] for line in lag["metrics"]] == [
        {"stat": "Maximum", "label": name} for name in ("change-log", "mirror", "welcome-email")
    ]
    assert lag["metrics"][1][:-1] == ["AWS/Lambda", "IteratorAge", "FunctionName", physical("mirror-function")]
    assert lag["annotations"] == {"horizontal": [{"label": "alarm", "value": 3_600_000}]}
    names = {line[1] for graph in graphs for line in graph["properties"]["metrics"]}
    assert names == {
        *("IteratorAge", "PolledEventCount", "InvokedEventCount", "HeldItems", "OldestHeldSeconds", "ParkedChanges"),
        *("DroppedEventCount", "OnFailureDestinationDeliveredEventCount", "Errors", "ReportedChanges", "Duration"),
        *("ConcurrentExecutions", "Throttles", "ReadThrottleEvents", "WriteThrottleEvents"),
    }


Samples = Mapping[str, Sequence[tuple[int, float]]]
"""By the metric's name, the samples: the minutes before now, and the value."""


def state(name: str, data: Samples, before: State = "OK", **tuning: Any) -> State:
    """Return the state of an alarm of `mirror` that sees this data and none of other metrics."""
    inputs = alarm(recorded(Tuning(**tuning)), f"mirror-{name}")

    def samples(namespace: str, metric: str, dimensions: Mapping[str, str]) -> list[tuple[float, float]]:
        return [(NOW - minutes * 60, value) for minutes, value in data.get(metric, ())]

    return evaluate(inputs, samples, NOW, before)


def every_minute(count: int, value: float, *, until: int = 1) -> list[tuple[int, float]]:
    return [(minutes, value) for minutes in range(until, until + count)]


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("held", {}, "OK"),
        ("held", {"OldestHeldSeconds": [(1, 1_799)]}, "OK"),
        ("held", {"OldestHeldSeconds": [(4, 1_800), (1, 0)]}, "ALARM"),
        ("many-held", {"HeldItems": every_minute(4, 99)}, "OK"),
        ("many-held", {"HeldItems": every_minute(5, 20)}, "ALARM"),
        ("giving-up-soon", {"OldestHeldSeconds": [(1, 6 * DAY)]}, "ALARM"),
        ("not-retrying", {}, "ALARM"),
        ("not-retrying", {"HeldItems": [(14, 0)]}, "OK"),
        ("not-retrying", {"HeldItems": [(16, 0)]}, "ALARM"),
        ("parked", {"ParkedChanges": [(3, 1)]}, "ALARM"),
        ("parked", {"ParkedChanges": [(6, 1)]}, "OK"),
        ("late", {"IteratorAge": every_minute(5, 3_600_000)}, "ALARM"),
        ("late", {"IteratorAge": every_minute(4, 3_600_000)}, "OK"),
        ("losing-soon", {"IteratorAge": [(9, 21_600_000), (1, 21_600_000)]}, "ALARM"),
        ("losing-soon", {"IteratorAge": [(14, 5), (9, 5), (1, 21_600_000)]}, "OK"),
        ("lost", {"DestinationDeliveryFailures": [(12, 1)]}, "ALARM"),
        ("lost", {"DroppedEventCount": [(12, 1)]}, "ALARM"),
        ("lost", {"DroppedEventCount": [(1, 0)], "DestinationDeliveryFailures": [(1, 0)]}, "OK"),
        ("discarded", {"OnFailureDestinationDeliveredEventCount": [(2, 7)]}, "ALARM"),
        ("discarded", {"OnFailureDestinationDeliveredEventCount": [(17, 7)]}, "OK"),
        ("broken", {"Errors": [(12, 1), (7, 1), (2, 1)]}, "ALARM"),
        ("broken", {"Errors": [(12, 1), (2, 9)]}, "OK"),
        ("throttled", {"Throttles": [(5, 1), (3, 1), (1, 1)]}, "ALARM"),
        ("throttled", {"Throttles": [(3, 9), (1, 9)]}, "OK"),
        ("near-the-time-out", {"Duration": every_minute(3, 48_001)}, "ALARM"),
        ("near-the-time-out", {"Duration": every_minute(3, 48_000)}, "OK"),
    ],
)
def test_an_alarm_fires_from_these_data_on(name: str, data: Samples, expected: State) -> None:
    assert state(name, data) == expected


@pytest.mark.parametrize("before", ["OK", "ALARM"])
def test_changes_grow_old_while_the_function_is_not_invoked(before: State) -> None:
    assert state("losing-soon", {}, before) == before


WRITES, POLLED = "ConsumedWriteCapacityUnits", "PolledEventCount"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({}, "OK"),
        ({WRITES: every_minute(9, 5)}, "ALARM"),  # nothing read for nine minutes of a busy table
        ({WRITES: every_minute(6, 5)}, "OK"),
        ({WRITES: every_minute(59, 5), POLLED: every_minute(59, 5)}, "OK"),
        ({WRITES: every_minute(59, 5), POLLED: every_minute(50, 5, until=10)}, "ALARM"),  # it has stopped
        ({WRITES: every_minute(59, 5), POLLED: every_minute(50, 0)}, "ALARM"),  # it polls, and reads nothing
        ({WRITES: [(40, 1), (20, 1)]}, "ALARM"),  # a sparsely written table
        ({WRITES: [(20, 1)]}, "OK"),  # one write that changed nothing, or that was refused
        ({WRITES: [(40, 1), (19, 1)], POLLED: [(39, 1), (18, 1)]}, "OK"),  # each is read in the next period
        ({WRITES: [(40, 1), (20, 1)], POLLED: [(40, 1), (20, 1)]}, "OK"),
    ],
)
def test_nothing_is_read_if_writes_are_not_polled_in_their_period_or_the_next(data: Samples, expected: State) -> None:
    assert state("users-nothing-read", data) == expected


@pytest.mark.parametrize(
    ("treatment", "values", "before", "expected"),
    [
        ("missing", [], "OK", "INSUFFICIENT_DATA"),
        ("missing", [(1, 9), (2, 9)], "OK", "ALARM"),
        ("ignore", [(1, 9)], "OK", "OK"),
        ("ignore", [(1, 9)], "ALARM", "ALARM"),
        ("ignore", [(1, 9), (2, 9)], "OK", "ALARM"),
        ("ignore", [(1, 0), (2, 0)], "ALARM", "OK"),
        ("breaching", [(1, 9)], "OK", "ALARM"),
        ("breaching", [(1, 0), (2, 0)], "ALARM", "OK"),
        ("notBreaching", [(1, 9)], "ALARM", "OK"),
    ],
)
def test_the_evaluation_treats_missing_data_as_the_alarm_says(
    treatment: str, values: list[tuple[int, float]], before: State, expected: State
) -> None:
    """Two of the last three periods, of which some have no data."""
    condition = {"comparisonOperator": "GreaterThanThreshold", "threshold": 5, "statistic": "Maximum", "period": 60}
    of = {"namespace": "shop", "metricName": "late", "dimensions": dict[str, str]()}
    window = {"evaluationPeriods": 3, "datapointsToAlarm": 2, "treatMissingData": treatment}

    def samples(namespace: str, metric: str, dimensions: Mapping[str, str]) -> list[tuple[float, float]]:
        return [(NOW - minutes * 60, value) for minutes, value in values]

    assert evaluate(of | condition | window, samples, NOW, before) == expected


def test_a_composite_fires_with_any_of_its_alarms() -> None:
    recorder = recorded()
    inputs = recorder.one(kinds.COMPOSITE, "alarms-mirror-ticket").inputs

    def with_alarm(name: str) -> State:
        every = [physical(each.name) for each in recorder.of_type(kinds.ALARM)]
        return composite_state(inputs, {each: "ALARM" if each == physical(name) else "OK" for each in every})

    assert with_alarm("alarms-mirror-parked") == "ALARM"
    assert with_alarm("alarms-mirror-late") == "OK"


def test_a_name_has_only_characters_that_cloudwatch_takes() -> None:
    recorder = RecordingBackend()
    program = Program(lambda: watch(consumer(users().changes())) and None, stack="eu.1", config={"target": "host"})
    run(program, recorder)
    assert recorder.one(kinds.DASHBOARD, "alarms-dashboard").inputs["dashboardName"] == "table-stream-eu-1"
