"""The plan of the smoke test, the effects that it reports as missing, and its cleaning up, over a fake AWS."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from ops.commands.smoke import verdict_of
from ops.smoke import Effect, SmokeError, SmokeTest
from ops.stack import Stack

NAMES = {"a": "a-1", "orders": "orders-1", "orders-mirror": "mirror-1"}
OUTPUTS: dict[str, Any] = {
    "tables": {key: {"name": name, "arn": f"arn:aws:dynamodb:eu-west-1:1:table/{name}"} for key, name in NAMES.items()},
    "consumers": {
        "change-log": {"function": "f", "role": "r", "logGroup": "logs", "mappings": {"a": "1", "orders": "2"}},
        "mirror": {"function": "m", "role": "r", "logGroup": "mirror-logs", "mappings": {"orders": "3"}},
    },
    "stores": {"failures": {"bucket": "bucket"}, "ledger": {"name": "ledger"}},
}


class FakeAws:
    """Tables, and the two consumers, which act at once; an effect in `ignored` does not happen."""

    def __init__(self, *ignored: Effect, undeletable: str = "", kind: str = "S") -> None:
        self.items: dict[str, dict[str, Any]] = {}
        self.calls: list[tuple[str, str]] = []
        self.log: list[str] = []
        self._ignored, self._undeletable, self._kind = ignored, undeletable, kind

    def __call__(self, service: str) -> Any:
        return self

    def describe_table(self, TableName: str) -> Any:  # noqa: N803 -- as boto3 has it
        attributes = [{"AttributeName": "id", "AttributeType": self._kind}]
        return {"Table": {"AttributeDefinitions": attributes, "KeySchema": [{"AttributeName": "id"}]}}

    def put_item(self, TableName: str, Item: dict[str, Any]) -> None:  # noqa: N803
        self.calls.append(("put", TableName))
        event = "MODIFY" if TableName in self.items else "INSERT"
        self.items[TableName] = Item
        self._happens(TableName, event, Item)

    def delete_item(self, TableName: str, Key: dict[str, Any]) -> None:  # noqa: N803
        self.calls.append(("delete", TableName))
        if self._undeletable == TableName:
            raise RuntimeError("denied")
        if TableName in self.items:
            del self.items[TableName]
            self._happens(TableName, "REMOVE", Key)

    def get_item(self, TableName: str, Key: dict[str, Any], ConsistentRead: bool) -> Any:  # noqa: N803
        return {"Item": self.items[TableName]} if TableName in self.items else {}

    def get_paginator(self, operation: str) -> Any:
        assert operation == "filter_log_events"
        return self

    def paginate(self, *, filterPattern: str, **_: Any) -> Iterator[Any]:  # noqa: N803
        matches = [line for line in self.log if filterPattern.strip('"') in line]
        yield {"events": [{"message": message} for message in ("START", *matches)]}

    def _happens(self, name: str, event: str, item: dict[str, Any]) -> None:
        table = name.removesuffix("-1")
        if Effect("change-log", table, event) not in self._ignored:
            keys = {"Keys": {"id": item["id"]}}
            self.log.append(json.dumps({"message": "change", "event_name": event, "dynamodb": keys}))
        if table == "orders" and Effect("mirror", table, event) not in self._ignored:
            self.items["mirror-1"] = {"id": item["id"]} if event == "REMOVE" else item


def run(fake_aws: FakeAws) -> tuple[list[Effect], list[Effect]]:
    """Run the test; return the effects that it saw and those that were missing."""
    seen: list[Effect] = []
    missing = SmokeTest(Stack.model_validate(OUTPUTS), fake_aws).run(0, lambda effect, _: seen.append(effect))
    return seen, missing


def test_three_changes_of_each_table_have_all_their_effects():
    fake_aws = FakeAws()
    seen, missing = run(fake_aws)
    pairs = [("change-log", "a"), ("change-log", "orders"), ("mirror", "orders")]
    assert seen == [Effect(*pair, event) for event in ("INSERT", "MODIFY", "REMOVE") for pair in pairs]
    assert missing == []
    assert [call for call, _ in fake_aws.calls] == ["put", "put", "put", "put", "delete", "delete"]


@pytest.mark.parametrize("event", ["INSERT", "MODIFY", "REMOVE"])
@pytest.mark.parametrize(("consumer", "table"), [("change-log", "a"), ("mirror", "orders")])
def test_an_effect_that_does_not_happen_is_missing_and_the_items_are_deleted(consumer: str, table: str, event: str):
    effect = Effect(consumer, table, event)
    fake_aws = FakeAws(effect)
    seen, missing = run(fake_aws)
    assert missing == [effect]
    assert effect not in seen
    assert not {"a-1", "orders-1"} & fake_aws.items.keys()


def test_an_item_that_cannot_be_deleted_is_named_and_the_other_is_deleted():
    fake_aws = FakeAws(undeletable="a-1")
    message = r'these items could not be deleted; delete them by hand: \{"id": .*\} in a-1 \(denied\)'
    with pytest.raises(SmokeError, match=message):
        run(fake_aws)
    assert "orders-1" not in fake_aws.items


class Interrupted(FakeAws):
    """The user presses Ctrl-C while the test waits."""

    def get_paginator(self, operation: str) -> Any:
        raise KeyboardInterrupt


def test_an_interrupted_run_deletes_its_items():
    fake_aws = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        run(fake_aws)
    assert not {"a-1", "orders-1"} & fake_aws.items.keys()


def test_consumers_of_another_program_are_named_and_not_tested():
    """The pipeline of a user's own program goes on."""
    stack = Stack.model_validate(OUTPUTS | {"consumers": {"own": OUTPUTS["consumers"]["mirror"]}})
    fake_aws = FakeAws()
    test = SmokeTest(stack, fake_aws)
    assert (test.untried_consumers, test.items, test.run(1, lambda effect, after: None)) == (["own"], {}, [])
    assert not fake_aws.items


def test_a_key_that_cannot_hold_the_marker_is_refused():
    with pytest.raises(SmokeError, match="a: the key id is of type N; smoke can mark only strings"):
        SmokeTest(Stack.model_validate(OUTPUTS), FakeAws(kind="N"))


@pytest.mark.parametrize(
    ("tried", "missing", "untried", "verdict"),
    [
        (["change-log", "mirror"], [], [], "✔ all is well with change-log and mirror"),
        (["mirror"], [], ["a", "b"], "✔ all is well with mirror; not tried: a, b"),
        (["mirror"], [Effect("mirror", "orders", "INSERT")] * 2, [], "✖ not as it should be: mirror; see above"),
        ([], [], ["a"], "nothing was tried; not tried: a"),
    ],
)
def test_the_verdict_names_what_was_tried_and_what_was_not(
    tried: list[str], missing: list[Effect], untried: list[str], verdict: str
):
    assert verdict_of(tried, missing, untried) == verdict
