"""Order, concurrency and reporting within one delivery, and the processor's use beside Powertools' own."""

import subprocess
import sys
import threading
from typing import Any, cast

import pytest
from aws_lambda_powertools.utilities import batch as powertools
from aws_lambda_powertools.utilities.batch.exceptions import UnexpectedBatchTypeError

from handler.stream import Change, KeyOrderedProcessor, PermanentError
from handler.stream.engine.batch import AsyncHandlerError, InvalidBatchError
from handler.stream.engine.workers import Workers
from handler.stream.environment import Environment
from handler.stream.telemetry import logger
from tests.fakes.aws import Clock, LambdaContext
from tests.fakes.records import record
from tests.handler.conftest import Lines
from tests.handler.harness import ConsumerHarness

respond = cast(Any, powertools).process_partial_response  # its types leave gaps


def done(change: Change) -> None:
    """A handler that has nothing to do."""


def no_pause(seconds: float) -> None:
    """Between tries in place."""


def test_changes_of_an_item_run_in_stream_order_and_items_take_turns() -> None:
    harness = ConsumerHarness()
    assert harness.deliver("aabab") == []
    assert harness.applied == [1, 3, 2, 5, 4]


def test_an_item_never_runs_twice_at_once_and_different_items_do() -> None:
    """Two hundred changes of five items on five threads; all five meet, so they do run at once."""
    running, most, meeting = set[str](), list[int](), threading.Barrier(5)
    seen: dict[str, list[int]] = {}

    def handle(change: Change) -> None:
        item = change.keys["id"]
        assert item not in running
        running.add(item)
        most.append(len(running))
        if len(seen.setdefault(item, [])) == 0:
            meeting.wait(timeout=10)
        seen[item].append(int(change.sequence_number))
        running.discard(item)

    records = [record(number, "abcde"[number % 5]) for number in range(200)]
    processor = KeyOrderedProcessor(executor=Workers(5))
    processor(records, handle).process()
    assert processor.response() == {"batchItemFailures": []}
    assert max(most) == 5
    assert all(numbers == sorted(numbers) and len(numbers) == 40 for numbers in seen.values())


def test_ten_threads_unless_set() -> None:
    meeting = threading.Barrier(10)
    processor = KeyOrderedProcessor()
    processor([record(number, str(number)) for number in range(10)], lambda change: meeting.wait(timeout=10)).process()
    assert processor.response() == {"batchItemFailures": []}


def test_identifiers_are_ascending_and_as_the_stream_wrote_them() -> None:
    def fail(change: Change) -> None:
        raise ValueError

    processor = KeyOrderedProcessor(executor=Workers(1), sleep=no_pause)
    numbers = ["0099", "100", "0101"]
    records = [record(place, str(place), SequenceNumber=number) for place, number in enumerate(numbers)]
    processor([records[2], records[0], records[1]], fail).process()
    assert processor.response() == {"batchItemFailures": [{"itemIdentifier": number} for number in numbers]}


def test_any_exception_is_a_failure_in_a_thread_too() -> None:
    harness = ConsumerHarness(ledger_table="", executor=Workers(2))
    harness.trouble |= {1: SystemExit(1), 2: KeyboardInterrupt(), 4: GeneratorExit()}
    assert harness.deliver("abcd") == [1, 2, 4]


def test_logged_keys_are_plain_json(log_lines: Lines) -> None:
    def fail(change: Change) -> None:
        raise ValueError

    keys = {"s": {"S": "a"}, "n": {"N": "7"}, "f": {"N": "1.5"}, "b": {"B": "YQ=="}}
    KeyOrderedProcessor(sleep=no_pause)([record(1, Keys=keys)], fail).process()
    assert log_lines()[0]["keys"] == {"s": "a", "n": 7, "f": "1.5", "b": "YQ=="}


def test_log_fields_are_kept_apart_between_threads_and_changes(log_lines: Lines) -> None:
    meeting = threading.Barrier(2)

    def handle(change: Change) -> None:
        logger.thread_safe_append_keys(**{f"only_{change.event_id}": True})
        meeting.wait(timeout=10)
        logger.info("both are here")
        logger.info("its own", event_id="mine")

    processor = KeyOrderedProcessor(executor=Workers(2))
    processor([record(number, "ab"[number % 2]) for number in range(4)], handle).process()
    logger.info("after")
    *both, after = log_lines()
    lines = [line for line in both if line["message"] == "both are here"]
    assert [line["event_id"] for line in both if line not in lines] == ["mine"] * 4
    fields = [{name for name in line if name.startswith("only")} for line in lines]
    assert sorted(line["event_id"] for line in lines) == [f"event-{number}" for number in range(4)]
    assert fields == [{f"only_{line['event_id']}"} for line in lines]
    assert "event_id" not in after
    assert not any(name.startswith("only") for name in after)


