"""docs/runbook.md: every command of an operator runs in the sandbox, in a situation as its section describes it.

The test does not run the commands of the Pulumi CLI, and does not read what the sections say about AWS.
"""

import re
import shlex
import shutil
import signal
from collections.abc import Generator
from typing import Any

import pytest

from sandbox import ROOT
from sandbox.program.deploy import Deployment
from sandbox.program.in_process import Program, stack_config
from tests.consumers.project import SAMPLE
from tests.local import LocalAws, start_ops, wait_for
from tests.program import recording
from tests.program.recording import record_program

RUNBOOK = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
COMMANDS = list(dict.fromkeys(re.findall(r"^\$ python -m (ops .+)$", RUNBOOK, re.MULTILINE)))
ASKING = ("retry", "skip", "redrive", "replay", "pause", "resume")
"""The commands that ask before they change something."""

MIRROR = '''"""Keeps a second table equal to the first, except for broken orders."""

import os

from handler.stream import Change, consumer, put_if_newer


@consumer
def handler(change: Change) -> None:
    if (change.new_image or {}).get("broken"):
        raise ValueError("the order has no currency")
    put_if_newer(change, os.environ["MIRROR_TABLE"])
'''


@pytest.fixture(scope="module")
def local() -> Generator[LocalAws]:
    aws = LocalAws()
    yield aws
    aws.close()


@pytest.fixture(scope="module")
def stack(local: LocalAws, tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """The sample program, whose mirror fails for broken orders."""
    project = tmp_path_factory.mktemp("runbook") / "project"
    shutil.copytree(SAMPLE, project, symlinks=True)
    (project / "handler" / "mirror.py").write_text(MIRROR, encoding="utf-8")
    return local.sandbox.deploy(Program(project, config=stack_config("local", SAMPLE)))


def provoke(local: LocalAws, outputs: dict[str, Any]) -> None:
    """Make the mirror hold the order c7, 31, and welcome-email park a user."""
    tables, consumers = outputs["tables"], outputs["consumers"]
    order = {"customer_id": "c7", "order_id": "31"}
    local.write(tables["orders"]["name"], {**order, "broken": True}, {**order, "broken": True, "total": 2})
    local.write(tables["users"]["name"], {"id": "9", "email": "ada@example.com", "language": "xx"})
    local.write(tables["orders"]["name"], {"customer_id": "c1", "order_id": "1"})
    group = consumers["mirror"]["logGroup"]
    wait_for(lambda: local.log_entries(group, "item held"), "a held order")
    bucket = outputs["stores"]["failures"]["bucket"]
    wait_for(lambda: local.objects(bucket, "engine/welcome-email/"), "a parked user")


def run(local: LocalAws, command: str) -> tuple[int, str]:
    """Run a command of the runbook; return exit code and output. An interrupt ends tail after its first line."""
    _, *words = shlex.split(command, comments=True)
    yes = ["--yes"] if words[0] in ASKING and "--dry-run" not in words else []
    process = start_ops(local.variables(), *words, *yes)
    output = ""
    if words[0] == "tail" and process.stdout:
        output = process.stdout.readline()
        process.send_signal(signal.SIGINT)
    output += "".join(process.communicate(timeout=90))
    return process.returncode, output


@pytest.mark.parametrize("number", range(len(COMMANDS)), ids=COMMANDS)
def test_a_command_of_the_runbook_runs(local: LocalAws, stack: Deployment, number: int):
    provoke(local, stack.outputs)
    code, output = run(local, COMMANDS[number])
    assert code in (0, 1), output
    assert "Traceback" not in output
    assert output.strip()


def test_the_runbook_has_a_section_for_each_alarm():
    alarms = record_program(SAMPLE, "local").of_type(recording.ALARM)
    named = {re.search(r"runbook\.md#([a-z-]+)", each.inputs["alarmDescription"]) for each in alarms}
    anchors = {match.group(1) if match else None for match in named}
    sections = {re.sub(r"[^a-z0-9]+", "-", title.lower()) for title in re.findall(r"^## (.+)$", RUNBOOK, re.MULTILINE)}
    assert anchors
    assert anchors <= sections


def test_every_section_of_an_alarm_answers_four_questions():
    sections = re.split(r"^## ", RUNBOOK, flags=re.MULTILINE)[1:]
    linked = set(re.findall(r"\]\(#([a-z-]+)\) \|", RUNBOOK))
    for section in sections:
        title, _, text = section.partition("\n")
        if re.sub(r"[^a-z0-9]+", "-", title.lower()) in linked:
            for question in ("**What it means.**", "**Look.**", "**Do.**", "**Over when**"):
                assert question in text, (title, question)
