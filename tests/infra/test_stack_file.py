"""The bounds of a stack file's keys, all errors at once, and warnings about unsafe values."""

import json
import logging
from datetime import date
from typing import Any

import pytest

from infra.archive.targets import runtime
from infra.rules.functions import NOTICE, RUNTIMES
from infra.settings import Settings, Tuning
from tests.infra.programs import outcome

DESCRIPTIONS = {
    field.alias or name: field.description for model in (Settings, Tuning) for name, field in model.model_fields.items()
}


def line(key: str, value: object, message: str) -> str:
    """An error about one key, which ends with the description of the key's bounds."""
    return f"table-stream:{key} = {json.dumps(value)}: {message} ({DESCRIPTIONS[key.rpartition('.')[2]]})"


@pytest.mark.parametrize(
    ("stack_file", "key", "value", "message"),
    [
        (
            {"tuning": {"mirror": {"retentionInDays": 10}}},
            "tuning.mirror.retentionInDays",
            10,
            "should be 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, "
            "3288 or 3653",
        ),
        (
            {"tuning": {"mirror": {"startingPosition": "AT_TIMESTAMP"}}},
            "tuning.mirror.startingPosition",
            "AT_TIMESTAMP",
            "should be 'TRIM_HORIZON' or 'LATEST'",
        ),
        (
            {"tuning": {"mirror": {"timeout": 59}}},
            "tuning.mirror.handlerTimeout",
            10,
            "must be at most a sixth of timeout (59), so that several changes get their turn",
        ),
        ({"target": "riscv"}, "target", "riscv", "should be 'arm64', 'x86_64' or 'host'"),
        ({"failureRetentionInDays": 0}, "failureRetentionInDays", "0", "should be greater than or equal to 1"),
        ({"failureRetentionInDays": 3_651}, "failureRetentionInDays", "3651", "should be less than or equal to 3650"),
    ],
)
def test_a_value_out_of_bounds_is_refused(
    stack_file: dict[str, Any], key: str, value: object, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    for protect in (True, False):
        assert outcome(stack_file, caplog, protect=protect) == ([line(key, value, message)], [])


def test_a_value_in_bounds_that_is_unsafe_is_refused_where_it_is_protected(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "pulumi")
    errors, warnings = outcome({"tuning": {"mirror": {"startingPosition": "LATEST"}}}, caplog, protect=True)
    assert [error.partition(":")[0] for error in errors] == ["mirror-orders"]
    assert warnings == []
    assert outcome({"tuning": {"mirror": {"startingPosition": "LATEST"}}}, caplog, protect=False) == ([], errors)


@pytest.mark.parametrize("protect", [True, False])
def test_a_run_time_near_its_end_is_warned_of(
    protect: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The rule is about Lambda's runtime, not about the sandbox's, which is this interpreter."""
    monkeypatch.setitem(RUNTIMES, runtime("arm64"), date.min + NOTICE)
    monkeypatch.setitem(RUNTIMES, runtime("host"), date.min + NOTICE)
    caplog.set_level(logging.WARNING, "pulumi")
    errors, warnings = outcome({"target": "arm64"}, caplog, protect=protect)
    assert errors == []
    assert [": ".join(warning.split(": ")[:2]) for warning in warnings] == [
        f"{consumer}-function: runtime {runtime('arm64')}" for consumer in ("change-log", "mirror")
    ]
    assert outcome({"target": "host"}, caplog, protect=protect) == ([], [])


def test_all_that_is_wrong_with_a_stack_file_is_one_error(caplog: pytest.LogCaptureFixture) -> None:
    """The error lists bounds and unknown keys. Findings about values in bounds come with the rest of the program."""
    stack_file = {
        "colour": "red",
        "target": "riscv",
        "tuning": {
            "mirror": {"memorySize": 1, "maximumRecordAgeInSeconds": -1},
            "welcom-email": {"startingPosition": "LATEST"},
        },
    }
    errors, warnings = outcome(stack_file, caplog, protect=True)
    assert [error.split(": ")[:2] for error in errors] == [
        ['table-stream:target = "riscv"', "should be 'arm64', 'x86_64' or 'host' (for what the functions are built"],
        ["table-stream:tuning.mirror.memorySize = 1", "should be greater than or equal to 128 (MB, Lambda's limits)"],
        ["table-stream:tuning.mirror.maximumRecordAgeInSeconds = -1", "no longer a setting"],
        ["table-stream:tuning.welcom-email", "no handler/welcom_email.py; did you mean welcome_email?"],
        [
            'table-stream:colour = "red"',
            "no such key; there are target, bytecode, protect, mailFrom, encryption, failureRetentionInDays, "
            "confirmedDrained, alarms, tuning",
        ],
    ]
    assert warnings == []
