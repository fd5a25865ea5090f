"""Counts are printed in CloudWatch's embedded metric format, but zero counts are not printed."""

import json

import pytest

from handler.stream import KeyOrderedProcessor
from handler.stream.telemetry import emit_counts
from tests.fakes.records import record


def test_counts_are_one_line_of_the_embedded_metric_format(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "table-stream")
    emit_counts({"ParkedChanges": 2, "ReportedChanges": 0, "HeldChanges": 1}, {"HeldItems": (0, "Count")})
    line = json.loads(capsys.readouterr().out)
    assert line.pop("_aws")["CloudWatchMetrics"] == [
        {
            "Namespace": "table-stream",
            "Dimensions": [["service"]],
            "Metrics": [{"Name": name, "Unit": "Count"} for name in ("ParkedChanges", "HeldChanges", "HeldItems")],
        }
    ]
    assert line == {"service": "service_undefined", "ParkedChanges": [2], "HeldChanges": [1], "HeldItems": [0]}


def test_each_call_prints_only_its_own_counts(capsys: pytest.CaptureFixture[str]) -> None:
    emit_counts({"FailedMarks": 1})
    emit_counts({"FailedMarks": 1})
    assert [json.loads(line)["FailedMarks"] for line in capsys.readouterr().out.splitlines()] == [[1], [1]]


def test_a_batch_that_succeeds_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    KeyOrderedProcessor()([record(1)], lambda change: None).process()
    assert capsys.readouterr().out == ""
