"""Selects and reads the files of handler/ that the functions' archive contains."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import translate
from pathlib import Path, PurePosixPath

import pulumi

ROOT = Path(__file__).parent.parent.parent
"""The project's directory."""

NOT_SHIPPED = tuple(PurePosixPath(name) for name in ("requirements.in", "requirements.txt", "stream/testing"))
"""Paths below handler/ that only the build and the tests need."""

LEFTOVERS = (
    *("__pycache__", "*.pyc"),
    *(".git", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".ipynb_checkpoints"),
    *(".DS_Store", "._*", "Thumbs.db", "desktop.ini", ".idea", ".vscode"),
    *(".*.sw?", ".*.kate-swp", "*~", ".#*", "#*#"),
)
"""Names, in any directory, of files that interpreters, tools, file managers and editors leave behind."""

_LEFTOVER = re.compile("|".join(translate(pattern) for pattern in LEFTOVERS))


@dataclass(frozen=True)
class Source:
    """A file with its name in the archive."""

    name: str  # relative to the project's directory, with slashes
    data: bytes
    executable: bool


def files(handler: Path) -> Iterator[Path]:
    """Yield the paths below `handler` that are shipped, sorted, without directories. Links are not followed."""
    for path in sorted(handler.rglob("*")):
        inside = PurePosixPath(path.relative_to(handler))
        excluded = any(inside.is_relative_to(other) for other in NOT_SHIPPED) or any(map(_LEFTOVER.match, inside.parts))
        if not excluded and (path.is_symlink() or not path.is_dir()):
            yield path


def read_sources(handler: Path) -> list[Source]:
    """Read the shipped files. A link to a file within `handler` becomes a copy of that file.

    Raises
    ------
    pulumi.RunError
        `handler` contains another kind of link, or an entry that is not a file; the message names each.
    """
    paths = list(files(handler))
    if refusals := [reason for path in paths if (reason := _refusal(path, handler))]:
        raise pulumi.RunError("\n".join(refusals))
    return [
        Source(
            name=PurePosixPath("handler", path.relative_to(handler)).as_posix(),
            data=path.read_bytes(),
            executable=bool(path.stat().st_mode & 0o100),  # the owner's bit, the one that git keeps
        )
        for path in paths
    ]


def _refusal(path: Path, handler: Path) -> str | None:
    """Return why the archive cannot contain `path`, or None if it can."""
    name = f"handler/{path.relative_to(handler).as_posix()}"
    if not path.is_symlink():
        return None if path.is_file() else f"{name} is neither a file nor a directory; move it out of handler/"
    link = f"{name} is a link to {path.readlink()}"
    if path.is_dir():
        return f"{link}, a directory, but only links to files are followed; move the directory itself to {name}"
    if not path.is_file():
        return f"{link}, which does not exist; fix or remove the link"
    if not path.resolve().is_relative_to(handler.resolve()):
        return f"{link}, outside handler/, but only links within handler/ are followed; copy the file to {name}"
    return None
