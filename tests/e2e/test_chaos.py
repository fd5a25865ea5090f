"""The promises under chaos, live: everything that can go wrong at once, and nothing lost, doubled or out of order.

Functions are killed in the middle of batches and of retry runs; ledger, failure store and mirror do not answer for a
while; changes can never be processed; no concurrency is left; a bad deployment fails everything until it is mended. A
seed decides what is written and where it hurts; where a kill falls the machine decides, too.
"""

import contextlib
import io
import os
import random
import signal
import threading
import time
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from handler.stream.failures import read_failure
from sandbox.deploy import Deployment
from sandbox.emulator import free_port
from sandbox.invocation import Invocation
from sandbox.proxy import Call, Proxy
from tests.local import LocalAws, wait_for

SEED, ORDERS, VERSIONS, USERS = 20_261, 20, 12, 24
CONFIG = {
    "table-stream:target": "host",
    "table-stream:mailFrom": "hello@example.com",
    # What a killed function has claimed or leased stays its own until its time would have been over.
    "table-stream:tuning": '{"welcome-email": {"timeout": 9, "handlerTimeout": 1},'
    ' "mirror": {"timeout": 9, "handlerTimeout": 1}}',
}
CONCURRENT = 10
"""Claims that one function holds at once: its workers."""


class Weather:
    """What the proxy refuses at the moment, and how often it did; it also kills a function that leases a held item."""

    def __init__(self) -> None:
        self.refused = Counter[str]()
        self.killed = Counter[str]()
        self._down: dict[str, Callable[[Call], bool]] = {}
        self._kill: tuple[str, int] | None = None  # a function, by its consumer, and how many of its retry runs
        self._functions: dict[str, str] = {}
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def down(self, name: str, refuses: Callable[[Call], bool], seconds: float) -> Generator[None]:
        """Refuse what that says, while the context lasts and for these seconds at least."""
        until = time.monotonic() + seconds
        with self._lock:
            self._down[name] = refuses
        yield
        time.sleep(max(until - time.monotonic(), 0))
        with self._lock:
            del self._down[name]

    def kill_retry_runs(self, consumer: str, function: str, count: int) -> None:
        """Kill that many retry runs of a function, each when it has leased an item."""
        with self._lock:
            self._functions[consumer] = function
            self._kill = (consumer, count)

    def refuses(self, call: Call) -> bool:
        """Whether a call fails."""
        with self._lock:
            self._maybe_kill(call)
            for name, refuses in self._down.items():
                if refuses(call):
                    self.refused[name] += 1
                    return True
        return False

    def _maybe_kill(self, call: Call) -> None:
        if self._kill and call.operation == "UpdateItem":
            consumer, left = self._kill
            leases = call.body["Key"].get("pk") == {"S": f"hold#{consumer}"} and ":until" in call.body.get(
                "ExpressionAttributeValues", {}
            )
            if leases:
                self._kill = (consumer, left - 1) if left > 1 else None
                threading.Timer(0.05, self._kill_all, [consumer]).start()

    def _kill_all(self, consumer: str) -> None:
        for function, process in function_processes():
            if function == self._functions[consumer]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
                self.killed[function] += 1


@pytest.fixture
def weather() -> Weather:
    return Weather()


@pytest.fixture
def aws(weather: Weather) -> Generator[LocalAws]:
    """An emulator of its own, whose functions reach it through the weather."""
    port = free_port()
    with Proxy(port, weather.refuses) as proxy:
        local = LocalAws({"AWS_ENDPOINT_URL": proxy.url}, port=port)
        yield local
        local.close()


