"""A redrive over an engine, a ledger and a bucket in memory."""

import json
import re

import pytest

from handler.stream.change import PermanentError
from handler.stream.failures import read_failure
from ops import OpsError
from ops.failures.planning import Selection
from tests.fakes.aws import before, refusal, refused
from tests.fakes.records import record
from tests.handler.harness import FAILS
from tests.ops.failures.harness import Failures, key_of


def test_done_changes_move_and_the_next_redrive_finds_nothing() -> None:
    failures = Failures()
    failures.park("abab")
    before_run = failures.bucket.objects
    code, result = failures.redrive()
    assert (code, result["put_back"], result["done"], result["objects_moved"]) == (0, 4, 4, 4)
    assert [number for number in failures.engine.applied if number % 2] == [1, 3]
    assert [number for number in failures.engine.applied if number % 2 == 0] == [2, 4]
    assert failures.bucket.objects == {f"redriven/{key}": body for key, body in before_run.items()}
    assert failures.redrive()[1]["put_back"] == 0
    failures.ops.shown()


def test_a_change_that_is_parked_again_stays_with_its_new_error() -> None:
    failures = Failures()
    failures.park("ab")
    failures.engine.trouble = {1: PermanentError("still no template")}
    code, result = failures.redrive()
    assert (code, result["done"], result["parked_again"]) == (1, 1, 1)
    errors = {key: read_failure(body).error for key, body in failures.bucket.objects.items()}
    assert errors == {
        key_of(1): "PermanentError: still no template",
        f"redriven/{key_of(1)}": "PermanentError: no template",
        f"redriven/{key_of(2, 'b')}": "PermanentError: no template",
    }
    assert "  PermanentError: PermanentError: still no template" in failures.ops.shown()
    failures.engine.mend()
    assert failures.redrive()[0] == 0
    assert failures.engine.applied == [2, 1]


def test_a_change_that_fails_again_waits_in_its_hold_and_is_moved_by_a_later_run() -> None:
    """The copy says that the change was put back, and the ledger that it is done: the later run sends nothing."""
    failures = Failures()
    failures.park("ab")
    failures.engine.trouble = {1: FAILS}
    code, result = failures.redrive()
    assert (code, result["done"], result["waiting"], result["failing_items"]) == (1, 1, 1, 1)
    assert any("1 item failed again" in line for line in failures.ops.shown())
    assert key_of(1) in failures.bucket.objects
    failures.engine.mend()
    failures.engine.retry_later(1)
    assert failures.engine.applied == [2, 1]
    failures.ops.functions.requests.clear()
    code, result = failures.redrive()
    assert (code, result["put_back"], result["done"], failures.sent()) == (0, 0, 1, [])
    assert failures.bucket.objects.keys() == {f"redriven/{key_of(1)}", f"redriven/{key_of(2, 'b')}"}


def test_a_change_that_still_waits_is_made_due_again() -> None:
    failures = Failures()
    failures.park("a")
    failures.engine.trouble = {1: FAILS}
    failures.redrive()
    failures.engine.mend()
    code, result = failures.redrive()
    assert (code, result["put_back"], result["done"]) == (0, 1, 1)
    assert failures.engine.applied == [1]


@pytest.mark.parametrize("call", ["copy_object", "delete_objects"])
def test_a_run_that_ends_before_the_move_is_continued(call: str) -> None:
    failures = Failures()
    failures.park("ab")
    failures.bucket.failing[call] = [RuntimeError("killed")]
    with pytest.raises(RuntimeError):
        failures.redrive()
    failures.engine.retry_later(1)
    assert sorted(failures.engine.applied) == [1, 2]
    code, _ = failures.redrive()
    assert code == 0
    assert all(key.startswith("redriven/") for key in failures.bucket.objects)
    most = 4 if call == "copy_object" else 2
    assert len(failures.engine.applied) <= most, "only a change without a copy runs again"


def test_a_discarded_batch_moves_once_each_change_is_done_or_parked() -> None:
    failures = Failures()
    key = failures.discard(record(1), record(2, "b"), record(3))
    failures.engine.trouble = {2: PermanentError("never")}
    code, result = failures.redrive()
    assert (code, result["done"], result["parked_again"]) == (1, 2, 1)
    assert failures.bucket.objects.keys() == {f"redriven/{key}", key_of(2, "b")}
    assert failures.engine.applied == [1, 3]


def test_a_batch_with_a_change_that_is_not_selected_stays() -> None:
    failures = Failures()
    key = failures.discard(record(1), record(2, "b"))
    plan = failures.plan()
    digests = {item for item, _ in plan.each("planned")}
    plan.close()
    code, result = failures.redrive(selection=Selection(items=frozenset([min(digests)])))
    assert (code, result["done"]) == (0, 1)
    assert failures.bucket.objects.keys() == {key}


def test_it_stops_after_20_failures_in_a_row() -> None:
    failures = Failures()
    failures.park("".join(map(chr, range(ord("A"), ord("A") + 40))))
    failures.engine.trouble = {number: PermanentError("again") for number in range(1, 41)}
    code, result = failures.redrive(canary=25)
    assert code == 1
    assert re.fullmatch(r"2\d failures in a row", result["stopped"])
    assert result["states"] == {"parked again": 25, "planned": 15}


