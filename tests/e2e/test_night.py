"""A night rehearsed from end to end: a bug is deployed, the alarms' conditions are met, the mend releases everything.

A minute of the retry schedule takes a second in the sandbox. So the alarms see the functions' metrics on a clock that
runs sixty times as fast: each second becomes a minute, and each value in seconds becomes as many minutes.
"""

import json
import shutil
import time
from collections.abc import Generator, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from sandbox.mapping.invocation import ObservedInvocation
from sandbox.program.in_process import Program, stack_config
from tests.alarm_evaluation import evaluate
from tests.consumers.project import SAMPLE
from tests.local import LocalAws, run_ops, wait_for
from tests.program import recording
from tests.program.recording import record_program

ORDERS = 40
MINUTE = 60.0
"""Seconds of the alarms' clock for each second of the sandbox."""
BUGGY = '''"""Keeps a second table equal to the first; a bug refuses every second order."""

import os

from handler.stream import Change, consumer, put_if_newer


@consumer
def handler(change: Change) -> None:
    if int(change.keys["order_id"]) % 2:
        raise KeyError("currency")
    put_if_newer(change, os.environ["MIRROR_TABLE"])
'''

CONFIG = {"alarms": '{"heldAfter": 600}'}
"""Ten minutes instead of thirty, which would take half a minute of the sandbox."""
ALARMS = record_program(SAMPLE, "local", **CONFIG).of_type(recording.ALARM)
"""The alarms that the sample program registers; the sandbox itself has none."""


@pytest.fixture
def local() -> Generator[LocalAws]:
    aws = LocalAws()
    yield aws
    aws.close()


class Night:
    """The sample project with the mirror's code as it is deployed now, and the metrics that its functions print."""

    def __init__(self, local: LocalAws, project: Path) -> None:
        self.local, self.project = local, project
        shutil.copytree(SAMPLE, project, symlinks=True)
        self.mirror = project / "handler" / "mirror.py"
        self.mended = self.mirror.read_text(encoding="utf-8")
        self.deployment = local.sandbox.deploy(self._program())
        self.began = time.time()

    def _program(self) -> Program:
        return Program(self.project, config=stack_config("local", SAMPLE) | CONFIG)

    def deploy(self, source: str) -> None:
        """Deploy the mirror with this source, as an engineer does."""
        self.mirror.write_text(source, encoding="utf-8")
        self.local.sandbox.redeploy(self.deployment, self._program())

    def write(self, version: int) -> None:
        """Write a version of every order."""
        table = self.deployment.outputs["tables"]["orders"]["name"]
        orders = ({"customer_id": f"c{number % 7}", "order_id": str(number)} for number in range(ORDERS))
        self.local.write(table, *({**order, "version": version} for order in orders))

    def alarms(self, consumer: str) -> dict[str, str]:
        """Return the state of each of a consumer's alarms on the engine's own metrics, by the alarm's logical name."""
        function = self.deployment.outputs["consumers"][consumer]["function"]
        observed = [*self.local.invocations(function), *self.local.retry_runs(function)]
        points = Points(observed, self.began)
        return {
            alarm.name: evaluate(alarm.inputs, points.read, points.now())
            for alarm in ALARMS
            if alarm.inputs.get("dimensions") == {"service": consumer}
        }

    def ops(self, *arguments: str) -> tuple[int, str]:
        """Run an operator's command; return its exit code and output."""
        code, out, error = run_ops(self.local.variables(), *arguments)
        return code, out + error


class Points:
    """The datapoints that functions have printed in the embedded metric format, on the alarms' clock."""

    def __init__(self, observed: Iterable[ObservedInvocation], began: float) -> None:
        self._began = began
        self._lines = [line for each in observed for line in _metric_lines(each.log)]

    def now(self) -> int:
        """Return the end of the last whole minute of the alarms' clock."""
        return int((time.time() - self._began) * MINUTE // 300 * 300)

    def read(self, namespace: str, name: str, dimensions: Mapping[str, str]) -> Iterable[tuple[float, float]]:
        """Yield second and value of each sample of a metric."""
        for line in self._lines:
            [directive] = line["_aws"]["CloudWatchMetrics"]
            units = {each["Name"]: each["Unit"] for each in directive["Metrics"]}
            printed = {key: line[key] for keys in directive["Dimensions"] for key in keys}
            if (directive["Namespace"], printed) != (namespace, dict(dimensions)) or name not in units:
                continue
            at = (line["_aws"]["Timestamp"] / 1000 - self._began) * MINUTE
            for value in line[name] if isinstance(line[name], list) else [line[name]]:
                yield at, value * (MINUTE if units[name] == "Seconds" else 1)


def _metric_lines(log: str) -> Iterable[Mapping[str, Any]]:
    for line in log.splitlines():
        if line.startswith('{"_aws"'):
            yield json.loads(line)


def items(local: LocalAws, table: str) -> dict[str, Any]:
    return {item["order_id"]: item["version"] for item in local.items(table)}


def test_a_night(local: LocalAws, tmp_path: Path):
    night = Night(local, tmp_path / "project")
    outputs = night.deployment.outputs
    night.write(version=1)
    local.wait_until_idle()
    assert night.ops("status")[0] == 0

    night.deploy(BUGGY)
    night.write(version=2)
    night.write(version=3)
    local.wait_until_idle(include_held=False)
    wait_for(
        lambda: (
            {name for name, state in night.alarms("mirror").items() if state == "ALARM"}
            >= {"alarms-mirror-held", "alarms-mirror-many-held"}
        ),
        "the alarms of held items",
        timeout_seconds=60,
        pause_seconds=1,
    )
    code, text = night.ops("status")
    assert code == 1
    assert f"{ORDERS // 2} items" in text
    assert "KeyError" in text
    code, text = night.ops("held", "mirror")
    assert code == 1
    assert "KeyError" in text
    assert items(local, outputs["tables"]["orders-mirror"]["name"]) == {
        str(number): 1 if number % 2 else 3 for number in range(ORDERS)
    }

    night.deploy(night.mended)
    local.wait_until_idle()
    assert items(local, outputs["tables"]["orders-mirror"]["name"]) == dict.fromkeys(map(str, range(ORDERS)), 3)
    released = local.log_entries(outputs["consumers"]["mirror"]["logGroup"], "item released")
    assert len(released) == ORDERS // 2
    for entry in released:
        numbers = [int(number) for number in entry["sequence_numbers"]]
        assert len(numbers) == 2
        assert numbers == sorted(numbers)
    wait_for(
        lambda: not {name for name, state in night.alarms("mirror").items() if state == "ALARM"},
        "the end of the alarms",
        timeout_seconds=30,
        pause_seconds=1,
    )
    code, text = night.ops("status")
    assert (code, "KeyError" in text) == (0, False), text
    assert night.ops("held")[0] == 0
