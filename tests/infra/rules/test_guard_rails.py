"""What is refused or warned of: every bound of AWS, and what is legal there and unsafe, each with its message.

What one rule says of resources that this program never makes is test_rules' to show.
"""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any

import pulumi
import pulumi_aws as aws
import pytest

from infra.archive.targets import runtime
from infra.consumer import Environment
from infra.grants import Grant, allow, put_if_newer_into, write_to
from infra.rules import Level
from infra.rules.functions import NOTICE, RUNTIMES
from infra.settings import Tuning
from infra.stores import Stores
from infra.table import Changes, StreamTable, ViewType
from sandbox import ROOT
from sandbox.program.in_process import run
from tests.infra.rules.programs import consumer, table
from tests.program.recording import MAPPING, TABLE, Recorder, record

REFUSED, UNSAFE, ADVICE = Level.REFUSED, Level.UNSAFE, Level.ADVICE
StackFile = Mapping[str, Any]
Program = Callable[[bool], object]
"""Registers something, protected or not."""

KEY = "table-stream:tuning.mirror"
"""How an error of the stack file begins."""


def tuned(**sizes: Any) -> StackFile:
    return {"tuning": {"mirror": sizes}}


def reading(
    changes: Callable[[StreamTable], Sequence[Changes]] = lambda orders: [orders.changes()],
    *,
    view_type: ViewType = "NEW_AND_OLD_IMAGES",
    environment: Callable[[StreamTable], Environment] = lambda _: {},
    **options: Any,
) -> Program:
    """A program of one consumer that reads `orders`."""

    def program(protect: bool) -> None:
        orders = table(protect, view_type=view_type)
        consumer(*changes(orders), environment=environment(orders), **options)

    return program


def fenced(*events: Any, **tests: Any) -> Program:
    def program(protect: bool) -> None:
        orders, copy = table(protect), StreamTable("copy", key="id", ttl="expiry", protect=protect)
        consumer(orders.changes(*events, **tests), environment={"COPY": put_if_newer_into(copy)})

    return program


def three_readers(protect: bool) -> None:
    orders, stores = table(protect), Stores("stores", retention_in_days=30)
    for name in ("change-log", "mirror", "welcome-email"):
        consumer(orders.changes(), name=name, stores=stores)


def named_at_length(protect: bool) -> None:
    table(protect, "t" * 242)


def stored_at_length(protect: bool) -> None:
    Stores("s" * 47, retention_in_days=30, protect=protect)


def fifo(kind: type[aws.sqs.Queue | aws.sns.Topic], **options: Any) -> Program:
    return lambda protect: consumer(table(protect).changes(), on_failure=kind("lost", **options))


def granted(*actions: str, on: str, **condition: Any) -> Program:
    return reading(environment=lambda _: {"MINE": Grant("x", [allow(actions, [on], **condition)])})


BOUNDS: Sequence[tuple[str, int | str, str]] = (
    (
        "retentionInDays",
        10,
        "should be 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, "
        f"2922, 3288 or 3653 ({Tuning.model_fields['retention_in_days'].description})",
    ),
    (
        "startingPosition",
        "AT_TIMESTAMP",
        f"should be 'TRIM_HORIZON' or 'LATEST' ({Tuning.model_fields['starting_position'].description})",
    ),
)
"""A size of one consumer, its value, and what is said of it."""

