"""Misbehaving handlers and unreadable records: each affects only its own change."""

import dataclasses
import json
import os
from collections.abc import Callable
from typing import Any

import pytest

from handler.stream import Change, PermanentError, aws, consumer, environment
from handler.stream.testing.dynamodb import MemoryDynamoDB
from tests.fakes.aws import S3, Clock, LambdaContext
from tests.fakes.records import nested, record
from tests.handler.conftest import Lines
from tests.handler.harness import FIRST, ConsumerHarness


def pops_the_body(change: Change) -> None:
    change.raw.pop("dynamodb")


def pops_the_keys(change: Change) -> None:
    change.raw["dynamodb"].pop("Keys")


def empties_everything(change: Change) -> None:
    change.keys.clear()
    (change.new_image or {}).clear()
    for part in change.raw["dynamodb"].values():
        if isinstance(part, dict):
            part.clear()
    change.raw.clear()


SPOILERS = [pops_the_body, pops_the_keys, empties_everything]


def spoiled(spoil: Callable[[Change], None], error: BaseException) -> ConsumerHarness:
    """Return a harness where the handler of change 1 modifies its change and raises."""
    harness = ConsumerHarness()

    def look(change: Change) -> None:
        assert change.raw == record(int(change.sequence_number) - FIRST, change.keys["id"])
        if change.sequence_number == str(FIRST + 1):
            spoil(change)

    harness.look, harness.trouble[1] = look, error
    return harness


@pytest.mark.parametrize("spoil", SPOILERS)
def test_a_change_that_its_handler_modifies_is_held_whole(spoil: Callable[[Change], None]) -> None:
    harness = spoiled(spoil, ValueError("down"))
    assert harness.deliver("aab") == []
    assert (harness.applied, harness.waiting()) == ([3], [1, 2])
    harness.retry(now=True)
    assert harness.waiting() == [1, 2]
    harness.trouble.clear()
    harness.retry_later(2)
    assert harness.applied == [3, 1, 2]


@pytest.mark.parametrize("spoil", SPOILERS)
@pytest.mark.parametrize("later", [False, True])
def test_a_change_that_its_handler_modifies_is_parked_whole(spoil: Callable[[Change], None], later: bool) -> None:
    harness = spoiled(spoil, ValueError("down") if later else PermanentError("never"))
    assert harness.deliver("aa") == []
    harness.trouble[1] = PermanentError("never")
    harness.retry(now=True)
    assert (harness.parked(), harness.applied) == ([1], [2])
    assert harness.failure().records == (record(1),)


def test_every_try_receives_the_record_as_lambda_delivered_it() -> None:
    seen = list[Any]()
    harness = ConsumerHarness()

    def spoil(change: Change) -> None:
        seen.append((json.dumps(change.raw), dict(change.keys), dict(change.new_image or {})))
        change.keys.clear()
        (change.new_image or {}).clear()
        change.raw.clear()
        raise ValueError

    harness.look = spoil
    harness.deliver("a")
    assert seen == [(json.dumps(record(1)), {"id": "a"}, {"id": "a", "n": 1})] * 3


class RudeError(Exception):
    def __str__(self) -> str:
        raise KeyboardInterrupt


class RudePermanentError(RudeError, PermanentError): ...


def test_an_error_whose_text_raises_is_a_failure_of_its_change(log_lines: Lines) -> None:
    text = "(no text: its __str__ raised KeyboardInterrupt)"
    harness = ConsumerHarness({1: RudeError(), 2: RudePermanentError()})
    assert harness.deliver("abc") == []
    assert (harness.applied, harness.waiting(), harness.parked()) == ([3], [1], [2])
    assert harness.described()["error_text"] == text
    assert {line["error"]["text"] for line in log_lines()} == {text}
    harness.retry(now=True)
    assert (harness.waiting(), log_lines()[-1]["error"]["text"]) == ([1], text)
    assert harness.failure().error == f"RudePermanentError: {text}"


@pytest.mark.parametrize("attribute", ["new_image", "raw"])
def test_an_image_of_1000_levels_is_parked_as_undecodable(attribute: str) -> None:
    deep = record(1, NewImage={"n": nested(1000)})
    harness = ConsumerHarness()
    harness.look = lambda change: getattr(change, attribute)
    assert harness.invoke({"Records": [deep, record(2)]}) == {"batchItemFailures": []}
    assert (harness.parked(), harness.waiting()) == ([1], [])
    failure = harness.failure()
    assert (failure.condition, [each["eventID"] for each in failure.records]) == ("Undecodable", ["event-1"])


def test_a_handler_may_ignore_an_undecodable_image() -> None:
    harness = ConsumerHarness()
    assert harness.invoke({"Records": [record(1, NewImage={"n": nested(1000)})]}) == {"batchItemFailures": []}
    assert harness.applied == [1]


@pytest.mark.usefixtures("in_lambda")
def test_a_handler_that_changes_the_environment_variables_breaks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    dynamodb, s3, applied = MemoryDynamoDB(), S3(), list[str]()

    with aws.use_clients({"dynamodb": dynamodb, "ledger": dynamodb, "s3": s3}):

        @consumer
        def handler(change: Change) -> None:
            for name in ("LEDGER_TABLE", "FAILURE_BUCKET", "WORKERS", "POWERTOOLS_METRICS_NAMESPACE"):
                monkeypatch.setenv(name, "nonsense")
            monkeypatch.setenv("HANDLER_TIMEOUT_SECONDS", "x")
            if change.event_id == "event-1":
                raise PermanentError
            applied.append(change.event_id)

        for number in (1, 2, 3):
            answer = handler({"Records": [record(number)]}, LambdaContext(Clock()))
            assert answer == {"batchItemFailures": []}
    assert os.environ["WORKERS"] == "nonsense"
    assert applied == ["event-2", "event-3"]
    assert [key.split("/")[1] for key in s3.objects] == ["mirror"]
    assert environment.current().workers == 2


@dataclasses.dataclass(frozen=True)
class FrozenError(Exception):
    code: int


@pytest.mark.parametrize(
    "error",
    [
        *(ValueError("x"), SystemExit(1), KeyboardInterrupt(), BaseException("x"), TimeoutError(), GeneratorExit()),
        FrozenError(1),
    ],
)
def test_any_exception_is_a_failure_of_its_change_in_a_batch_and_in_a_retry_run(error: BaseException) -> None:
    harness = ConsumerHarness({1: error})
    assert harness.deliver("ab") == []
    assert (harness.applied, harness.waiting()) == ([2], [1])
    harness.retry(now=True)
    assert (harness.waiting(), harness.described()["tries"]) == ([1], "4")


@pytest.mark.parametrize(
    ("broken", "error"),
    [
        *[({"eventName": name}, f"eventName: {name!r} is none of INSERT, MODIFY, REMOVE") for name in ("x", None, 1)],
        (record(2, NewImage={"n": {"N": "x"}}), "dynamodb.NewImage.n: 'x' is not a number"),
    ],
)
def test_an_undecodable_change_is_parked_alone(broken: dict[str, Any], error: str, log_lines: Lines) -> None:
    """With an unknown event name the handler does not run, since the kind of the change is unknown."""
    harness = ConsumerHarness()
    harness.look = lambda change: change.new_image and None
    answer = harness.invoke({"Records": [record(1), record(2) | broken, record(3)]})
    assert answer == {"batchItemFailures": []}
    assert (harness.applied, harness.parked()) == ([1, 3], [2])
    assert log_lines()[0]["error"]["text"] == f"record 'event-2': {error}"
