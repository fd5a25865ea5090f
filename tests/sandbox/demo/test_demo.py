"""What the demo measures with: the proxy, the count of what came too late, and the stock processor beside ours."""

import threading
from collections.abc import Callable
from typing import Any

import pulumi_aws as resources
import pytest
from botocore.exceptions import ClientError  # pyright: ignore[reportMissingTypeStubs] -- botocore is untyped

from sandbox.demo.baseline import stock_writes
from sandbox.demo.proxy import Call, Proxy
from sandbox.demo.workload import (
    GROUPS,
    ODD_ORDER,
    ODD_VERSION,
    ORDERS,
    OUTAGE_SECONDS,
    TOGETHER,
    VERSIONS,
    Arrivals,
    Outage,
    latest_of_others,
    orders,
    out_of_order,
    version_of,
    written,
)
from sandbox.emulator import Clients
from sandbox.program.deploy import Deployment
from tests.local import REGION, LocalAws


def test_only_what_comes_after_a_later_version_is_out_of_order():
    assert out_of_order([]) == 0
    assert out_of_order([("a", 1), ("b", 1), ("a", 2), ("a", 2), ("b", 2)]) == 0
    assert out_of_order([("a", 1), ("a", 3), ("a", 2), ("b", 1), ("a", 2), ("a", 4)]) == 2


def put(order: str, version: int, call: str, table: str = "mirror") -> Call:
    return Call(
        "PutItem", call, {"TableName": table, "Item": {"order_id": {"S": order}, "version": {"N": str(version)}}}
    )


def test_each_order_is_written_in_the_order_of_its_versions_and_the_odd_one_early():
    assert sorted(written()) == sorted(
        (str(order), version) for order in range(1, ORDERS + 1) for version in range(1, VERSIONS + 1)
    )
    assert out_of_order(written()) == 0
    groups = [{version_of(item)[0] for together in group for item in together} for group in orders()]
    assert [len(group) for group in groups] == [TOGETHER] * GROUPS
    assert ODD_ORDER in groups[1]


def test_the_odd_version_is_refused_for_a_while_from_its_first_write_on():
    clock = [100.0]
    arrivals = Arrivals(lambda: clock[0])
    assert not arrivals.refuses(put(ODD_ORDER, ODD_VERSION, "before the table is known"))
    arrivals.table = "mirror"
    assert arrivals.refuses(put(ODD_ORDER, ODD_VERSION, "first"))
    clock[0] += OUTAGE_SECONDS - 0.1
    assert arrivals.refuses(put(ODD_ORDER, ODD_VERSION, "second"))
    assert not arrivals.refuses(put(ODD_ORDER, ODD_VERSION - 1, "third"))
    assert not arrivals.refuses(put("2", ODD_VERSION, "fourth"))
    clock[0] += 0.1
    assert not arrivals.refuses(put(ODD_ORDER, ODD_VERSION, "fifth"))
    assert arrivals.versions == [(ODD_ORDER, ODD_VERSION - 1), ("2", ODD_VERSION), (ODD_ORDER, ODD_VERSION)]
    assert arrivals.first == {
        (ODD_ORDER, ODD_VERSION - 1): 100 + OUTAGE_SECONDS - 0.1,
        ("2", ODD_VERSION): 100 + OUTAGE_SECONDS - 0.1,
        (ODD_ORDER, ODD_VERSION): 100 + OUTAGE_SECONDS,
    }


def test_each_call_counts_once_with_all_the_attempts_of_the_sdk():
    arrivals = Arrivals()
    arrivals.table = "mirror"
    assert [arrivals.refuses(put("2", 1, "third")), arrivals.refuses(put("2", 1, "third"))] == [False, False]
    assert not arrivals.refuses(put("2", 1, "elsewhere", table="ledger"))
    assert not arrivals.refuses(Call("GetItem", "reads", {"TableName": "mirror"}))
    assert arrivals.versions == [("2", 1)]


def test_the_latest_of_others_leaves_the_odd_order_out():
    written_at = {("1", 1): 10.0, ("2", 1): 11.0, (ODD_ORDER, 3): 10.0}
    assert latest_of_others(written_at, {("1", 1): 10.5, ("2", 1): 11.25, (ODD_ORDER, 3): 99.0}) == 0.5


