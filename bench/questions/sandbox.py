"""Measures the sandbox: the time from a write to its effect, and changes a second, beside the embedded AWS alone.

Run it with: python -m bench sandbox.
"""

import io
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import pulumi
from pulumi_aws import iam, lambda_

from bench.question import at_least, at_most
from infra.archive import build
from infra.consumer import StreamConsumer
from infra.settings import Tuning
from infra.table import StreamTable
from sandbox.emulator import Clients
from sandbox.mapping.invocation import ObservedInvocation
from sandbox.program.in_process import Program
from sandbox.program.sandbox import Sandbox
from tests.consumers.project import SAMPLE
from tests.fakes.aws import silence
from tests.local import declare_table

WRITES, QUICK_WRITES = 40, 10
CHANGES, QUICK_CHANGES = 2_000, 500
REGION = "eu-central-1"
PAUSE_SECONDS = 0.2
"""Between two writes, so that every mapping waits for the next."""
TIMEOUT_SECONDS = 60.0
OURS, PEER, ENGINE = "sandbox", "the embedded AWS alone", "sandbox, a consumer with the engine"
NOTE = """\
One write at a time through the client of a user, from before the call until the function has the change; then all
changes in calls of 25. The peer is the mapping that the embedded AWS has itself, with the same function, which appends
a line to a file. It retries, bisects and filters less than AWS does, so users would not pick it for that. The third is
a consumer with the engine that logs each change; its time ends with the answer of its invocation, its log read. Good is
a median of at most 0.1 s, which a user hardly notices, and 250 changes a second."""
GOALS = {
    "from a write to its effect, ms, median": at_most(100),
    "from a write to its effect, ms, latest": at_most(500),
    "from a write to its effect, with the engine, ms, median": at_most(100),
    "changes a second with the engine": at_least(250),
}
SOURCE = """
import os, time

def handler(event, context):
    with open(os.environ["DONE"], "a") as done:
        for record in event["Records"]:
            done.write(f"{record['dynamodb']['Keys']['id']['S']} {time.time()}\\n")
"""
TRUST = '{"Version": "2012-10-17", "Statement": []}'


@dataclass
class Subject:
    """A table with a function that reads its stream."""

    dynamodb: Any
    table: str
    done: Callable[[], Mapping[str, float]]
    """Returns the times at which changes were done, by the ids of their items."""

    def write(self, ids: Sequence[str]) -> None:
        """Write items, in calls of 25."""
        for start in range(0, len(ids), 25):
            puts = [{"PutRequest": {"Item": {"id": {"S": each}}}} for each in ids[start : start + 25]]
            self.dynamodb.batch_write_item(RequestItems={self.table: puts})

    def seconds(self, prefix: str, count: int) -> float:
        """Write so many items, and return the seconds until all of them are done."""
        ids = [f"{self.table}-{prefix}-{number}" for number in range(count)]
        began = time.time()
        self.write(ids)
        deadline = began + TIMEOUT_SECONDS
        while not (done := self.done()).keys() >= set(ids):
            if time.time() > deadline:
                raise AssertionError(f"{self.table}: {len(ids)} changes are not done after {TIMEOUT_SECONDS:.0f} s")
            time.sleep(0.002 if count == 1 else 0.02)
        return max(done[each] for each in ids) - began


class Observed:
    """The times at which invocations of a function of the sandbox ended."""

    def __init__(self) -> None:
        self._lock, self._done = threading.Lock(), dict[str, float]()

    def __call__(self, invocation: ObservedInvocation) -> None:
        """Take an invocation, on any thread."""
        with self._lock:
            for body in invocation.records:
                self._done.setdefault(body["dynamodb"]["Keys"]["id"]["S"], invocation.ended_at)

    def done(self) -> Mapping[str, float]:
        """Return the times by the ids of the items."""
        with self._lock:
            return dict(self._done)


def lines_of(path: Path) -> Callable[[], Mapping[str, float]]:
    """Return a function that reads the file to which SOURCE appends."""

    def done() -> Mapping[str, float]:
        lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
        return {name: float(at) for name, _, at in (line.partition(" ") for line in lines)}

    return done


