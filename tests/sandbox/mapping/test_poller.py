"""The poller performs the actions of mappings, in the emulator or with reads that fail; the machine chooses them."""

import base64
import io
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError  # pyright: ignore[reportMissingTypeStubs] -- boto3 is untyped

from sandbox.mapping.filters import FilterError
from sandbox.mapping.invocation import LOG_TAIL_BYTES, RefusalError
from sandbox.mapping.poller import Poller
from sandbox.mapping.records import lambda_record
from tests.fakes.stream import change
from tests.local import wait_for, zip_module
from tests.sandbox.mapping.mapping_driver import PARTIAL
from tests.sandbox.mapping.source import Source

Sources = Callable[..., Source]


def test_a_change_reaches_the_function_in_the_shape_of_a_lambda_event(source: Sources) -> None:
    plain = source("plain", **PARTIAL)
    plain.attach()
    assert plain.result == "No records processed"
    plain.put("a")
    plain.settle()
    [invocation] = plain.invocations
    [record] = invocation.records
    assert (invocation.uuid, invocation.function, invocation.attempt) == ("plain", plain.function, 1)
    assert (invocation.response, invocation.error) == ({"batchItemFailures": []}, None)
    assert invocation.log == '{"seen": "a"}'
    assert record["eventSource"] == "aws:dynamodb"
    assert record["eventSourceARN"] == invocation.stream_arn == plain.request["EventSourceArn"]
    assert record["dynamodb"]["NewImage"] == {"id": {"S": "a"}, "b": {"B": "AA=="}}
    assert isinstance(record["dynamodb"]["ApproximateCreationDateTime"], int)
    assert plain.result == "OK"


def test_a_log_longer_than_an_answers_tail_is_whole(source: Sources) -> None:
    logs = source("logs")
    logs.deliver("a", "long", "b")
    [log] = [each.log for each, keys in zip(logs.invocations, logs.batches, strict=True) if "long" in keys]
    assert len(log) > 100_000 > LOG_TAIL_BYTES
    assert '{"seen": "long"}' in log


def test_an_exception_of_the_function_is_the_invocations_error(source: Sources) -> None:
    raises = source("raises", MaximumRetryAttempts=0)
    raises.deliver("boom")
    assert [invocation.error for invocation in raises.invocations] == ["Runtime.HandlerError: boom"]
    assert "ValueError: boom" in raises.invocations[0].log
    assert raises.result == "PROBLEM: Function call failed"


def test_throttling_consumes_no_retry(source: Sources, caplog: pytest.LogCaptureFixture) -> None:
    throttled = source("throttled", MaximumRetryAttempts=0)
    limit = throttled.client("lambda").put_function_concurrency
    limit(FunctionName=throttled.function, ReservedConcurrentExecutions=0)
    throttled.attach()
    throttled.put("a")
    wait_for(lambda: len(throttled.invocations) >= 2, "two attempts")
    assert all("TooManyRequests" in str(invocation.error) for invocation in throttled.invocations)
    limit(FunctionName=throttled.function, ReservedConcurrentExecutions=1)
    throttled.settle()
    assert throttled.invocations[-1].error is None
    assert throttled.poller.lost_records == 0
    assert caplog.messages == []


def test_a_disabled_mapping_keeps_its_position(source: Sources) -> None:
    paused = source("paused")
    paused.attach(Enabled=False)
    paused.put("a")
    assert paused.poller.is_idle()
    assert paused.invocations == []
    paused.poller.update("paused", {"Enabled": True})
    wait_for(lambda: paused.invocations and paused.poller.is_idle(), "the first change")
    paused.poller.update("paused", {"Enabled": False})
    paused.put("b")
    paused.poller.update("paused", {"Enabled": True})
    wait_for(lambda: len(paused.invocations) > 1 and paused.poller.is_idle(), "the second change")
    assert paused.batches == [["a"], ["b"]]


def test_latest_delivers_only_later_changes(source: Sources) -> None:
    latest = source("latest", StartingPosition="LATEST")
    latest.put("a")
    latest.attach()
    latest.settle()
    latest.put("b")
    latest.settle()
    assert latest.batches == [["b"]]


def test_a_mapping_attached_after_another_was_detached_starts_anew(source: Sources) -> None:
    replaced = source("replaced")
    replaced.deliver("a")
    replaced.poller.detach("replaced")
    replaced.poller.attach("second", replaced.request)
    replaced.settle()
    assert [each.uuid for each in replaced.invocations] == ["replaced", "second"]
    assert replaced.batches == [["a"], ["a"]]


