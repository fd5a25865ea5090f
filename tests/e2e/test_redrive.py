"""python -m ops failures, redrive and replay, as an operator runs them, against the sample in the sandbox."""

import contextlib
import io
import json
import random
import subprocess
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from handler.stream.failures import read_failure
from sandbox.mapping.destinations import failure_record, send
from sandbox.mapping.protocol import RETRIES_EXHAUSTED, Discard, Record
from sandbox.program.deploy import Deployment
from tests.local import LocalAws, start_ops

Run = tuple[int, str, str]
TEMPLATE = 'TEMPLATES = {"xx": Template("x", "x"), '
BROKEN = """    from handler.stream import PermanentError
    raise PermanentError("a bad deployment")
    ("""
"""In place of the mirror's write."""
SEED = 20261126
KILLS = 8


class Shop:
    """The sample program and the commands against it."""

    def __init__(self, aws: LocalAws, deployment: Deployment, outputs: Path) -> None:
        self.aws, self.outputs, self._file = aws, json.loads(json.dumps(deployment.outputs)), outputs
        self.bucket = self.outputs["stores"]["failures"]["bucket"]
        self.consumers: dict[str, Any] = self.outputs["consumers"]
        self.tables = {name: each["name"] for name, each in self.outputs["tables"].items()}
        outputs.write_text(json.dumps(self.outputs), encoding="utf-8")
        [function] = [each for each in deployment.resources if each.registration.name == "mirror-function"]
        self._code = Path(function.inputs["code"].path).read_bytes()

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start a command of ops."""
        return start_ops(self.aws.variables(), *arguments, "--outputs", str(self._file))

    def run(self, *arguments: str) -> Run:
        """Run a command of ops to its end."""
        process = self.start(*arguments)
        out, error = process.communicate(timeout=200)
        return process.returncode, out, error

    def deploy(self, consumer: str, old: str = "", new: str = "") -> None:
        """Deploy the consumer's code with one change, as saving a file does."""
        changed = io.BytesIO()
        module = f"handler/{consumer.replace('-', '_')}.py"
        with zipfile.ZipFile(io.BytesIO(self._code)) as before, zipfile.ZipFile(changed, "w") as after:
            for info in before.infolist():
                content = before.read(info)
                if info.filename == module:
                    assert old.encode() in content
                    content = content.replace(old.encode(), new.encode()) if old else content
                after.writestr(info, content)
        function = self.consumers[consumer]["function"]
        with self.aws.sandbox.poller.pause(function):
            self.aws.client("lambda").update_function_code(FunctionName=function, ZipFile=changed.getvalue())

    def objects(self, prefix: str = "engine/") -> dict[str, bytes]:
        """Return the objects under a prefix of the failure bucket."""
        return self.aws.objects(self.bucket, prefix)

    def put(self, key: str, body: bytes | str) -> None:
        """Write an object into the failure bucket."""
        text = body if isinstance(body, bytes) else body.encode()
        self.aws.client("s3").put_object(Bucket=self.bucket, Key=key, Body=text)

    def empty(self, prefix: str = "") -> None:
        """Delete the objects under a prefix."""
        for key in self.objects(prefix):
            self.aws.client("s3").delete_object(Bucket=self.bucket, Key=key)

    def park(self, number: int, name: str) -> dict[str, bytes]:
        """Let changes of new users be parked, since their language has no template; return the objects."""
        names = [f"{name}-{each}" for each in range(number)]
        users = [{"id": each, "email": f"{each}@example.com", "language": "xx"} for each in names]
        self.aws.write(self.tables["users"], *users)
        self.aws.wait_until_idle()
        parked = self.objects()
        assert len(parked) == number
        return parked

    def park_both(self, number: int, name: str) -> dict[str, bytes]:
        """Let changes of new users be parked beside those of orders; return the objects of both."""
        names = [f"{name}-{each}" for each in range(number)]
        users = [{"id": each, "email": f"{each}@example.com", "language": "xx"} for each in names]
        self.aws.write(self.tables["users"], *users)
        self.aws.wait_until_idle()
        parked = self.objects()
        assert len(parked) == 2 * number
        return parked

    def discard(self, bodies: list[bytes], mapping: str) -> str:
        """Write the records of failures as one batch that a mapping has discarded; return the object's key."""
        records = tuple(Record(record) for body in bodies for record in read_failure(body).records)
        discard = Discard("shard", records, RETRIES_EXHAUSTED, 3, "Unhandled")
        arn = f"arn:aws:lambda:eu-west-1:000000000000:function:{self.consumers['welcome-email']['function']}"
        stream_arn = records[0].event["eventSourceARN"]
        body = failure_record(discard, function_arn=arn, stream_arn=stream_arn, now=time.time())
        before = self.objects("aws/").keys()
        send(self.aws.client, f"arn:aws:s3:::{self.bucket}", mapping, discard, body)
        [key] = self.objects("aws/").keys() - before
        return key

    def mails_to(self, name: str) -> Counter[str]:
        """Return the number of mails by the number of the user."""
        return Counter(
            mail["To"][0].split("@")[0].removeprefix(f"{name}-")
            for mail in self.aws.mails()
            if mail["To"][0].startswith(f"{name}-")
        )