def test_the_proxy_passes_on_all_but_what_is_refused(aws: LocalAws, deployed: Callable[..., Deployment]):
    def program() -> None:
        resources.dynamodb.Table(
            "proxied", attributes=[{"name": "id", "type": "S"}], hash_key="id", billing_mode="PAY_PER_REQUEST"
        )
        resources.s3.Bucket("proxied", force_destroy=True)

    made = {each.resource.service: each.id for each in deployed(program, config={}).made}
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
        dynamodb.put_item(TableName=made["dynamodb"], Item={"id": {"S": "even"}})
        with pytest.raises(ClientError, match=r"InternalServerError.*refused on purpose"):
            dynamodb.put_item(TableName=made["dynamodb"], Item={"id": {"S": "odd"}})
        with pytest.raises(ClientError, match="ResourceNotFoundException"):
            dynamodb.get_item(TableName="nowhere", Key={"id": {"S": "x"}})
        s3.put_object(Bucket=made["s3"], Key="a/b c", Body=b"\x00" * 100_000)
        assert len(s3.get_object(Bucket=made["s3"], Key="a/b c")["Body"].read()) == 100_000
        assert s3.head_object(Bucket=made["s3"], Key="a/b c")["ContentLength"] == 100_000
        with pytest.raises(ClientError, match="500"):
            s3.put_object(Bucket=made["s3"], Key="odd", Body=b"")
    assert aws.items(made["dynamodb"]) == [{"id": "even"}]
    assert list(aws.objects(made["s3"])) == ["a/b c"]
    assert [call.operation for call in calls] == ["PutItem", "PutItem", "GetItem", "PUT", "GET", "HEAD", "PUT"]
    assert len({call.id for call in calls}) == 7


def stream(every: float = 0.0) -> list[tuple[float, dict[str, Any]]]:
    """The demo's changes as a stream holds them, a group of orders `every` seconds."""
    start = 4_000_000_000.0
    items = [(start + at * every, item) for at, group in enumerate(orders()) for together in group for item in together]
    return [
        (
            at,
            {
                "eventID": str(number),
                "eventName": "MODIFY",
                "eventSource": "aws:dynamodb",
                "dynamodb": {
                    "SequenceNumber": f"{number:030}",
                    "Keys": {name: item[name] for name in ("customer_id", "order_id")},
                    "NewImage": item,
                    "ApproximateCreationDateTime": int(at),
                },
            },
        )
        for number, (at, item) in enumerate(items)
    ]


def version(event: Any) -> tuple[str, int]:
    return version_of(event["dynamodb"]["NewImage"])


MAPPING = {
    "EventSourceArn": "arn:aws:dynamodb:eu-west-1:000000000000:table/t/stream/s",
    "FunctionName": "f",
    "StartingPosition": "TRIM_HORIZON",
    "BatchSize": TOGETHER * VERSIONS,
    "FunctionResponseTypes": ["ReportBatchItemFailures"],
}


def in_stock(*, fails: bool) -> list[tuple[float, tuple[str, int]]]:
    outage = Outage()
    applied = stock_writes(stream(every=0.3), MAPPING, lambda event, now: fails and outage.refuses(version(event), now))
    return [(at, version(event)) for at, event in applied]


def test_a_stock_processor_turns_items_back_while_one_change_fails():
    """What follows the failure in its batch was applied with it, and comes again with every try."""
    applied = [each for _, each in in_stock(fails=True)]
    assert set(applied) == set(written())
    assert out_of_order(applied) == 52  # the batch's others three times, and at last v3 itself
    assert out_of_order(each for _, each in in_stock(fails=False)) == 0


def test_a_stock_processor_lets_the_others_wait_until_the_change_succeeds():
    """Behind the failing batch nothing is read. AWS's back-off as recorded: tries after 0.9, 2.4 and 5.0 s."""
    written_at = {version(event): at for at, event in stream(every=0.3)}
    first = dict(reversed([(each, at) for at, each in in_stock(fails=True)]))
    assert latest_of_others(written_at, first) == pytest.approx(5.03 - 0.3, abs=0.11)  # and a poll
    assert latest_of_others(written_at, {each: at for at, each in in_stock(fails=False)}) < 0.11
