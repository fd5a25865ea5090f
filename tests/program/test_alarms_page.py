"""docs/alarms.md says what the program registers: each alarm with its level and metrics, the settings, the counts."""

import re
from collections import Counter

import pytest

from infra.settings import AlarmSettings
from sandbox import ROOT
from tests.consumers.project import SAMPLE
from tests.program import recording as kinds
from tests.program.recording import RecordingBackend, record_program

PAGE = (ROOT / "docs" / "alarms.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def sample() -> RecordingBackend:
    return record_program(SAMPLE, "local")


def rows(heading: str) -> list[list[str]]:
    """The rows of the only table below a heading, without the title row."""
    _, _, rest = PAGE.partition(f"\n## {heading}\n")
    table = re.findall(r"^\|(.*)\|$", rest.partition("\n## ")[0], re.MULTILINE)
    return [[cell.strip().strip("`") for cell in line.split("|")] for line in table[2:]]


def metrics(recording: RecordingBackend, prefix: str) -> Counter[str]:
    """How many metrics each alarm whose name begins so has."""
    return Counter(
        {
            each.name.removeprefix(prefix): sum("metric" in query for query in each.inputs.get("metricQueries", ()))
            or 1
            for each in recording.of_type(kinds.ALARM)
            if each.name.startswith(prefix)
        }
    )


def test_the_alarms_of_a_consumer(sample: RecordingBackend) -> None:
    said = rows("The alarms of a consumer")
    assert {name.replace("TABLE", "orders"): int(count) for name, _, _, count in said} == metrics(
        sample, "alarms-mirror-"
    )
    for level in ("page", "ticket"):
        rule = sample.one(kinds.COMPOSITE, f"alarms-mirror-{level}").inputs["alarmRule"]
        watched = re.findall(r'ALARM\("alarms-mirror-(.*?)-0a1b2c3"\)', rule)
        assert [name.replace("TABLE", "orders") for name, of, *_ in said if of == level] == watched


def test_the_alarms_of_tables(sample: RecordingBackend) -> None:
    for name, level, _, of_table, of_ledger in rows("The alarms of a table"):
        assert level == "ticket"
        ending = name.removeprefix("TABLE-")
        assert metrics(sample, "alarms-orders-")[ending] == int(of_table)
        assert metrics(sample, "alarms-stores-ledger-")[ending] == int(of_ledger)


def test_the_settings() -> None:
    defaults = AlarmSettings().model_dump(by_alias=True)
    assert {key: default for key, default, _ in rows("Change the thresholds")} == {
        key: str(value) or '""' for key, value in defaults.items()
    }


def test_the_counts_behind_the_prices(sample: RecordingBackend) -> None:
    of_alarms, composites, *_ = rows("What CloudWatch charges")
    one, two = (metrics(sample, f"alarms-{consumer}-").total() for consumer in ("mirror", "change-log"))
    table, ledger = (metrics(sample, f"alarms-{name}-").total() for name in ("orders", "stores-ledger"))
    counts = (one, two - one, table, ledger)
    assert of_alarms[2:] == [f"{count}, ${count / 10:.2f}" for count in counts]
    of_mirror = [each for each in sample.of_type(kinds.COMPOSITE) if each.name.startswith("alarms-mirror-")]
    assert composites[2] == f"{len(of_mirror)}, ${len(of_mirror) / 2:.2f}"
