"""Requests to the function: what goes together, and what is sent again."""

import io
import json
from collections.abc import Callable
from typing import Any

import pytest

from ops import OpsError
from ops.failures.plan_file import PlannedChange
from ops.failures.sending import MAX_CHARACTERS, MAX_RECORDS, SEND_TRIES, Sender, in_requests
from ops.stack import ConsumerOutputs
from tests.fakes.records import record

CONSUMER = ConsumerOutputs(function="f", role="r", log_group="/g", mappings={}, ledger_name="mirror")


def changes(item: str, number: int, size: int = 300) -> tuple[str, list[PlannedChange]]:
    return item, [PlannedChange(each, item, f"v{each}", f"event-{each}", f"key-{each}", size) for each in range(number)]


def sizes(*items: tuple[str, list[PlannedChange]], most: int = MAX_RECORDS) -> list[list[list[str]]]:
    """Return the item of each change of each request of each list, without repetitions."""
    return [[sorted({each.item for each in request}) for request in some] for some in in_requests(items, most)]


def test_a_request_has_whole_items() -> None:
    assert sizes(changes("a", 60), changes("b", 40), changes("c", 1)) == [[["a", "b"]], [["c"]]]
    assert sizes(changes("a", 60), changes("b", 41)) == [[["a"]], [["b"]]]
    assert sizes(changes("a", 1), changes("b", 1), most=1) == [[["a"]], [["b"]]]
    assert sizes() == []


def test_a_large_item_has_requests_of_its_own_one_after_the_other() -> None:
    [alone, others] = in_requests([changes("a", 1), changes("b", 250), changes("c", 1)])
    assert [len(request) for request in alone] == [100, 100, 50]
    assert [each.item for each in others[0]] == ["a", "c"]


def test_a_request_stays_below_lambdas_limit() -> None:
    half = MAX_CHARACTERS // 2 + 1
    assert sizes(changes("a", 1, half), changes("b", 1, half)) == [[["a"]], [["b"]]]
    assert sizes(changes("a", 3, half)) == [[["a"], ["a"], ["a"]]]


class Answers:
    """boto3's Lambda client, which answers with the next of these."""

    def __init__(self, *answers: dict[str, Any]) -> None:
        self._answers = list(answers)
        self.sent: list[list[str]] = []

    def invoke(self, FunctionName: str, Payload: bytes) -> Any:  # noqa: N803 -- as boto3 has it
        self.sent.append([each["eventID"] for each in json.loads(Payload)["records"]])
        return {"Payload": io.BytesIO(json.dumps(self._answers.pop(0)).encode())}


def refusal(event: str, reason: str = "ClientError: throttled") -> dict[str, str]:
    return {"event_id": event, "reason": reason}


@pytest.fixture
def send() -> Callable[[Answers], Any]:
    """Send two changes to a function with these answers."""

    def run(answers: Answers) -> Any:
        _, planned = changes("a", 2)
        sender = Sender(lambda _: answers, CONSUMER, None, sleep=lambda seconds: None)
        return sender.send(planned, [record(0), record(1)], is_whole=True)

    return run


def test_what_is_refused_is_sent_again(send: Callable[[Answers], Any]) -> None:
    answers = Answers(
        {"at": 7.0, "held": ["event-0"], "refused": [refusal("event-1")]},
        {"at": 8.0, "held": ["event-1"], "refused": []},
    )
    sent = send(answers)
    assert answers.sent == [["event-0", "event-1"], ["event-1"]]
    assert ([each.id for each in sent.held], sent.refused, sent.at) == ([0, 1], {}, 7.0)


def test_what_is_refused_each_time_stays(send: Callable[[Answers], Any]) -> None:
    answers = Answers(*[{"at": 7.0, "held": [], "refused": [refusal("event-0"), refusal("event-1")]}] * SEND_TRIES)
    sent = send(answers)
    assert len(answers.sent) == SEND_TRIES
    assert (sent.held, sent.refused) == ([], dict.fromkeys(range(2), "ClientError: throttled"))


def test_an_item_of_a_newer_version_is_not_sent_again(send: Callable[[Answers], Any]) -> None:
    newer = "a newer version of the engine holds its item"
    answers = Answers({"at": 7.0, "held": ["event-0"], "refused": [refusal("event-1", newer)]})
    assert send(answers).refused == {1: newer}


def test_a_function_of_an_earlier_version_is_refused(send: Callable[[Answers], Any]) -> None:
    with pytest.raises(OpsError, match="f runs an earlier version of the engine"):
        send(Answers({"held": ["event-0", "event-1"], "refused": []}))