def test_a_run_that_fails_puts_few_changes_back() -> None:
    failures = Failures()
    failures.park("".join(map(chr, range(0x4E00, 0x4E00 + 1_000))))
    failures.engine.trouble = {number: PermanentError("again") for number in range(1, 1_001)}
    code, result = failures.redrive(canary=0)
    assert (code, result["done"]) == (1, 0)
    assert result["put_back"] <= 200, "100 whose outcome is unknown, and a request of up to 100"


def test_the_first_items_are_of_different_causes_and_decide() -> None:
    failures = Failures()
    failures.engine.trouble = {1: PermanentError("one"), 2: PermanentError("one"), 3: PermanentError("two")}
    failures.engine.deliver("abc")
    failures.engine.trouble = {3: PermanentError("still two")}
    code, result = failures.redrive(canary=2)
    assert (code, result["states"]) == (1, {"done": 1, "parked again": 1, "planned": 1})
    shown = failures.ops.shown()
    assert "✔ id=a: 1 change done" in shown
    at = shown.index("✖ id=c: parked again")
    assert shown[at + 1] == "    PermanentError: PermanentError: still two"
    assert "1 of 2 items done: since not all are, 1 change of the rest stay" in shown


def test_an_items_changes_go_back_in_order_and_a_large_item_by_itself() -> None:
    failures = Failures()
    failures.park("b" + "a" * 150 + "c")
    assert failures.redrive()[0] == 0
    assert sorted(map(len, failures.sent())) == [2, 50, 100]
    assert failures.engine.applied.index(2) < failures.engine.applied.index(151)
    own = [number for number in failures.engine.applied if 2 <= number <= 151]
    assert own == sorted(own)


def test_refused_changes_are_tried_again_and_then_stay() -> None:
    failures = Failures()
    failures.park("a")
    failures.engine.dynamodb.on["BatchWriteItem change"] = refused("ThrottlingException")
    code, result = failures.redrive()
    assert (code, result["states"]) == (1, {"refused": 1})
    [reason] = result["refused"]
    assert reason.startswith("ClientError: ")
    assert len(failures.sent()) == 4
    assert failures.bucket.objects.keys() == {key_of(1)}


def test_a_function_of_an_earlier_version_is_not_used() -> None:
    failures = Failures()
    failures.park("a")
    failures.ops.functions.failing = {"errorType": "UnknownRequestError", "errorMessage": "no"}
    with pytest.raises(OpsError, match="mirror-1 failed: UnknownRequestError: no"):
        failures.redrive()
    assert failures.bucket.objects.keys() == {key_of(1)}


def test_denied_calls_end_the_run_and_lose_nothing() -> None:
    failures = Failures()
    failures.park("a")
    failures.bucket.failing["copy_object"] = [refusal("AccessDenied")]
    with pytest.raises(Exception, match="AccessDenied"):
        failures.redrive()
    assert failures.bucket.objects.keys() == {key_of(1)}
    assert failures.redrive()[0] == 0


def test_an_object_that_vanishes_while_its_change_runs_is_no_failure() -> None:
    failures = Failures()
    failures.park("a")
    failures.engine.trouble = {1: [lambda: failures.bucket.contents.pop(key_of(1))]}
    code, result = failures.redrive()
    assert (code, result["done"], result["objects_moved"]) == (0, 1, 0)


def test_s3_is_asked_again_after_a_transient_error_of_a_deletion() -> None:
    failures = Failures()
    failures.park("a")
    failures.bucket.delete_errors = ["InternalError", "SlowDown"]
    assert failures.redrive()[0] == 0
    failures.park("b", start=5)
    failures.bucket.delete_errors = ["AccessDenied"]
    with pytest.raises(OpsError, match="S3 does not delete 1 objects whose changes are done"):
        failures.redrive()
    assert failures.redrive()[0] == 0


def test_an_item_that_is_held_for_another_change_is_waited_for() -> None:
    failures = Failures()
    failures.park("a")
    failures.engine.trouble = {5: FAILS}
    failures.engine.deliver("a", start=5)
    failures.engine.mend()
    code, result = failures.redrive()
    assert (code, result["done"]) == (0, 1)
    assert failures.engine.applied == [1, 5]
    assert json.loads(json.dumps(result))["waiting"] == 0


def test_a_change_that_is_held_meanwhile_is_put_back_before_it() -> None:
    failures = Failures()
    failures.park("a")

    def hold() -> None:
        failures.engine.trouble = {5: [FAILS, FAILS, FAILS]}
        failures.engine.deliver("a", start=5)

    failures.engine.dynamodb.on["BatchWriteItem change"] = before(hold)
    assert failures.redrive()[0] == 0
    assert failures.engine.applied == [1, 5]


def test_an_interrupted_run_says_how_far_it_came_and_is_continued() -> None:
    failures = Failures()
    failures.park("ab")
    failures.bucket.failing["delete_objects"] = [KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        failures.redrive()
    assert any(line.startswith("2 put back") for line in failures.ops.shown())
    assert failures.redrive()[0] == 0
    assert len(failures.engine.applied) == 2
