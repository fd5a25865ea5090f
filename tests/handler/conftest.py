"""Fixtures of the engine's tests: log lines, counts and Lambda's environment."""

import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from handler.stream import environment
from handler.stream.telemetry import logger

Lines = Callable[[], list[dict[str, Any]]]
Counts = Callable[[], dict[str, float]]


@pytest.fixture
def log_lines() -> Iterator[Lines]:
    """Return a function that returns the lines logged so far."""
    buffer = io.StringIO()
    written: Any = logger.registered_handler
    before = written.setStream(buffer)
    yield lambda: [json.loads(line) for line in buffer.getvalue().splitlines()]
    written.setStream(before)


@pytest.fixture
def counts(capsys: pytest.CaptureFixture[str]) -> Counts:
    """Return a function that returns the counts printed since its last call."""

    def read() -> dict[str, float]:
        totals = dict[str, float]()
        for line in capsys.readouterr().out.splitlines():
            emf = json.loads(line)
            for metric in emf["_aws"]["CloudWatchMetrics"][0]["Metrics"]:
                totals[metric["Name"]] = totals.get(metric["Name"], 0) + sum(emf[metric["Name"]])
        return totals

    return read


@pytest.fixture
def in_lambda(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set the variables as in Lambda, where the settings are read once; restore the former settings."""
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "mirror")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("LEDGER_TABLE", "ledger")
    monkeypatch.setenv("FAILURE_BUCKET", "failures")
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "mirror")
    monkeypatch.setenv("WORKERS", "2")
    former = environment.set_current(None)
    yield
    environment.set_current(former)
