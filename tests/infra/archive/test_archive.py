"""The archive: what is in it, and that it is the same wherever and however often it is built.

The index is a directory of wheels made here; the last test builds the real archive.
"""

import base64
import hashlib
import os
import random
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pulumi
import pytest

from infra.archive import build
from infra.archive import package as archive
from infra.archive.sources import ROOT
from infra.archive.targets import Target
from tests.infra.archive.archives import HANDLER, contents, lock_entry, project, put, refusals, wheel

PURE = {
    "pure/__init__.py": "",
    "pure/data.bin": "x" * 1_000,
    "pure/ä.txt": "ä" * 1_000,
    "pure/__pycache__/old.pyc": "",
    "pure-1.0.data/purelib/purer.py": "",
    "pure-1.0.data/scripts/pure": "#!python",
}
SHIPPED = [
    *("handler/__init__.py", "handler/mirror.py", "handler/stream/__init__.py", "handler/templates/welcome.txt"),
    *("pure-1.0.dist-info/METADATA", "pure-1.0.dist-info/WHEEL"),
    *("pure/__init__.py", "pure/data.bin", "pure/ä.txt", "purer.py"),
]


def test_two_machines_build_the_same_bytes_of_the_right_files(tmp_path: Path, index: Path) -> None:
    lock = wheel(index, "pure", files=PURE)
    one = build("host", project(tmp_path / "one", lock))
    two = build("host", project(tmp_path / "two", lock))
    assert one.path != two.path
    assert one.path.read_bytes() == two.path.read_bytes()
    assert list(contents(one.path)) == SHIPPED
    assert contents(one.path)["handler/mirror.py"] == HANDLER["mirror.py"]
    assert contents(one.path)["pure/ä.txt"] == PURE["pure/ä.txt"]
    with zipfile.ZipFile(one.path) as zipped:
        assert {(entry.date_time, entry.external_attr >> 16, entry.create_system) for entry in zipped.infolist()} == {
            ((1980, 1, 1, 0, 0, 0), 0o100644, 3)
        }
    assert base64.b64decode(one.sha256) == hashlib.sha256(one.path.read_bytes()).digest()
    assert (one.runtime, one.root) == (f"python3.{sys.version_info.minor}", tmp_path / "one")


