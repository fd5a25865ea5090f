"""The archive: what is in it, and that it is the same wherever and however often it is built.

The index is a directory of wheels made here, so that nothing depends on the network; the last test builds the real one.
"""

import base64
import hashlib
import os
import sys
import zipfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pulumi
import pytest

from infra.archive import ROOT, Target, build, module_of

HANDLER = {
    "__init__.py": "",
    "mirror.py": "text = 'ä'\n",
    "templates/welcome.txt": "Welcome",
    "stream/__init__.py": "",
    "stream/testing.py": "left = 'out'",
    "stream/__pycache__/__init__.cpython-311.pyc": "",
    "tests/test_mirror.py": "",
    "requirements.in": "pure",
    ".env": "",
}
PURE = {
    "pure/__init__.py": "",
    "pure/data.bin": "x" * 1_000,
    "pure/__pycache__/old.pyc": "",
    "pure-1.0.data/purelib/purer.py": "",
    "pure-1.0.data/scripts/pure": "#!python",
}
SHIPPED = [
    "handler/__init__.py",
    "handler/mirror.py",
    "handler/stream/__init__.py",
    "handler/templates/welcome.txt",
    "pure-1.0.dist-info/METADATA",
    "pure-1.0.dist-info/WHEEL",
    "pure/__init__.py",
    "pure/data.bin",
    "purer.py",
]


def wheel(index: Path, name: str, tag: str, files: Mapping[str, str]) -> str:
    """Put a wheel into the index; its entry in a lock."""
    path = index / f"{name}-1.0-{tag}.whl"
    about = {
        f"{name}-1.0.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{name}-1.0.dist-info/WHEEL": f"Wheel-Version: 1.0\nTag: {tag}\n",
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        for file, text in {**files, **about}.items():
            zipped.writestr(file, text)
    return f"{name}==1.0 \\\n    --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "index"
    directory.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(directory))
    return directory


def project(root: Path, lock: str) -> Path:
    for name, text in HANDLER.items():
        path = root / "handler" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    boto3 = f"boto3==1.0 \\\n    --hash=sha256:{'0' * 64}\n"
    (root / "handler" / "requirements.txt").write_text(f"# a comment\n{boto3}{lock}", encoding="utf-8")
    return root


def test_two_machines_build_the_same_bytes_of_the_right_files(tmp_path: Path, index: Path) -> None:
    lock = wheel(index, "pure", "py3-none-any", PURE)
    one = build("host", project(tmp_path / "one", lock))
    two = build("host", project(tmp_path / "two", lock))
    assert one.path != two.path
    assert one.path.read_bytes() == two.path.read_bytes()
    with zipfile.ZipFile(one.path) as zipped:
        assert zipped.namelist() == SHIPPED
        assert zipped.read("handler/mirror.py") == HANDLER["mirror.py"].encode()
        assert {
            (entry.date_time, entry.external_attr >> 16, entry.create_system, entry.compress_type)
            for entry in zipped.infolist()
        } == {((1980, 1, 1, 0, 0, 0), 0o100644, 3, zipfile.ZIP_STORED)}
    digest = hashlib.sha256(one.path.read_bytes()).digest()
    assert base64.b64decode(one.source_code_hash) == digest
    assert one.runtime == f"python3.{sys.version_info.minor}"


def test_a_change_of_a_handler_makes_another_archive_of_the_same_wheels(tmp_path: Path, index: Path) -> None:
    lock = wheel(index, "pure", "py3-none-any", PURE)
    root = project(tmp_path, lock)
    before = build("host", root)
    for path in index.iterdir():
        path.unlink()
    (root / "handler" / "mirror.py").write_text("changed")
    after = build("host", root)
    assert after.source_code_hash != before.source_code_hash
    (root / "handler" / "mirror.py").write_text(HANDLER["mirror.py"], encoding="utf-8")
    assert build("host", root) == before


def test_an_archive_that_nobody_wants_any_more_goes(tmp_path: Path, index: Path) -> None:
    root = project(tmp_path, wheel(index, "pure", "py3-none-any", PURE))
    old = build("host", root).path
    os.utime(old, (0, 0))
    (root / "handler" / "mirror.py").write_text("changed")
    recent = build("host", root).path
    (root / "handler" / "mirror.py").write_text("changed again")
    build("host", root)
    assert not old.exists()
    assert recent.exists()


