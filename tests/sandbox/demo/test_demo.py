"""The parts with which the demo measures and mends: workload, proxy, counts, baseline, and the redrive."""

import io
import json
import threading
import zipfile
from collections.abc import Callable
from typing import Any

import pulumi_aws as resources
import pytest
from botocore.exceptions import ClientError  # pyright: ignore[reportMissingTypeStubs] -- botocore is untyped
from rich.console import Console

from sandbox.demo.baseline import run_baseline
from sandbox.demo.mend import append_to_member, redrive
from sandbox.demo.output import DemoOutput
from sandbox.demo.proxy import Call, Proxy
from sandbox.demo.workload import (
    FAILING_ORDER,
    FAILING_VERSION,
    GROUP_SIZE,
    GROUPS,
    ORDERS,
    VERSIONS,
    WRITE_FAILURE_SECONDS,
    MirrorWrites,
    WriteFailure,
    count_out_of_order,
    expected_versions,
    failing_group,
    max_delay_of_others,
    order_groups,
    version_of,
)
from sandbox.emulator import HOST, Clients, client_variables, free_port
from sandbox.mapping.invocation import ObservedInvocation
from sandbox.program.deploy import Deployment
from sandbox.report import Names, report_of
from tests.fakes.records import STREAM, record, sequence
from tests.local import REGION, LocalAws, declare_table, zip_module
from tests.sandbox.mapping.mapping_driver import PARTIAL


def test_only_what_comes_after_a_later_version_is_out_of_order():
    assert count_out_of_order([]) == 0
    assert count_out_of_order([("a", 1), ("b", 1), ("a", 2), ("a", 2), ("b", 2)]) == 0
    assert count_out_of_order([("a", 1), ("a", 3), ("a", 2), ("b", 1), ("a", 2), ("a", 4)]) == 2


def put(order: str, version: int, call: str, table: str = "mirror") -> Call:
    item = {"order_id": {"S": order}, "version": {"N": str(version)}}
    return Call("PutItem", call, {"TableName": table, "Item": item})


def test_each_order_is_written_in_the_order_of_its_versions_and_the_failing_one_early():
    assert sorted(expected_versions()) == sorted(
        (str(order), version) for order in range(1, ORDERS + 1) for version in range(1, VERSIONS + 1)
    )
    assert count_out_of_order(expected_versions()) == 0
    groups = [{version_of(item)[0] for together in group for item in together} for group in order_groups()]
    assert [len(group) for group in groups] == [GROUP_SIZE] * GROUPS
    assert FAILING_ORDER in groups[1]


def test_the_failing_group_has_the_other_orders_of_its_batch():
    group = failing_group()
    assert len(group) == (GROUP_SIZE - 1) * VERSIONS
    assert FAILING_ORDER not in {order for order, _ in group}


def test_the_failing_version_is_refused_until_its_hold_is_seen():
    """On a busy machine the first call with its retries may take longer than the failure."""
    clock = [100.0]
    mirror_writes = MirrorWrites(lambda: clock[0])
    mirror_writes.table = "mirror"
    assert mirror_writes.refuses(put(FAILING_ORDER, FAILING_VERSION, "first"))
    clock[0] += 10 * WRITE_FAILURE_SECONDS
    assert mirror_writes.refuses(put(FAILING_ORDER, FAILING_VERSION, "first"))
    mirror_writes.hold_is_seen = True
    assert not mirror_writes.refuses(put(FAILING_ORDER, FAILING_VERSION, "second"))