class Chaos:
    """The program and what is done to it."""

    def __init__(self, aws: LocalAws, weather: Weather, deployment: Deployment) -> None:
        self.aws, self.weather = aws, weather
        outputs = deployment.outputs
        self.tables = {name: table["name"] for name, table in outputs["tables"].items()}
        self.mirror_stream = outputs["tables"]["orders-mirror"]["streamArn"]
        self.functions = {name: consumer["function"] for name, consumer in outputs["consumers"].items()}
        self.ledger, self.bucket = outputs["stores"]["ledger"]["name"], outputs["stores"]["failures"]["bucket"]
        [made] = [each for each in deployment.made if each.registration.name == "mirror-function"]
        self.code = Path(made.inputs["code"].path).read_bytes()
        self.random = random.Random(SEED)
        self.poisoned = {str(order) for order in self.random.sample(range(ORDERS), 3)}
        self.kills = Counter[str]()
        self.version = 0

    def write(self, *, poison: bool = False) -> None:
        """Write the next version of every order, and a few new users."""
        self.version += 1
        for order in self.random.sample(range(ORDERS), ORDERS):
            item: dict[str, Any] = {"customer_id": "chaos", "order_id": str(order), "version": self.version}
            if poison and str(order) in self.poisoned:
                item["change_version"] = "the fence's own name, which no write can carry"
            self.aws.write(self.tables["orders"], item)
        new = [user for user in range(USERS) if user % VERSIONS == self.version - 1]
        self.aws.write(self.tables["users"], *({"id": f"chaos-{user}", "email": address(user)} for user in new))

    def kill_one(self) -> None:
        """Kill the process of one of the functions, wherever in its batch it is."""
        killable = {self.functions[name] for name in ("mirror", "welcome-email")}
        running = [(function, process) for function, process in function_processes() if function in killable]
        if running:
            function, process = self.random.choice(sorted(running))
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
            self.kills[function] += 1

    def deploy_mirror(self, code: bytes) -> None:
        """Give the mirror other code, as saving a file does."""
        with self.aws.sandbox.poller.quiet(self.functions["mirror"]):
            self.aws.client("lambda").update_function_code(FunctionName=self.functions["mirror"], ZipFile=code)
        self.aws.sandbox.poller.make_all_due()

    def uses_ledger(self, call: Call) -> bool:
        """Whether a call goes to the ledger."""
        return self.ledger in (call.body.get("TableName"), *call.body.get("RequestItems", {}))

    def parks(self, call: Call) -> bool:
        """Whether a call writes to the failure store."""
        return call.operation == "PUT" and call.path.startswith(f"/{self.bucket}/")

    def mirrors(self, call: Call) -> bool:
        """Whether a call writes one of the first orders to the mirror."""
        return (
            call.operation == "PutItem"
            and call.body["TableName"] == self.tables["orders-mirror"]
            and int(call.body["Item"]["order_id"]["S"]) < ORDERS // 4
        )

    def held(self) -> list[str]:
        """The items that the ledger says are held."""
        rows = self.aws.items(self.ledger)
        return [row["sk"] for row in rows if row["pk"].startswith("hold#") and row.get("state") == "held"]

    def batches(self) -> list[Invocation]:
        """Every batch that a consumer was given."""
        return [each for function in self.functions.values() for each in self.aws.invocations(function)]


def test_order_once_and_completeness_hold_under_chaos(aws: LocalAws, weather: Weather):
    chaos = Chaos(aws, weather, aws.deploy(config=CONFIG))
    mirror, orders = chaos.functions["mirror"], ORDERS
    chaos.write()
    aws.settle()  # the functions run

    for _ in range(3):  # deaths in batches
        chaos.write()
        chaos.kill_one()
    with weather.down("ledger", chaos.uses_ledger, seconds=1.5):
        chaos.write()
    with throttled(aws, mirror):
        chaos.write()
    with weather.down("failure store", chaos.parks, seconds=1.5):
        chaos.write(poison=True)
        assert chaos.version == VERSIONS // 2 + 1
    with weather.down("mirror", chaos.mirrors, seconds=2.5):
        chaos.write()
        wait_for(chaos.held, "a held item")
        weather.kill_retry_runs("mirror", mirror, 2)
        chaos.write()
    bad_deployment_fails_everything_and_blocks_nothing(chaos)
    while chaos.version < VERSIONS:
        chaos.write()
        chaos.kill_one()
    aws.settle()

    assert chaos.held() == []
    batches = chaos.batches()
    assert any(each.error and "Worker" in each.error for each in batches), f"no batch was hit by {chaos.kills}"
    assert weather.killed[mirror] >= 1, "no retry run was killed"
    assert any(each.error and "Worker" in each.error for each in aws.retry_runs(mirror)), "no retry run died"
    assert set(weather.refused) == {"ledger", "failure store", "mirror"}
    check_orders(chaos, orders)
    check_mails(chaos)