def test_what_a_wheel_has_compressed_is_taken_as_it_stands_and_all_else_is_stored(tmp_path: Path, index: Path) -> None:
    """So no byte depends on a compressor of this machine."""
    locks = wheel(index, "pure", files=PURE) + wheel(index, "plain", files=PURE, compression=zipfile.ZIP_STORED)
    locks += wheel(index, "strange", files={"strange.py": "x" * 99}, compression=zipfile.ZIP_LZMA)
    package = build("host", project(tmp_path, locks))

    def stands(path: Path, name: str) -> tuple[int, bytes]:
        with zipfile.ZipFile(path) as zipped, path.open("rb") as file:
            entry = zipped.getinfo(name)
            file.seek(entry.header_offset + 26)
            lengths = file.read(4)
            file.seek(int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little"), 1)
            return entry.compress_type, file.read(entry.compress_size)

    for name in ("pure/data.bin", "pure/ä.txt", "pure-1.0.dist-info/METADATA"):
        assert stands(package.path, name) == stands(index / "pure-1.0-py3-none-any.whl", name)
        assert stands(package.path, name)[0] == zipfile.ZIP_DEFLATED
    assert stands(package.path, "plain-1.0.dist-info/WHEEL")[0] == zipfile.ZIP_STORED
    assert stands(package.path, "handler/mirror.py") == (zipfile.ZIP_STORED, HANDLER["mirror.py"].encode())
    assert stands(package.path, "strange.py") == (zipfile.ZIP_STORED, b"x" * 99)


@pytest.mark.skipif(not shutil.which("unzip"), reason="there is no unzip here")
def test_another_reader_of_zips_finds_nothing_wrong(tmp_path: Path, index: Path) -> None:
    package = build("host", project(tmp_path, wheel(index, "pure", files=PURE)))
    process = subprocess.run(["unzip", "-tqq", package.path], capture_output=True, text=True, check=False)
    assert (process.returncode, process.stdout, process.stderr) == (0, "", "")


def test_what_is_executable_stays_so(tmp_path: Path, index: Path) -> None:
    root = project(tmp_path, wheel(index, "pure", files={"pure/run": "", "pure/data": ""}, executable=["pure/run"]))
    before = build("host", root)
    put(root / "handler" / "bin" / "convert", "#!/bin/sh\n")
    put(root / "handler" / "bin" / "read.me", "")
    (root / "handler" / "bin" / "convert").chmod(0o700)
    (root / "handler" / "bin" / "read.me").chmod(0o600)
    package = build("host", root)
    with zipfile.ZipFile(package.path) as zipped:
        modes = {name: zipped.getinfo(name).external_attr >> 16 for name in zipped.namelist()}
    assert {name for name, mode in modes.items() if mode == 0o100755} == {"handler/bin/convert", "pure/run"}
    assert set(modes.values()) == {0o100755, 0o100644}
    (root / "handler" / "bin" / "convert").chmod(0o600)
    assert len({package.sha256, build("host", root).sha256, before.sha256}) == 3


def test_a_change_of_a_handler_makes_another_archive_of_the_same_wheels(tmp_path: Path, index: Path) -> None:
    root = project(tmp_path, wheel(index, "pure", files=PURE))
    before = build("host", root)
    for path in index.iterdir():
        path.unlink()
    put(root / "handler" / "mirror.py", "changed")
    after = build("host", root)
    assert after.sha256 != before.sha256
    put(root / "handler" / "mirror.py", HANDLER["mirror.py"])
    assert build("host", root) == before


def test_the_newest_archives_stay_and_those_just_used(tmp_path: Path, index: Path) -> None:
    root = project(tmp_path, wheel(index, "pure", files=PURE))
    first = build("host", root).path
    old = [first.with_name(f"{number}.zip") for number in range(archive.KEPT_ARCHIVES + 1)]
    for number, path in enumerate(old):
        put(path, "")
        os.utime(path, (number, number))
    put(root / "handler" / "mirror.py", "changed")
    second = build("host", root).path
    assert [path.exists() for path in old] == [False] * 3 + [True] * (archive.KEPT_ARCHIVES - 2)
    for path in old:
        put(path, "")
    os.utime(first, (0, 0))
    put(root / "handler" / "mirror.py", "changed again")
    build("host", root)
    assert all(path.exists() for path in (second, *old))
    assert not first.exists()


@pytest.mark.parametrize(("target", "machine"), [("arm64", "aarch64"), ("x86_64", "x86_64")])
def test_each_target_gets_its_own_wheels(tmp_path: Path, index: Path, target: Target, machine: str) -> None:
    locks = [
        wheel(index, "fast", f"cp313-cp313-{tag}", {"fast.so": tag})
        for tag in ("manylinux_2_28_x86_64", "manylinux2014_aarch64", "macosx_11_0_arm64")
    ]
    entry, hashes = locks[0].split("\\")[0], [lock.split("\\\n")[1].strip() for lock in locks]
    package = build(target, project(tmp_path, f"{entry}{' '.join(hashes)}\n"))
    assert (package.runtime, package.architecture) == ("python3.13", target)
    assert contents(package.path)["fast.so"].endswith(machine)


def test_builders_at_once_agree_and_leave_nothing_behind(tmp_path: Path, index: Path) -> None:
    root = project(tmp_path, wheel(index, "pure", files=PURE))
    with ThreadPoolExecutor(3) as pool:
        packages = list(pool.map(build, 3 * ["host"], 3 * [root]))
    assert len(set(packages)) == 1
    remaining = sorted(path.name.split("-")[0] for path in (root / ".cache").iterdir())
    assert remaining == sorted([packages[0].path.name, "wheels"])


def noise(size: int) -> str:
    """Text that hardly compresses: half of its bits are chance."""
    return random.Random(size).randbytes(size // 2).hex()


@pytest.fixture
def mebibyte(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """Set the limits, in MiB; those of Lambda would make the tests slow."""

    def limit(uploaded: int, unzipped: int) -> None:
        monkeypatch.setattr("infra.archive.package.MAX_UPLOAD_BYTES", uploaded << 20)
        monkeypatch.setattr("infra.archive.package.MAX_UNZIPPED_BYTES", unzipped << 20)

    return limit


def test_an_archive_larger_than_an_upload_is_refused_with_what_takes_the_room(
    tmp_path: Path, index: Path, mebibyte: Callable[[int, int], None]
) -> None:
    mebibyte(1, 9)
    lock = "".join(wheel(index, f"some{size}", files={f"some{size}.py": noise(size)}) for size in range(7))
    root = project(tmp_path, lock + wheel(index, "big", files={"big.py": "x" * (3 << 20)}))
    put(root / "handler" / "models" / "one.bin", noise(1 << 19))
    put(root / "handler" / "models" / "two.bin", noise(1 << 19))
    (message,) = refusals(root, "arm64")
    assert message.startswith(
        "the archive for arm64 (Python 3.13) is 1.0 MiB, but an upload to Lambda must be below 1.0 MiB: "
        "handler/models (1.0 MiB), big 1.0 (0.0 MiB), some6 1.0 (0.0 MiB), "
    )
    assert message.endswith("Files of handler/ are not compressed: compress large data, or read it from S3; put large "
                         "packages into a layer")  # fmt: skip
    assert ", 8 others (0.0 MiB)." in message
    (root / "handler" / "models" / "two.bin").unlink()
    build("arm64", root)


def test_an_archive_larger_than_lambda_unzips_is_refused(
    tmp_path: Path, index: Path, mebibyte: Callable[[int, int], None]
) -> None:
    mebibyte(1, 2)
    root = project(tmp_path, wheel(index, "big", files={"big.py": "x" * (3 << 20)}))
    (message,) = refusals(root, "arm64")
    assert message.startswith(
        "the archive for arm64 (Python 3.13) is 3.0 MiB when unzipped, but code and layers of a function must be below "
        "2.0 MiB: big 1.0 (3.0 MiB), "
    )


def test_an_archive_of_more_files_than_a_zip_can_list_is_refused(
    tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.archive.zip_file.MAX_MEMBERS", 10)
    root = project(tmp_path, wheel(index, "pure", files={f"{number}.py": "" for number in range(10)}))
    (message,) = refusals(root, "arm64")
    assert message.startswith(
        "the archive for arm64 (Python 3.13) has 16 files, but a zip can hold 10: pure 1.0 (12 files), handler/"
    )


def test_an_upload_of_one_byte_less_than_the_limit_fits(
    tmp_path: Path, index: Path, mebibyte: Callable[[int, int], None]
) -> None:
    assert (archive.MAX_UPLOAD_BYTES, archive.MAX_UNZIPPED_BYTES) == (52_428_800, 262_144_000)
    mebibyte(1, 9)
    root = project(tmp_path, wheel(index, "pure", files=PURE))
    model = root / "handler" / "models.bin"
    model.write_bytes(b"")
    rest = build("arm64", root).path.stat().st_size
    model.write_bytes(bytes((1 << 20) - 1 - rest))
    assert build("arm64", root).path.stat().st_size == (1 << 20) - 1
    model.write_bytes(bytes((1 << 20) - rest))
    with pytest.raises(pulumi.RunError, match=r"is 1\.0 MiB, but an upload to Lambda must be below 1\.0 MiB"):
        build("arm64", root)


def failed_downloads(root: Path, target: Target = "host") -> list[str]:
    lines = refusals(root, target)
    assert list((root / ".cache").iterdir()) == []
    return lines


WAY_OUT = "Check that the package index is reachable, that {} has pip, and that the lock is complete (make lock)"


def test_a_wheel_other_than_the_lock_s_is_refused(tmp_path: Path, index: Path) -> None:
    lock = wheel(index, "pure", files=PURE)
    wheel(index, "pure", files={"pure/__init__.py": "import evil"})
    message, way_out = failed_downloads(project(tmp_path, lock))
    assert message.startswith(
        "pip could not download handler/requirements.txt for host: "
        "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE."
    )
    assert way_out == WAY_OUT.format(sys.executable)


def test_an_index_without_the_package_is_named(tmp_path: Path, index: Path) -> None:
    message, _ = failed_downloads(project(tmp_path, f"pure==1.0 --hash=sha256:{'0' * 64}\n"))
    assert message.endswith(
        "for host: ERROR: Could not find a version that satisfies the requirement pure==1.0 (from versions: none)"
    )


def test_an_interpreter_without_pip_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    put(python, '#!/bin/sh\necho "$0: No module named pip" >&2\nexit 1\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    assert failed_downloads(project(tmp_path / "root", "pure==1.0\n")) == [
        f"pip could not download handler/requirements.txt for host: {python}: No module named pip",
        WAY_OUT.format(python),
    ]


def test_a_dependency_without_a_wheel_is_refused(tmp_path: Path, index: Path) -> None:
    source, other = index / "Pure_Old-1.0.tar.gz", index / "pure_old-1.0-cp313-cp313-macosx_11_0_arm64.whl"
    put(source, "")
    put(index / "pure_old-2.0.tar.gz", "")
    lock = lock_entry("pure-old", source)
    (message,) = failed_downloads(project(tmp_path / "one", lock), "arm64")
    assert message == (
        "pure-old 1.0 of handler/requirements.txt has no wheel for arm64 (Python 3.13), and the archive can only "
        "contain wheels; the index has Pure_Old-1.0.tar.gz. Use a version that has such a wheel, or build one (pip "
        "wheel) and serve it from your own index"
    )
    put(other, "")
    (message,) = failed_downloads(project(tmp_path / "two", lock), "arm64")
    assert f"the index has {source.name}, {other.name}. Use" in message
    for python in ("cp38-cp38", "cp39-cp39", "cp310-abi3"):
        put(index / f"pure_old-1.0-{python}-win_amd64.whl", "")
    (message,) = failed_downloads(project(tmp_path / "three", lock), "arm64")
    assert ", pure_old-1.0-cp310-abi3-win_amd64.whl, " in message
    assert " and 2 more. Use" in message


def test_the_real_archive_holds_the_consumers_what_they_need_and_nothing_of_the_runtime_s() -> None:
    with zipfile.ZipFile(build("host").path) as zipped:
        names = zipped.namelist()
    roots = {name.split("/")[0] for name in names}
    assert {"handler", "aws_lambda_powertools", "jmespath"} <= roots
    assert not {"boto3", "botocore", "s3transfer", "bin", "tests"} & roots
    ours = {name for name in names if name.startswith("handler/")}
    assert "handler/__init__.py" in ours
    assert not any("testing" in name for name in ours)
    assert ours == {"handler/stream/py.typed"} | {
        path.relative_to(ROOT).as_posix() for path in ROOT.glob("handler/**/*.py") if "testing" not in path.parts
    }
