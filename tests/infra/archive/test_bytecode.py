"""The archive's bytecode: Python loads it without the source's date, and two builds make the same bytes."""

import importlib.util
import subprocess
import sys
import zipfile
from pathlib import Path

import pulumi
import pytest

from infra.archive import build
from infra.archive.targets import runtime
from tests.infra.archive.archives import project, put, wheel

FILES = {"pure/__init__.py": "value = {'a', 'b', 'c'} and __file__\n", "pure/template.py": "{% not python %}\n"}
CACHED = f"__pycache__/__init__.{sys.implementation.cache_tag}.pyc"


def test_two_builds_compile_the_same_bytes_and_python_loads_them_in_place_of_the_source(
    tmp_path: Path, index: Path
) -> None:
    lock = wheel(index, "pure", files=FILES)
    one = build("host", project(tmp_path / "one", lock), bytecode=True)
    two = build("host", project(tmp_path / "two", lock), bytecode=True)
    assert one.path.read_bytes() == two.path.read_bytes()
    with zipfile.ZipFile(one.path) as archive:
        compiled = [name for name in archive.namelist() if name.endswith(".pyc")]
        archive.extractall(tmp_path / "code")
    assert compiled == [
        f"handler/{CACHED}",
        f"handler/{CACHED}".replace("__init__", "mirror", 1),
        f"handler/stream/{CACHED}",
        f"pure/{CACHED}",
    ]
    put(tmp_path / "code" / "pure" / "__init__.py", "raise AssertionError('Python has compiled the source')\n")
    printed = subprocess.run(
        [sys.executable, "-c", "import pure; print(pure.value)"], cwd=tmp_path / "code", check=True, capture_output=True
    )
    assert Path(printed.stdout.decode().strip()) == tmp_path / "code" / "pure" / "__init__.py"


def test_the_bytecode_is_that_of_the_source(tmp_path: Path, index: Path) -> None:
    package = build("host", project(tmp_path, wheel(index, "pure", files=FILES)), bytecode=True)
    with zipfile.ZipFile(package.path) as archive:
        data = archive.read(f"pure/{CACHED}")
    assert data[:4] == importlib.util.MAGIC_NUMBER
    assert data[4:8] == b"\1\0\0\0"  # a hash, which Python does not check
    assert data[8:16] == importlib.util.source_hash(FILES["pure/__init__.py"].encode())


def test_an_archive_without_bytecode_stays_as_it_is(tmp_path: Path, index: Path) -> None:
    root = project(tmp_path, wheel(index, "pure", files=FILES))
    before = build("host", root)
    after = build("host", root, bytecode=True)
    assert before.sha256 != after.sha256
    assert build("host", root) == before
    with zipfile.ZipFile(before.path) as archive, zipfile.ZipFile(after.path) as other:
        names = archive.namelist()
        assert not [name for name in names if name.endswith(".pyc")]
        assert [(name, archive.read(name)) for name in names] == [(name, other.read(name)) for name in names]


@pytest.mark.skipif(runtime("arm64") == runtime("host"), reason="this interpreter compiles for Lambda")
def test_bytecode_for_lambda_needs_lambda_s_python(
    tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = project(tmp_path, wheel(index, "pure", files=FILES))
    for script in (None, "#!/bin/sh\nexit 127\n", "#!/bin/sh\necho 3.9.1\n"):
        if script:
            put(tmp_path / "bin" / "python3.13", script)
            (tmp_path / "bin" / "python3.13").chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))
        with pytest.raises(pulumi.RunError, match=r"needs python3\.13, .*: put python3\.13 into PATH"):
            build("arm64", root, bytecode=True)
    assert not (root / ".cache").exists()