def test_a_second_mapping_of_the_same_stream_and_function_is_refused(source: Sources) -> None:
    twice = source("twice")
    twice.attach()
    with pytest.raises(RefusalError) as refusal:
        twice.poller.attach("second", twice.request)
    assert str(refusal.value) == (
        f'ResourceConflictException: The event source arn (" {twice.request["EventSourceArn"]} ") and function '
        f'(" {twice.function} ") provided mapping already exists. Please update or delete the existing mapping with '
        "UUID twice"
    )


def test_a_missing_stream_or_function_and_a_bad_filter_are_refused(source: Sources) -> None:
    missing = source("missing")
    with pytest.raises(RefusalError, match=r"^InvalidParameterValueException: Stream not found: .*1999"):
        missing.attach(EventSourceArn=f"{missing.request['EventSourceArn'][:-23]}1999")
    with pytest.raises(RefusalError, match=r"^ResourceNotFoundException: Function does not exist: nobody"):
        missing.attach(FunctionName="nobody")
    with pytest.raises(FilterError):
        missing.attach(FilterCriteria={"Filters": [{"Pattern": "{"}]})
    assert missing.poller.is_idle()


def test_a_deleted_function_is_a_problem_until_it_exists_again(
    source: Sources, caplog: pytest.LogCaptureFixture
) -> None:
    deleted = source("deleted", MaximumRetryAttempts=0)
    deleted.attach()
    deleted.client("lambda").delete_function(FunctionName=deleted.function)
    deleted.put("a")
    wait_for(lambda: len(deleted.invocations) >= 2, "two attempts")
    assert deleted.result.startswith("PROBLEM: function-deleted cannot be invoked")
    assert "mapping deleted: PROBLEM" in caplog.text
    deleted.create_function()
    deleted.settle()
    assert deleted.result == "OK"
    assert deleted.poller.lost_records == 0


def test_running_invocations_end_with_the_old_code_and_later_ones_have_the_new(source: Sources) -> None:
    """As on AWS: ministack alone would kill them. The slow invocation most likely runs when the update begins."""
    updated = source("updated", BatchSize=1)
    updated.deliver("a")
    updated.put("slow", "b")
    wait_for(lambda: not updated.poller.is_idle(), "a read")
    functions = updated.client("lambda")
    functions.invoke(FunctionName=updated.function, InvocationType="Event", Payload=json.dumps(ASYNCHRONOUS))
    time.sleep(0.4)  # both processes most likely run by now
    with updated.poller.pause(updated.function):
        functions.update_function_code(FunctionName=updated.function, ZipFile=zip_module(NEW_CODE))
        functions.update_function_configuration(FunctionName=updated.function, Timeout=7)
    updated.settle()
    assert updated.batches == [["a"], ["slow"], ["b"]]
    assert [each.error for each in updated.invocations] == [None, None, None]
    assert ["new code" in each.log for each in updated.invocations] == [False, False, True]
    pages = updated.client("logs").get_paginator("filter_log_events")
    group = f"/aws/lambda/{updated.function}"

    def ended() -> bool:
        events = [event["message"] for page in pages.paginate(logGroupName=group) for event in page["events"]]
        return sum("the end of a slow one" in message for message in events) == 2

    wait_for(ended, "the end of the asynchronous invocation")


def test_an_expiry_has_its_identity_in_lambdas_names() -> None:
    """The emulator's streams do not distinguish an expiry from a deletion."""
    record = {
        "eventID": "1",
        "eventName": "REMOVE",
        "userIdentity": {"PrincipalId": "dynamodb.amazonaws.com", "Type": "Service"},
        "dynamodb": {
            "ApproximateCreationDateTime": datetime(2026, 1, 1, tzinfo=UTC),
            "OldImage": {"l": {"L": [{"B": b"foobar"}, {"BS": [b"f"]}]}},
        },
    }
    assert lambda_record(record, "arn:s") == {
        "eventID": "1",
        "eventName": "REMOVE",
        "userIdentity": {"principalId": "dynamodb.amazonaws.com", "type": "Service"},
        "dynamodb": {
            "ApproximateCreationDateTime": 1767225600,
            "OldImage": {"l": {"L": [{"B": "Zm9vYmFy"}, {"BS": ["Zg=="]}]}},
        },
        "eventSource": "aws:dynamodb",
        "eventSourceARN": "arn:s",
    }


ASYNCHRONOUS = {"Records": [{"dynamodb": {"SequenceNumber": "1", "Keys": {"id": {"S": "slow"}}}}]}
NEW_CODE = "def handler(event, context): print('new code')"
EMPTY: dict[str, Any] = {"Records": [], "NextShardIterator": "next"}


def one_record() -> dict[str, Any]:
    return {"Records": [change(1, at=int(time.time()))], "NextShardIterator": "next"}


def client_error(code: str, operation: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "injected"}}, operation)


