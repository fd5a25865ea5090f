"""The promises under combined failures in the emulator: no change is lost, doubled or out of order.

The test kills functions during batches and retry runs, makes ledger, failure bucket and mirror fail for a while, writes
changes that can never succeed, takes away all concurrency, and deploys bad code that fails every change. A seed decides
the writes and the failures; the time of a kill also depends on the machine.
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
"""The version that can never succeed, of some orders."""
CONFIG = {
    "target": "host",
    "mailFrom": "hello@example.com",
    # A killed function keeps its claims and leases until its time-out, so the time-out is short.
    "tuning": '{"welcome-email": {"timeout": 6, "handlerTimeout": 1}, "mirror": {"timeout": 6, "handlerTimeout": 1}}',
}
CONCURRENT = 10
"""The claims that one function holds at most: one per worker."""


CallFilter = Callable[[Call], bool]
"""Whether a call belongs to a group of calls."""


class FaultInjector:
    """Decides which calls the proxy refuses and at which calls it kills the calling function."""

    def __init__(self) -> None:
        self.refused = Counter[str]()
        self.killed = Counter[str]()
        self._refused_calls: dict[str, CallFilter] = {}
        self._kills: list[tuple[CallFilter, str]] = []
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def refusing(self, name: str, calls: CallFilter, seconds: float) -> Generator[None]:
        """Refuse calls inside the context, for at least `seconds` and until one call was refused."""
        until = time.monotonic() + seconds
        with self._lock:
            self._refused_calls[name] = calls
        yield
        wait_for(lambda: time.monotonic() > until and self.refused[name], f"a call that is refused: {name}")
        with self._lock:
            del self._refused_calls[name]

    def kill(self, function: str, calls: CallFilter, times: int) -> None:
        """Kill a function 0.03 s after each of the next `times` calls."""
        with self._lock:
            self._kills += [(calls, function)] * times

    def pending_kills(self) -> int:
        """Return the number of kills that are not done."""
        with self._lock:
            return len(self._kills)

    def refuses(self, call: Call) -> bool:
        """Whether a call fails; kill its function if that is planned."""
        with self._lock:
            kill = next((each for each in self._kills if each[0](call)), None)
            if kill:
                self._kills.remove(kill)
                threading.Timer(0.03, self._kill, [kill[1]]).start()
            name = next((name for name, calls in self._refused_calls.items() if calls(call)), None)
            if name:
                self.refused[name] += 1
        return name is not None

    def _kill(self, function: str) -> None:
        for process in processes(function):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
                self.killed[function] += 1


@pytest.fixture
def faults() -> FaultInjector:
    return FaultInjector()


@pytest.fixture
def aws(faults: FaultInjector) -> Generator[LocalAws]:
    """Another emulator, whose functions reach it through the proxy."""
    port = free_port()
    with Proxy(port, faults.refuses) as proxy:
        local = LocalAws({"AWS_ENDPOINT_URL": proxy.url}, emulator_port=port)
        yield local
        local.close()


class Chaos:
    """The deployed program, and the operations of the test."""

    def __init__(self, aws: LocalAws, faults: FaultInjector, deployment: Deployment) -> None:
        self.aws, self.faults = aws, faults
        outputs = deployment.outputs
        self.tables = {name: table["name"] for name, table in outputs["tables"].items()}
        self.mirror_stream = outputs["tables"]["orders-mirror"]["streamArn"]
        self.functions = {name: consumer["function"] for name, consumer in outputs["consumers"].items()}
        self.ledger, self.bucket = outputs["stores"]["ledger"]["name"], outputs["stores"]["failures"]["bucket"]
        [function] = [each for each in deployment.resources if each.registration.name == "mirror-function"]
        self.code = Path(function.inputs["code"].path).read_bytes()
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
        """Deploy other code of the mirror, as saving a file does."""
        with self.aws.sandbox.poller.pause(self.functions["mirror"]):
            self.aws.client("lambda").update_function_code(FunctionName=self.functions["mirror"], ZipFile=code)
        self.aws.sandbox.scheduler.make_all_due()

    def uses_ledger(self, call: Call) -> bool:
        """Whether a call uses the ledger."""
        return self.ledger in (call.body.get("TableName"), *call.body.get("RequestItems", {}))

    def begins_batch(self, call: Call) -> bool:
        """Whether a call is the mirror's first of a batch, which reads the note."""
        return call.operation == "Query" and '"note#mirror#' in json.dumps(call.body)

    def leases(self, call: Call) -> bool:
        """Whether a retry run of the mirror leases an item with the call."""
        body = json.dumps(call.body)
        return call.operation == "UpdateItem" and '"hold#mirror"' in body and ":until" in body

    def claims(self, call: Call) -> bool:
        """Whether welcome-email claims a change with the call."""
        return call.operation == "PutItem" and '"claim#welcome-email#' in json.dumps(call.body)

    def parks(self, call: Call) -> bool:
        """Whether a call writes to the failure bucket."""
        return call.operation == "PUT" and call.path.startswith(f"/{self.bucket}/")

    def mirrors_some(self, call: Call) -> bool:
        """Whether a call writes one of the first orders to the mirror."""
        is_mirrored = call.operation == "PutItem" and call.body["TableName"] == self.tables["orders-mirror"]
        return is_mirrored and int(call.body["Item"]["order_id"]["S"]) < ORDERS // 4

    def held(self) -> list[str]:
        """Return the items that are held according to the ledger."""
        return self.aws.held_items(self.ledger)