def _program(done: Path) -> None:
    """A table with a plain function, and one with a consumer, without stores as the plain function has none."""
    table = declare_table("plain", stream_enabled=True, stream_view_type="NEW_AND_OLD_IMAGES")
    function = lambda_.Function(
        "plain",
        role=iam.Role("plain", assume_role_policy=TRUST).arn,
        runtime="python3.11",
        handler="m.handler",
        code=pulumi.AssetArchive({"m.py": pulumi.StringAsset(SOURCE)}),
        environment={"variables": {"DONE": str(done)}},
    )
    lambda_.EventSourceMapping(
        "plain", event_source_arn=table.stream_arn, function_name=function.arn, starting_position="TRIM_HORIZON"
    )
    items = StreamTable("items", key="id")
    package = build("host", SAMPLE)
    StreamConsumer("change-log", reads=[items.changes()], environment={}, stores=None, tuning=Tuning(), package=package)
    pulumi.export("plain", table.name)
    pulumi.export("items", items.outputs)


def _peer(client: Callable[[str], Any], done: Path) -> str:
    """Create the peer's table, function and mapping in the embedded AWS; return the table's name."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("m.py", SOURCE)
    table = client("dynamodb").create_table(
        TableName="peer",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )
    role = client("iam").create_role(RoleName="peer", AssumeRolePolicyDocument=TRUST)
    client("lambda").create_function(
        FunctionName="peer",
        Role=role["Role"]["Arn"],
        Runtime="python3.11",
        Handler="m.handler",
        Code={"ZipFile": content.getvalue()},
        Environment={"Variables": {"DONE": str(done)}},
    )
    client("lambda").create_event_source_mapping(
        EventSourceArn=table["TableDescription"]["LatestStreamArn"],
        FunctionName="peer",
        StartingPosition="TRIM_HORIZON",
        BatchSize=100,
    )
    return "peer"


@contextmanager
def subjects() -> Generator[dict[str, Subject]]:
    """Yield the subjects by name, all in one sandbox."""
    observed = Observed()
    with tempfile.TemporaryDirectory() as directory, Sandbox(REGION, observed) as running:
        ours, peer = Path(directory) / "ours", Path(directory) / "peer"
        with silence():  # the program's warnings
            outputs = running.deploy(Program(lambda: _program(ours), config={"target": "host"})).outputs
        user = Clients(running.front.url, REGION)("dynamodb")
        alone = running.emulator.client
        yield {
            OURS: Subject(user, outputs["plain"], lines_of(ours)),
            PEER: Subject(alone("dynamodb"), _peer(alone, peer), lines_of(peer)),
            ENGINE: Subject(user, outputs["items"]["name"], observed.done),
        }


def measure(*, quick: bool = False) -> Mapping[str, float]:
    """Return every figure."""
    late: dict[str, list[float]] = {}
    rates: dict[str, float] = {}
    with subjects() as tried:
        for name, subject in tried.items():
            subject.seconds("warm", 1)  # the first invocation starts a process
            late[name] = []
        for number in range(QUICK_WRITES if quick else WRITES):
            for name, subject in tried.items():
                time.sleep(PAUSE_SECONDS)
                late[name].append(subject.seconds(f"single-{number}", 1) * 1000)
        changes = QUICK_CHANGES if quick else CHANGES
        for name, subject in tried.items():
            rates[name] = changes / subject.seconds("many", changes)
    middle = {name: median(each) for name, each in late.items()}
    return {
        "from a write to its effect, ms, median": middle[OURS],
        "from a write to its effect, ms, latest": max(late[OURS]),
        "from a write to its effect, the embedded AWS alone, ms, median": middle[PEER],
        "from a write to its effect, the embedded AWS alone, ms, latest": max(late[PEER]),
        "from a write to its effect, times the embedded AWS alone": middle[OURS] / middle[PEER],
        "from a write to its effect, with the engine, ms, median": middle[ENGINE],
        "changes a second": rates[OURS],
        "changes a second, the embedded AWS alone": rates[PEER],
        "changes a second with the engine": rates[ENGINE],
    }
