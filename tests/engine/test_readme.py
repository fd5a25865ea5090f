"""The commands of the README for the Pulumi CLI, as they are written."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox import ROOT
from sandbox.program.in_process import read_project

if read_project(ROOT)["name"] != "table-stream":
    pytest.skip("the README of another project is its own", allow_module_level=True)

pytestmark = pytest.mark.timeout(300)

PROGRAM = """
import pulumi_aws as aws

aws.sns.Topic("alerts")
"""

Shell = Callable[[str], str]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone with the stack files, and a program with one resource."""
    for path in (ROOT / ".gitignore", ROOT / "requirements.txt", *ROOT.glob("Pulumi*.yaml")):
        shutil.copy(path, tmp_path)
    (tmp_path / ".git" / "info").mkdir(parents=True)
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    (tmp_path / ".git" / "info" / "exclude").write_text(".venv\nbin\nhome\n")
    (tmp_path / "__main__.py").write_text(PROGRAM)
    author = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    for arguments in (("init", "--quiet"), ("add", "--all"), (*author, "commit", "--quiet", "--message", "all")):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True)
    return tmp_path


@pytest.fixture
def shell(clone: Path, provider: str, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """`shell(lines)` runs lines in the clone, with the sandbox's provider, and returns what they print."""
    (clone / "bin").mkdir()
    account = clone / "bin" / "aws"  # in place of AWS's CLI, for one call
    account.write_text(
        '#!/bin/sh\n[ "$*" = "sts get-caller-identity --query Account --output text" ] && echo 000000000000\n'
    )
    account.chmod(0o755)
    variables = {
        "PATH": f"{clone / 'bin'}:{os.environ['PATH']}",
        "PULUMI_HOME": str(clone / "home"),
        "PULUMI_DEBUG_PROVIDERS": provider,
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_SKIP_CONFIRMATIONS": "true",  # in place of an answer at a terminal
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    def run(lines: str) -> str:
        done = subprocess.run(["bash", "-ec", lines], cwd=clone, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{lines}\n{done.stdout}{done.stderr}"
        return done.stdout

    return run


def lines(first: str) -> list[str]:
    """The commands of the README's block that begins so."""
    blocks = re.findall(r"```\n(\$ .*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    [block] = (each for each in blocks if each.startswith(f"$ {first}"))
    return re.findall(r"^\$ (.*)$", block, re.MULTILINE)


def test_the_cli_leaves_the_tree_clean(shell: Shell, clone: Path) -> None:
    *to_up, destroy = lines("mkdir -p .state")
    shell("\n".join([*to_up, "pulumi stack --show-urns | grep -q alerts"]))
    assert shell("git status --porcelain") == ""
    shell("\n".join([to_up[0], destroy]))
    assert shell("git status --porcelain") == ""
    assert not (clone / "Pulumi.mine.yaml").exists()


def test_the_commands_that_deploy(shell: Shell, clone: Path) -> None:
    state = lines("mkdir -p .state")[0]
    shell("\n".join([state, *lines("pulumi stack select"), "pulumi destroy"]))
    assert "000000000000" in (clone / "Pulumi.dev.yaml").read_text()
