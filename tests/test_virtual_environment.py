"""A set-up that cannot succeed prints one line that says what to do, and one that was interrupted starts again."""

import io
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import installer
import pytest
import virtual_environment
from pip_configuration import read, uv_variables
from progress import Progress

LACKS = f"table-stream-has-no-such-package==1.0 --hash=sha256:{'0' * 64}\n"


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The marker of an environment that is not there yet, in an empty project with two locks: `empty` and `lacks`."""
    monkeypatch.chdir(tmp_path)
    Path("empty").write_text("")
    Path("lacks").write_text(LACKS)
    return Path("env") / ".installed"


@pytest.fixture
def progress(tmp_path: Path) -> Iterator[Progress]:
    with (tmp_path / "turn").open("w") as turn, Progress("installing", turn) as progress:
        yield progress


@pytest.fixture
def installs(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation succeeds at once, and installs nothing."""

    def install(*_: object) -> None:
        return

    monkeypatch.setattr(installer, "install", install)


def install(marker: Path, lock: str) -> str | None:
    return virtual_environment.main(marker, [Path(lock)])


def test_an_older_python_prints_the_oldest_that_is_supported(monkeypatch: pytest.MonkeyPatch, marker: Path) -> None:
    monkeypatch.setattr(virtual_environment, "OLDEST", (99, 0))
    problem = install(marker, "empty")
    assert problem is not None
    assert problem.startswith("Python 99.0 or newer is needed, but this is 3.")
    assert problem.endswith("make PYTHON=python3.13")
    assert not marker.parent.exists()


def test_without_a_package_index_the_error_is_one_line(monkeypatch: pytest.MonkeyPatch, marker: Path) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    assert install(marker, "lacks") == (
        "env is incomplete: No matching distribution found for table-stream-has-no-such-package==1.0. "
        "Is the package index reachable? Fix this and run make again."
    )
    assert not marker.exists()


@pytest.mark.parametrize("uv", [Path(sys.prefix) / "bin" / "uv", Path("nowhere")])
def test_uv_and_pip_make_a_complete_environment(monkeypatch: pytest.MonkeyPatch, marker: Path, uv: Path) -> None:
    monkeypatch.setattr(installer, "UV", uv)
    assert install(marker, "empty") is None
    assert marker.exists()
    assert subprocess.run([marker.parent / "bin" / "python", "-c", ""], check=False).returncode == 0


def test_an_interrupted_installation_starts_from_nothing(marker: Path, installs: None) -> None:
    """Whatever the interrupt has left is removed; the mark of the interrupt is the last to go."""
    (marker.parent / "bin").mkdir(parents=True)
    (marker.parent / "bin" / "python").write_text("half of it")
    (marker.parent / virtual_environment.UNFINISHED).touch()
    assert install(marker, "empty") is None
    assert (marker.parent / "bin" / "python").is_symlink()
    assert not (marker.parent / virtual_environment.UNFINISHED).exists()


def test_from_its_start_to_its_end_an_installation_counts_as_interrupted(
    monkeypatch: pytest.MonkeyPatch, marker: Path, installs: None
) -> None:
    marker.parent.mkdir()
    others = [marker.with_name(".tests"), marker.with_name(".checks")]
    for other in (marker, *others):
        other.touch()
        os.utime(other, (1, 1))

    def interrupted(*_: object) -> None:
        assert (marker.parent / virtual_environment.UNFINISHED).exists()
        assert not [each for each in (marker, *others) if each.exists()]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(installer, "install", interrupted)
        with pytest.raises(KeyboardInterrupt):
            install(marker, "empty")
    assert install(marker, "empty") is None
    assert [each.exists() for each in (marker, *others)] == [True, False, False]


def test_an_installation_keeps_the_times_of_the_others_in_its_environment(marker: Path, installs: None) -> None:
    other = marker.with_name(".tests")
    other.parent.mkdir()
    other.touch()
    os.utime(other, (1, 1))
    assert install(marker, "empty") is None
    assert other.stat().st_mtime == 1 < marker.stat().st_mtime


def test_an_environment_that_somebody_else_has_made_is_kept(marker: Path, installs: None) -> None:
    marker.parent.mkdir()
    (marker.parent / "theirs").touch()
    assert install(marker, "empty") is None
    assert (marker.parent / "theirs").exists()