def test_log_lines_carry_this_invocations_request_and_not_the_last(log_lines: Lines) -> None:
    harness = ConsumerHarness(ledger_table="")
    harness.trouble[1] = ValueError()
    harness.deliver("a", context=LambdaContext(harness.clock, request="request-1"))
    harness.deliver("a", context=LambdaContext(harness.clock, request="request-2"))
    assert [line["function_request_id"] for line in log_lines()] == ["request-1", "request-2"]


@pytest.mark.parametrize("event", [None, [], "x", {}, {"Records": []}, {"Records": None}, {"Records": [None]}])
def test_an_event_that_is_no_batch_raises_before_any_handler_has_started(event: Any) -> None:
    harness = ConsumerHarness()
    with pytest.raises(InvalidBatchError):
        harness.engine(event)
    assert (harness.ran, harness.dynamodb.calls) == ([], [])


@pytest.mark.parametrize("part", [{"Keys": {}}, {"SequenceNumber": None}])
def test_a_record_that_cannot_be_named_raises_before_any_handler_has_started(part: dict[str, Any]) -> None:
    harness = ConsumerHarness()
    with pytest.raises(InvalidBatchError, match=r"Records\[1\]"):
        harness.engine({"Records": [record(1), record(2, **part)]})
    assert harness.ran == []


def test_without_stores_a_permanent_error_is_an_ordinary_failure(log_lines: Lines) -> None:
    harness = ConsumerHarness(ledger_table="", failure_bucket="")
    harness.trouble[1] = PermanentError("never")
    assert harness.deliver("aab") == [1, 2]
    assert [line["message"] for line in log_lines()] == ["change failed"]


# What of Powertools the processor leans on when it is used alone, each by itself.


def test_powertools_hands_over_records_handler_and_context_and_asks_for_the_response() -> None:
    clock, seen = Clock(), list[str]()

    def handle(change: Change) -> None:
        seen.append(change.event_id)
        clock.now += 1000
        raise ValueError

    processor = KeyOrderedProcessor(executor=Workers(1), sleep=no_pause)
    event = {"Records": [record(1), record(2, "b")]}
    answer = respond(event=event, record_handler=handle, processor=processor, context=LambdaContext(clock, 900))
    assert seen == ["event-1"]  # no time was left for the second: the context was handed on
    assert [failure["itemIdentifier"] for failure in answer["batchItemFailures"]] == [str(10**20 + 1), str(10**20 + 2)]


def test_powertools_takes_the_processor_without_a_context() -> None:
    assert respond({"Records": [record(1)]}, done, KeyOrderedProcessor()) == {"batchItemFailures": []}


def test_powertools_reads_records_of_a_stream_for_it() -> None:
    """It compares `event_type` with Kafka's, whose records lie elsewhere."""
    with pytest.raises(UnexpectedBatchTypeError):
        respond({"records": {"topic": [record(1)]}}, done, KeyOrderedProcessor())


def test_powertools_names_the_event_type_of_an_event_that_is_none() -> None:
    with pytest.raises(ValueError, match="valid DynamoDBStreams event"):
        respond(None, done, KeyOrderedProcessor())


def test_powertools_does_not_swallow_a_refused_batch() -> None:
    with pytest.raises(InvalidBatchError):
        respond({"Records": [{"body": "from a queue"}]}, done, KeyOrderedProcessor())


def test_alone_it_refuses_an_async_handler() -> None:
    async def handle(change: Change) -> None: ...

    with pytest.raises(AsyncHandlerError):
        respond({"Records": [record(1)]}, handle, KeyOrderedProcessor())


def test_a_processor_is_used_again_for_the_next_batch() -> None:
    processor = KeyOrderedProcessor(Environment(workers=2), sleep=no_pause)
    failing = {"event-1"}

    def handle(change: Change) -> None:
        if change.event_id in failing:
            raise ValueError

    assert len(respond({"Records": [record(1)]}, handle, processor)["batchItemFailures"]) == 1
    assert respond({"Records": [record(2)]}, handle, processor) == {"batchItemFailures": []}


def test_the_engine_does_not_load_powertools_batch_module() -> None:
    script = "import handler.mirror, sys; print([n for n in sys.modules if 'utilities.batch' in n or n == 'boto3'])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