CASES: Mapping[str, tuple[Level, StackFile | Program, str]] = {
    "target": (
        REFUSED,
        {"target": "riscv"},
        (
            "table-stream:target = \"riscv\": should be 'arm64', 'x86_64' or 'host' (for what the functions "
            "are built: one of Lambda's two architectures, or this machine)"
        ),
    ),
    "failures kept for no time": (
        REFUSED,
        {"failureRetentionInDays": 0},
        (
            'table-stream:failureRetentionInDays = "0": should be greater than or equal to 1 (whole days, at least 1 '
            "(S3 lifecycle))"
        ),
    ),
    "failures kept for too long": (
        REFUSED,
        {"failureRetentionInDays": 3_651},
        (
            'table-stream:failureRetentionInDays = "3651": should be less than or equal to 3650 (whole days, at least '
            "1 (S3 lifecycle))"
        ),
    ),
    "handler above a sixth of the function": (
        REFUSED,
        tuned(timeout=59),
        (
            "table-stream:tuning.mirror.handlerTimeout = 10: must be at most a sixth of timeout (59), so that several "
            "changes get their turn (seconds for one change; at most 150, a sixth of Lambda's limit for a function)"
        ),
    ),
    "position LATEST": (
        UNSAFE,
        tuned(startingPosition="LATEST"),
        (
            "mirror-orders: startingPosition LATEST: changes made in the minutes while the mapping is created or "
            "updated are missed; take TRIM_HORIZON, and pass over in the handler what is too old"
        ),
    ),
    "age of the stream": (
        UNSAFE,
        reading(mapping_args={"maximum_record_age_in_seconds": 86_400}),
        (
            "mirror-orders: maximumRecordAgeInSeconds 86400: a record that stops the function holds its shard up until "
            "the stream, after 24 h, forgets it and those behind it; bound it, 86100 leaves the destination five "
            "minutes"
        ),
    ),
    "no age": (
        UNSAFE,
        reading(mapping_args={"maximum_record_age_in_seconds": None}),
        (
            "mirror-orders: maximumRecordAgeInSeconds -1: a record that stops the function holds its shard up until "
            "the stream, after 24 h, forgets it and those behind it; bound it, 86100 leaves the destination five "
            "minutes"
        ),
    ),
    "age below the engine's": (
        UNSAFE,
        reading(mapping_args={"maximum_record_age_in_seconds": 86_099}),
        (
            "mirror-orders: maximumRecordAgeInSeconds 86099: changes that wait in the stream, at the mapping's start "
            "or while the ledger cannot be reached, would be discarded without being run; leave it at 86100"
        ),
    ),
    "age of one try": (
        UNSAFE,
        reading(
            mapping_args={"maximum_record_age_in_seconds": 1_200},
            tuning=Tuning(timeout=900, maximum_batching_window_in_seconds=300),
        ),
        (
            "mirror-orders: maximumRecordAgeInSeconds 1200: changes that wait in the stream, at the mapping's start "
            "or while the ledger cannot be reached, would be discarded without being run; leave it at 86100\n"
            "mirror-orders: maximumRecordAgeInSeconds 1200: one try may take 1200 s (maximumBatchingWindowInSeconds "
            "300, timeout 900), so a change that times out once is given up without another; raise the age, or lower "
            "these"
        ),
    ),
    "counted retries": (
        UNSAFE,
        reading(mapping_args={"maximum_retry_attempts": 3}),
        (
            "mirror-orders: maximumRetryAttempts 3: the first outage of a dependency uses them up within minutes, and "
            "healthy changes are given up with the failing ones; leave it at -1 and bound maximumRecordAgeInSeconds"
        ),
    ),
    "no bisect": (
        UNSAFE,
        reading(mapping_args={"bisect_batch_on_function_error": False}),
        (
            "mirror-orders: no bisectBatchOnFunctionError: a change that ends the function holds up the whole batch "
            "around it, and is given up together with it; enable it"
        ),
    ),
    "arguments that are the component's": (
        REFUSED,
        reading(
            mapping_args={
                "event_source_arn": "x",
                "function_name": "x",
                "filter_criteria": {},
                "function_response_types": [],
                "destination_config": {},
                "tumbling_window_in_seconds": 30,
                "batch_size": 5,
                "starting_position": "TRIM_HORIZON",
                "batchSize": 5,
                "zzz": 1,
            }
        ),
        (
            "mirror: mapping_args may not set event_source_arn: reads= names the table\n"
            "mirror: mapping_args may not set function_name: it is the consumer's own function\n"
            "mirror: mapping_args may not set filter_criteria: reads= makes the filters\n"
            "mirror: mapping_args may not set function_response_types: the engine answers with the failed records\n"
            "mirror: mapping_args may not set destination_config: on_failure= names the destination\n"
            "mirror: mapping_args may not set tumbling_window_in_seconds: the engine answers with no window's state\n"
            "mirror: mapping_args may not set batch_size: set batchSize in the consumer's tuning\n"
            "mirror: mapping_args may not set starting_position: set startingPosition in the consumer's tuning\n"
            "mirror: mapping_args sets batchSize, which is no argument of EventSourceMapping; did you mean "
            "batch_size?\n"
            "mirror: mapping_args sets zzz, which is no argument of EventSourceMapping"
        ),
    ),
    "position LATEST in code": (
        UNSAFE,
        reading(tuning=Tuning(starting_position="LATEST")),
        (
            "mirror-orders: startingPosition LATEST: changes made in the minutes while the mapping is created or "
            "updated are missed; take TRIM_HORIZON, and pass over in the handler what is too old"
        ),
    ),
    "no stores": (
        UNSAFE,
        reading(stores=None, on_failure=None),
        (
            "mirror: no stores: a failing change is reported and holds up its shard, a partly failed batch is "
            "repeated whole, and nothing is claimed or parked; give it stores=Stores(...)\n"
            "mirror-orders: no destinationConfig.onFailure: what the mapping gives up is gone; name a bucket, "
            "which gets it whole"
        ),
    ),
    "third reader": (
        REFUSED,
        three_readers,
        (
            "welcome-email-orders would be reader 3 of orders-table, after change-log-orders and mirror-orders: a "
            "stream serves two before all are throttled; do its work in one of these, or let one hand its changes on"
        ),
    ),
    "write-back loop": (
        REFUSED,
        reading(environment=lambda orders: {"TARGET": write_to(orders)}),
        (
            "mirror-function reads orders-table and may write it (mirror-policy): every write would trigger it again, "
            "endlessly. Write to another table, or filter out its own writes and declare allow_writes_to=[...]"
        ),
    ),
    "write-back loop by a document of one's own": (
        REFUSED,
        reading(
            environment=lambda orders: {
                "TARGET": Grant(orders.table.table_name, [allow(["dynamodb:PutItem"], [orders.table.arn])])
            }
        ),
        (
            "mirror-function reads orders-table and may write it (mirror-policy): every write would trigger it again, "
            "endlessly. Write to another table, or filter out its own writes and declare allow_writes_to=[...]"
        ),
    ),
    "more than five filters": (
        REFUSED,
        reading(lambda orders: [orders.changes(keys={"id": str(number)}) for number in range(6)]),
        "mirror has 6 filters on orders: Lambda takes 5 a mapping; join some, or filter in the handler",
    ),
    "fenced behind a filter on an image": (
        UNSAFE,
        fenced(new={"kind": "order"}),
        (
            "mirror on orders-table: a filter on NewImage, and its writes are fenced: a change that the "
            "filter leaves out, a removal too, would leave an older item in place for good; filter by keys only, or in "
            "the handler"
        ),
    ),
    "fenced behind a filter on events": (
        UNSAFE,
        fenced("INSERT", "MODIFY"),
        (
            "mirror on orders-table: a filter on eventName, and its writes are fenced: a change that the "
            "filter leaves out, a removal too, would leave an older item in place for good; filter by keys only, or in "
            "the handler"
        ),
    ),
    "view of keys for a new image": (
        REFUSED,
        reading(view_type="KEYS_ONLY", images="NEW_IMAGE"),
        (
            "mirror on orders-table: streamViewType KEYS_ONLY: each change would lack an image that is needed, and "
            "fail; take NEW_IMAGE or NEW_AND_OLD_IMAGES"
        ),
    ),
    "view of one image for both": (
        REFUSED,
        reading(view_type="NEW_IMAGE", images="NEW_AND_OLD_IMAGES"),
        (
            "mirror on orders-table: streamViewType NEW_IMAGE: each change would lack an image that is needed, and "
            "fail; take NEW_AND_OLD_IMAGES"
        ),
    ),
    "filter on an image that is left out": (
        REFUSED,
        reading(lambda orders: [orders.changes(old={"kind": "order"})], view_type="NEW_IMAGE"),
        (
            "orders: a filter on the old image never matches: its stream's view type is NEW_IMAGE; take OLD_IMAGE "
            "or NEW_AND_OLD_IMAGES"
        ),
    ),
    "claims outlived by failures": (
        REFUSED,
        reading(environment=lambda _: {"REMEMBER_SECONDS": "60"}),
        "mirror uses REMEMBER_SECONDS: the engine's own; take another name",
    ),
    "rights to every call": (
        UNSAFE,
        granted("sns:*", on="arn:aws:sns:eu-central-1:1:alerts"),
        (
            "mirror-policy: Action sns:*: a wildcard allows calls that the role never makes, and calls that AWS adds "
            "later; name each call"
        ),
    ),
    "rights on every topic": (
        UNSAFE,
        granted("sns:Publish", on="*"),
        (
            "mirror-policy: sns:Publish on *: the role may use every such resource of the account; name the resources, "
            'or accept them with everywhere("sns:Publish"), if AWS has no narrower form for what is called'
        ),
    ),
    "FIFO queue": (
        REFUSED,
        fifo(aws.sqs.Queue, fifo_queue=True),
        "mirror-orders cannot deliver to lost, which is FIFO: take a standard one",
    ),
    "FIFO topic": (
        REFUSED,
        fifo(aws.sns.Topic, fifo_topic=True),
        "mirror-orders cannot deliver to lost, which is FIFO: take a standard one",
    ),
    "role's name": (
        REFUSED,
        reading(name="m" * 46),
        (
            f"no handler/{'m' * 46}.py; there are change_log, mirror, welcome_email\n"
            f"{'m' * 46}-retry-role: a name of 65 characters with the 8 that Pulumi adds: AWS takes 64; shorten it by 1"
        ),
    ),
    "table's name": (
        REFUSED,
        named_at_length,
        f"{'t' * 242}-table: a name of 256 characters with the 8 that Pulumi adds: AWS takes 255; shorten it by 1",
    ),
    "bucket's name": (
        REFUSED,
        stored_at_length,
        (f"{'s' * 47}-failures: a name of 64 characters with the 8 that Pulumi adds: AWS takes 63; shorten it by 1"),
    ),
} | {
    f"{size} {value}": (REFUSED, tuned(**{size: value}), f"{KEY}.{size} = {json.dumps(value)}: {message}")
    for size, value, message in BOUNDS
}


