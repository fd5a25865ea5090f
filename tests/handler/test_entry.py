"""@consumer, the environment variables of a function, AWS clients and requests."""

import gc
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from handler.stream import Change, PermanentError, aws, consumer
from handler.stream.engine.batch import AsyncHandlerError, InvalidBatchError
from handler.stream.entry import NoLedgerError, UnknownRequestError
from handler.stream.environment import Environment, VariableError
from handler.stream.testing.dynamodb import MemoryDynamoDB
from tests.fakes.aws import S3, Clock, LambdaContext
from tests.fakes.records import record, sequence
from tests.handler.conftest import Lines
from tests.handler.harness import ConsumerHarness

UPDATE = json.loads((Path(__file__).parent.parent / "events" / "dynamodb-update.json").read_text())


def test_a_function_of_a_change_becomes_an_entry_point() -> None:
    seen = list[Change]()

    @consumer
    def handler(change: Change) -> None:
        """The purpose of the handler."""
        seen.append(change)

    assert handler(UPDATE, LambdaContext(Clock())) == {"batchItemFailures": []}
    assert [change.event_name for change in seen] == ["INSERT", "MODIFY", "REMOVE"]
    assert handler.__doc__ == "The purpose of the handler."


def test_garbage_collections_skip_what_was_imported_before_the_first_batch() -> None:
    handler = consumer(print)
    gc.unfreeze()
    imported = len(gc.get_objects())
    handler(UPDATE, LambdaContext(Clock()))
    try:
        assert gc.get_freeze_count() >= imported
        assert len(gc.get_objects()) < imported / 10
    finally:
        gc.unfreeze()


def test_an_async_function_is_refused_by_the_decorator() -> None:
    async def handler(change: Change) -> None: ...

    with pytest.raises(AsyncHandlerError, match="is async"):
        consumer(handler)
    with pytest.raises(AsyncHandlerError):
        consumer(claim=True)(handler)


@pytest.mark.parametrize("claim", [False, True])
def test_the_log_says_once_that_nothing_reads_what_a_handler_returns(claim: bool, log_lines: Lines) -> None:
    harness = ConsumerHarness(claim=claim)
    harness.look = lambda change: {"secret": change.keys} if change.sequence_number != sequence(1) else None
    assert harness.deliver("a") == []
    assert log_lines() == []
    assert harness.deliver("abc", start=2) == harness.deliver("a", start=5) == []
    assert harness.applied == [1, 2, 3, 4, 5]
    [line] = log_lines()
    assert (line["level"], line["returned_type"]) == ("WARNING", "dict")
    assert line["message"].startswith("the handler returned a value, which nothing reads")


def test_no_error_about_an_event_shows_its_content() -> None:
    item = {"name": "secret"}
    for event in ([item], {"table-stream": item}, {"table-stream": "x", "records": [item]}):
        with pytest.raises((InvalidBatchError, UnknownRequestError)) as caught:
            ConsumerHarness().engine(event)
        assert "secret" not in str(caught.value)


def test_the_variables_select_the_stores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "welcome-email")
    monkeypatch.setenv("LEDGER_TABLE", "ledger")
    monkeypatch.setenv("FAILURE_BUCKET", "failures")
    dynamodb, s3 = MemoryDynamoDB(), S3()

    @consumer(claim=True)
    def handler(change: Change) -> None:
        if change.event_id == "event-1":
            raise PermanentError
        if change.event_id == "event-2":
            raise ValueError

    with aws.use_clients({"dynamodb": dynamodb, "ledger": dynamodb, "s3": s3}):
        context = LambdaContext(Clock(), seconds=12.1)  # too little time for another try
        answer = handler({"Records": [record(1), record(2, "b"), record(3, "c")]}, context)
    assert answer == {"batchItemFailures": []}
    owners = {tuple(item["pk"]["S"].split("#")[:2]) for item in dynamodb.items("ledger")}
    assert owners == {("hold", "welcome-email"), ("claim", "welcome-email")}
    assert [key.split("/")[1] for key in s3.objects] == ["welcome-email"]


def test_a_consumer_that_claims_without_a_ledger_is_refused() -> None:
    @consumer(claim=True)
    def handler(change: Change) -> None: ...

    with pytest.raises(NoLedgerError, match="give the consumer stores"):
        handler({"Records": [record(1)]})


