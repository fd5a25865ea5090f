"""Other commands find the sandbox that they mean."""

import os
from pathlib import Path

import pytest

from sandbox import running as module
from sandbox.running import NotRunningError, RunningSandbox, running, the_running_one

GONE = 2**22 + 1
"""No process has this id."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "SANDBOXES", tmp_path / "sandboxes")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    return tmp_path / "sandboxes"


def announced(port: int, process: int | None = None) -> RunningSandbox:
    sandbox = RunningSandbox(
        process or os.getpid(), port, f"http://127.0.0.1:{port}", "us-east-1", "http://page/?token=1"
    )
    sandbox.announce()
    return sandbox


def test_the_only_sandbox_is_the_one():
    with pytest.raises(NotRunningError, match="no sandbox runs: start one"):
        the_running_one()
    sandbox = announced(4566)
    sandbox.write_outputs({"tables": {}})
    assert the_running_one() == the_running_one(4566) == sandbox
    assert (sandbox.directory / "sandbox.json").stat().st_mode & 0o077 == 0
    sandbox.withdraw()
    assert running() == []


def test_of_several_the_port_or_the_variable_says_which(monkeypatch: pytest.MonkeyPatch):
    first, second = announced(4566), announced(4567)
    with pytest.raises(NotRunningError, match="ports 4566, 4567: name one with --port"):
        the_running_one()
    assert the_running_one(4567) == second
    monkeypatch.setenv("AWS_ENDPOINT_URL", first.endpoint)
    assert the_running_one() == first
    with pytest.raises(NotRunningError, match="no sandbox runs at port 1; there are 4566, 4567"):
        the_running_one(1)


def test_the_folder_of_a_killed_sandbox_is_removed():
    sandbox = announced(4566, GONE)
    assert running() == []
    assert not sandbox.directory.exists()
