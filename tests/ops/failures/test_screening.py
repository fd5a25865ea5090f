"""What a plan leaves out."""

from typing import Any

import pytest

from handler.stream.change import Change
from ops import OpsError
from ops.failures.screening import SourceTables
from tests.fakes.aws import HookedDynamoDB, in_turn, refusal
from tests.fakes.records import START, record
from tests.ops.failures.harness import Failures


def image(number: int, item: str = "a", **more: Any) -> dict[str, Any]:
    return {"id": {"S": item}, "n": {"N": str(number)}, **more}


def change(number: int, old: int | None, new: int | None) -> Change:
    """Return a change of item a from one image to another; None is no image."""
    name = "INSERT" if old is None else "REMOVE" if new is None else "MODIFY"
    images = {"OldImage": old, "NewImage": new}
    made = record(number, name=name)
    made["dynamodb"] |= {each: image(value) for each, value in images.items() if value is not None}
    return Change(made)


def table(current: dict[str, Any] | None) -> tuple[HookedDynamoDB, SourceTables]:
    dynamodb = HookedDynamoDB({"orders": ("id",)})
    if current:
        dynamodb.put_item(TableName="orders", Item=current)
    return dynamodb, SourceTables(lambda _: dynamodb, sleep=lambda seconds: None)


@pytest.mark.parametrize(
    ("changes", "current", "is_outrun"),
    [
        ([change(1, 0, 1)], image(1), False),
        ([change(1, 0, 1)], image(2), True),
        ([change(1, 0, 1)], None, True),
        ([change(1, None, 1)], image(1), False),
        ([change(1, 0, None)], None, False),
        ([change(1, 0, None)], image(3), True),
        ([change(1, 0, 1), change(2, 1, 2)], image(2), False),
        ([change(1, 0, 1), change(3, 2, 3)], image(3), True),
        ([change(1, 0, None), change(2, None, 2)], image(2), False),
    ],
)
def test_failed_changes_are_outrun_unless_they_lead_to_the_item_as_it_is(
    changes: list[Change], current: dict[str, Any] | None, is_outrun: bool
) -> None:
    _, tables = table(current)
    assert tables.may_be_outrun({"a": changes}) == ({"a"} if is_outrun else set())


def test_without_images_a_change_may_be_outrun() -> None:
    """Of a stream of new images, an item's only failure can be checked."""
    _, tables = table(image(2))
    keys_only, new_only = change(1, 0, 1), change(2, 1, 2)
    for each, name in ((keys_only, "NewImage"), (keys_only, "OldImage"), (new_only, "OldImage")):
        del each.record["dynamodb"][name]
    assert tables.may_be_outrun({"a": [keys_only]}) == {"a"}
    assert tables.may_be_outrun({"a": [new_only]}) == set()
    assert tables.may_be_outrun({"a": [change(1, 0, 1), new_only]}) == {"a"}


def test_binary_values_and_sets_are_compared_by_their_content() -> None:
    dynamodb, tables = table(image(1) | {"b": {"B": b"\x00\x01"}, "s": {"SS": ["x", "y"]}})
    made = change(1, 0, 1)
    made.record["dynamodb"]["NewImage"] |= {"b": {"B": "AAE="}, "s": {"SS": ["y", "x"]}}
    assert tables.may_be_outrun({"a": [made]}) == set()
    assert dynamodb.calls[-1] == "BatchGetItem orders"


def test_unprocessed_keys_are_read_again_until_the_table_is_throttled_too_long() -> None:
    dynamodb, tables = table(image(1))
    unprocessed = {"Responses": {}, "UnprocessedKeys": {"orders": {"Keys": [{"id": {"S": "a"}}]}}}
    dynamodb.on["BatchGetItem orders"] = in_turn(lambda act: unprocessed)
    assert tables.may_be_outrun({"a": [change(1, 0, 1)]}) == set()
    dynamodb.on["BatchGetItem orders"] = lambda act: unprocessed
    with pytest.raises(OpsError, match="DynamoDB throttles orders"):
        tables.may_be_outrun({"a": [change(1, 0, 1)]})


def test_a_table_that_is_gone_leaves_the_order_unknown() -> None:
    dynamodb, tables = table(None)

    def gone(act: Any) -> Any:
        raise refusal("ResourceNotFoundException")

    dynamodb.on["BatchGetItem orders"] = gone
    assert tables.may_be_outrun({"a": [change(1, 0, None)]}) == {"a"}


def test_what_may_be_outrun_stays_where_the_consumer_is_not_fenced() -> None:
    failures = Failures(fenced=False)
    failures.park("ab")
    failures.engine.dynamodb.put_item(TableName="orders", Item=image(1))
    code, result = failures.redrive()
    assert (code, result["states"]) == (1, {"done": 1, "outrun": 1})
    assert any("--out-of-order puts them back" in line for line in failures.ops.shown())
    assert failures.redrive(out_of_order=True)[0] == 0
    assert failures.engine.applied == [1, 2]


def test_an_item_that_changes_between_the_plan_and_the_request_stays() -> None:
    failures = Failures(fenced=False)
    failures.park("a")
    failures.engine.dynamodb.put_item(TableName="orders", Item=image(1))
    reads = list[str]()

    def change_after_the_first(act: Any) -> Any:
        answer = act()
        if not reads:
            failures.engine.dynamodb.put_item(TableName="orders", Item=image(7))
        reads.append("read")
        return answer

    failures.engine.dynamodb.on["BatchGetItem orders"] = change_after_the_first
    code, result = failures.redrive()
    assert (code, result["states"], failures.sent()) == (1, {"outrun": 1}, [])


def test_changes_older_than_claims_live_stay_without_force() -> None:
    failures = Failures()
    failures.ops.functions.variables["REMEMBER_SECONDS"] = "3600"
    failures.discard(record(1, at=START - 3601), record(2, "b"))
    code, result = failures.redrive()
    assert (code, result["states"]) == (1, {"too old": 1, "done": 1})
    assert any("--force puts them back" in line for line in failures.ops.shown())
    assert failures.redrive(force=True)[0] == 0
