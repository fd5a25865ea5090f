"""The findings about whole programs, each with its level and message.

test_rules and test_stack_rules show what the rules say of resources that this program never makes.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pulumi
import pulumi_aws as aws
import pytest

from infra.consumer import Environment
from infra.grants import Grant, allow, put_if_newer_into, write_to
from infra.rules import Level
from infra.settings import Tuning
from infra.stores import Stores
from infra.table import Changes, StreamTable, ViewType
from sandbox.program import in_process
from tests.infra.programs import Program, consumer, outcome, table
from tests.program.recording import MAPPING, TABLE, RecordingBackend

REFUSED, UNSAFE = Level.REFUSED, Level.UNSAFE


def reading(
    changes: Callable[[StreamTable], Sequence[Changes]] = lambda orders: [orders.changes()],
    *,
    view_type: ViewType = "NEW_AND_OLD_IMAGES",
    environment: Callable[[StreamTable], Environment] = lambda _: {},
    **options: Any,
) -> Program:
    """Return a program of one consumer that reads `orders`."""

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


def granted(*actions: str, on: str, **condition: Any) -> Program:
    return reading(environment=lambda _: {"MINE": Grant("x", [allow(actions, [on], **condition)])})


CASES: Mapping[str, tuple[Level, Program, str]] = {
    "age of the stream": (
        UNSAFE,
        reading(mapping_args={"maximum_record_age_in_seconds": 86_400}),
        "mirror-orders: maximumRecordAgeInSeconds 86400: a record that crashes the function blocks its shard until "
        "the stream deletes the record and those behind it after 24 h; limit the age: 86100 leaves 5 minutes for "
        "the delivery to the destination",
    ),
    "no age": (
        UNSAFE,
        reading(mapping_args={"maximum_record_age_in_seconds": None}),
        "mirror-orders: maximumRecordAgeInSeconds -1: a record that crashes the function blocks its shard until "
        "the stream deletes the record and those behind it after 24 h; limit the age: 86100 leaves 5 minutes for "
        "the delivery to the destination",
    ),
    "age below the engine's": (
        UNSAFE,
        reading(mapping_args={"maximum_record_age_in_seconds": 86_099}),
        "mirror-orders: maximumRecordAgeInSeconds 86099: changes that wait in the stream, at the mapping's start "
        "or while the ledger cannot be reached, would be discarded unprocessed; leave it at 86100",
    ),
    "age of one try": (
        UNSAFE,
        reading(
            mapping_args={"maximum_record_age_in_seconds": 1_200},
            tuning=Tuning(timeout=900, maximum_batching_window_in_seconds=300),
        ),
        "mirror-orders: maximumRecordAgeInSeconds 1200: changes that wait in the stream, at the mapping's start "
        "or while the ledger cannot be reached, would be discarded unprocessed; leave it at 86100\n"
        "mirror-orders: maximumRecordAgeInSeconds 1200: one try may take 1200 s (maximumBatchingWindowInSeconds "
        "300, timeout 900), so the mapping discards a change that times out once without a second try; raise the "
        "age, or lower the window or the timeout",
    ),
    "counted retries": (
        UNSAFE,
        reading(mapping_args={"maximum_retry_attempts": 3}),
        "mirror-orders: maximumRetryAttempts 3: the first outage of a dependency uses up these retries within "
        "minutes, and the mapping discards healthy changes with the failing one; leave it at -1 and limit "
        "maximumRecordAgeInSeconds",
    ),
    "no bisect": (
        UNSAFE,
        reading(mapping_args={"bisect_batch_on_function_error": False}),
        "mirror-orders: no bisectBatchOnFunctionError: a change that crashes the function blocks its whole batch, "
        "and the mapping gives up the whole batch; enable it",
    ),
    "arguments that are the component's": (
        REFUSED,
        reading(
            mapping_args={"event_source_arn": "x", "function_name": "x", "filter_criteria": {}}
            | {"function_response_types": [], "destination_config": {}, "tumbling_window_in_seconds": 30}
            | {"batch_size": 5, "starting_position": "TRIM_HORIZON", "batchSize": 5, "zzz": 1}
        ),
        "mirror: mapping_args may not set event_source_arn: reads= names the table\n"
        "mirror: mapping_args may not set function_name: it is the consumer's own function\n"
        "mirror: mapping_args may not set filter_criteria: reads= makes the filters\n"
        "mirror: mapping_args may not set function_response_types: the engine returns the failed records\n"
        "mirror: mapping_args may not set destination_config: on_failure= names the destination\n"
        "mirror: mapping_args may not set tumbling_window_in_seconds: the engine returns no state of a window\n"
        "mirror: mapping_args may not set batch_size: set batchSize in the consumer's tuning\n"
        "mirror: mapping_args may not set starting_position: set startingPosition in the consumer's tuning\n"
        "mirror: mapping_args sets batchSize, which is no argument of EventSourceMapping; did you mean "
        "batch_size?\n"
        "mirror: mapping_args sets zzz, which is no argument of EventSourceMapping",
    ),
    "position LATEST in code": (
        UNSAFE,
        reading(tuning=Tuning(starting_position="LATEST")),
        "mirror-orders: startingPosition LATEST: the mapping misses changes that are made during its creation or "
        "update, which takes minutes; use TRIM_HORIZON, and skip changes in the handler that are too old",
    ),
    "no stores": (
        UNSAFE,
        reading(stores=None, on_failure=None),
        "mirror: no stores: a failing change is reported and holds up its shard, a partly failed batch is "
        "repeated whole, and nothing is claimed or parked; give it stores=Stores(...)\n"
        "mirror-orders: no destinationConfig.onFailure: records that the mapping gives up are lost; name a bucket, "
        "which receives them whole",
    ),
    "third reader": (
        REFUSED,
        three_readers,
        "welcome-email-orders would be reader 3 of orders-table, after change-log-orders and mirror-orders: a "
        "stream serves two readers without throttling; do the work in one of these consumers, or let one of them "
        "pass the changes on",
    ),
    "write-back loop": (
        REFUSED,
        reading(environment=lambda orders: {"TARGET": write_to(orders)}),
        "mirror-function reads orders-table and may write it (mirror-policy): every write would trigger it again, "
        "endlessly. Write to another table, or filter out its own writes and declare allow_writes_to=[...]",
    ),
    "more than five filters": (
        REFUSED,
        reading(lambda orders: [orders.changes(keys={"id": str(number)}) for number in range(6)]),
        "mirror has 6 filters on orders: Lambda accepts 5 filters for each mapping; combine some, or filter in the "
        "handler",
    ),
    "fenced behind a filter on an image and on events": (
        UNSAFE,
        fenced("INSERT", "MODIFY", new={"kind": "order"}),
        "mirror on orders-table: a filter on NewImage and eventName, and its writes are fenced: a change that the "
        "filter leaves out, for example a removal, would leave an outdated item in the target; filter by keys "
        "only, or in the handler",
    ),
    "view of keys for a new image": (
        REFUSED,
        reading(view_type="KEYS_ONLY", images="NEW_IMAGE"),
        "mirror on orders-table: streamViewType KEYS_ONLY: each change would lack an image that the handler needs, "
        "and fail; use NEW_IMAGE or NEW_AND_OLD_IMAGES",
    ),
    "view of one image for both": (
        REFUSED,
        reading(view_type="NEW_IMAGE", images="NEW_AND_OLD_IMAGES"),
        "mirror on orders-table: streamViewType NEW_IMAGE: each change would lack an image that the handler needs, "
        "and fail; use NEW_AND_OLD_IMAGES",
    ),
    "filter on an image that is left out": (
        REFUSED,
        reading(lambda orders: [orders.changes(old={"kind": "order"})], view_type="NEW_IMAGE"),
        "orders: a filter on the old image never matches: its stream's view type is NEW_IMAGE; take OLD_IMAGE "
        "or NEW_AND_OLD_IMAGES",
    ),
    "claims outlived by failures": (
        REFUSED,
        reading(environment=lambda _: {"REMEMBER_SECONDS": "60"}),
        "mirror sets REMEMBER_SECONDS: the engine sets this variable; choose another name",
    ),
    "rights to every call": (
        UNSAFE,
        granted("sns:*", on="arn:aws:sns:eu-central-1:1:alerts"),
        "mirror-policy: Action sns:*: a wildcard allows calls that the role never makes, and calls that AWS adds "
        "later; name each call",
    ),
    "rights on every topic": (
        UNSAFE,
        granted("sns:Publish", on="*"),
        (
            "mirror-policy: sns:Publish on *: the role may use every such resource of the account; name the resources, "
            'or accept them with everywhere("sns:Publish"), if AWS supports no narrower resource for the call'
        ),
    ),
    "FIFO queue": (
        REFUSED,
        lambda protect: consumer(table(protect).changes(), on_failure=aws.sqs.Queue("lost", fifo_queue=True)),
        "mirror-orders cannot deliver to lost, which is FIFO: use a standard queue or topic",
    ),
    "role's name": (
        REFUSED,
        reading(name="m" * 46),
        f"no handler/{'m' * 46}.py; there are change_log, mirror, welcome_email\n"
        f"{'m' * 46}-retry-role: a name of 65 characters with the 8 that Pulumi adds: AWS takes 64; shorten it by 1",
    ),
    "table's name": (
        REFUSED,
        lambda protect: table(protect, "t" * 242),
        f"{'t' * 242}-table: a name of 256 characters with the 8 that Pulumi adds: AWS takes 255; shorten it by 1",
    ),
    "bucket's name": (
        REFUSED,
        lambda protect: Stores("s" * 47, retention_in_days=30, protect=protect),
        f"{'s' * 47}-failures: a name of 64 characters with the 8 that Pulumi adds: AWS takes 63; shorten it by 1",
    ),
}


@pytest.mark.parametrize("protect", [True, False], ids=["protected", "unprotected"])
@pytest.mark.parametrize("case", CASES)
def test_a_preview_reports_what_is_unsafe(case: str, protect: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Show an error at level REFUSED; at level UNSAFE, an error if the table is protected, and a warning otherwise."""
    level, program, message = CASES[case]
    caplog.set_level(logging.WARNING, "pulumi")
    errors, warnings = outcome(program, caplog, protect=protect)
    is_error = level is REFUSED or (level is UNSAFE and protect)
    assert (errors, warnings) == ((message.splitlines(), []) if is_error else ([], message.splitlines()))


def several_mistakes(protect: bool) -> None:
    """Make mistakes in two consumers, in a table, and in their combination."""
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
    recorder = RecordingBackend()

    def program() -> None:
        StreamTable("good", key="id")
        StreamTable("bad", key="id", sort="id")

    with pytest.raises(pulumi.RunError, match="bad-table: id is partition and sort key"):
        in_process.run(in_process.Program(program, stack="test", config={}), recorder)
    assert (TABLE, "bad-table") not in recorder.registered


def test_no_mapping_is_created_in_an_update_that_a_comparison_refuses() -> None:
    """An update knows names and ARNs as it creates resources, and the mapping waits for the check of all of them."""
    recorder = RecordingBackend()
    program = reading(environment=lambda orders: {"TARGET": write_to(orders)})

    def main() -> None:
        program(True)

    with pytest.raises(pulumi.RunError, match="every write would trigger it again"):
        in_process.run(in_process.Program(main, stack="test", config={}), recorder)
    assert MAPPING not in {kind for kind, _ in recorder.registered}
