"""Measures preview and deployment of five resources with the Pulumi CLI beside Terraform, on the same embedded AWS.

Run it with: python -m bench deploy.
"""

import json
import os
import shutil
import subprocess
import tempfile
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from bench.question import ROUNDS, MissingError, Row, at_most
from sandbox.program.in_process import Program
from sandbox.program.provider import serve_provider
from sandbox.program.sandbox import Sandbox
from tests.engine.project import Project

REGION = "us-east-1"
STEPS = ("preview of all", "deployment", "preview without a change", "deployment without a change", "destruction")
PULUMI, TERRAFORM, IN_PROCESS = "Pulumi, s", "Terraform, s", "sandbox without the CLI, s"
NOTE = """\
A table with a stream, a role, its policy, a function and an event source mapping, as medians of rounds that take their
turn on one embedded AWS. Pulumi's CLI and engine are real, but the provider is the sandbox's, which runs already;
Terraform starts its AWS provider, a much larger program, for each command. So the ratio says what a user of this
project waits for on this machine, and little of AWS, whose own calls take longer than both. The column without the CLI
is the deployment of `make sandbox`, which has neither the CLI nor a state. Good is at most Terraform's time."""
GOALS = {f"{step}, times Terraform's": at_most(1) for step in STEPS}

SOURCE = "def handler(event, context):\n    return None\n"
STREAMED: Mapping[str, Any] = {
    "name": "bench-table",
    "billing_mode": "PAY_PER_REQUEST",
    "hash_key": "id",
    "stream_enabled": True,
    "stream_view_type": "NEW_AND_OLD_IMAGES",
}
TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "lambda.amazonaws.com"}}
        ],
    }
)
POLICY = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "dynamodb:GetRecords", "Resource": "*"}],
    }
)
FUNCTION: Mapping[str, Any] = {"runtime": "python3.11", "handler": "m.handler"}
MAPPING: Mapping[str, Any] = {"starting_position": "TRIM_HORIZON", "batch_size": 100}

PROGRAM = f"""\
import pulumi
from pulumi_aws import dynamodb, iam, lambda_

table = dynamodb.Table("table", attributes=[{{"name": "id", "type": "S"}}], **{dict(STREAMED)!r})
role = iam.Role("role", assume_role_policy={TRUST!r})
policy = iam.RolePolicy("policy", role=role.id, policy={POLICY!r})
code = pulumi.AssetArchive({{"m.py": pulumi.StringAsset({SOURCE!r})}})
function = lambda_.Function("function", role=role.arn, code=code, **{dict(FUNCTION)!r})
lambda_.EventSourceMapping(
    "mapping", event_source_arn=table.stream_arn, function_name=function.arn, **{dict(MAPPING)!r}
)
"""


QUIET = {"TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1"}


def terraform_configuration() -> dict[str, Any]:
    """Return the same five resources for Terraform."""
    flags = dict.fromkeys(("skip_credentials_validation", "skip_metadata_api_check"), True)
    return {
        "terraform": {"required_providers": {"aws": {"source": "hashicorp/aws"}}},
        "provider": {"aws": {"region": REGION, **flags}},
        "resource": {
            "aws_dynamodb_table": {"table": {**STREAMED, "attribute": [{"name": "id", "type": "S"}]}},
            "aws_iam_role": {"role": {"assume_role_policy": TRUST}},
            "aws_iam_role_policy": {"policy": {"role": "${aws_iam_role.role.id}", "policy": POLICY}},
            "aws_lambda_function": {
                "function": {**FUNCTION, "function_name": "bench", "role": "${aws_iam_role.role.arn}"}
                | {"filename": "m.zip"}
            },
            "aws_lambda_event_source_mapping": {
                "mapping": {**MAPPING, "event_source_arn": "${aws_dynamodb_table.table.stream_arn}"}
                | {"function_name": "${aws_lambda_function.function.arn}"}
            },
        },
    }