def test_no_client_is_created_before_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a region, boto3 cannot create a client."""
    monkeypatch.setenv("LEDGER_TABLE", "ledger")

    def handler(change: Change) -> None: ...

    assert callable(consumer(handler))


@pytest.mark.usefixtures("in_lambda")
def test_in_lambda_the_ledgers_client_is_created_at_the_cold_start() -> None:
    def handler(change: Change) -> None: ...

    with aws.use_clients({}):
        consumer(handler)
        assert set(aws._clients) == {"ledger"}  # pyright: ignore[reportPrivateUsage] # no call shows it


def test_only_the_client_of_s3_needs_boto3_which_adds_methods_to_it() -> None:
    script = (
        "import sys; from handler.stream import aws; aws.client(aws.LEDGER); aws.client('sns'); "
        "print('boto3' in sys.modules, hasattr(aws.client('s3'), 'upload_file'))"
    )
    environ = os.environ | {"AWS_DEFAULT_REGION": "eu-central-1"}
    done = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


@pytest.mark.parametrize("seconds", [1, 10, 300])
def test_the_ledgers_client_gives_up_after_three_seconds(seconds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call fits into the reserve at an invocation's end, for any handler time-out."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("HANDLER_TIMEOUT_SECONDS", str(seconds))
    with aws.use_clients({}):
        config: Any = aws.client(aws.LEDGER).meta.config
    assert config.retries == {"mode": "standard", "total_max_attempts": 2}
    assert (config.connect_timeout, config.read_timeout) == (0.5, 1.0)


@pytest.mark.parametrize(("seconds", "attempts"), [(1, 1), (3, 1), (4, 2), (6, 2), (10, 2), (300, 2)])
def test_a_clients_call_ends_within_the_handler_timeout(
    seconds: int, attempts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("HANDLER_TIMEOUT_SECONDS", str(seconds))
    monkeypatch.setenv("WORKERS", "32")
    with aws.use_clients({}):
        client = aws.client("sqs")
        assert aws.client("sqs") is client
    config: Any = client.meta.config
    assert config.retries == {"mode": "standard", "total_max_attempts": attempts}
    assert config.max_pool_connections == 32  # one connection per worker
    waiting = 1 if attempts == 2 else 0  # botocore waits up to 1 s before a second attempt
    assert 0 < config.connect_timeout <= config.read_timeout
    assert attempts * (config.connect_timeout + config.read_timeout) + waiting <= seconds


def test_every_variable_is_read() -> None:
    environ = {
        "POWERTOOLS_SERVICE_NAME": "mirror",
        "POWERTOOLS_METRICS_NAMESPACE": "space",
        "FAILURE_BUCKET": "failures",
        "LEDGER_TABLE": "ledger",
        "LEDGER_NAME": "copy",
        "REMEMBER_SECONDS": "1",
        "GIVE_UP_AFTER_SECONDS": "2",
        "BATCHING_WINDOW_SECONDS": "3",
        "HANDLER_TIMEOUT_SECONDS": "4.5",
        "MINUTE_SECONDS": "5",
        "WORKERS": "6",
        "TRACING": "true",
    }
    read = Environment.read(environ)
    assert read == Environment("mirror", "space", "failures", "ledger", "copy", 1, 2, 3, 4.5, 5, 6, True)
    assert (read.consumer, Environment("mirror").consumer) == ("copy", "mirror")
    assert Environment.read({}) == Environment()
    plain = Environment()
    assert (plain.workers, plain.handler_timeout_seconds, plain.minute_seconds) == (10, 10, 60)
    assert (plain.give_up_after_seconds, plain.batching_window_seconds) == (7 * 86_400, 0)
    assert Environment.read({"TRACING": "false"}).tracing is False


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        *[("WORKERS", value, f"'{value}', which is not a number") for value in ("many", "1.5")],
        *[("REMEMBER_SECONDS", "", "'', which is not a number"), ("WORKERS", "0", "0; it must be at least 1")],
    ],
)
def test_the_error_names_an_invalid_variable(name: str, value: str, problem: str) -> None:
    with pytest.raises(VariableError, match=f"{name} is {problem}"):
        Environment.read({name: value})


def test_the_tracer_is_imported_only_with_tracing(monkeypatch: pytest.MonkeyPatch) -> None:
    script = (
        "import sys; from handler.stream import consumer\n"
        "@consumer\n"
        "def handler(change): print(change.event_name)\n"
        "import json, pathlib\n"
        "print(handler(json.loads(pathlib.Path('tests/events/dynamodb-update.json').read_text())))\n"
        "print('aws_xray_sdk' in sys.modules)\n"
    )

    def run(**environ: str) -> list[str]:
        monkeypatch.setenv("POWERTOOLS_TRACE_DISABLED", "true")
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=dict(os.environ) | environ
        )
        return done.stdout.splitlines()

    called = ["INSERT", "MODIFY", "REMOVE", "{'batchItemFailures': []}"]
    assert run() == [*called, "False"]
    assert run(TRACING="true") == [*called, "True"]


# Requests


@pytest.mark.parametrize(
    "event",
    [*({"table-stream": name} for name in ("retri", None, "skip", "redrive")), {"table-stream": "skip", "item": 7}],
)
def test_the_error_for_an_unknown_request_lists_the_requests(event: dict[str, Any]) -> None:
    harness = ConsumerHarness()
    message = "is not a request that a consumer answers; the requests are"
    with pytest.raises(UnknownRequestError, match=message) as raised:
        harness.engine(event)
    assert all(repr(value) in str(raised.value) for value in event.values())
    assert harness.dynamodb.calls == []


@pytest.mark.parametrize("part", [[1], [2, 2], [-1, 2], ["0", 2], "0/2", {}, [0.0, 2]])
def test_an_invalid_slice_is_refused(part: Any) -> None:
    with pytest.raises(UnknownRequestError, match=r"slice is .*, not two numbers such as"):
        ConsumerHarness().retry(slice=part)


@pytest.mark.parametrize("item", ["", 7, ["a"], True])
def test_an_invalid_item_of_a_retry_run_is_refused(item: Any) -> None:
    with pytest.raises(UnknownRequestError, match=r"item is .*, not the digest of an item"):
        ConsumerHarness().retry(now=True, item=item)


@pytest.mark.parametrize("request_", ["retry", "skip", "nonsense"])
def test_a_consumer_without_stores_refuses_requests(request_: str) -> None:
    with pytest.raises(NoLedgerError, match="a consumer without stores holds no items"):
        ConsumerHarness(ledger_table="").ask(request_, item="x")
