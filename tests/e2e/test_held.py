"""held, retry, skip, pause, resume and tail, as a person runs them, against the whole program in the embedded AWS."""

import json
import signal
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.program.deploy import Deployment
from tests.local import LocalAws, run_ops, start_ops

Ops = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ops(aws: LocalAws, pipeline: Deployment) -> Ops:
    """`ops("held", …)` returns the exit code, the output and the errors."""

    def run(*arguments: str) -> tuple[int, str, str]:
        code, out, error = run_ops(aws.variables(), *arguments, outputs=pipeline.outputs)
        assert all(len(line) <= 80 for line in out.splitlines() if "--json" not in arguments)
        return code, out, error

    return run


@pytest.fixture
def broken_mirror(aws: LocalAws, pipeline: Deployment) -> Iterator[Callable[[], None]]:
    """The mirror writes to a table that does not exist, until the test calls the function, or ends."""
    mirror = pipeline.outputs["consumers"]["mirror"]["function"]
    target = pipeline.outputs["tables"]["orders-mirror"]["name"]

    def mend() -> None:
        aws.set_variables(mirror, MIRROR_TABLE=target, MINUTE_SECONDS="1")

    # The schedule's retries come once a minute at most, so that the commands find what is held.
    aws.set_variables(mirror, MIRROR_TABLE="no-such-table", MINUTE_SECONDS="60")
    yield mend
    mend()
    # What is still held is due a minute after its last try.
    aws.client("lambda").invoke(FunctionName=mirror, Payload=b'{"table-stream": "retry", "now": true}')
    aws.wait_until_idle()


def hold(aws: LocalAws, pipeline: Deployment, *totals: int) -> str:
    """Write an order so often that its changes wait, and return its key as an operator types it."""
    customer = f"c,{uuid.uuid4().hex[:8]}"
    items = [{"customer_id": customer, "order_id": "31", "total": total} for total in totals]
    aws.write(pipeline.outputs["tables"]["orders"]["name"], *items)
    aws.wait_until_idle(include_held=False)
    return f"customer_id={customer},order_id=31"


def test_an_operator_sees_what_is_held_mends_it_and_retries(
    aws: LocalAws, pipeline: Deployment, ops: Ops, broken_mirror: Callable[[], None]
):
    item = hold(aws, pipeline, 1, 2, 3)
    code, out, error = ops("held")
    assert (code, error) == (1, "")
    lines = out.splitlines()
    assert "mirror · 1 item is held, 3 changes wait" in lines
    assert "    1 item   ResourceNotFoundException: PutItem: Requested resource not found" in lines
    assert "change-log · nothing is held" in lines

    code, out, error = ops("held", "mirror", "--item", item)
    assert (code, error) == (1, "")
    assert f"mirror · {item} of " in out
    assert "      total: 1 → 2" in out.splitlines()
    assert "gives up    in 6 d 23 h" in out

    code, out, _ = ops("retry", "mirror", "--yes")
    assert code == 1
    assert "mirror · 0 of 1 items released" in out

    broken_mirror()
    code, out, error = ops("retry", "mirror", "--item", item, "--yes")
    assert (code, error) == (0, "")
    assert "mirror · 1 of 1 items released" in out
    assert ops("held", "mirror", "--json")[0] == 0
    copies = aws.items(pipeline.outputs["tables"]["orders-mirror"]["name"])
    assert [copy["total"] for copy in copies if copy["customer_id"] in item] == [3]


def test_a_change_is_skipped_and_parked_whole(
    aws: LocalAws, pipeline: Deployment, ops: Ops, broken_mirror: Callable[[], None]
):
    item = hold(aws, pipeline, 1, 2)
    _, out, _ = ops("held", "mirror", "--item", item, "--json")
    [found] = json.loads(out)
    record = found["waiting"][0]["record"]
    code, out, error = ops("skip", "mirror", "--item", item, "--yes")
    assert (code, error) == (0, "")
    assert f"parked: INSERT {record['eventID']}" in out
    prefix = f"engine/{pipeline.outputs['consumers']['mirror']['ledgerName']}/"
    objects = aws.objects(pipeline.outputs["stores"]["failures"]["bucket"], prefix)
    [body] = [body for key, body in objects.items() if key.endswith(record["eventID"])]
    assert json.loads(json.loads(body)["payload"])["Records"] == [record]
    assert len(json.loads(ops("held", "mirror", "--item", item, "--json")[1])[0]["waiting"]) == 1


def test_a_paused_consumer_reads_nothing_until_it_is_resumed(aws: LocalAws, pipeline: Deployment, ops: Ops):
    code, out, error = ops("pause", "mirror", "--yes")
    assert (code, error) == (0, "")
    assert "mapping of orders      on → off" in out
    assert "✔ mute the alarms" in out
    mapping = pipeline.outputs["consumers"]["mirror"]["mappings"]["orders"]
    customer = uuid.uuid4().hex
    try:
        assert aws.front_client("lambda").get_event_source_mapping(UUID=mapping)["State"] == "Disabled"
        aws.write(pipeline.outputs["tables"]["orders"]["name"], {"customer_id": customer, "order_id": "1"})
        assert "mapping of orders      off\n" in ops("pause", "mirror", "--dry-run")[1]
        copies = aws.items(pipeline.outputs["tables"]["orders-mirror"]["name"])
        assert customer not in {each["customer_id"] for each in copies}
    finally:
        code, out, error = ops("resume", "mirror", "--yes")
    assert (code, error) == (0, "")
    assert "mirror runs" in out
    aws.wait_until_idle()
    copies = aws.items(pipeline.outputs["tables"]["orders-mirror"]["name"])
    assert customer in {each["customer_id"] for each in copies}


def test_tail_prints_new_lines_until_ctrl_c(aws: LocalAws, pipeline: Deployment, tmp_path: Path):
    marker = uuid.uuid4().hex
    (tmp_path / "outputs.json").write_text(json.dumps(pipeline.outputs), encoding="utf-8")
    source = ["--outputs", str(tmp_path / "outputs.json")]
    process = start_ops(aws.variables(), "tail", "change-log", "--json", "--event", "insert", *source)
    lines: list[Any] = []
    try:
        aws.write(pipeline.outputs["tables"]["users"]["name"], {"id": marker, "name": "Ada"})
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(json.loads(line))
            if marker in line:
                break
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 0
    assert marker not in rest
    assert lines[-1]["dynamodb"]["Keys"] == {"id": {"S": marker}}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("held", "miror"), "the stack has no consumer miror; did you mean mirror?\n"),
        (("held", "mirror", "--item", "id=1"), "'id=1' is no item's key: write customer_id=…,order_id=… (orders), "),
        (("skip", "mirror", "--item", "customer_id=nobody,order_id=1", "--yes"), "mirror holds no item "),
        (("tail", "mirror", "--since", "yesterday"), "'yesterday' is not a time: "),
        (("pause", "mirror", "--for", "30d"), "--for 30d: CloudWatch mutes alarms for 1 minute to 15 days\n"),
        (("pause", "mirror"), "standard input is not a terminal: pass --yes to execute the plan, or --dry-run to "),
    ],
)
def test_bad_input_gets_one_line_and_exit_code_2(ops: Ops, arguments: tuple[str, ...], message: str):
    code, _, error = ops(*arguments)
    assert (code, error[: len(message)]) == (2, message)
    assert error.count("\n") == 1


def test_a_sandbox_that_is_gone_is_said():
    variables = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_REGION": "eu-west-1"}
    code, _, error = run_ops(variables, "held")
    assert code == 2
    assert error.startswith("no sandbox answers at http://127.0.0.1:9 ")