class Terraform:
    """A directory in which `terraform` runs against an endpoint, with the user's own CLI configuration.

    Raises
    ------
    MissingError
        Terraform finds no AWS provider.
    """

    def __init__(self, directory: Path, variables: Mapping[str, str]) -> None:
        directory.mkdir()
        self._directory, self._environment = directory, {**os.environ, **variables, **QUIET}
        (directory / "main.tf.json").write_text(json.dumps(terraform_configuration()), encoding="utf-8")
        with zipfile.ZipFile(directory / "m.zip", "w") as archive:
            archive.writestr("m.py", SOURCE)
        try:
            self.run("init", "-input=false")
        except subprocess.CalledProcessError as error:
            raise MissingError("terraform init finds no AWS provider: its CLI configuration must name one") from error

    def run(self, *arguments: str) -> None:
        """Run `terraform`, which must succeed."""
        command = ["terraform", *arguments, "-no-color"]
        subprocess.run(command, cwd=self._directory, env=self._environment, check=True, capture_output=True)


Commands = Mapping[str, Callable[[], object]]
"""A function for each of STEPS."""


def of_terraform(directory: Path, running: Sandbox) -> Commands:
    """Return Terraform's commands."""
    terraform = Terraform(directory, running.variables())
    plan = partial(terraform.run, "plan", "-input=false")
    apply = partial(terraform.run, "apply", "-input=false", "-auto-approve")
    destroy = partial(terraform.run, "destroy", "-input=false", "-auto-approve")
    return dict(zip(STEPS, (plan, apply, plan, apply, destroy), strict=True))


def of_pulumi(directory: Path, provider: str) -> Commands:
    """Return Pulumi's commands."""
    project = Project(directory, provider, program=PROGRAM)
    return dict(zip(STEPS, (project.preview, project.up, project.preview, project.up, project.destroy), strict=True))


def in_process(running: Sandbox) -> Commands:
    """Return the deployment without the CLI, which has no preview."""
    code, deployed = compile(PROGRAM, "program", "exec"), list[Any]()
    program = Program(lambda: exec(code, {}), config={})  # noqa: S102 - the program above
    return {
        STEPS[1]: lambda: deployed.append(running.deploy(program)),
        STEPS[3]: lambda: running.redeploy(deployed[-1], program),
        STEPS[4]: lambda: deployed.pop().destroy(),
    }


def measure(*, quick: bool = False) -> list[Row]:
    """Return a row for each step."""
    if missing := [name for name in ("terraform", "pulumi") if not shutil.which(name)]:
        raise MissingError(f"{' and '.join(missing)} must be on the PATH")
    with (
        tempfile.TemporaryDirectory() as name,
        Sandbox(REGION, lambda _: None) as running,
        serve_provider(running.aws) as provider,
    ):
        peers = {
            TERRAFORM: of_terraform(Path(name) / "terraform", running),
            PULUMI: of_pulumi(Path(name) / "pulumi", provider),
            IN_PROCESS: in_process(running),
        }
        took = _in_turn(peers, *((0, 1) if quick else (1, ROUNDS)))
    rows: list[Row] = []
    for step in STEPS:
        middle = {peer: median(took[peer, step]) if took[peer, step] else None for peer in peers}
        pairs = zip(took[PULUMI, step], took[TERRAFORM, step], strict=True)
        rows.append({"step": step, **middle, "times Terraform's": median(ours / theirs for ours, theirs in pairs)})
    return rows


def _in_turn(peers: Mapping[str, Commands], uncounted: int, rounds: int) -> dict[tuple[str, str], list[float]]:
    """Return the seconds of each peer's steps in each round, after some rounds that fill caches and do not count."""
    took = {(peer, step): list[float]() for peer in peers for step in STEPS}
    for number in range(uncounted + rounds):
        for peer, commands in peers.items():
            for step, run in commands.items():
                began = time.perf_counter()
                run()
                if number >= uncounted:
                    took[peer, step].append(time.perf_counter() - began)
    return took


def figures(rows: Sequence[Row]) -> dict[str, float]:
    """Return the figures that have goals."""
    return {f"{row['step']}, times Terraform's": row["times Terraform's"] for row in rows}
