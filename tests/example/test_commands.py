"""Every command of the README runs: here, in another test, or in CI; the table says where."""

import json
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import ROOT
from sandbox.new.consumer import NewConsumer
from sandbox.program.in_process import read_project
from tests.local import environment_without_aws, wait_for

if read_project(ROOT)["name"] != "table-stream":
    pytest.skip("the README of another project is its own", allow_module_level=True)

README = (ROOT / "README.md").read_text(encoding="utf-8")
HERE = "tests/example/test_commands.py::test_the_commands_of_a_second_terminal"
README_TEST = "tests/example/test_readme.py::test_the_command_writes_what_the_readme_shows"
CLI = "tests/engine/test_readme.py::test_"
GATE = ".github/workflows/pr.yml::make pr"

RUN_BY = {
    # in blocks
    "make demo": "tests/example/test_program.py::test_the_demo_runs",
    "echo": HERE,
    ".venv/bin/python -m sandbox put": HERE,
    "eval": HERE,
    ".venv/bin/python -m ops smoke": HERE,
    ".venv/bin/python -m sandbox new": README_TEST,
    ".venv/bin/python -m sandbox add-dependency": "tests/sandbox/new/test_dependency.py::test_",
    "pulumi new": "tests/engine/test_template.py::test_a_new_project",
    "pulumi stack select": f"{CLI}the_commands_that_deploy",
    "pulumi config set": f"{CLI}the_commands_that_deploy",
    "pulumi preview": f"{CLI}the_commands_that_deploy",
    "pulumi up": f"{CLI}the_commands_that_deploy",
    "mkdir": f"{CLI}the_cli_leaves_the_tree_clean",
    "cp": f"{CLI}the_cli_leaves_the_tree_clean",
    "pulumi stack init": f"{CLI}the_cli_leaves_the_tree_clean",
    "pulumi destroy": f"{CLI}the_cli_leaves_the_tree_clean",
    "make check": GATE,
    "pulumi preview --policy-pack": "tests/engine/test_policy.py::test_the_pack_accepts",
    # in sentences and tables
    "make sandbox": "tests/e2e/test_commands.py::test_up_shows",
    ".venv/bin/python -m sandbox serve": "tests/engine/test_provider.py::test_the_command_runs",
    "python -m sandbox put": HERE,
    "python -m sandbox env": HERE,
    "python -m sandbox status": "tests/example/test_commands.py::test_what_happens_is_seen",
    "python -m sandbox watch": "tests/example/test_commands.py::test_what_happens_is_seen",
    "python -m sandbox new": README_TEST,
    "python -m sandbox add-dependency": "tests/sandbox/new/test_dependency.py::test_",
    "make mine": README_TEST,
    "make test": GATE,
    "make pr": GATE,
    "make roles": "tests/program/test_role_documents.py::test_the_documents_are_those",
    "make simulate": "tests/property/test_simulation.py::test_a_breach_is_replayed_by_the_command",
    "make bench": "tests/bench/test_question.py::test_the_command_says",
    "python -m bench cost": "tests/bench/test_cost.py::test_",
    "python -m bench sizes": "tests/bench/test_sizes.py::test_",
    "python -m ops": "tests/e2e/test_runbook.py::test_a_command_of_the_runbook_runs",
    "pulumi": f"{CLI}the_commands_that_deploy",
}
"""What runs each command, by its first words: a test by the beginning of its name, or a workflow by a line of it."""


def lines_of_blocks() -> list[str]:
    """The commands in the blocks of the README, without comments."""
    return [re.sub(r"\s+#.*", "", line) for line in re.findall(r"^\$ (.*)$", README, re.MULTILINE)]


def commands() -> list[str]:
    """Every command of the README: each part of the lines in blocks, and those in sentences and tables."""
    parts = [part for line in lines_of_blocks() for part in re.split(r" && | \| ", line)]
    spans = re.findall(r"`((?:make|pulumi|python -m|\.venv/bin/python -m)(?: [^`]*)?)`", README)
    return sorted({part for part in [*parts, *spans] if not part.startswith("export ")})


@pytest.mark.parametrize("command", commands())
def test_a_test_runs_the_command(command: str) -> None:
    words = [known for known in RUN_BY if f"{command} ".startswith(f"{known} ")]
    assert words, f"RUN_BY has no test that runs {command}"
    path, _, part = RUN_BY[max(words, key=len)].partition("::")
    text = (ROOT / path).read_text(encoding="utf-8")
    assert (f"def {part}" if path.endswith(".py") else part) in text, RUN_BY[max(words, key=len)]
    if command.startswith("make "):
        subprocess.run(["make", "--dry-run", *shlex.split(command)[1:]], cwd=ROOT, check=True, capture_output=True)


def test_no_command_of_the_table_is_gone_from_the_readme() -> None:
    assert [known for known in RUN_BY if not any(f"{command} ".startswith(f"{known} ") for command in commands())] == []


@pytest.fixture(scope="module")
def sandbox(project: Path) -> Iterator[Path]:
    """A directory in which `make sandbox` runs, with a new consumer as it is written; `up.log` is its terminal."""
    NewConsumer.plan(project, "stock-alert").write()
    command = [project / ".venv" / "bin" / "python", "-m", "sandbox", "up", "--outputs", ".cache/outputs.json"]
    log = project / "up.log"
    with (
        log.open("w") as out,
        subprocess.Popen(command, cwd=project, env=environment_without_aws(), stdout=out) as process,
    ):
        try:
            wait_for(lambda: process.poll() is not None or "\nready\n" in log.read_text(), "ready", 60)
            assert process.poll() is None, log.read_text()
            yield project
        finally:
            process.send_signal(signal.SIGINT)
    assert process.returncode == 0


def run_line(line: str, root: Path) -> str:
    """Run a line of the README as the shell of a second terminal does, and return its output."""
    script = f"set -e; {line}"
    done = subprocess.run(
        ["bash", "-c", script], cwd=root, env=environment_without_aws(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_the_commands_of_a_second_terminal(sandbox: Path) -> None:
    """The new consumer prints the item that is put, and `make sandbox` shows it."""
    for line in lines_of_blocks():
        if line.startswith("echo ") or " sandbox put " in line:
            assert "rejected" not in run_line(line, sandbox)
    wait_for(lambda: "INSERT {'id': '1'} {" in (sandbox / "up.log").read_text(), "the line that the handler prints")
    [variables] = [line for line in lines_of_blocks() if line.startswith("eval ")]
    [smoke] = [line for line in lines_of_blocks() if " ops smoke " in line]
    assert run_line(f"{variables}; {smoke} --yes", sandbox)  # in place of an answer at a terminal


def test_what_happens_is_seen_from_another_terminal(sandbox: Path) -> None:
    run_line(
        'echo \'{"id": "seen"}\' > .cache/seen && .venv/bin/python -m sandbox put --table items .cache/seen', sandbox
    )
    watch = "timeout 30 .venv/bin/python -m sandbox watch --json | grep --max-count=1 'id=seen'"
    batch = json.loads(run_line(watch, sandbox))
    assert (batch["kind"], batch["consumer"], [each["outcome"] for each in batch["changes"]]) == (
        *("batch", "stock-alert"),
        ["done"],
    )
    assert "stock-alert" in run_line(".venv/bin/python -m sandbox status", sandbox)