CERTIFICATES = {"UV_INDEX_STRATEGY": "unsafe-best-match", "UV_SYSTEM_CERTS": "1", "UV_NATIVE_TLS": "1"}


@pytest.mark.parametrize(
    ("configuration", "environment", "expected"),
    [
        ({}, {}, {}),
        ({"quiet": "1", "cache-dir": "/c"}, {}, {}),
        ({"index-url": "https://a/simple"}, {}, {"UV_DEFAULT_INDEX": "https://a/simple"}),
        ({"extra-index-url": "https://a\nhttps://b"}, {}, {"UV_INDEX": "https://a https://b"}),
        ({"find-links": "/a /b"}, {}, {"UV_FIND_LINKS": "/a,/b"}),
        ({"trusted-host": "a\nb"}, {}, {"UV_INSECURE_HOST": "a b"}),
        ({"timeout": "9", "retries": "0"}, {}, {"UV_HTTP_TIMEOUT": "9", "UV_HTTP_RETRIES": "0"}),
        ({"cert": "/a"}, {"REQUESTS_CA_BUNDLE": "/b"}, {"SSL_CERT_FILE": "/a"}),
        ({}, {"REQUESTS_CA_BUNDLE": "/b"}, {"SSL_CERT_FILE": "/b"}),
        (
            {"proxy": "p:1"},
            {},
            dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://p:1"),
        ),
    ],
)
def test_uv_gets_the_configuration_of_pip(
    configuration: Mapping[str, str], environment: Mapping[str, str], expected: Mapping[str, str]
) -> None:
    assert uv_variables(configuration, environment) == {**CERTIFICATES, **expected}


@pytest.mark.parametrize("option", ["no-index", "only-binary", "constraint", "an-option-of-tomorrow"])
def test_what_uv_would_do_differently_is_left_to_pip(option: str) -> None:
    assert uv_variables({option: "x"}, {}) is None


def test_the_configuration_comes_from_the_environment_and_from_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A section of pip's command overrides the global one, and the environment overrides both."""
    file = tmp_path / "pip.conf"
    file.write_text("[global]\nretries = 1\ntimeout = 1\n[install]\nretries = 2\n[download]\nretries = 9\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(file))
    monkeypatch.setenv("PIP_TIMEOUT", "3")
    found = read([sys.executable, "-m", "pip"])
    assert (found["retries"], found["timeout"]) == ("2", "3")


OF_UV = """Resolved 84 packages in 2.01s
Downloading uv (16.8MiB)
Downloading botocore (15.8MiB)
 Downloaded uv
"""
OF_PIP = """Collecting uv==0.13.9 (from -r requirements-dev.txt (line 9))
  Downloading uv-0.13.9-py3-none-manylinux_2_17_x86_64.whl (16.8 MB)
Collecting botocore==1.44.5
  Using cached botocore-1.44.5-py3-none-any.whl (500 kB)
"""


@pytest.mark.parametrize(
    ("output", "state"), [(OF_UV, "84 packages, 17 of 33 MB"), (OF_PIP, "2 packages, 17 of 17 MB"), ("else\n", "")]
)
def test_the_progress_is_read_from_what_uv_and_pip_print(progress: Progress, output: str, state: str) -> None:
    assert progress.run([sys.executable, "-c", f"print({output!r}, end='')"]) == 0
    assert progress.state == state
    assert progress.last_line == output.splitlines()[-1].strip()


def test_a_terminal_shows_how_long_it_takes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The line is cut to the width of the terminal and cleared at the end."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", "6")
    with (tmp_path / "turn").open("w") as turn, Progress("installing", turn) as progress:
        progress.run([sys.executable, "-c", "input()"])
    drawn = [each for each in terminal.written if each.startswith("\r")]
    assert drawn[0] == "\r\x1b[K/ 0 s"
    assert drawn[-1] == "\r\x1b[K"


class Terminal(io.StringIO):
    """A terminal that keeps what is written to it."""

    def __init__(self) -> None:
        self.written: list[str] = []

    def isatty(self) -> bool:
        return True

    def write(self, text: str, /) -> int:
        self.written.append(text)
        return len(text)