def bad_deployment_fails_everything_and_blocks_nothing(chaos: Chaos) -> None:
    """Every order is held while the code is bad; no batch of it comes again; the good code releases them all."""
    aws, mirror = chaos.aws, chaos.functions["mirror"]
    aws.settle()
    before = len(aws.invocations(mirror))
    chaos.deploy_mirror(broken(chaos.code))
    chaos.write()
    wait_for(lambda: len(chaos.held()) == ORDERS, "every order held")
    chaos.write()
    aws.settle(released=False)
    assert len(chaos.held()) == ORDERS
    batches = aws.invocations(mirror)[before:]
    assert {(str(each.response), each.error) for each in batches} == {("{'batchItemFailures': []}", None)}
    chaos.deploy_mirror(chaos.code)
    aws.settle()
    at_once = [
        run.response for run in aws.retry_runs(mirror) if run.scheduled == {"table-stream": "retry", "now": True}
    ]
    assert any(answer and answer["released"] for answer in at_once), f"nothing was released at once: {at_once}"


def check_orders(chaos: Chaos, orders: int) -> None:
    """Complete, in order, and what could never be processed kept whole, once."""
    aws, poison = chaos.aws, VERSIONS // 2 + 1
    source = {item["order_id"]: item["version"] for item in aws.items(chaos.tables["orders"])}
    mirror = {item["order_id"]: item["version"] for item in aws.items(chaos.tables["orders-mirror"])}
    assert source == dict.fromkeys(map(str, range(orders)), VERSIONS)
    assert mirror == source, "complete: the last version of each order came after its poison"
    for order, versions in versions_written(aws, chaos.mirror_stream).items():
        assert versions == sorted(versions), f"order {order} went back in time: {versions}"
        wanted = set(range(1, VERSIONS + 1)) - ({poison} if order in chaos.poisoned else set())
        assert set(versions) == wanted, f"order {order} misses versions: {versions}"
    failures = [read_failure(body) for body in aws.objects(chaos.bucket).values()]
    parked = [record["dynamodb"]["NewImage"] for failure in failures for record in failure.records]
    assert sorted(image["order_id"]["S"] for image in parked) == sorted(chaos.poisoned), (
        "kept: each poison, whole, once"
    )
    assert {image["version"]["N"] for image in parked} == {str(poison)}


def check_mails(chaos: Chaos) -> None:
    """Once, plus once for each death of a claim's holder."""
    mails = Counter(mail["To"][0] for mail in chaos.aws.mails())
    assert set(mails) == {address(user) for user in range(USERS)}
    assert mails.total() - USERS <= chaos.kills[chaos.functions["welcome-email"]] * CONCURRENT


def broken(code: bytes) -> bytes:
    """The functions' archive with a mirror that fails each change."""
    changed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(code)) as before, zipfile.ZipFile(changed, "w") as after:
        for info in before.infolist():
            content = before.read(info)
            if info.filename == "handler/mirror.py":
                content = content.replace(b"    put_if_newer(", b'    raise RuntimeError("a bad deployment")\n    (')
                assert b"a bad deployment" in content
            after.writestr(info, content)
    return changed.getvalue()


def function_processes() -> Iterator[tuple[str, int]]:
    """Functions that run on this machine, by their physical names, each with its process id."""
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


@contextlib.contextmanager
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