def outcome(
    what: StackFile | Program, caplog: pytest.LogCaptureFixture, *, protect: bool
) -> tuple[list[str], list[str]]:
    """Errors and warnings of a program, or of the whole program with keys in its stack file."""
    caplog.clear()
    errors: list[str] = []
    try:
        if callable(what):
            record(lambda: what(protect), preview=True)
        else:
            texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in what.items()}
            config = {"target": "host", "protect": json.dumps(protect)} | texts
            namespaced = {f"table-stream:{key}": text for key, text in config.items()}
            run(ROOT, stack="test", config=namespaced, backend=Recorder(preview=True), preview=True)
    except pulumi.RunError as error:
        errors = str(error).splitlines()
        if errors[0].startswith("the configuration of stack test has"):
            title, *errors = errors
            assert title == f"the configuration of stack test has {len(errors)} error{'s' if len(errors) > 1 else ''}:"
    return [line.strip() for line in errors], [each.message for each in caplog.records]


@pytest.mark.parametrize("protect", [True, False], ids=["protected", "unprotected"])
@pytest.mark.parametrize("case", CASES)
def test_what_is_unsafe_is_told_at_preview(case: str, protect: bool, caplog: pytest.LogCaptureFixture) -> None:
    """An error everywhere, an error where something is protected and else a warning, or a warning."""
    level, what, message = CASES[case]
    caplog.set_level(logging.WARNING, "pulumi")
    errors, warnings = outcome(what, caplog, protect=protect)
    is_error = level is REFUSED or (level is UNSAFE and protect)
    assert (errors, warnings) == ((message.splitlines(), []) if is_error else ([], message.splitlines()))


