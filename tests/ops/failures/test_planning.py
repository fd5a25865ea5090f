"""Plans from the failure bucket."""

from datetime import timedelta
from typing import Any

import pytest

from handler.stream.change import Change, PermanentError
from handler.stream.ledger.rows import digest_of
from ops.failures import planning
from ops.failures.bucket import FailureObjects
from ops.failures.plan_file import PlanFile
from ops.failures.planning import Planner, Selection
from tests.fakes.aws import refusal
from tests.fakes.records import record
from tests.ops.failures.harness import UUID, Failures, key_of

OTHER = "arn:aws:lambda:r:1:function:another-7"


def planned(failures: Failures, **selection: Any) -> list[str]:
    """Return the event ids of the selected changes."""
    plan = failures.plan(Selection(**selection))
    ids = sorted(change.event_id for _, changes in plan.each("planned") for change in changes)
    plan.close()
    return ids


def digest(item: str) -> str:
    return digest_of(Change(record(1, item)))


def test_the_engines_and_the_mappings_failures_are_planned_each_change_once() -> None:
    failures = Failures()
    failures.park("ab")
    failures.discard(record(2, "b"), record(3, "c"))
    assert planned(failures) == ["event-1", "event-2", "event-3"]
    assert not failures.planner.left_alone.numbers


def with_context(**context: Any) -> dict[str, Any]:
    return {"requestContext": {"condition": "RetryAttemptsExhausted", **context}}


GONE = "aws/lambda/former/x"
OWN = f"aws/lambda/{UUID}/x"


@pytest.mark.parametrize(
    ("key", "body", "category", "example"),
    [
        ("backup/x", b"", planning.FOREIGN, "backup/"),
        ("note", b"", planning.FOREIGN, "note"),
        ("engine/x", b"", planning.FOREIGN, "engine/x"),
        ("engine/former/x", b"", planning.OWNERLESS, "engine/former/"),
        (key_of(9), b"<html>", planning.UNREADABLE, key_of(9)),
        (key_of(9), b"[]", planning.UNREADABLE, key_of(9)),
        (OWN, b'{"requestContext": {}}', planning.UNREADABLE, OWN),
        (OWN, [], planning.POINTERS, OWN),
        (OWN, [{"eventID": "odd"}], planning.NAMELESS, OWN),
        (GONE, [record(9)], planning.OWNERLESS, GONE),
    ],
)
def test_what_is_no_failure_of_the_consumer_is_named_and_the_rest_goes_on(
    key: str, body: bytes | list[Any], category: str, example: str
) -> None:
    failures = Failures()
    failures.park("a")
    if isinstance(body, bytes):
        failures.bucket.put_object(Key=key, Body=body)
    else:
        context = {"condition": "RetryAttemptsExhausted", "functionArn": OTHER if key == GONE else None}
        failures.discard(*body, key=key, requestContext=context)
    assert planned(failures) == ["event-1"]
    assert failures.planner.left_alone.numbers == {category: 1}
    assert failures.planner.left_alone.examples == {category: example}


def test_a_mapping_that_is_gone_leaves_failures_of_the_function() -> None:
    failures = Failures()
    failures.discard(record(1), key="aws/lambda/former/x")
    assert planned(failures) == ["event-1"]


def test_causes_times_and_items_select() -> None:
    failures = Failures()
    failures.engine.trouble = {1: PermanentError("no template for 'xx'"), 2: PermanentError("no address")}
    failures.engine.deliver("ab")
    assert planned(failures, cause="TEMPLATE") == ["event-1"]
    assert planned(failures, cause="'xx'") == ["event-1"]
    assert planned(failures, cause="permanenterror") == ["event-1", "event-2"]
    assert planned(failures, items=frozenset([digest("b")])) == ["event-2"]
    assert planned(failures, since=failures.bucket.now) == ["event-2"]
    assert planned(failures, since=failures.bucket.now + timedelta(seconds=1)) == []


def test_what_is_written_after_the_plans_time_is_not_in_the_plan() -> None:
    failures = Failures()
    failures.park("a")
    objects, plan = FailureObjects(failures.ops.stack.client, "b"), PlanFile()
    planner = Planner(failures.ops.stack, objects, {"mirror": failures.consumer})
    assert (planner.count(), planner.began) == (1, failures.bucket.now)
    failures.park("b", start=2)
    planner.run(plan)
    assert plan.count() == 1
    objects.close()
    plan.close()


def test_an_object_that_vanishes_is_counted_and_a_denied_read_ends_the_plan() -> None:
    failures = Failures()
    failures.park("ab")
    failures.bucket.failing["get_object"] = [refusal("NoSuchKey")]
    assert len(planned(failures)) == 1
    assert failures.planner.left_alone.numbers == {planning.VANISHED: 1}
    failures.bucket.failing["get_object"] = [refusal("AccessDenied")]
    with pytest.raises(Exception, match="AccessDenied"):
        failures.plan()


def test_the_newest_cause_of_a_change_counts() -> None:
    failures = Failures()
    failures.discard(record(1))
    failures.engine.clock.now += 100
    failures.park("a")
    plan = failures.plan()
    [group] = plan.groups()
    assert (group.cause, group.changes) == ("PermanentError: PermanentError: no template", 1)
    assert plan.object_of_event("event-1") in failures.bucket.objects
    assert plan.object_of_event("event-2") is None
    plan.close()
