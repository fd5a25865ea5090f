"""The emulator starts on loopback, reports in one line why it cannot, and ends with its parent."""

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox import emulator
from sandbox.emulator import HOST, USERS_OWN, Emulator, EmulatorError, client_variables
from tests.local import is_listening, wait_for


def alive(process: int) -> bool:
    """Whether a process runs; a zombie does not, and reaping it is the machine's task."""
    status = Path(f"/proc/{process}/stat")
    try:
        return status.read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


START = """
import json, sys
from sandbox.emulator import Emulator
emulator = Emulator("eu-west-1")
emulator.client("sts").get_caller_identity()
started = {"port": emulator.port, "directory": str(emulator.directory), "process": emulator.process_id}
print(json.dumps(started), flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(not Path("/proc").exists(), reason="reads /proc")
def test_it_ends_with_its_parent_even_if_that_is_killed():
    parent = subprocess.Popen([sys.executable, "-c", START], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with parent:
        assert parent.stdout
        started = json.loads(parent.stdout.readline())
        assert is_listening(started["port"])
        parent.send_signal(signal.SIGKILL)
    wait_for(lambda: not alive(started["process"]) and not is_listening(started["port"]), "the end of the emulator")
    assert not Path(started["directory"]).exists()


def test_a_taken_port_is_named():
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        message = rf"^port {port} cannot be used \(Address already in use\): choose another"
        with pytest.raises(EmulatorError, match=message):
            Emulator("eu-west-1", port=port)


def test_a_missing_environment_is_one_line_with_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(emulator, "PYTHON", tmp_path / ".venv-aws" / "bin" / "python")
    with pytest.raises(EmulatorError, match=r"^the embedded AWS is not installed \(\.venv-aws is missing\): run make$"):
        Emulator("eu-west-1")


def test_the_error_of_an_ended_emulator_has_the_last_line_of_its_log(monkeypatch: pytest.MonkeyPatch):
    """The environment lacks the package, as an incomplete .venv-aws does."""
    monkeypatch.setattr(emulator, "PYTHON", Path(sys.executable))
    message = (
        r"ended \(exit code 1\): ModuleNotFoundError: No module named 'ministack'\. Run the command again; .*clean"
    )
    with Emulator("eu-west-1") as broken, pytest.raises(EmulatorError, match=message):
        broken.client("s3")
    assert not broken.directory.exists()


def test_functions_do_not_inherit_the_caller_s_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_PROFILE", "production")
    with Emulator("eu-central-1", environment={"EXTRA": "1"}) as own:
        assert own.client("dynamodb") is own.client("dynamodb")
        assert own.client("sts").get_caller_identity()["Account"] == "000000000000"
        assert own.client("dynamodb").meta.region_name == "eu-central-1"
        if Path("/proc").exists():
            environment = Path(f"/proc/{own.process_id}/environ").read_bytes().split(b"\0")
            assert b"EXTRA=1" in environment
            assert not [line for line in environment if line.startswith(b"AWS_")]
    assert not is_listening(own.port)
    own.close()


def test_clients_go_past_the_proxy_of_the_shell(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NO_PROXY", "unused")
    monkeypatch.setenv("no_proxy", "example.com,localhost")
    variables = client_variables("http://127.0.0.1:1", "eu-central-1")
    assert variables["NO_PROXY"] == variables["no_proxy"] == "127.0.0.1,localhost,example.com"
    assert not variables.keys() & set(USERS_OWN)
