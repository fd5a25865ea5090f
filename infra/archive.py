"""The functions' code: handler/ and its pinned dependencies as one zip, the same byte for byte wherever it is built."""

import base64
import hashlib
import os
import platform
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import Literal

import pulumi

Target = Literal["arm64", "x86_64", "host"]
"""Lambda's two architectures, or the interpreter that runs the program."""

ROOT = Path(__file__).parent.parent
PYTHON = (3, 13)
"""Lambda's runtime, but for the target `host`."""

# Amazon Linux 2023 has glibc 2.34; pip takes each platform literally, so the older ones are named too.
PLATFORMS = {
    target: [f"manylinux_2_{minor}_{machine}" for minor in range(34, 16, -1)] + [f"manylinux2014_{machine}"]
    for target, machine in (("arm64", "aarch64"), ("x86_64", "x86_64"))
}
RUNTIME_HAS = {"boto3", "botocore", "s3transfer"}
"""What Lambda's runtime brings along stays out, even where a lock names it."""

NOT_SHIPPED = ("__pycache__", "tests", "testing.py", "requirements.in", "requirements.txt")
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can say
FORMAT = "1"
"""Part of every cache key: raise it when the same inputs are to make another zip."""


@dataclass(frozen=True)
class Package:
    """A zip for Lambda and what it was built for."""

    path: Path
    source_code_hash: str  # SHA-256 in base64, as Lambda reports it
    runtime: str
    architecture: str


def module_of(consumer: str, root: Path = ROOT) -> str:
    """Module that a consumer runs: `welcome-email` is handler/welcome_email.py.

    Raises
    ------
    pulumi.RunError
        There is no such module; the message names the nearest.
    """
    modules = sorted(path.stem for path in (root / "handler").glob("*.py") if path.stem != "__init__")
    module = consumer.replace("-", "_")
    if module not in modules:
        near = get_close_matches(module, modules, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(modules) or 'none'}"
        raise pulumi.RunError(f"no handler/{module}.py; {hint}")
    if consumer != module.replace("_", "-"):
        raise pulumi.RunError(f"a consumer is written with dashes: {module.replace('_', '-')}")
    return module


def build(target: Target, root: Path = ROOT) -> Package:
    """The package for `target`, from the cache where its inputs are unchanged.

    Two builds at once are safe: each writes aside and renames.

    Raises
    ------
    pulumi.RunError
        The dependencies could not be had: pip is missing, the index out of reach, or a hash does not match.
    """
    python = PYTHON if target != "host" else sys.version_info[:2]
    lock = _shipped(root / "handler" / "requirements.txt")
    sources = dict(_sources(root / "handler"))
    cache = root / ".cache"
    wheels = _wheels(lock, target, cache / f"wheels-{_digest(lock, target, str(python), sys.platform)}")
    path = cache / f"{_digest(FORMAT, *(part for item in sorted(sources.items()) for part in item), *wheels)}.zip"
    if not path.exists():
        contents = sources | {name: data for wheel in wheels for name, data in _unpacked(wheel)}
        _write(contents, path)
    return Package(
        path=path,
        source_code_hash=base64.b64encode(hashlib.sha256(path.read_bytes()).digest()).decode(),
        runtime=f"python{python[0]}.{python[1]}",
        architecture=target if target != "host" else _machine(),
    )


def _shipped(path: Path) -> str:
    """The lock at `path` without what the runtime has."""
    entries = re.findall(r"^[^\s#].*\n(?:[ \t].*\n)*", path.read_text() + "\n", re.MULTILINE)
    names = (re.match(r"[\w.-]+", entry) for entry in entries)
    return "".join(
        entry
        for entry, name in zip(entries, names, strict=True)
        if name is None or name[0].lower().replace("_", "-") not in RUNTIME_HAS
    )


def _sources(handler: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(handler.rglob("*")):
        inside = path.relative_to(handler)
        hidden = any(part.startswith(".") or part in NOT_SHIPPED for part in inside.parts)
        if path.is_file() and not hidden and path.suffix != ".pyc":
            yield PurePosixPath("handler", inside).as_posix(), path.read_bytes()


def _wheels(lock: str, target: Target, directory: Path) -> list[Path]:
    """Wheels of what `lock` names, downloaded into `directory` unless they are there."""
    if not directory.exists():
        directory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory.parent) as work:
            requirements, downloads = Path(work, "requirements.txt"), Path(work, "wheels")
            requirements.write_text(lock)
            downloads.mkdir()
            _download(requirements, downloads, target)
            if not directory.exists():  # another build may have been first; what it has is the same
                downloads.rename(directory)
    return sorted(directory.glob("*.whl"))


def _download(requirements: Path, into: Path, target: Target) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--require-hashes", "--no-deps", "--only-binary=:all:", "-r", str(requirements), "-d", str(into)]
    if target != "host":
        command += [f"--platform={name}" for name in PLATFORMS[target]]
        command += ["--implementation=cp", f"--python-version={PYTHON[0]}.{PYTHON[1]}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.strip()]
        said = next((line for line in errors if line.startswith("ERROR")), errors[-1] if errors else "nothing")
        raise pulumi.RunError(
            f"the dependencies of handler/requirements.txt for {target} could not be downloaded; pip said: {said}"
        )


def _unpacked(wheel: Path) -> Iterator[tuple[str, bytes]]:
    """Files of a wheel as an installer would lay them out, but for scripts and headers, which no function needs."""
    with zipfile.ZipFile(wheel) as opened:
        for name in opened.namelist():
            parts = name.split("/")
            if parts[0].endswith(".data"):
                if parts[1] not in ("purelib", "platlib"):
                    continue
                parts = parts[2:]
            if parts[-1] and "__pycache__" not in parts:
                yield "/".join(parts), opened.read(name)


def _write(contents: dict[str, bytes], path: Path) -> None:
    handle, aside = tempfile.mkstemp(dir=path.parent, suffix=".zip")
    # Stored, not compressed: compressed bytes differ between versions of zlib.
    with os.fdopen(handle, "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as zipped:
        for name, data in sorted(contents.items()):
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.create_system = 3  # Unix, which the mode below is for, wherever this runs
            entry.external_attr = 0o100644 << 16
            zipped.writestr(entry, data)
    Path(aside).replace(path)


def _digest(*parts: str | bytes | Path) -> str:
    """Digest of the parts one by one; a file counts by its name, since a wheel's name and lock fix its content."""
    digest = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else str(part.name if isinstance(part, Path) else part).encode()
        digest.update(len(data).to_bytes(8) + data)
    return digest.hexdigest()[:32]


def _machine() -> str:
    return "arm64" if platform.machine().lower() in ("arm64", "aarch64") else "x86_64"
