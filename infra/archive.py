"""The functions' code: handler/ and its pinned dependencies as one zip, the same byte for byte wherever it is built."""

import base64
import contextlib
import hashlib
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
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

NOT_SHIPPED = ("__pycache__", "tests", "testing", "testing.py", "requirements.in", "requirements.txt")
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


def runtime(target: Target) -> str:
    """Lambda's run-time for `target`, or the name that this interpreter would have there."""
    major, minor = sys.version_info[:2] if target == "host" else PYTHON
    return f"python{major}.{minor}"


def build(target: Target, root: Path = ROOT) -> Package:
    """The package for `target`, from the cache where its inputs are unchanged.

    Two builds at once are safe: each writes aside and renames.

    Raises
    ------
    pulumi.RunError
        The dependencies could not be had: pip is missing, the index out of reach, or a hash does not match.
    """
    lock = _shipped((root / "handler" / "requirements.txt").read_text())
    sources = dict(_sources(root / "handler"))
    wanted = [FORMAT, lock, target, runtime(target), sys.platform if target == "host" else ""]
    cache = root / ".cache"
    path = cache / f"{_digest(*wanted, *(part for source in sources.items() for part in source))}.zip"
    try:
        os.utime(path)  # asked for today
    except FileNotFoundError:
        wheels = _wheels(lock, target, cache / f"wheels-{_digest(*wanted)}")
        _write(sources | {name: data for wheel in wheels for name, data in _unpacked(wheel)}, path)
        _forget_old(cache)
    return Package(
        path=path,
        source_code_hash=base64.b64encode(hashlib.sha256(path.read_bytes()).digest()).decode(),
        runtime=runtime(target),
        architecture=target if target != "host" else _machine(),
    )


def _shipped(lock: str) -> str:
    """`lock` without comments and what the runtime has; an entry goes on over the lines that are indented."""
    entries = re.findall(r"^[^\s#].*\n(?:[ \t].*\n)*", lock + "\n", re.MULTILINE)
    return "".join(entry for entry in entries if re.split(r"[^\w-]", entry)[0].lower() not in RUNTIME_HAS)


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
            try:
                downloads.rename(directory)
            except OSError:
                if not directory.exists():  # if it does, another build was first, and what it has is the same
                    raise
    return sorted(directory.glob("*.whl"))


def _download(requirements: Path, into: Path, target: Target) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--require-hashes", "--no-deps", "--only-binary=:all:", "-r", str(requirements), "-d", str(into)]
    if target != "host":
        command += [f"--platform={name}" for name in PLATFORMS[target]]
        command += ["--implementation=cp", f"--python-version={PYTHON[0]}.{PYTHON[1]}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.splitlines() or ["nothing"]
        said = next((line for line in lines if line.startswith("ERROR")), lines[-1])
        raise pulumi.RunError(
            f"handler/requirements.txt could not be downloaded for {target}; pip said: {said}\n"
            f"Is the package index reachable, does {sys.executable} have pip, and is the lock whole (make lock)?"
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


def _forget_old(cache: Path) -> None:
    """Each change of a handler leaves a zip behind: those go that nobody has asked for in a day."""
    for path in cache.glob("*.zip"):
        with contextlib.suppress(FileNotFoundError):  # another build forgets at the same time
            if path.stat().st_mtime < time.time() - 86_400:
                path.unlink()


def _digest(*parts: str | bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8) + data)
    return digest.hexdigest()[:32]


def _machine() -> str:
    return "arm64" if platform.machine().lower() in ("arm64", "aarch64") else "x86_64"
