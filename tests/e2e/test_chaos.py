"""The promises under chaos, live: everything that can go wrong at once, and nothing lost, doubled or out of order.

Functions are killed in the middle of batches and of retry runs; ledger, failure store and mirror do not answer for a
while; changes can never be processed; no concurrency is left; a bad deployment fails everything until it is mended. A
seed decides what is written and where it hurts; where a kill falls the machine decides, too.
"""

import contextlib
import io
import json
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
from sandbox.demo.proxy import Call, Proxy
from sandbox.emulator import free_port
from sandbox.mapping.invocation import ObservedInvocation
from sandbox.program.deploy import Deployment
from tests.local import LocalAws, wait_for

SEED, ORDERS, VERSIONS, USERS = 20_261, 20, 12, 24
POISON = 7
"""The version that can never be processed, of some orders."""
CONFIG = {
    "target": "host",
    "mailFrom": "hello@example.com",
    # What a killed function has claimed or leased stays its own until its time would have been over.
    "tuning": '{"welcome-email": {"timeout": 6, "handlerTimeout": 1}, "mirror": {"timeout": 6, "handlerTimeout": 1}}',
}
CONCURRENT = 10
"""Claims that one function holds at once: its workers."""


Calls = Callable[[Call], bool]
"""Whether a call is one of those that are meant."""


class Weather:
    """What the proxy refuses at the moment, and which calls are the last of the functions that make them."""

    def __init__(self) -> None:
        self.refused = Counter[str]()
        self.killed = Counter[str]()
        self._down: dict[str, Calls] = {}
        self._deaths: list[tuple[Calls, str]] = []
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def down(self, name: str, calls: Calls, seconds: float) -> Generator[None]:
        """Refuse calls while the context lasts, for these seconds at least, and until one was refused."""
        until = time.monotonic() + seconds
        with self._lock:
            self._down[name] = calls
        yield
        wait_for(lambda: time.monotonic() > until and self.refused[name], f"a call that is refused: {name}")
        with self._lock:
            del self._down[name]

    def kill(self, function: str, calls: Calls, times: int) -> None:
        """Kill a function soon after such a call, so many times."""
        with self._lock:
            self._deaths += [(calls, function)] * times

    def planned(self) -> int:
        """How many deaths are still to come."""
        with self._lock:
            return len(self._deaths)

    def refuses(self, call: Call) -> bool:
        """Whether a call fails."""
        with self._lock:
            death = next((each for each in self._deaths if each[0](call)), None)
            if death:
                self._deaths.remove(death)
                threading.Timer(0.03, self._kill, [death[1]]).start()
            name = next((name for name, calls in self._down.items() if calls(call)), None)
            if name:
                self.refused[name] += 1
        return name is not None

    def _kill(self, function: str) -> None:
        for process in processes(function):
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

    def deploy_mirror(self, code: bytes) -> None:
        """Give the mirror other code, as saving a file does."""
        with self.aws.sandbox.poller.pause(self.functions["mirror"]):
            self.aws.client("lambda").update_function_code(FunctionName=self.functions["mirror"], ZipFile=code)
        self.aws.sandbox.scheduler.make_all_due()

    def uses_ledger(self, call: Call) -> bool:
        """Any call to the ledger."""
        return self.ledger in (call.body.get("TableName"), *call.body.get("RequestItems", {}))

    def begins_batch(self, call: Call) -> bool:
        """The mirror's first call of a batch: it reads the note."""
        return call.operation == "Query" and '"note#mirror#' in json.dumps(call.body)

    def leases(self, call: Call) -> bool:
        """The call with which a retry run of the mirror leases an item."""
        return call.operation == "UpdateItem" and all(
            each in json.dumps(call.body) for each in ('"hold#mirror"', ":until")
        )

    def claims(self, call: Call) -> bool:
        """The call with which the welcome mail claims a change."""
        return call.operation == "PutItem" and '"claim#welcome-email#' in json.dumps(call.body)

    def parks(self, call: Call) -> bool:
        """A call that writes to the failure store."""
        return call.operation == "PUT" and call.path.startswith(f"/{self.bucket}/")

    def mirrors_some(self, call: Call) -> bool:
        """A call that writes one of the first orders to the mirror."""
        is_mirrored = call.operation == "PutItem" and call.body["TableName"] == self.tables["orders-mirror"]
        return is_mirrored and int(call.body["Item"]["order_id"]["S"]) < ORDERS // 4

    def held(self) -> list[str]:
        """The items that the ledger says are held."""
        rows = self.aws.items(self.ledger)
        return [row["sk"] for row in rows if row["pk"].startswith("hold#") and row.get("state") == "held"]