class Streams:
    """A stream of one shard. Reads answer in turn with a page or an error code, and repeat the last answer."""

    def __init__(self, *answers: dict[str, Any] | str, descriptions: tuple[str, ...] = ()) -> None:
        self.answers, self.reads, self.positions = answers, 0, list[str]()
        self.descriptions = ["", *descriptions]  # error codes; `attach` asks for the first description

    def describe_stream(self, StreamArn: str) -> dict[str, Any]:  # noqa: N803 -- AWS's name
        if code := self.descriptions.pop(0) if self.descriptions else "":
            raise client_error(code, "DescribeStream")
        return {"StreamDescription": {"Shards": [{"ShardId": "shard-0"}]}}

    def get_shard_iterator(self, ShardIteratorType: str, **_: str) -> dict[str, str]:  # noqa: N803 -- AWS's name
        self.positions.append(ShardIteratorType)
        return {"ShardIterator": "iterator"}

    def get_records(self, **_: str) -> dict[str, Any]:
        answer = self.answers[min(self.reads, len(self.answers) - 1)]
        self.reads += 1
        if isinstance(answer, dict):
            return answer
        raise client_error(answer, "GetRecords")


class Lambda:
    """Lambda with a function that does nothing, and CloudWatch Logs without its log group."""

    def get_function_configuration(self, FunctionName: str) -> dict[str, str]:  # noqa: N803 -- AWS's name
        return {"FunctionName": FunctionName, "FunctionArn": f"arn:aws:lambda:eu-central-1:0:function:{FunctionName}"}

    def invoke(self, **_: str) -> dict[str, Any]:
        return {"Payload": io.BytesIO(b"null"), "LogResult": base64.b64encode(b"x" * LOG_TAIL_BYTES).decode()}

    def get_paginator(self, _: str) -> "Lambda":
        return self

    def paginate(self, **_: Any) -> Iterator[dict[str, Any]]:
        raise client_error("ResourceNotFoundException", "FilterLogEvents")


Reading = Callable[[Streams], Poller]


@pytest.fixture
def reading() -> Iterator[Reading]:
    pollers: list[Poller] = []

    def attach(streams: Streams) -> Poller:
        clients: dict[str, Any] = {"dynamodbstreams": streams, "lambda": Lambda(), "logs": Lambda()}
        pollers.append(Poller(clients.__getitem__, lambda invocation: None))
        pollers[-1].attach("m", {"EventSourceArn": "arn:s", "FunctionName": "f", "StartingPosition": "TRIM_HORIZON"})
        return pollers[-1]

    yield attach
    for poller in pollers:
        poller.close()


def test_a_deleted_stream_is_a_problem_and_ends_the_mappings_work(
    reading: Reading, caplog: pytest.LogCaptureFixture
) -> None:
    streams = Streams("ResourceNotFoundException")
    poller = reading(streams)
    wait_for(poller.is_idle, "idle")
    assert streams.reads == 1
    assert poller.last_processing_result("m").startswith("PROBLEM: arn:s cannot be read")
    assert "mapping m: PROBLEM: arn:s cannot be read" in caplog.text


def test_a_failed_log_request_does_not_stop_the_mapping(reading: Reading, caplog: pytest.LogCaptureFixture) -> None:
    poller = reading(Streams(one_record(), EMPTY))
    wait_for(poller.is_idle, "idle")
    assert poller.last_processing_result("m") == "OK"
    assert "a log is cut to its last 4096 bytes" in caplog.text


@pytest.mark.parametrize(
    ("failures", "descriptions"), [(["InternalServerError"] * 2, ()), ([], ("InternalServerError",))]
)
def test_a_failed_read_or_description_is_retried(
    reading: Reading, failures: list[str], descriptions: tuple[str, ...]
) -> None:
    """The failures come first. A poller that takes a failed read for an empty page is idle after one of them."""
    streams = Streams(*failures, one_record(), EMPTY, descriptions=descriptions)
    poller = reading(streams)
    wait_for(poller.is_idle, "idle")
    assert streams.reads >= len(failures) + 2
    assert poller.last_processing_result("m") == "OK"


@pytest.mark.parametrize(
    ("code", "position"),
    [("TrimmedDataAccessException", "TRIM_HORIZON"), ("ExpiredIteratorException", "AFTER_SEQUENCE_NUMBER")],
)
def test_a_mapping_continues_after_a_lost_position(reading: Reading, code: str, position: str) -> None:
    """Retention has passed the checkpoint, or an iterator has expired during a pause."""
    streams = Streams({**one_record(), "Records": [change(1)]}, code, EMPTY)
    poller = reading(streams)
    wait_for(lambda: streams.reads > 2 and poller.is_idle(), "three reads")
    assert streams.positions == ["TRIM_HORIZON", position]