def test_the_failing_version_is_refused_for_a_while_from_its_first_write():
    clock = [100.0]
    mirror_writes = MirrorWrites(lambda: clock[0])
    mirror_writes.hold_is_seen = True
    assert not mirror_writes.refuses(put(FAILING_ORDER, FAILING_VERSION, "before the table is known"))
    mirror_writes.table = "mirror"
    assert mirror_writes.refuses(put(FAILING_ORDER, FAILING_VERSION, "first"))
    clock[0] += WRITE_FAILURE_SECONDS - 0.1
    assert mirror_writes.refuses(put(FAILING_ORDER, FAILING_VERSION, "second"))
    assert not mirror_writes.refuses(put(FAILING_ORDER, FAILING_VERSION - 1, "third"))
    assert not mirror_writes.refuses(put("2", FAILING_VERSION, "fourth"))
    clock[0] += 0.1
    assert not mirror_writes.refuses(put(FAILING_ORDER, FAILING_VERSION, "fifth"))
    during, after = 100 + WRITE_FAILURE_SECONDS - 0.1, 100 + WRITE_FAILURE_SECONDS
    writes = [(FAILING_ORDER, FAILING_VERSION - 1), ("2", FAILING_VERSION), (FAILING_ORDER, FAILING_VERSION)]
    assert mirror_writes.versions == writes
    assert mirror_writes.written_at == dict(zip(writes, (during, during, after), strict=True))


def test_each_call_counts_once_with_all_the_attempts_of_the_sdk():
    mirror_writes = MirrorWrites()
    mirror_writes.table = "mirror"
    assert [mirror_writes.refuses(put("2", 1, "third")), mirror_writes.refuses(put("2", 1, "third"))] == [False, False]
    assert not mirror_writes.refuses(put("2", 1, "elsewhere", table="ledger"))
    assert not mirror_writes.refuses(Call("GetItem", "reads", {"TableName": "mirror"}))
    assert mirror_writes.versions == [("2", 1)]


def test_the_delay_of_others_leaves_the_failing_order_out():
    written_at = {("1", 1): 10.0, ("2", 1): 11.0, (FAILING_ORDER, 3): 10.0}
    assert max_delay_of_others(written_at, {("1", 1): 10.5, ("2", 1): 11.25, (FAILING_ORDER, 3): 99.0}) == 0.5


def test_the_proxy_forwards_every_call_that_is_not_refused(aws: LocalAws, deployed: Callable[..., Deployment]):
    def program() -> None:
        declare_table("proxied")
        resources.s3.Bucket("proxied", force_destroy=True)

    names = {each.resource_type.service: each.id for each in deployed(program, config={}).resources}
    calls: list[Call] = []
    lock = threading.Lock()

    def refuses(call: Call) -> bool:
        with lock:
            calls.append(call)
        is_odd_item = call.operation == "PutItem" and call.body["Item"]["id"]["S"] == "odd"
        return is_odd_item or (call.operation == "PUT" and call.path.endswith("/odd"))

    with Proxy(aws.sandbox.emulator.port, refuses) as proxy:
        clients = Clients(proxy.url, REGION)
        dynamodb, s3 = clients("dynamodb"), clients("s3")
        dynamodb.put_item(TableName=names["dynamodb"], Item={"id": {"S": "even"}})
        with pytest.raises(ClientError, match=r"InternalServerError.*refused on purpose"):
            dynamodb.put_item(TableName=names["dynamodb"], Item={"id": {"S": "odd"}})
        with pytest.raises(ClientError, match="ResourceNotFoundException"):
            dynamodb.get_item(TableName="nowhere", Key={"id": {"S": "x"}})
        s3.put_object(Bucket=names["s3"], Key="a/b c", Body=b"\x00" * 100_000)
        assert len(s3.get_object(Bucket=names["s3"], Key="a/b c")["Body"].read()) == 100_000
        assert s3.head_object(Bucket=names["s3"], Key="a/b c")["ContentLength"] == 100_000
        with pytest.raises(ClientError, match="500"):
            s3.put_object(Bucket=names["s3"], Key="odd", Body=b"")
    assert aws.items(names["dynamodb"]) == [{"id": "even"}]
    assert list(aws.objects(names["s3"])) == ["a/b c"]
    assert [call.operation for call in calls] == ["PutItem", "PutItem", "GetItem", "PUT", "GET", "HEAD", "PUT"]
    assert len({call.id for call in calls}) == 7


def test_one_member_of_an_archive_gets_a_text():
    with zipfile.ZipFile(io.BytesIO(append_to_member(zip_module("x = 1\n"), "m.py", "y = 2\n"))) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {"m.py": b"x = 1\ny = 2\n"}
    with pytest.raises(KeyError):
        append_to_member(zip_module("x = 1\n"), "other.py", "")