@pytest.mark.timeout(240)  # it takes 30 s on an idle machine
def test_order_once_and_completeness_hold_under_chaos(aws: LocalAws, faults: FaultInjector):
    chaos = Chaos(aws, faults, aws.deploy(config=CONFIG))
    mirror, welcome = chaos.functions["mirror"], chaos.functions["welcome-email"]
    chaos.write()
    aws.wait_until_idle()  # so that the functions run

    faults.kill(mirror, chaos.begins_batch, times=2)
    faults.kill(welcome, chaos.claims, times=2)
    for _ in range(3):
        chaos.write()
    with faults.refusing("ledger", chaos.uses_ledger, seconds=1.5):
        chaos.write()
    with throttled(aws, mirror):
        chaos.write()
    with faults.refusing("failure bucket", chaos.parks, seconds=1.5):
        chaos.write(poison=True)
        assert chaos.version == POISON
    with faults.refusing("mirror", chaos.mirrors_some, seconds=2.5):
        chaos.write()
        wait_for(chaos.held, "a held item")
        faults.kill(mirror, chaos.leases, times=1)
        chaos.write()
    bad_deployment_fails_everything_and_blocks_nothing(chaos)
    faults.kill(mirror, chaos.begins_batch, times=1)
    while chaos.version < VERSIONS:
        chaos.write()
    aws.wait_until_idle(timeout_seconds=120)

    assert chaos.held() == []
    assert set(faults.refused) == {"ledger", "failure bucket", "mirror"}
    assert set(faults.killed) == {mirror, welcome}
    assert any(has_died(each) for each in aws.invocations(mirror)), "no batch was hit"
    assert faults.pending_kills() == 0, "no retry run was hit: only they lease, also those that the function asks for"
    check_orders(chaos)
    check_mails(chaos)


def has_died(invocation: ObservedInvocation) -> bool:
    return "Worker" in (invocation.error or "")


def bad_deployment_fails_everything_and_blocks_nothing(chaos: Chaos) -> None:
    """With bad code, every order is held and no batch is retried; the good code releases all orders."""
    aws, mirror = chaos.aws, chaos.functions["mirror"]
    aws.wait_until_idle(timeout_seconds=120)
    before = len(aws.invocations(mirror))
    chaos.deploy_mirror(broken(chaos.code))
    chaos.write()
    wait_for(lambda: len(chaos.held()) == ORDERS, "every order held")
    chaos.write()
    aws.wait_until_idle(include_held=False)
    assert len(chaos.held()) == ORDERS
    batches = aws.invocations(mirror)[before:]
    assert {(str(each.response), each.error) for each in batches} == {("{'batchItemFailures': []}", None)}
    chaos.deploy_mirror(chaos.code)
    aws.wait_until_idle()
    assert {"table-stream": "retry", "now": True} in [run.scheduled for run in aws.retry_runs(mirror)]


def check_orders(chaos: Chaos) -> None:
    """Check that the mirror is complete and in order, and that each poison is parked once."""
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
    orders = sorted(image["order_id"]["S"] for image in parked)
    assert orders == sorted(chaos.poisoned), "kept: each poison, whole, once"
    assert {image["version"]["N"] for image in parked} == {str(POISON)}


def check_mails(chaos: Chaos) -> None:
    """Check one mail for each user, and at most one more for each claim of a killed function."""
    mails = Counter(mail["To"][0] for mail in chaos.aws.mails())
    assert set(mails) == {address(user) for user in range(USERS)}
    assert mails.total() - USERS <= chaos.faults.killed[chaos.functions["welcome-email"]] * CONCURRENT


def broken(code: bytes) -> bytes:
    """Return the archive with a mirror that fails every change."""
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
    """Yield the processes of a function (physical name)."""
    name = f"AWS_LAMBDA_FUNCTION_NAME={function}".encode()
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):  # ended, or of another user
            if entry.name.isdecimal() and name in (entry / "environ").read_bytes().split(b"\0"):
                yield int(entry.name)


@contextlib.contextmanager
def throttled(aws: LocalAws, function: str) -> Generator[None]:
    """Set the concurrency of a function to 0 until an invocation of its mapping is throttled."""
    client = aws.client("lambda")
    client.put_function_concurrency(FunctionName=function, ReservedConcurrentExecutions=0)
    yield
    wait_for(lambda: any("TooManyRequests" in (each.error or "") for each in aws.invocations(function)), "a refusal")
    client.delete_function_concurrency(FunctionName=function)


def address(user: int) -> str:
    return f"chaos-{user}@example.com"


def versions_written(aws: LocalAws, stream_arn: str) -> dict[str, list[int]]:
    """Return the versions of each order in the mirror's stream, in the order of the writes."""
    streams = aws.client("dynamodbstreams")
    versions: dict[str, list[int]] = defaultdict(list)
    for each in streams.describe_stream(StreamArn=stream_arn)["StreamDescription"]["Shards"]:
        shard = {"StreamArn": stream_arn, "ShardId": each["ShardId"]}
        iterator = streams.get_shard_iterator(**shard, ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
        while iterator:
            page = streams.get_records(ShardIterator=iterator)
            for record in page["Records"]:
                image = record["dynamodb"]["NewImage"]
                versions[image["order_id"]["S"]].append(int(image["version"]["N"]))
            iterator = page.get("NextShardIterator") if page["Records"] else None
    return versions