@pytest.fixture(scope="module")
def deployed_shop(aws: LocalAws, tmp_path_factory: pytest.TempPathFactory) -> Generator[Shop]:
    deployment = aws.deploy()
    yield Shop(aws, deployment, tmp_path_factory.mktemp("shop") / "outputs.json")
    deployment.destroy()


@pytest.fixture
def shop(deployed_shop: Shop) -> Shop:
    """The shop with an empty failure bucket and its own code; what an earlier test put back is settled."""
    deadline = time.monotonic() + 60
    ledger = deployed_shop.outputs["stores"]["ledger"]["name"]
    while deployed_shop.aws.held_items(ledger):  # the sandbox knows only what its last retry run has seen
        assert time.monotonic() < deadline
        time.sleep(0.1)
    deployed_shop.aws.wait_until_idle()
    deployed_shop.empty()
    deployed_shop.deploy("welcome-email")
    deployed_shop.deploy("mirror")
    return deployed_shop


def each_once(number: int) -> Counter[str]:
    return Counter(map(str, range(number)))


def test_parked_changes_are_done_after_the_mend_and_their_objects_move(shop: Shop) -> None:
    parked = shop.park(12, "mended")
    code, out, error = shop.run("failures", "welcome-email")
    assert (code, error) == (1, "")
    assert "12 changes failed" in out
    assert "PermanentError: NoTemplateError: no template for '…'; there are de, en…" in out
    assert "the same code may fail again" in out
    shop.deploy("welcome-email", "TEMPLATES = {", TEMPLATE)
    assert "after the last failure" in shop.run("failures", "welcome-email")[1]
    code, out, error = shop.run("redrive", "welcome-email", "--yes")
    assert (code, error) == (0, "")
    assert "12 put back, 12 done" in out
    assert max(map(len, out.splitlines())) <= 80
    assert shop.mails_to("mended") == each_once(12)
    assert shop.objects() == {}
    assert shop.objects("redriven/") == {f"redriven/{key}": body for key, body in parked.items()}
    assert shop.run("failures")[0] == 0
    assert shop.run("redrive", "welcome-email", "--yes")[0] == 0


def test_the_first_items_fail_again_and_the_others_stay(shop: Shop) -> None:
    parked = shop.park(8, "again")
    shop.deploy("welcome-email", "no template for", "still no template for")
    code, out, error = shop.run("redrive", "welcome-email", "--yes", "--canary", "3")
    assert (code, error) == (1, "")
    assert "0 of 3 items done: since not all are, 5 changes of the rest stay" in out
    errors = Counter((read_failure(body).error or "").partition(" template")[0] for body in shop.objects().values())
    assert errors == {"NoTemplateError: still no": 3, "NoTemplateError: no": 5}
    assert shop.objects().keys() == parked.keys()
    shop.deploy("welcome-email", "TEMPLATES = {", TEMPLATE)
    assert shop.run("redrive", "welcome-email", "--yes", "--cause", "still no")[0] == 0
    assert len(shop.objects()) == 5
    assert shop.run("redrive", "welcome-email", "--yes", "--item", "id=again-0")[0] == 0
    assert shop.run("redrive", "welcome-email", "--yes")[0] == 0
    assert (shop.mails_to("again"), shop.objects()) == (each_once(8), {})


