"""`python -m sandbox add-dependency` locks a package, or leaves every file as it was."""

import shutil
from pathlib import Path

import pytest

from sandbox import ROOT, SandboxError
from sandbox.new.dependency import LOCK_COMMAND, add_dependency

MAKE = """\
lock:
\t@grep -q unknown-package handler/requirements.in && echo "no solution for unknown-package" && exit 1; \\
\tprintf 'anyio==4.1\\n    --hash=sha256:0\\nhttpx==0.28.1 ; extra \\\\\\n    --hash=sha256:0\\n' \\
\t>> handler/requirements.txt
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose `make lock` needs no package index."""
    (tmp_path / "handler").mkdir()
    (tmp_path / "handler" / "requirements.in").write_text("# ours\nAWS_Lambda.powertools[tracer]==3.37.0  # why")
    (tmp_path / "handler" / "requirements.txt").write_text(
        "aws-lambda-powertools[tracer]==3.37.0 \\\n    --hash=sha256:0\n"
    )
    (tmp_path / "Makefile").write_text(MAKE)
    return tmp_path


def contents(project: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}


def test_the_package_is_added_and_what_was_locked_is_said(project: Path) -> None:
    said = add_dependency(project, "httpx>=0.28")
    assert (project / "handler" / "requirements.in").read_text().splitlines()[-1] == "httpx>=0.28"
    assert said[0] == "locked: httpx 0.28.1, and what it needs: anyio 4.1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("aws-lambda-powertools", r"^handler/requirements.in:2 has 'AWS_Lambda.powertools.*' already: edit it"),
        ("--constraint x", r"^'--constraint x' is no requirement, as in httpx"),
        ("unknown-package", r"(?s)^unknown-package cannot be locked, so all files are as before:\n.*no solution"),
    ],
)
def test_refused(project: Path, text: str, message: str) -> None:
    before = contents(project)
    with pytest.raises(SandboxError, match=message):
        add_dependency(project, text)
    assert contents(project) == before


def test_the_tests_and_types_have_what_the_functions_have() -> None:
    assert any("-r handler/requirements.in\n" in path.read_text() for path in ROOT.glob("requirements-*.in"))
    assert LOCK_COMMAND[-2:] == ("lock", "UPGRADE=")
    assert shutil.which(LOCK_COMMAND[0])
