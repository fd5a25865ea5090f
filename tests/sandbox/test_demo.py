"""What the demo measures with: the proxy, the count of what came too late, and the stock processor beside ours."""

import threading
from collections.abc import Callable
from typing import Any

import pulumi_aws as resources
import pytest
from botocore.exceptions import ClientError  # pyright: ignore[reportMissingTypeStubs] -- botocore is untyped

from sandbox.deploy import Deployment
from sandbox.emulator import Clients
from sandbox.proxy import Call, Proxy
from sandbox.scene import ODD_ORDER, ODD_VERSION, ORDERS, VERSIONS, Arrivals, orders, out_of_order, version_of
from sandbox.stock import stock_writes
from tests.local import REGION, LocalAws


def test_only_what_comes_after_a_later_version_is_out_of_order():
    assert out_of_order([]) == 0
    assert out_of_order([("a", 1), ("b", 1), ("a", 2), ("a", 2), ("b", 2)]) == 0
    assert out_of_order([("a", 1), ("a", 3), ("a", 2), ("b", 1), ("a", 2), ("a", 4)]) == 2


def put(order: str, version: int, call: str, table: str = "mirror") -> Call:
    return Call(
        "PutItem", call, {"TableName": table, "Item": {"order_id": {"S": order}, "version": {"N": str(version)}}}
    )


def test_one_call_is_refused_with_all_its_attempts_and_each_other_call_counts_once():
    arrivals = Arrivals()
    assert not arrivals.refuses(put("1", 1, "before the table is known"))
    arrivals.table = "mirror"
    odd = put(ODD_ORDER, ODD_VERSION, "first")
    assert [arrivals.refuses(odd), arrivals.refuses(odd)] == [True, True]
    assert not arrivals.refuses(put(ODD_ORDER, ODD_VERSION, "second"))
    assert [arrivals.refuses(put("2", 1, "third")), arrivals.refuses(put("2", 1, "third"))] == [False, False]
    assert not arrivals.refuses(put("2", 1, "elsewhere", table="ledger"))
    assert not arrivals.refuses(Call("GetItem", "reads", {"TableName": "mirror"}))
    assert arrivals.versions == [(ODD_ORDER, ODD_VERSION), ("2", 1)]


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
        return call.operation == "PutItem" and call.body["Item"]["id"]["S"] == "odd"

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
    assert aws.items(made["dynamodb"]) == [{"id": "even"}]
    assert [call.operation for call in calls] == ["PutItem", "PutItem", "GetItem"]
    assert len({call.id for call in calls}) == 3


def stream() -> list[dict[str, Any]]:
    """The demo's changes as a stream holds them."""
    items = [item for together in orders() for item in together]
    return [
        {
            "eventID": str(at),
            "eventName": "MODIFY",
            "eventSource": "aws:dynamodb",
            "dynamodb": {
                "SequenceNumber": f"{at:030}",
                "Keys": {name: item[name] for name in ("customer_id", "order_id")},
                "NewImage": item,
                "ApproximateCreationDateTime": 4_000_000_000,
            },
        }
        for at, item in enumerate(items)
    ]


def version(event: Any) -> tuple[str, int]:
    return version_of(event["dynamodb"]["NewImage"])


MAPPING = {
    "EventSourceArn": "arn:aws:dynamodb:eu-west-1:000000000000:table/t/stream/s",
    "FunctionName": "f",
    "StartingPosition": "TRIM_HORIZON",
    "BatchSize": 100,
    "FunctionResponseTypes": ["ReportBatchItemFailures"],
}


def test_a_stock_processor_turns_items_back_after_one_failure():
    """Batch by batch: what follows the failure was applied with it and comes again from the failure on."""
    applied = [
        version(event)
        for event in stock_writes(stream(), MAPPING, lambda event: version(event) == (ODD_ORDER, ODD_VERSION))
    ]
    assert set(applied) == {
        (str(order), version) for order in range(1, ORDERS + 1) for version in range(1, VERSIONS + 1)
    }
    assert out_of_order(applied) == 18
    assert out_of_order(map(version, stock_writes(stream(), MAPPING, lambda event: False))) == 0
