"""R4: batch processing of stream events with Powertools, its Logger and its Tracer."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pulumi
import pytest
from aws_lambda_powertools.utilities import batch

from handler.stream import Change, KeyOrderedProcessor, consumer
from infra.archive import build
from infra.consumer import StreamConsumer
from infra.settings import Tuning
from infra.table import StreamTable
from sandbox.program.deploy import Deployment
from tests.consumers.project import SAMPLE
from tests.local import LocalAws
from tests.program.recording import FUNCTION, record

UPDATE: dict[str, Any] = json.loads((Path(__file__).parents[1] / "events" / "dynamodb-update.json").read_text())
HOST = {"target": "host"}


Entry = Callable[[Callable[[Change], None]], dict[str, Any]]


def traced() -> None:
    """A function whose changes are traced."""
    items = StreamTable("items", key="id")
    change_log = StreamConsumer(
        "change-log",
        reads=[items.changes()],
        environment={},
        stores=None,
        tuning=Tuning(tracing=True),
        package=build("host", SAMPLE),
    )
    pulumi.export("items", items.outputs)
    pulumi.export("change-log", change_log.outputs)


def powertools(function: Callable[[Change], None]) -> dict[str, Any]:
    """An answer by Powertools' own entry, with our processor."""
    process: Any = cast("Any", batch).process_partial_response  # it names its own base class, where a shape is enough
    return process(event=UPDATE, record_handler=function, processor=KeyOrderedProcessor())


def ours(function: Callable[[Change], None]) -> dict[str, Any]:
    """An answer by `@consumer`."""
    return consumer(function)(UPDATE)


@pytest.mark.parametrize("entry", [powertools, ours])
def test_insert_modify_and_remove_in_one_batch_succeed(entry: Entry) -> None:
    seen: list[str] = []

    def function(change: Change) -> None:
        seen.append(change.event_name)

    answer = entry(function)
    assert seen == ["INSERT", "MODIFY", "REMOVE"]
    assert answer == {"batchItemFailures": []}


@pytest.mark.parametrize("entry", [powertools, ours])
def test_the_failed_record_is_reported_and_the_items_later_change_waits_for_it(entry: Entry) -> None:
    """Powertools' own processor goes on with the REMOVE here, which then stands under the MODIFY's second try."""
    seen: list[str] = []

    def function(change: Change) -> None:
        seen.append(change.event_name)
        if change.event_name == "MODIFY":
            raise ConnectionError

    answer = entry(function)
    assert seen == ["INSERT", "MODIFY", "MODIFY", "MODIFY"], "two more tries in place, and no REMOVE"
    assert answer == {"batchItemFailures": [{"itemIdentifier": "222"}, {"itemIdentifier": "333"}]}


def test_tracing_brings_its_rights_and_nothing_else_beyond_the_mappings_needs() -> None:
    recorder = record(traced)
    assert recorder.one(FUNCTION, "change-log-function").inputs["tracingConfig"] == {"mode": "Active"}
    actions = {action for statement in recorder.statements("change-log") for action in statement["Action"]}
    assert actions - {"logs:CreateLogStream", "logs:PutLogEvents"} == {
        "dynamodb:DescribeStream",
        "dynamodb:GetRecords",
        "dynamodb:GetShardIterator",
        "dynamodb:ListStreams",
        "xray:PutTraceSegments",
        "xray:PutTelemetryRecords",
    }


def test_a_traced_function_works(aws: LocalAws, deployed: Callable[..., Deployment]) -> None:
    """That segments arrive at X-Ray is not shown: the emulator has none."""
    outputs = deployed(traced, config=HOST).outputs
    aws.write(outputs["items"]["name"], {"id": "1"})
    aws.wait_until_idle()
    assert [entry["event_name"] for entry in aws.log_entries(outputs["change-log"]["logGroup"], "change")] == ["INSERT"]
