"""The promises under chaos, live: functions killed in the middle of a batch, poison among the changes, throttling.

A seed decides what is written and where it hurts; where a kill falls within an invocation the machine decides. Outages
of the stores and time-outs are the simulation's to show.
"""

import os
import random
import signal
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from handler.stream.failures import read_failure
from sandbox.deploy import Deployment
from tests.local import LocalAws, wait_for

SEED, ORDERS, VERSIONS, USERS = 20_261, 20, 12, 30
CONFIG = {
    "table-stream:target": "host",
    "table-stream:mailFrom": "hello@example.com",
    # The claim of a function that was killed is held until its time would have been over.
    "table-stream:tuning": '{"welcome-email": {"timeout": 9, "handlerTimeout": 1}}',
}


def test_order_once_and_completeness_hold_under_chaos(aws: LocalAws, deployed: Callable[..., Deployment]):
    random_ = random.Random(SEED)
    outputs = deployed(config=CONFIG).outputs
    tables, consumers = outputs["tables"], outputs["consumers"]
    poisoned = {str(order) for order in random_.sample(range(ORDERS), 3)}

    kills = Counter[str]()
    for version in range(1, VERSIONS + 1):
        with throttled(aws, consumers["mirror"]["function"]) if version == VERSIONS // 3 else nullcontext():
            for order in random_.sample(range(ORDERS), ORDERS):
                item: dict[str, Any] = {"customer_id": "chaos", "order_id": str(order), "version": version}
                if str(order) in poisoned and version == VERSIONS // 2:
                    item["change_version"] = "the fence's own name, which no write can carry"
                aws.write(tables["orders"]["name"], item)
        new = [user for user in range(USERS) if user % VERSIONS == version - 1]
        aws.write(tables["users"]["name"], *({"id": f"chaos-{user}", "email": address(user)} for user in new))
        if version % 2:
            kills += kill_one(random_, [consumers["mirror"]["function"], consumers["welcome-email"]["function"]])
    aws.settle()
    invocations = [each for consumer in consumers.values() for each in aws.invocations(consumer["function"])]
    assert any(each.error and "Worker" in each.error for each in invocations), f"no batch was hit by {kills}"

    writes = versions_written(aws, tables["orders-mirror"]["streamArn"])
    source = {item["order_id"]: item["version"] for item in aws.items(tables["orders"]["name"])}
    mirror = {item["order_id"]: item["version"] for item in aws.items(tables["orders-mirror"]["name"])}
    assert source == dict.fromkeys(map(str, range(ORDERS)), VERSIONS)
    assert mirror == source, "complete: the last version of each order came after its poison"
    for order, versions in writes.items():
        assert versions == sorted(versions), f"order {order} went back in time: {versions}"
        wanted = set(range(1, VERSIONS + 1)) - ({VERSIONS // 2} if order in poisoned else set())
        assert set(versions) == wanted, f"order {order} misses versions: {versions}"

    failures = [read_failure(body) for body in aws.objects(outputs["stores"]["failures"]["bucket"], "engine/").values()]
    parked = [record["dynamodb"]["NewImage"] for failure in failures for record in failure.records]
    assert sorted(image["order_id"]["S"] for image in parked) == sorted(poisoned), "kept: each poison, whole, once"
    assert {image["version"]["N"] for image in parked} == {str(VERSIONS // 2)}

    mails = Counter(mail["To"][0] for mail in aws.mails() if mail["To"][0].startswith("chaos-"))
    assert set(mails) == {address(user) for user in range(USERS)}
    deaths = kills[consumers["welcome-email"]["function"]]
    assert mails.total() - USERS <= deaths * CONCURRENT, "once, plus once for each death of a claim's holder"


CONCURRENT = 10
"""Claims that one function holds at once: its workers."""


def kill_one(random_: random.Random, functions: list[str]) -> Counter[str]:
    """Kill the process of one of the functions, wherever in its batch it is."""
    running = [(function, process) for function, process in function_processes() if function in functions]
    if not running:
        return Counter()
    function, process = random_.choice(sorted(running))
    os.kill(process, signal.SIGKILL)
    return Counter([function])


def function_processes() -> Iterator[tuple[str, int]]:
    """Functions that this test's emulator runs, each with its process id."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            environment = (entry / "environ").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it has ended, or is not ours
        names = [
            value.partition(b"=")[2].decode() for value in environment if value.startswith(b"AWS_LAMBDA_FUNCTION_NAME=")
        ]
        yield from ((name, int(entry.name)) for name in names)


@contextmanager
def throttled(aws: LocalAws, function: str) -> Generator[None]:
    """No concurrency for a function, until its mapping has been refused."""
    client = aws.client("lambda")
    client.put_function_concurrency(FunctionName=function, ReservedConcurrentExecutions=0)
    yield
    wait_for(lambda: any("TooManyRequests" in (each.error or "") for each in aws.invocations(function)), "a refusal")
    client.delete_function_concurrency(FunctionName=function)


def address(user: int) -> str:
    return f"chaos-{user}@example.com"


def versions_written(aws: LocalAws, stream_arn: str) -> dict[str, list[int]]:
    """What the mirror's own stream has recorded: the versions of each order, in the order of their writes."""
    streams = aws.client("dynamodbstreams")
    found: dict[str, list[int]] = defaultdict(list)
    for shard in streams.describe_stream(StreamArn=stream_arn)["StreamDescription"]["Shards"]:
        iterator = streams.get_shard_iterator(
            StreamArn=stream_arn, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        while iterator:
            page = streams.get_records(ShardIterator=iterator)
            for record in page["Records"]:
                image = record["dynamodb"]["NewImage"]
                found[image["order_id"]["S"]].append(int(image["version"]["N"]))
            iterator = page.get("NextShardIterator") if page["Records"] else None
    return found