def test_it_stops_after_20_failures_in_a_row(shop: Shop) -> None:
    shop.park(60, "stops")
    shop.deploy("welcome-email", "no template for", "still no template for")
    code, out, _ = shop.run("redrive", "welcome-email", "--yes", "--canary", "0", "--rate", "6", "--json")
    result = json.loads(out)["result"]
    assert code == 1
    assert "failures in a row" in result["stopped"]
    assert result["done"] == 0
    assert 20 <= result["parked_again"] < 60
    assert len(shop.objects()) == 60


def test_discarded_batches_go_back_too_and_what_is_not_the_consumers_stays(shop: Shop) -> None:
    """One batch is of a mapping that is gone, one change stands in two records, and one object is another program's."""
    bodies = list(shop.park(10, "batch").values())
    shop.empty("engine/")
    there = shop.discard(bodies[:6], shop.consumers["welcome-email"]["mappings"]["users"])
    gone = shop.discard(bodies[5:], "11111111-2222-3333-4444-555555555555")
    others = {
        "aws/lambda/11111111-2222-3333-4444-555555555555/odd": b"{",
        "engine/a-former-consumer/orders/x": bodies[0],
        "engine/welcome-email/not json": b"<html>",
        "aws/lambda/99999999-2222-3333-4444-555555555555/odd": bodies[0].replace(b":function:", b":function:another-"),
        "backup/today": b"",
        "engine/welcome-email/pointer": json.dumps({**json.loads(bodies[0]), "payload": None}).encode(),
    }
    for key, body in others.items():
        shop.put(key, body)
    shop.deploy("welcome-email", "TEMPLATES = {", TEMPLATE)
    code, out, error = shop.run("redrive", "welcome-email", "--yes")
    assert (code, error) == (0, ""), out
    for text in (
        "foreign objects (1)",
        "objects that are no failure records (2)",
        "objects of consumers that are gone (2)",
        "records without the changes (pointers) (1)",
    ):
        assert f"left alone: {text}" in out
    assert shop.mails_to("batch") == each_once(10)
    moved = {f"redriven/{there}", f"redriven/{gone}"}
    assert shop.objects("").keys() == others.keys() | moved


def test_a_change_that_may_be_outrun_is_left_out(shop: Shop) -> None:
    """The consumer is not fenced; one user has changed since, and one is removed."""
    shop.park(4, "outrun")
    users = shop.tables["users"]
    shop.aws.write(users, {"id": "outrun-1", "email": "outrun-1@example.com", "language": "xx", "name": "new"})
    shop.aws.remove(users, id="outrun-2")
    shop.deploy("welcome-email", "TEMPLATES = {", TEMPLATE)
    code, out, _ = shop.run("redrive", "welcome-email", "--yes")
    assert code == 1
    assert "2 left out: later changes of their items may have run" in out
    assert shop.mails_to("outrun") == Counter(["0", "3"])
    assert shop.run("redrive", "welcome-email", "--yes", "--out-of-order")[0] == 0
    assert shop.mails_to("outrun") == each_once(4)


def test_a_failure_is_shown_whole_and_exported(shop: Shop, tmp_path: Path) -> None:
    [(key, body)] = shop.park(1, "shown").items()
    [record] = read_failure(body).records
    for name in (key, record["eventID"]):
        code, out, error = shop.run("failures", "--show", name)
        assert (code, error) == (1, "")
        assert "NoTemplateError: no template for 'xx'" in out
        assert 'email: "shown-0@example.com"' in out
    code, out, error = shop.run("failures", "--export", str(tmp_path / "all.jsonl"))
    assert (code, error) == (1, "")
    [line] = (tmp_path / "all.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["record"] == record
    code, out, error = shop.run("failures", "--show", "engine/none")
    assert (code, out) == (2, "")
    assert error == "the failure bucket has no object engine/none: failures --export FILE lists the keys\n"


def test_a_dry_run_writes_nothing(shop: Shop) -> None:
    parked = shop.park(3, "dry")
    code, out, error = shop.run("redrive", "welcome-email", "--dry-run")
    assert (code, error) == (0, "")
    assert "3 changes of 3 items to put back" in out
    assert shop.objects("") == parked
    assert shop.run("redrive", "welcome-email")[0] == 2  # no terminal to ask at


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["redrive", "no-such"], "the stack has no consumer no-such"),
        (["redrive", "mirror", "--since", "soon"], "'soon' is not a time"),
        (["redrive", "mirror", "--item", "id=1"], "'id=1' is no item's key"),
        (["replay", "change-log", "--since", "1h"], "change-log is neither fenced nor claimed"),
        (["replay", "mirror", "--since", "1h", "--until", "2h"], "--until 2h is before --since 1h"),
    ],
)
def test_bad_input_gets_one_line(shop: Shop, arguments: list[str], message: str) -> None:
    code, _, error = shop.run(*arguments)
    assert (code, error.count("\n")) == (2, 1)
    assert error.startswith(message)


