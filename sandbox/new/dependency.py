"""Adds a package to handler/requirements.in, and locks it for the functions, the tests and the types alike."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

from sandbox import SandboxError

REQUIREMENTS = Path("handler", "requirements.in")
LOCK = Path("handler", "requirements.txt")
LOCK_COMMAND = ("make", "--silent", "--no-print-directory", "lock", "UPGRADE=")
"""Locks every requirements.in again, at the versions that are locked already."""


def add_dependency(root: Path, text: str) -> list[str]:
    """Add a requirement such as `httpx` or `httpx>=0.28` and lock it; return lines that say what was locked.

    Raises
    ------
    SandboxError
        It is no requirement, or is there already, or no version of it can be locked; the files are as before.
    """
    name = checked_requirement(root, text)
    paths = [root / REQUIREMENTS, *root.glob("requirements*.txt"), *root.glob("*/requirements.txt")]
    before = {path: path.read_bytes() for path in paths}
    locked_before = _versions(root)
    with (root / REQUIREMENTS).open("a", encoding="utf-8") as file:
        file.write(("" if before[root / REQUIREMENTS].endswith(b"\n") else "\n") + f"{text.strip()}\n")
    try:
        _lock(root, text)
        locked = _versions(root)
    except BaseException:
        for path, content in before.items():
            path.write_bytes(content)
        raise
    others = [f"{each} {version}" for each, version in locked.items() if each not in locked_before and each != name]
    return [
        f"locked: {name} {locked[name]}" + (f", and what it needs: {', '.join(others)}" if others else ""),
        f"{REQUIREMENTS} has the line. Next: import it in handler/, and run make mine or make test, which install it.",
    ]


def _lock(root: Path, text: str) -> None:
    done = subprocess.run(
        LOCK_COMMAND, cwd=root, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        lines = [line for line in done.stdout.splitlines() if not line.startswith("make: ")]
        raise SandboxError("\n".join([f"{text} cannot be locked, so all files are as before:", *lines]))


def checked_requirement(root: Path, text: str) -> str:
    """Return the normalized name of the package that a requirement names.

    Raises
    ------
    SandboxError
        It is no requirement, or handler/requirements.in has one of this name.
    """
    try:
        from packaging.requirements import InvalidRequirement, Requirement
        from packaging.utils import canonicalize_name
    except ImportError as error:
        raise SandboxError("this Python lacks packaging: run make test once, and then .venv/bin/python") from error

    def name_of(line: str) -> str | None:
        try:
            return canonicalize_name(Requirement(line.partition(" #")[0].strip()).name)
        except InvalidRequirement:
            return None

    name = name_of(text)
    if name is None:
        raise SandboxError(f"{text!r} is no requirement, as in httpx or 'httpx>=0.28'")
    try:
        lines = (root / REQUIREMENTS).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise SandboxError(f"there is no {REQUIREMENTS}") from error
    for number, line in enumerate(lines, 1):
        if name_of(line) == name:
            raise SandboxError(f"{REQUIREMENTS}:{number} has {line!r} already: edit it, and run make lock UPGRADE=")
    return name


def _versions(root: Path) -> Mapping[str, str]:
    """Return the versions of the functions' lock by package."""
    lines = (root / LOCK).read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if "==" in line and not line.startswith((" ", "#"))]
    return {name: rest.split()[0].rstrip("\\;") for name, rest, *_ in pairs}
