"""python -m ops status, as an operator runs it, against the whole program in the embedded AWS."""

import json
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from sandbox import ROOT
from sandbox.program.deploy import Deployment
from tests.local import LocalAws, run_ops, wait_for

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def program(aws: LocalAws) -> Generator[Deployment]:
    """The whole program, for this module alone: failures of other tests' consumers are trouble, too."""
    deployment = aws.deploy()
    yield deployment
    deployment.destroy()


@pytest.fixture
def status(aws: LocalAws, program: Deployment) -> Run:
    """`status("mirror", …)` returns its exit code, output and errors; `aws_variables` replaces the sandbox's."""

    def run(*arguments: str, aws_variables: dict[str, str] | None = None) -> tuple[int, str, str]:
        variables = aws.variables() if aws_variables is None else aws_variables
        return run_ops(variables, "status", *arguments, outputs=program.outputs)

    return run


def order(number: int) -> dict[str, Any]:
    return {"customer_id": f"status-{number}", "order_id": "1", "n": number}


def kinds(out: str) -> list[tuple[str, str]]:
    return [(each["kind"], each["consumer"]) for each in json.loads(out)["findings"]]


def test_a_stack_without_trouble(aws: LocalAws, program: Deployment, status: Run):
    aws.write(program.outputs["tables"]["orders"]["name"], order(1))
    aws.wait_until_idle()
    code, out, error = status()
    assert (code, error) == (0, "")
    assert out.splitlines()[0].startswith(("all is well · 3 consumers", "nothing is wrong, as far as is known"))
    assert "nothing held" in out
    code, out, _ = status("mirror", "--json")
    result = json.loads(out)
    assert (code, result["findings"], result["unread"], list(result["consumers"])) == (0, [], [], ["mirror"])
    [mapping] = result["consumers"]["mirror"]["mappings"]
    assert (mapping["state"], mapping["destination"]["is_allowed"]) == ("Enabled", True)
    assert mapping["oldest_record_at"] is not None


def test_held_items_are_said_with_their_error_until_they_are_released(aws: LocalAws, program: Deployment, status: Run):
    function = program.outputs["consumers"]["mirror"]["function"]
    mirror = program.outputs["tables"]["orders-mirror"]["name"]
    aws.set_variables(function, MIRROR_TABLE="no-such-table")
    try:
        aws.write(program.outputs["tables"]["orders"]["name"], order(2), order(3))
        aws.wait_until_idle(include_held=False)
        code, out, error = status()
    finally:
        aws.set_variables(function, MIRROR_TABLE=mirror)
    assert (code, error) == (1, "")
    assert out.splitlines()[2].startswith("! mirror")
    assert "2 items are held, the first since" in out
    assert "All fail with: ResourceNotFoundException" in " ".join(out.split())
    assert "→ python -m ops held mirror" in out
    assert max(len(line) for line in out.splitlines() if str(ROOT) not in line and "--outputs" not in line) <= 80
    aws.wait_until_idle()
    assert status("mirror")[0] == 0


def test_a_mapping_that_is_switched_off_is_said_until_it_is_on_again(aws: LocalAws, program: Deployment, status: Run):
    functions, uuid = aws.front_client("lambda"), program.outputs["consumers"]["mirror"]["mappings"]["orders"]

    def switch(enabled: bool) -> None:
        functions.update_event_source_mapping(UUID=uuid, Enabled=enabled)
        state = "Enabled" if enabled else "Disabled"
        wait_for(lambda: functions.get_event_source_mapping(UUID=uuid)["State"] == state, state)

    switch(False)
    try:
        aws.write(program.outputs["tables"]["orders"]["name"], order(4))
        code, out, _ = status("mirror")
    finally:
        switch(True)
    assert code == 1
    assert "✖ The mapping of orders is disabled since" in out
    assert "→ python -m ops resume mirror" in out
    aws.wait_until_idle()
    assert status("mirror")[0] == 0


def test_what_is_gone_in_aws_is_found(aws: LocalAws, program: Deployment, status: Run):
    """A deployment of its own would be clean; here the bucket's objects are those of consumers that never were."""
    bucket = program.outputs["stores"]["failures"]["bucket"]
    aws.client("s3").put_object(Bucket=bucket, Key="engine/journal/users/2026/1", Body=b"{}")
    try:
        code, out, _ = status("--json")
    finally:
        aws.client("s3").delete_object(Bucket=bucket, Key="engine/journal/users/2026/1")
    assert (code, kinds(out)) == (0, [("gone-failures", None)])


def test_a_consumer_that_the_stack_does_not_have(status: Run):
    code, out, error = status("miror")
    assert (code, out, error) == (2, "", "the stack has no consumer miror; did you mean mirror?\n")


def test_without_credentials(aws: LocalAws, status: Run):
    endpoint = {
        "AWS_ENDPOINT_URL": aws.endpoint,
        "AWS_CONFIG_FILE": "/nowhere",
        "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
    }
    code, out, error = status(aws_variables=endpoint)
    assert (code, out) == (2, "")
    assert error == "Unable to locate credentials: log in to AWS, as with aws sso login, or set AWS_PROFILE\n"


def test_without_a_network(aws: LocalAws, status: Run):
    code, out, error = status(aws_variables={**aws.variables(), "AWS_ENDPOINT_URL": "http://127.0.0.1:9"})
    assert (code, out) == (2, "")
    assert "check the network and AWS_ENDPOINT_URL" in error
    assert error.count("\n") == 1


def test_outputs_of_another_program(aws: LocalAws, tmp_path: Path, status: Run):
    other = tmp_path / "other.json"
    other.write_text('{"bucket": "b"}')
    code, _, error = status("--outputs", str(other))
    assert code == 2
    assert error.startswith("the JSON is not the output of pulumi stack output --json for this program")
