"""The sandbox publishes the metrics that AWS makes of mappings and log lines; the emulator makes those of functions."""

import json
import time
from collections.abc import Callable, Generator, Mapping
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError  # pyright: ignore[reportMissingTypeStubs] -- boto3 is untyped

from sandbox.mapping.invocation import ObservedInvocation
from sandbox.metrics import DATA, VALUES, MetricsPublisher
from sandbox.program.deploy import Deployment
from tests.fakes.records import STREAM, record
from tests.local import LocalAws, wait_for
from tests.sandbox.mapping.source import Source

COUNTED = {"MetricsConfig": {"Metrics": ["EventCount"]}}


class CloudWatch:
    """Keeps what is published; with `fails`, nothing answers."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[dict[str, Any]]]] = []
        self.fails = False
        self.attempts = 0

    def put_metric_data(self, **call: Any) -> None:
        self.attempts += 1
        if self.fails:
            raise EndpointConnectionError(endpoint_url="http://127.0.0.1:9")
        self.calls.append((call["Namespace"], call["MetricData"]))

    def published(self) -> dict[tuple[str, ...], float]:
        """Return the sum of each metric, by namespace, name and values of dimensions."""
        sums: dict[tuple[str, ...], float] = {}
        for namespace, data in self.calls:
            for datum in data:
                key = (namespace, datum["MetricName"], *(each["Value"] for each in datum["Dimensions"]))
                total = sum(value * count for value, count in zip(datum["Values"], datum["Counts"], strict=True))
                sums[key] = sums.get(key, 0.0) + total
        return sums


@pytest.fixture
def cloudwatch() -> CloudWatch:
    return CloudWatch()


@pytest.fixture
def publisher(cloudwatch: CloudWatch) -> Generator[MetricsPublisher]:
    publisher = MetricsPublisher(lambda service: cloudwatch)
    yield publisher
    publisher.close()


def embedded(*, at: float = 1_795_000_000.5, **values: Any) -> str:
    metrics = [{"Name": name, "Unit": "Count"} for name in values]
    directive = {"Namespace": "n", "Dimensions": [["service"], ["service", "stage"]], "Metrics": metrics}
    metadata = {"Timestamp": int(at * 1000), "CloudWatchMetrics": [directive]}
    return json.dumps({"_aws": metadata, "service": "mirror", "stage": 1, **values})


def invocation(log: str = "", **changes: Any) -> ObservedInvocation:
    fields: dict[str, Any] = {
        "uuid": "u",
        "function": "f",
        "stream_arn": STREAM,
        "attempt": 1,
        "response": {},
        "error": None,
        "records": (record(1, at=1000), record(2, at=1010)),
        "ended_at": 1013.0,
        "duration_seconds": 0.5,
        "log": log,
    }
    return ObservedInvocation(**fields | changes)


def test_the_iterator_age_is_that_of_the_last_record_when_it_is_sent(
    publisher: MetricsPublisher, cloudwatch: CloudWatch
):
    publisher.observe(invocation())
    publisher.observe(invocation(records=(), scheduled={"table-stream": "retry"}))
    publisher.observe(invocation(refusal=RuntimeError("throttled"), error="throttled"))
    wait_for(lambda: cloudwatch.calls, "the metrics")
    [(namespace, [datum])] = cloudwatch.calls
    assert (namespace, datum["MetricName"], datum["Unit"], datum["Timestamp"]) == (
        *("AWS/Lambda", "IteratorAge"),
        *("Milliseconds", 1012),
    )
    assert (datum["Values"], datum["Counts"]) == ([2500], [1.0])
    assert datum["Dimensions"] == [{"Name": "FunctionName", "Value": "f"}]


def test_lines_of_the_embedded_metric_format_are_metrics_and_all_others_are_not(
    publisher: MetricsPublisher, cloudwatch: CloudWatch
):
    broken = [
        *('{"_aws": 1}', '{"_aws": {"Timestamp": 1, "CloudWatchMetrics": [{}]}}', '{"_aws": ', 'START "_aws"'),
        embedded(Held="many"),
        embedded(Held=None),
        json.dumps(["_aws"]),
    ]
    lines = [*broken, "plain text", '{"message": "item held"}', embedded(Held=2, Parked=[1, 2]), embedded(Held=3)]
    publisher.observe(invocation("\n".join(lines), records=()))
    publisher.add_log("nothing")
    wait_for(lambda: cloudwatch.calls, "the metrics")
    assert cloudwatch.published() == {
        ("n", "Held", "mirror"): 5,
        ("n", "Held", "mirror", "1"): 5,
        ("n", "Parked", "mirror"): 3,
        ("n", "Parked", "mirror", "1"): 3,
    }
    assert {datum["Timestamp"] for _, data in cloudwatch.calls for datum in data} == {1_795_000_000}


def test_calls_are_as_large_as_aws_allows(publisher: MetricsPublisher, cloudwatch: CloudWatch):
    publisher.add_log(embedded(many=list(range(VALUES + 1))))
    for number in range(DATA):
        publisher.count({"FunctionName": str(number)}, {"Dropped": 1, "None": 0})
    wait_for(lambda: len(cloudwatch.published()) == DATA + 2, "the metrics")
    assert max(len(data) for _, data in cloudwatch.calls) <= DATA
    assert max(len(datum["Values"]) for _, data in cloudwatch.calls for datum in data) == VALUES


def test_an_error_is_logged_once_and_ends_nothing(
    publisher: MetricsPublisher, cloudwatch: CloudWatch, caplog: pytest.LogCaptureFixture
):
    cloudwatch.fails = True
    for attempts in (1, 2):
        publisher.count({"FunctionName": "f"}, {"Lost": 1})
        wait_for(lambda attempts=attempts: cloudwatch.attempts == attempts, "an attempt")
    cloudwatch.fails = False
    publisher.count({"FunctionName": "f"}, {"Kept": 1})
    wait_for(lambda: cloudwatch.calls, "the metrics")
    assert cloudwatch.published() == {("AWS/Lambda", "Kept", "f"): 1}
    assert [message.partition(":")[0] for message in caplog.messages] == ["metrics cannot be published"]


Sources = Callable[..., Source]


def counts(source: Source) -> Callable[[], dict[str, int]]:
    """Return a function that returns the counts so far, of the mapping and its function."""
    found: list[tuple[Mapping[str, str], Mapping[str, int]]] = []
    source.poller.counters.append(lambda dimensions, counted: found.append((dimensions, counted)))

    def total() -> dict[str, int]:
        sums: dict[str, int] = {}
        for dimensions, counted in found:
            assert dimensions in ({"EventSourceMappingUUID": source.name}, {"FunctionName": source.function})
            sums = {name: sums.get(name, 0) + counted.get(name, 0) for name in sums.keys() | counted.keys()}
        return {name: count for name, count in sums.items() if count}

    return total


def test_a_mapping_counts_its_events(source: Sources):
    pattern = json.dumps({"dynamodb": {"Keys": {"id": {"S": [{"anything-but": "out"}]}}}})
    counted = source("counted", FilterCriteria={"Filters": [{"Pattern": pattern}]}, **COUNTED)
    total = counts(counted)
    counted.put("a", "out", "b")
    counted.attach()
    counted.settle()
    assert total() == {"PolledEventCount": 3, "FilteredOutEventCount": 1, "InvokedEventCount": 2}


def test_a_failing_event_counts_with_each_attempt_and_then_as_dropped(source: Sources):
    failing = source("dropped", MaximumRetryAttempts=1, FunctionResponseTypes=["ReportBatchItemFailures"], **COUNTED)
    total = counts(failing)
    failing.deliver("bad")
    assert total() == {
        "PolledEventCount": 1,
        "InvokedEventCount": 2,
        "FailedInvokeEventCount": 2,
        "DroppedEventCount": 1,
    }


@pytest.mark.parametrize("exists", [True, False])
def test_a_discarded_event_is_delivered_or_its_delivery_fails(aws: LocalAws, source: Sources, exists: bool):
    queue = f"discarded-{exists}".lower()
    destination = {"OnFailure": {"Destination": f"arn:aws:sqs:eu-west-1:000000000000:{queue}"}}
    discarding = source(queue, MaximumRetryAttempts=0, DestinationConfig=destination, **COUNTED)
    total = counts(discarding)
    if exists:
        aws.client("sqs").create_queue(QueueName=queue)
    discarding.deliver("boom")
    ends = {"OnFailureDestinationDeliveredEventCount": 1}
    if not exists:
        ends = {"DestinationDeliveryFailures": 1, "DroppedEventCount": 1}
    assert total() == {"PolledEventCount": 1, "InvokedEventCount": 1, "FailedInvokeEventCount": 1, **ends}


def test_a_mapping_without_event_count_metrics_counts_nothing(source: Sources):
    silent = source("silent", MaximumRetryAttempts=0)
    total = counts(silent)
    silent.deliver("boom")
    assert total() == {}


def test_get_metric_data_answers_as_on_aws(aws: LocalAws, pipeline: Deployment):
    """The metrics of the emulator, of the mapping, and of the log lines; also of an invocation by a client."""
    alarms, consumer = aws.front_client("cloudwatch"), pipeline.outputs["consumers"]["welcome-email"]
    [uuid] = consumer["mappings"].values()
    by_function, by_mapping = {"FunctionName": consumer["function"]}, {"EventSourceMappingUUID": uuid}
    began = time.time() - 60

    def total(name: str, namespace: str = "AWS/Lambda", stat: str = "Sum", /, **dimensions: str) -> float:
        named = [{"Name": key, "Value": value} for key, value in dimensions.items()]
        metric = {"Namespace": namespace, "MetricName": name, "Dimensions": named}
        query = {"Id": "q", "MetricStat": {"Metric": metric, "Period": 60, "Stat": stat}}
        [result] = alarms.get_metric_data(MetricDataQueries=[query], StartTime=began, EndTime=time.time() + 60)[
            "MetricDataResults"
        ]
        return sum(result["Values"])

    aws.wait_until_idle()
    time.sleep(2)  # what earlier tests have caused is published
    names = ("Invocations", "Errors", "IteratorAge", "Duration")
    before = {name: total(name, "AWS/Lambda", "SampleCount", **by_function) for name in names}
    polled, parked = (
        total("PolledEventCount", **by_mapping),
        total("ParkedChanges", "table-stream", service="welcome-email"),
    )
    users = pipeline.outputs["tables"]["users"]["name"]
    aws.write(users, {"id": "metric-1", "email": "m@example.com", "language": "xx"})
    aws.wait_until_idle()
    wait_for(
        lambda: total("ParkedChanges", "table-stream", service="welcome-email") == parked + 1, "the engine's metric"
    )
    wait_for(lambda: total("PolledEventCount", **by_mapping) == polled + 1, "the mapping's metric")
    after = {name: total(name, "AWS/Lambda", "SampleCount", **by_function) for name in names}
    assert after["IteratorAge"] - before["IteratorAge"] == 1
    assert after["Invocations"] - before["Invocations"] == after["Errors"] - before["Errors"] >= 1

    [batch] = [each.records for each in aws.invocations(consumer["function"]) if "metric-1" in json.dumps(each.records)]
    redelivered = {"Records": [{**batch[0], "eventID": "another"}]}
    answer = aws.front_client("lambda").invoke(FunctionName=consumer["function"], Payload=json.dumps(redelivered))
    assert "LogResult" not in answer
    assert json.load(answer["Payload"]) == {"batchItemFailures": []}
    wait_for(
        lambda: total("ParkedChanges", "table-stream", service="welcome-email") == parked + 2, "the client's metric"
    )
