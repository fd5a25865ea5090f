"""Order, concurrency and reporting within one delivery, and the use of the processor with Powertools."""

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
    """A handler without work."""


def no_pause(seconds: float) -> None:
    """Replaces the pause between tries."""


def test_changes_of_an_item_run_in_stream_order_and_items_run_concurrently() -> None:
    harness = ConsumerHarness()
    assert harness.deliver("aabab") == []
    assert harness.applied == [1, 3, 2, 5, 4]


def test_one_item_never_runs_concurrently_and_different_items_do() -> None:
    """200 changes of five items run in five threads; all five items wait for each other once."""
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


def test_ten_threads_by_default() -> None:
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


def test_any_exception_in_a_thread_is_a_failure() -> None:
    harness = ConsumerHarness(ledger_table="", executor=Workers(2))
    harness.trouble |= {1: SystemExit(1), 2: KeyboardInterrupt(), 4: GeneratorExit()}
    assert harness.deliver("abcd") == [1, 2, 4]


def test_logged_keys_are_plain_json(log_lines: Lines) -> None:
    def fail(change: Change) -> None:
        raise ValueError

    keys = {"s": {"S": "a"}, "n": {"N": "7"}, "f": {"N": "1.5"}, "b": {"B": "YQ=="}}
    KeyOrderedProcessor(sleep=no_pause)([record(1, Keys=keys)], fail).process()
    assert log_lines()[0]["keys"] == {"s": "a", "n": 7, "f": "1.5", "b": "YQ=="}


def test_each_thread_and_change_has_its_own_log_fields(log_lines: Lines) -> None:
    meeting = threading.Barrier(2)

    def handle(change: Change) -> None:
        logger.thread_safe_append_keys(**{f"only_{change.event_id}": True})
        meeting.wait(timeout=10)
        logger.info("both are here")
        logger.info("with its own id", event_id="mine")

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


def test_log_lines_have_the_request_id_of_this_invocation_and_not_of_the_last(log_lines: Lines) -> None:
    harness = ConsumerHarness({1: ValueError()}, ledger_table="")
    harness.deliver("a", context=LambdaContext(harness.clock, request="request-1"))
    harness.deliver("a", context=LambdaContext(harness.clock, request="request-2"))
    assert [line["function_request_id"] for line in log_lines()] == ["request-1", "request-2"]


@pytest.mark.parametrize("event", [None, [], "x", {}, {"Records": []}, {"Records": None}, {"Records": [None]}])
def test_an_event_without_a_batch_raises_before_any_handler_starts(event: Any) -> None:
    harness = ConsumerHarness()
    with pytest.raises(InvalidBatchError):
        harness.engine(event)
    assert (harness.ran, harness.dynamodb.calls) == ([], [])


@pytest.mark.parametrize("part", [{"Keys": {}}, {"SequenceNumber": None}])
def test_a_record_without_a_valid_key_raises_before_any_handler_starts(part: dict[str, Any]) -> None:
    harness = ConsumerHarness()
    with pytest.raises(InvalidBatchError, match=r"Records\[1\]"):
        harness.engine({"Records": [record(1), record(2, **part)]})
    assert harness.ran == []


def test_without_stores_a_permanent_error_is_an_ordinary_failure(log_lines: Lines) -> None:
    harness = ConsumerHarness({1: PermanentError("never")}, ledger_table="", failure_bucket="")
    assert harness.deliver("aab") == [1, 2]
    assert [line["message"] for line in log_lines()] == ["change failed"]


# What the processor needs of Powertools' process_partial_response


def test_powertools_hands_over_records_handler_and_context_and_asks_for_the_response() -> None:
    clock, seen = Clock(), list[str]()

    def handle(change: Change) -> None:
        seen.append(change.event_id)
        clock.now += 1000
        raise ValueError

    processor = KeyOrderedProcessor(executor=Workers(1), sleep=no_pause)
    event = {"Records": [record(1), record(2, "b")]}
    answer = respond(event=event, record_handler=handle, processor=processor, context=LambdaContext(clock, 900))
    assert seen == ["event-1"]  # no time is left for the second: the processor has the context
    assert [failure["itemIdentifier"] for failure in answer["batchItemFailures"]] == [str(10**20 + 1), str(10**20 + 2)]


def test_powertools_runs_the_processor_without_a_context() -> None:
    assert respond({"Records": [record(1)]}, done, KeyOrderedProcessor()) == {"batchItemFailures": []}


def test_powertools_reads_records_of_a_stream_for_it() -> None:
    """Powertools compares `event_type` with Kafka's, whose events have other fields."""
    with pytest.raises(UnexpectedBatchTypeError):
        respond({"records": {"topic": [record(1)]}}, done, KeyOrderedProcessor())


def test_powertools_names_the_expected_type_of_an_invalid_event() -> None:
    with pytest.raises(ValueError, match="valid DynamoDBStreams event"):
        respond(None, done, KeyOrderedProcessor())


def test_powertools_does_not_swallow_a_refused_batch() -> None:
    with pytest.raises(InvalidBatchError):
        respond({"Records": [{"body": "from a queue"}]}, done, KeyOrderedProcessor())


def test_with_powertools_an_async_handler_is_refused() -> None:
    async def handle(change: Change) -> None: ...

    with pytest.raises(AsyncHandlerError):
        respond({"Records": [record(1)]}, handle, KeyOrderedProcessor())


def test_a_processor_can_run_the_next_batch() -> None:
    processor = KeyOrderedProcessor(Environment(workers=2), sleep=no_pause)
    failing = {"event-1"}

    def handle(change: Change) -> None:
        if change.event_id in failing:
            raise ValueError

    assert len(respond({"Records": [record(1)]}, handle, processor)["batchItemFailures"]) == 1
    assert respond({"Records": [record(2)]}, handle, processor) == {"batchItemFailures": []}


def test_the_engine_does_not_load_powertools_batch_module() -> None:
    script = "import handler.stream, sys; print([n for n in sys.modules if 'utilities.batch' in n or n == 'boto3'])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