def test_replay_runs_the_streams_changes_again(shop: Shop) -> None:
    orders = [{"customer_id": "replay", "order_id": str(each), "version": 1} for each in range(12)]
    shop.aws.write(shop.tables["orders"], *orders, *({**order, "version": 2} for order in orders))
    shop.aws.wait_until_idle()
    for order in orders:
        shop.aws.remove(shop.tables["orders-mirror"], customer_id="replay", order_id=order["order_id"])
    code, out, error = shop.run("replay", "mirror", "--since", "1h", "--item", "customer_id=replay,order_id=3", "--yes")
    assert (code, error) == (0, ""), out
    assert mirrored(shop) == {"3": 2}
    code, out, error = shop.run("replay", "mirror", "--since", "1h", "--yes")
    assert (code, error) == (0, ""), out
    assert "no longer in the stream" in out
    assert mirrored(shop) == {order["order_id"]: 2 for order in orders}


def mirrored(shop: Shop, table: str = "orders-mirror", customer: str = "replay") -> dict[str, int]:
    items = [item for item in shop.aws.items(shop.tables[table]) if item["customer_id"] == customer]
    return {item["order_id"]: int(item["version"]) for item in items if "version" in item}


@pytest.mark.timeout(600)
def test_a_redrive_that_is_killed_at_any_moment_loses_and_doubles_nothing(shop: Shop) -> None:
    """A process is killed 8 times while orders and users change beside it; then the last one ends by itself.

    Most are killed after they have printed the plan; a few at any moment since their start.
    """
    rng, rng_of_writer = random.Random(SEED), random.Random(SEED + 1)
    number = 24
    shop.deploy("mirror", "    put_if_newer(", BROKEN)
    orders = [{"customer_id": "killed", "order_id": str(each), "version": 1} for each in range(number)]
    shop.aws.write(shop.tables["orders"], *orders)
    parked = shop.park_both(number, "killed")
    shop.deploy("mirror")
    shop.deploy("welcome-email", "TEMPLATES = {", TEMPLATE)
    stop = threading.Event()

    def write() -> None:
        version = 1
        while not stop.wait(0.1):
            version += 1
            order = str(rng_of_writer.randrange(number))
            shop.aws.write(shop.tables["orders"], {"customer_id": "killed", "order_id": order, "version": version})
            user = {"id": f"beside-{version}", "email": f"beside-{version}@example.com"}
            shop.aws.write(shop.tables["users"], user)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for kill in range(KILLS):
            consumer = "mirror" if kill % 2 else "welcome-email"
            options = ["--canary", str(rng.choice([0, 5])), "--rate", "16"]
            with shop.start("redrive", consumer, "--yes", *options) as process:
                if kill % 5:
                    assert process.stdout
                    process.stdout.readline()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(rng.uniform(0.1, 1.5))
                process.kill()
    finally:
        stop.set()
        writer.join()
    results = [shop.run("redrive", consumer, "--yes") for consumer in ("mirror", "welcome-email")]
    assert [(code, error) for code, _, error in results] == [(0, ""), (0, "")], results
    shop.aws.wait_until_idle()
    assert shop.objects() == {}
    assert shop.objects("redriven/").keys() == {f"redriven/{key}" for key in parked}
    assert shop.mails_to("killed") == each_once(number)
    assert mirrored(shop, "orders-mirror", "killed") == mirrored(shop, "orders", "killed")
