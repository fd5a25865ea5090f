"""The poller and streams whose reads fail: what it reads again, where, and what it reports."""

import base64
import io
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError  # pyright: ignore[reportMissingTypeStubs] -- boto3 is untyped

from sandbox.mapping.invocation import LOG_TAIL_BYTES
from sandbox.mapping.poller import Poller
from tests.fakes.stream import change
from tests.local import wait_for

EMPTY: dict[str, Any] = {"Records": [], "NextShardIterator": "next"}


def one_record() -> dict[str, Any]:
    return {"Records": [change(1, at=int(time.time()))], "NextShardIterator": "next"}


def client_error(code: str, operation: str) -> ClientError:
    response: Any = {"Error": {"Code": code, "Message": "injected"}}
    return ClientError(response, operation)


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


def test_a_failed_read_is_retried_and_is_not_the_end_of_the_stream(reading: Reading) -> None:
    """The two failures come first. A poller that takes them for an empty page is idle after one of them."""
    streams = Streams("InternalServerError", "InternalServerError", one_record(), EMPTY)
    poller = reading(streams)
    wait_for(poller.is_idle, "idle")
    assert streams.reads >= 4
    assert poller.last_processing_result("m") == "OK"


def test_a_failed_description_is_retried(reading: Reading) -> None:
    poller = reading(Streams(one_record(), EMPTY, descriptions=("InternalServerError",)))
    wait_for(poller.is_idle, "idle")
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
