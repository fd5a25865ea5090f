"""The screens of the command failures."""

import json
from pathlib import Path
from typing import Any

import pytest

from handler.stream.change import PermanentError
from ops import OpsError
from ops.failures import view
from ops.failures.bucket import FailureObjects
from tests.fakes.aws import refusal
from tests.fakes.records import record
from tests.ops.failures.harness import UUID, Failures

KEY = f"aws/lambda/{UUID}/shard/one"


def groups(failures: Failures) -> list[str]:
    plan = failures.plan()
    view.print_groups(failures.ops.session, plan, failures.planner.left_alone, {"mirror": failures.consumer})
    plan.close()
    return failures.ops.shown()


def objects(failures: Failures) -> FailureObjects:
    return FailureObjects(failures.ops.stack.client, "b")


def test_failures_are_grouped_by_their_cause_the_largest_first() -> None:
    failures = Failures()
    failures.engine.trouble = {
        number: PermanentError(f"no template for 'x{number}'" if number > 1 else "no address" * 20)
        for number in (1, 2, 3)
    }
    failures.engine.deliver("abc")
    failures.discard({"eventID": "odd"})
    lines = groups(failures)
    assert lines[0] == "mirror · 3 changes failed"
    assert lines[1] == "      2  PermanentError: PermanentError: no template for '…'"
    assert lines[2].startswith("         2 items · 2027-01-15T08:00Z")
    assert lines[3] == "         such as --show event-2"
    assert lines[4].endswith("…")
    assert "  python -m ops redrive mirror" in lines
    assert lines[-2:] == [
        "  left alone: 1 changes without a key or a sequence number, as",
        f"    aws/lambda/{UUID}/shard/one",
    ]


def test_without_failures_the_screen_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    failures = Failures(as_json=True)
    assert groups(failures) == ["mirror · no failures"]
    assert json.loads(capsys.readouterr().out) == {
        "consumers": {"mirror": {"changes": 0, "causes": []}},
        "left_alone": {},
    }


def test_the_function_may_be_gone() -> None:
    failures = Failures()
    failures.park("a")
    failures.ops.functions.refusal = refusal("ResourceNotFoundException")
    assert "  the function is gone" in groups(failures)


def test_a_batch_is_shown_change_by_change() -> None:
    failures = Failures()
    made = [record(number, f"item-{number}") for number in range(25)]
    key = failures.discard(*made)
    assert view.show_object(failures.ops.session, objects(failures), key) == 1
    lines = failures.ops.shown()
    assert "  condition   RetryAttemptsExhausted" in lines
    assert "  error       none in the record" in lines
    assert "  MODIFY  id=item-3  event-3" in lines
    assert lines[-1] == "  and 5 more changes: --json prints all"


@pytest.mark.parametrize(
    ("key", "body", "message"),
    [
        ("engine/none", None, "has no object engine/none"),
        ("engine/odd", b"<html>", "engine/odd is not a failure record"),
    ],
)
def test_what_is_no_failure_cannot_be_shown(key: str, body: bytes | None, message: str) -> None:
    failures = Failures()
    if body:
        failures.bucket.put_object(Key=key, Body=body)
    with pytest.raises(OpsError, match=message):
        view.show_object(failures.ops.session, objects(failures), key)


def test_a_change_is_found_by_its_event(capsys: pytest.CaptureFixture[str]) -> None:
    failures = Failures(as_json=True)
    failures.discard(record(1), record(2, "b"))
    plan = failures.plan()
    view.show_event(failures.ops.session, plan, objects(failures), "event-2")
    shown: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert [each["eventID"] for each in shown["records"]] == ["event-2"]
    with pytest.raises(OpsError, match="no failed change has the event id event-3"):
        view.show_event(failures.ops.session, plan, objects(failures), "event-3")
    plan.close()


def test_an_export_has_a_line_for_each_change_or_says_why_not(tmp_path: Path) -> None:
    failures = Failures()
    failures.park("ab")
    plan = failures.plan()
    view.export(failures.ops.session, plan, tmp_path / "all.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["record"]["eventID"] for line in lines] == ["event-1", "event-2"]
    assert {line["cause"] for line in lines} == {"PermanentError: PermanentError: no template"}
    with pytest.raises(OpsError, match="cannot be written: Is a directory"):
        view.export(failures.ops.session, plan, tmp_path)
    plan.close()
