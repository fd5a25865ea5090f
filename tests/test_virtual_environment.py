"""A set-up that cannot succeed prints one line that says what to do."""

import sys
from pathlib import Path

import pytest
import virtual_environment


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """A directory shaped like a virtual environment of this interpreter, so that no test creates a real one."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    return tmp_path


def test_an_older_python_prints_the_oldest_that_is_supported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(virtual_environment, "OLDEST", (99, 0))
    problem = virtual_environment.main(tmp_path / "env", [])
    assert problem is not None
    assert problem.startswith("Python 99.0 or newer is needed, but this is 3.")
    assert problem.endswith("make PYTHON=python3.13")
    assert not (tmp_path / "env").exists()


def test_without_a_package_index_the_error_is_one_line(monkeypatch: pytest.MonkeyPatch, environment: Path) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    lock = environment / "requirements.txt"
    lock.write_text(f"table-stream-has-no-such-package==1.0 --hash=sha256:{'0' * 64}\n")
    assert virtual_environment.main(environment, [lock]) == (
        f"{environment} is incomplete: No matching distribution found for table-stream-has-no-such-package==1.0. "
        "Is the package index reachable? Fix this and run make again."
    )
    assert not (environment / ".installed").exists()


def test_an_empty_lock_makes_a_complete_environment(environment: Path) -> None:
    lock = environment / "requirements.txt"
    lock.write_text("")
    assert virtual_environment.main(environment, [lock]) is None
    assert (environment / ".installed").exists()
