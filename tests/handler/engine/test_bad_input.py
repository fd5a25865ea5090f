"""Handlers that misbehave and records that no handler can read: each harms its own change at most."""

import dataclasses
import json
import os
from collections.abc import Callable
from typing import Any

import pytest

from handler.stream import Change, PermanentError, aws, consumer, environment
from handler.stream.failures import read_failure
from tests.fakes.aws import S3, Clock, HookedDynamoDB, LambdaContext
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
    """A world where the handler of one change spoils what it is given, and raises."""
    harness = ConsumerHarness()

    def look(change: Change) -> None:
        assert change.raw == record(int(change.sequence_number) - FIRST, change.keys["id"])
        if change.sequence_number == str(FIRST + 1):
            spoil(change)

    harness.look, harness.trouble[1] = look, error
    return harness


@pytest.mark.parametrize("spoil", SPOILERS)
def test_a_handler_that_spoils_its_change_and_raises_has_it_held_whole(spoil: Callable[[Change], None]) -> None:
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
def test_a_handler_that_spoils_its_change_and_gives_it_up_has_it_parked_whole(
    spoil: Callable[[Change], None], later: bool
) -> None:
    harness = spoiled(spoil, ValueError("down") if later else PermanentError("never"))
    assert harness.deliver("aa") == []
    harness.trouble[1] = PermanentError("never")
    harness.retry(now=True)
    assert (harness.parked(), harness.applied) == ([1], [2])
    [body] = harness.s3.objects.values()
    assert read_failure(body).records == (record(1),)


def test_every_try_in_place_is_given_the_record_as_it_came() -> None:
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


def test_an_error_whose_text_interrupts_is_its_changes_failure(log_lines: Lines) -> None:
    text = "(no text: its __str__ raised KeyboardInterrupt)"
    harness = ConsumerHarness()
    harness.trouble = {1: RudeError(), 2: RudePermanentError()}
    assert harness.deliver("abc") == []
    assert (harness.applied, harness.waiting(), harness.parked()) == ([3], [1], [2])
    assert harness.described()["error_text"] == text
    assert {line["error"]["text"] for line in log_lines()} == {text}
    harness.retry(now=True)
    assert (harness.waiting(), log_lines()[-1]["error"]["text"]) == ([1], text)
    [body] = harness.s3.objects.values()
    assert read_failure(body).error == f"RudePermanentError: {text}"


def looks_at_the_image(change: Change) -> None:
    _ = change.new_image


def looks_at_the_record(change: Change) -> None:
    _ = change.raw


@pytest.mark.parametrize("look", [looks_at_the_image, looks_at_the_record])
def test_an_image_of_a_thousand_levels_is_undecodable_so_parked(look: Callable[[Change], None]) -> None:
    deep = record(1, NewImage={"n": nested(1000)})
    harness = ConsumerHarness()
    harness.look = look
    assert harness.invoke({"Records": [deep, record(2)]}) == {"batchItemFailures": []}
    assert (harness.parked(), harness.waiting()) == ([1], [])
    [body] = harness.s3.objects.values()
    failure = read_failure(body)
    assert (failure.condition, [each["eventID"] for each in failure.records]) == ("Undecodable", ["event-1"])


def test_a_handler_that_does_not_look_at_a_deep_image_is_not_troubled_by_it() -> None:
    harness = ConsumerHarness()
    assert harness.invoke({"Records": [record(1, NewImage={"n": nested(1000)})]}) == {"batchItemFailures": []}
    assert harness.applied == [1]


@pytest.mark.usefixtures("in_lambda")
def test_a_handler_that_sets_the_environment_to_nonsense_breaks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    dynamodb, s3, applied = HookedDynamoDB(), S3(), list[str]()

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
def test_any_exception_is_its_changes_failure_in_a_batch_and_in_a_retry_run(error: BaseException) -> None:
    harness = ConsumerHarness()
    harness.trouble[1] = error
    assert harness.deliver("ab") == []
    assert (harness.applied, harness.waiting()) == ([2], [1])
    harness.retry(now=True)
    assert (harness.waiting(), harness.described()["tries"]) == ([1], "4")


@pytest.mark.parametrize("name", ["TRUNCATE", None, 1])
def test_an_unknown_event_name_is_parked_and_nothing_else_is_lost(name: Any, log_lines: Lines) -> None:
    """Whatever the handler looks at: it could not know what happened to the item."""
    harness = ConsumerHarness()
    answer = harness.invoke({"Records": [record(1), {**record(2), "eventName": name}, record(3)]})
    assert answer == {"batchItemFailures": []}
    assert (harness.applied, harness.parked()) == ([1, 3], [2])
    assert f"record 'event-2': eventName: {name!r} is none of" in log_lines()[0]["error"]["text"]


def test_an_image_that_is_not_valid_is_parked_and_nothing_else_is_lost(log_lines: Lines) -> None:
    harness = ConsumerHarness()
    harness.look = looks_at_the_image
    answer = harness.invoke({"Records": [record(1), record(2, NewImage={"n": {"N": "x"}}), record(3)]})
    assert answer == {"batchItemFailures": []}
    assert (harness.applied, harness.parked()) == ([1, 3], [2])
    assert log_lines()[0]["error"]["text"] == "record 'event-2': dynamodb.NewImage.n: 'x' is not a number"