@pytest.mark.timeout(240)  # half a minute where nothing else runs
def test_order_once_and_completeness_hold_under_chaos(aws: LocalAws, weather: Weather):
    chaos = Chaos(aws, weather, aws.deploy(config=CONFIG))
    mirror, welcome = chaos.functions["mirror"], chaos.functions["welcome-email"]
    chaos.write()
    aws.settle()  # the functions run

    weather.kill(mirror, chaos.begins_batch, times=2)
    weather.kill(welcome, chaos.claims, times=2)
    for _ in range(3):
        chaos.write()
    with weather.down("ledger", chaos.uses_ledger, seconds=1.5):
        chaos.write()
    with throttled(aws, mirror):
        chaos.write()
    with weather.down("failure store", chaos.parks, seconds=1.5):
        chaos.write(poison=True)
        assert chaos.version == POISON
    with weather.down("mirror", chaos.mirrors_some, seconds=2.5):
        chaos.write()
        wait_for(chaos.held, "a held item")
        weather.kill(mirror, chaos.leases, times=1)
        chaos.write()
    bad_deployment_fails_everything_and_blocks_nothing(chaos)
    weather.kill(mirror, chaos.begins_batch, times=1)
    while chaos.version < VERSIONS:
        chaos.write()
    aws.settle(within=120)

    assert chaos.held() == []
    assert set(weather.refused) == {"ledger", "failure store", "mirror"}
    assert set(weather.killed) == {mirror, welcome}
    assert any(died(each) for each in aws.invocations(mirror)), "no batch was hit"
    assert weather.planned() == 0, "no retry run was hit: only they lease, also those that the function asks for"
    check_orders(chaos)
    check_mails(chaos)


def died(invocation: ObservedInvocation) -> bool:
    return "Worker" in (invocation.error or "")


def bad_deployment_fails_everything_and_blocks_nothing(chaos: Chaos) -> None:
    """Every order is held while the code is bad; no batch of it comes again; the good code releases them all."""
    aws, mirror = chaos.aws, chaos.functions["mirror"]
    aws.settle(within=120)
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
    assert {"table-stream": "retry", "now": True} in [run.scheduled for run in aws.retry_runs(mirror)]


def check_orders(chaos: Chaos) -> None:
    """Complete, in order, and what could never be processed kept whole, once."""
    aws = chaos.aws
    source = {item["order_id"]: item["version"] for item in aws.items(chaos.tables["orders"])}
    mirror = {item["order_id"]: item["version"] for item in aws.items(chaos.tables["orders-mirror"])}
    assert source == dict.fromkeys(map(str, range(ORDERS)), VERSIONS)
    assert mirror == source, "complete: the last version of each order came after its poison"
    for order, versions in versions_written(aws, chaos.mirror_stream).items():
        assert versions == sorted(versions), f"order {order} went back in time: {versions}"
        wanted = set(range(1, VERSIONS + 1)) - ({POISON} if order in chaos.poisoned else set())
        assert set(versions) == wanted, f"order {order} misses versions: {versions}"
    failures = [read_failure(body) for body in aws.objects(chaos.bucket).values()]
    parked = [record["dynamodb"]["NewImage"] for failure in failures for record in failure.records]
    assert sorted(image["order_id"]["S"] for image in parked) == sorted(chaos.poisoned), (
        "kept: each poison, whole, once"
    )
    assert {image["version"]["N"] for image in parked} == {str(POISON)}


def check_mails(chaos: Chaos) -> None:
    """Once, plus once for each death of a claim's holder."""
    mails = Counter(mail["To"][0] for mail in chaos.aws.mails())
    assert set(mails) == {address(user) for user in range(USERS)}
    assert mails.total() - USERS <= chaos.weather.killed[chaos.functions["welcome-email"]] * CONCURRENT


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


def processes(function: str) -> Iterator[int]:
    """The processes of a function (its physical name)."""
    name = f"AWS_LAMBDA_FUNCTION_NAME={function}".encode()
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):  # ended, or not ours
            if entry.name.isdecimal() and name in (entry / "environ").read_bytes().split(b"\0"):
                yield int(entry.name)


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