@pytest.mark.parametrize(("target", "machine"), [("arm64", "aarch64"), ("x86_64", "x86_64")])
def test_each_target_gets_its_own_wheels(tmp_path: Path, index: Path, target: Target, machine: str) -> None:
    locks = [
        wheel(index, "fast", f"cp313-cp313-{tag}", {"fast.so": tag})
        for tag in ("manylinux_2_28_x86_64", "manylinux2014_aarch64", "macosx_11_0_arm64")
    ]
    entry, hashes = locks[0].split("\\")[0], [lock.split("\\\n")[1].strip() for lock in locks]
    package = build(target, project(tmp_path, f"{entry}{' '.join(hashes)}\n"))
    assert (package.runtime, package.architecture) == ("python3.13", target)
    with zipfile.ZipFile(package.path) as zipped:
        assert zipped.read("fast.so").decode().endswith(machine)


def test_builders_at_once_agree_and_leave_nothing_behind(tmp_path: Path, index: Path) -> None:
    root = project(tmp_path, wheel(index, "pure", "py3-none-any", PURE))
    with ThreadPoolExecutor(3) as pool:
        packages = list(pool.map(build, 3 * ["host"], 3 * [root]))
    assert len(set(packages)) == 1
    left = sorted(path.name.split("-")[0] for path in (root / ".cache").iterdir())
    assert left == sorted([packages[0].path.name, "wheels"])


def refused(root: Path) -> list[str]:
    with pytest.raises(pulumi.RunError) as caught:
        build("host", root)
    assert list((root / ".cache").iterdir()) == []
    return str(caught.value).splitlines()


WAY_OUT = "Is the package index reachable, does {} have pip, and is the lock whole (make lock)?"


def test_a_wheel_other_than_the_lock_s_is_refused(tmp_path: Path, index: Path) -> None:
    lock = wheel(index, "pure", "py3-none-any", PURE)
    wheel(index, "pure", "py3-none-any", {"pure/__init__.py": "import evil"})
    said, way_out = refused(project(tmp_path, lock))
    assert said.startswith(
        "handler/requirements.txt could not be downloaded for host; pip said: "
        "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE."
    )
    assert way_out == WAY_OUT.format(sys.executable)


def test_an_index_without_the_package_is_named(tmp_path: Path, index: Path) -> None:
    said, _ = refused(project(tmp_path, f"pure==1.0 --hash=sha256:{'0' * 64}\n"))
    assert said.endswith(
        "pip said: ERROR: Could not find a version that satisfies the requirement pure==1.0 (from versions: none)"
    )


def test_an_interpreter_without_pip_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$0: No module named pip" >&2\nexit 1\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    assert refused(project(tmp_path / "root", "pure==1.0\n")) == [
        f"handler/requirements.txt could not be downloaded for host; pip said: {python}: No module named pip",
        WAY_OUT.format(python),
    ]


def test_a_consumer_without_a_module_is_told_the_nearest(tmp_path: Path) -> None:
    root = project(tmp_path, "")
    assert module_of("mirror", root) == "mirror"
    with pytest.raises(pulumi.RunError, match=r"^no handler/miror\.py; did you mean mirror\?$"):
        module_of("miror", root)
    with pytest.raises(pulumi.RunError, match=r"^no handler/x\.py; there are mirror$"):
        module_of("x", root)


def test_the_real_archive_holds_the_consumers_what_they_need_and_nothing_of_the_runtime_s() -> None:
    with zipfile.ZipFile(build("host").path) as zipped:
        names = zipped.namelist()
    roots = {name.split("/")[0] for name in names}
    assert {"handler", "aws_lambda_powertools", "jmespath"} <= roots
    assert not {"boto3", "botocore", "s3transfer", "bin", "tests"} & roots
    ours = {name for name in names if name.startswith("handler/")}
    assert {f"handler/{name}.py" for name in ("__init__", "change_log", "mirror", "welcome_email")} <= ours
    assert not any("testing" in name for name in ours)
    assert all(name.endswith(".py") for name in ours)
    assert ours == {
        path.relative_to(ROOT).as_posix() for path in ROOT.glob("handler/**/*.py") if "testing" not in path.parts
    }
