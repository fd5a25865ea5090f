"""Every way to process a batch does its work; no time and no size is tested."""

import json

import pytest

from bench import ways
from bench.questions import engine, memory


@pytest.mark.parametrize("run", [ways.ours(ways.new_image), ways.by_hand(), ways.stock(ways.stock_new_image)])
def test_a_measured_way_reports_a_record_that_it_cannot_read(run: ways.Run):
    """So each of them reads the images, and would say what fails."""
    event = json.loads(engine.payload(2))
    assert run(json.dumps(event)) == {"batchItemFailures": []}
    second = event["Records"][1]["dynamodb"]
    second["NewImage"]["broken"] = {"X": "no type"}
    assert run(json.dumps(event)) == {"batchItemFailures": [{"itemIdentifier": second["SequenceNumber"]}]}


@pytest.mark.parametrize("way", ["nothing: ours", ways.EXAMPLE])
def test_a_way_measures_in_a_process_of_its_own(way: str):
    with engine.process(way) as seconds:
        assert seconds(1, engine.payload(2)) > 0
        assert seconds(1, engine.payload(1)) > 0


def test_the_batches_are_as_large_as_said():
    event = json.loads(engine.payload(10))
    assert [len(each["dynamodb"]["NewImage"]) for each in event["Records"]] == [30] * 10
    text = memory.payload()
    assert len(json.loads(text)["Records"]) == memory.RECORDS
    assert len(text) == pytest.approx(memory.EVENT_BYTES, rel=0.001)