def test_a_redrive_that_cannot_run_is_a_problem():
    problem = redrive(client_variables(f"http://{HOST}:{free_port()}", REGION))
    assert problem
    assert problem.startswith("redrive ended with 2: no sandbox answers at ")


@pytest.mark.parametrize("width", [40, 60, 80])
def test_no_word_is_lost_on_a_narrow_terminal(width: int):
    """The report is that of a batch in which v3 of an order fails: the order's later versions wait."""
    out = io.StringIO()
    output = DemoOutput(Console(file=out, width=width))
    names = Names({"f": "mirror"}, {STREAM: "orders"})
    keys = {"customer_id": {"S": "c3"}, "order_id": {"S": "31"}}
    records = [record(each, Keys=keys, NewImage={**keys, "version": {"N": str(each)}}) for each in (3, 4, 5)]
    held = {
        "message": "item held",
        "item": "digest",
        "table": STREAM,
        "event_name": "MODIFY",
        "keys": {name: value["S"] for name, value in keys.items()},
        "sequence_number": sequence(3),
        "sequence_numbers": [sequence(each) for each in (3, 4, 5)],
        "error": {"type": "InternalServerError", "text": "refused"},
    }
    invocation = ObservedInvocation(
        uuid="u",
        function="f",
        records=tuple(records),
        attempt=1,
        ended_at=0.0,
        duration_seconds=0.1,
        response={"batchItemFailures": []},
        error=None,
        log=json.dumps(held),
        stream_arn=STREAM,
        scheduled=None,
    )
    output.print_report(report_of(invocation, names))
    output.print_check("order", "0 of 240 out of order", "(stock batch processor, same run: 35)", holds=True)
    printed = out.getvalue()
    assert max(map(len, printed.splitlines())) <= width
    words = " ".join(printed.split())
    for expected in ("#31", "‖ v4, v5 wait for v3", "0 of 240 out of order (stock batch processor, same run: 35)"):
        assert expected in words


def stream(every: float = 0.0) -> list[tuple[float, dict[str, Any]]]:
    """Return the demo's changes as stream records, with a group of orders every `every` seconds."""
    groups = [(4_000_000_000.0 + index * every, group) for index, group in enumerate(order_groups())]
    items = [(at, item) for at, group in groups for together in group for item in together]
    keys = [{name: item[name] for name in ("customer_id", "order_id")} for _, item in items]
    return [
        (at, record(number, at=int(at), NewImage=item, Keys=keys[number])) for number, (at, item) in enumerate(items)
    ]


def version(event: Any) -> tuple[str, int]:
    return version_of(event["dynamodb"]["NewImage"])


STARTING = {"EventSourceArn": STREAM, "FunctionName": "f", "StartingPosition": "TRIM_HORIZON"}
MAPPING = {**STARTING, **PARTIAL, "BatchSize": GROUP_SIZE * VERSIONS}


def baseline_writes(*, fails: bool) -> list[tuple[float, tuple[str, int]]]:
    failure = WriteFailure()
    applied = run_baseline(stream(0.3), MAPPING, lambda event, now: fails and failure.refuses(version(event), now))
    return [(at, version(event)) for at, event in applied]


def test_the_baseline_applies_changes_out_of_order_while_one_fails():
    """The changes after the failing one in its batch are applied, and applied again with every retry."""
    applied = [each for _, each in baseline_writes(fails=True)]
    assert set(applied) == set(expected_versions())
    assert count_out_of_order(applied) == 52  # the others of the batch three times, and v3 at the end
    assert count_out_of_order(each for _, each in baseline_writes(fails=False)) == 0


def test_the_baseline_delays_others_until_the_change_succeeds():
    """The mapping reads nothing after the failing batch. AWS's recorded retries come after 0.9, 2.4 and 5.0 s."""
    written_at = {version(event): at for at, event in stream(every=0.3)}
    first = dict(reversed([(each, at) for at, each in baseline_writes(fails=True)]))
    assert max_delay_of_others(written_at, first) == pytest.approx(5.03 - 0.3, abs=0.11)  # and up to one poll interval
    assert max_delay_of_others(written_at, {each: at for at, each in baseline_writes(fails=False)}) < 0.11
