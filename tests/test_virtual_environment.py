"""Set-up that cannot succeed says so in one line, with the way out."""

import sys
from pathlib import Path

import pytest
import virtual_environment


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """A virtual environment's shape around this interpreter, so that no test waits for a real one to be made."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    return tmp_path


def test_an_older_python_is_told_what_is_needed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(virtual_environment, "OLDEST", (99, 0))
    problem = virtual_environment.main(tmp_path / "env", [])
    assert problem is not None
    assert problem.startswith("Python 99.0 or newer is needed, this is 3.")
    assert problem.endswith("make PYTHON=python3.13")
    assert not (tmp_path / "env").exists()


def test_no_package_index_is_one_line_and_no_stamp(monkeypatch: pytest.MonkeyPatch, environment: Path) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    lock = environment / "requirements.txt"
    lock.write_text(f"table-stream-has-no-such-package==1.0 --hash=sha256:{'0' * 64}\n")
    assert virtual_environment.main(environment, [lock]) == (
        f"{environment} is not complete: No matching distribution found for table-stream-has-no-such-package==1.0. "
        "Is the package index reachable? Mend that and run make again."
    )
    assert not (environment / ".installed").exists()


def test_nothing_to_install_is_complete(environment: Path) -> None:
    lock = environment / "requirements.txt"
    lock.write_text("")
    assert virtual_environment.main(environment, [lock]) is None
    assert (environment / ".installed").exists()