@pytest.mark.parametrize("protect", [True, False])
def test_a_run_time_near_its_end_is_warned_of(
    protect: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Of Lambda's own run-time, whatever the day; not of the sandbox's, which is this interpreter."""
    monkeypatch.setitem(RUNTIMES, runtime("arm64"), date.min + NOTICE)
    monkeypatch.setitem(RUNTIMES, runtime("host"), date.min + NOTICE)
    caplog.set_level(logging.WARNING, "pulumi")
    errors, warnings = outcome({"target": "arm64"}, caplog, protect=protect)
    assert errors == []
    assert [": ".join(warning.split(": ")[:2]) for warning in warnings] == [
        f"{consumer}-function: runtime {runtime('arm64')}" for consumer in ("change-log", "mirror")
    ]
    assert outcome({"target": "host"}, caplog, protect=protect) == ([], [])


def test_all_that_is_wrong_with_a_stack_file_is_one_error(caplog: pytest.LogCaptureFixture) -> None:
    """Bounds and unknown keys. What is in bounds and unsafe is told with the rest of the program."""
    stack_file = {
        "colour": "red",
        "target": "riscv",
        "tuning": {
            "mirror": {"memorySize": 1, "maximumRecordAgeInSeconds": -1},
            "welcom-email": {"startingPosition": "LATEST"},
        },
    }
    errors, warnings = outcome(stack_file, caplog, protect=True)
    assert [error.split(": ")[:2] for error in errors] == [
        ['table-stream:target = "riscv"', "should be 'arm64', 'x86_64' or 'host' (for what the functions are built"],
        ["table-stream:tuning.mirror.memorySize = 1", "should be greater than or equal to 128 (MB, Lambda's limits)"],
        ["table-stream:tuning.mirror.maximumRecordAgeInSeconds = -1", "no longer a setting"],
        ["table-stream:tuning.welcom-email", "no handler/welcom_email.py; did you mean welcome_email?"],
        [
            'table-stream:colour = "red"',
            "no such key; there are target, protect, mailFrom, encryption, failureRetentionInDays, confirmedDrained, "
            "tuning",
        ],
    ]
    assert warnings == []


def several_mistakes(protect: bool) -> None:
    """In two consumers, a table, and in what joins them."""
    orders, copy = table(protect), table(protect, "copy")
    stores = Stores("stores", retention_in_days=30)
    StreamTable("bad", key="id", sort="id", protect=protect)
    consumer(orders.changes(), name="mirorr", environment={"COPY": write_to(copy)}, stores=stores)
    consumer(
        copy.changes(), name="change-log", environment={"AWS_REGION": "x", "BACK": write_to(orders)}, stores=stores
    )


def test_all_that_is_wrong_with_a_program_is_one_error(caplog: pytest.LogCaptureFixture) -> None:
    errors, warnings = outcome(several_mistakes, caplog, protect=True)
    assert [error.partition(":")[0] for error in errors] == [
        "no handler/mirorr.py; did you mean mirror?",
        "bad-table",
        "change-log-function",
        "change-log-function reads copy-table and may write orders-table (change-log-policy), and mirorr-function "
        "reads orders-table and may write copy-table (mirorr-policy)",
    ]
    assert warnings == []


def test_an_update_is_refused_before_what_is_wrong_is_registered() -> None:
    recorder = Recorder()

    def program() -> None:
        StreamTable("good", key="id")
        StreamTable("bad", key="id", sort="id")

    with pytest.raises(pulumi.RunError, match="bad-table: id is partition and sort key"):
        run(program, stack="test", config={}, backend=recorder)
    assert (TABLE, "bad-table") not in recorder.registered


def test_no_mapping_is_made_in_an_update_that_a_comparison_refuses() -> None:
    """Names and ARNs are known there as resources are made: the mapping waits for all that is judged."""
    recorder = Recorder()
    program = reading(environment=lambda orders: {"TARGET": write_to(orders)})

    def main() -> None:
        program(True)

    with pytest.raises(pulumi.RunError, match="every write would trigger it again"):
        run(main, stack="test", config={}, backend=recorder)
    assert MAPPING not in {kind for kind, _ in recorder.registered}
