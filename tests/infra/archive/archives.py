"""A project with a handler/, and an index of wheels made here, so that nothing depends on the network."""

import hashlib
import stat
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path

import pulumi
import pytest

from infra.archive import build
from infra.archive.targets import Target

HANDLER = {
    "__init__.py": "",
    "mirror.py": "handler = 'ä'\n",
    "templates/welcome.txt": "Welcome",
    "stream/__init__.py": "",
}


def wheel(
    index: Path,
    name: str,
    tag: str = "py3-none-any",
    files: Mapping[str, str] | None = None,
    *,
    version: str = "1.0",
    requires: Collection[str] = (),
    executable: Collection[str] = (),
    compression: int = zipfile.ZIP_DEFLATED,
) -> str:
    """Put a wheel into the index; its entry in a lock."""
    index.mkdir(exist_ok=True)
    path = index / f"{name}-{version}-{tag}.whl"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    about = {
        f"{name}-{version}.dist-info/METADATA": metadata + "".join(f"Requires-Dist: {each}\n" for each in requires),
        f"{name}-{version}.dist-info/WHEEL": f"Wheel-Version: 1.0\nTag: {tag}\n",
    }
    with zipfile.ZipFile(path, "w", compression) as zipped:
        for file, text in {**(files or {}), **about}.items():
            entry = zipfile.ZipInfo(file, (2020, 1, 1, 0, 0, 0))
            entry.compress_type = compression
            entry.external_attr = (stat.S_IFREG | (0o755 if file in executable else 0o664)) << 16
            zipped.writestr(entry, text)
    return lock_entry(name, path, version)


def lock_entry(name: str, path: Path, version: str = "1.0", marker: str = "") -> str:
    """Entry of a lock for one file."""
    return f"{name}=={version}{marker} \\\n    --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


def project(root: Path, lock: str, requirements: str | None = None) -> Path:
    """Write a project; what its requirements.in asks for is what the lock contains, by default."""
    for name, text in HANDLER.items():
        put(root / "handler" / name, text)
    names = [line.split("==")[0] for line in lock.splitlines() if "==" in line]
    put(root / "handler" / "requirements.in", "\n".join(names) if requirements is None else requirements)
    put(root / "handler" / "requirements.txt", f"# a comment\n{lock}")
    return root


def refusals(root: Path, target: Target = "host") -> list[str]:
    """Return the errors of a build that makes no archive."""
    with pytest.raises(pulumi.RunError) as caught:
        build(target, root)
    assert list((root / ".cache").glob("*.zip")) == []
    return str(caught.value).splitlines()


def put(path: Path, text: str) -> None:
    """Write a file in a directory that need not exist."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def contents(path: Path) -> dict[str, str]:
    """Texts in a zip by their names."""
    with zipfile.ZipFile(path) as zipped:
        assert zipped.testzip() is None
        return {name: zipped.read(name).decode() for name in zipped.namelist()}
