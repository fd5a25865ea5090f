"""The program's files, and when they have last changed."""

import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from infra.archive.sources import files

Stamp = tuple[int, int]
"""The time of a file's last change in ns, and its size in bytes."""


def read_stamps(root: Path, stack: str) -> dict[Path, Stamp]:
    """Return the program's files with their stamps. A link changes with its target.

    The files are the modules beside __main__.py and of infra/, the stack file, Pulumi.yaml, the files of handler/ that
    the archive contains, and their requirements.
    """
    stamps: dict[Path, Stamp] = {}
    for path in _watched(root, stack):
        with contextlib.suppress(FileNotFoundError):  # an editor that saves by renaming removes the file for a moment
            itself = path.lstat()
            of = [itself, path.stat()] if path.is_symlink() and path.exists() else [itself]
            # ctime, because a change of the file's mode does not change mtime.
            stamps[path] = max(each.st_ctime_ns for each in of), of[-1].st_size
    return stamps


def _watched(root: Path, stack: str) -> Iterator[Path]:
    handler = root / "handler"
    yield from (root / "Pulumi.yaml", root / f"Pulumi.{stack}.yaml")
    yield from (handler / "requirements.in", handler / "requirements.txt")
    yield from root.glob("*.py")
    yield from (root / "infra").rglob("*.py")
    yield from files(handler)


def differing(before: Mapping[Path, Stamp], after: Mapping[Path, Stamp]) -> set[Path]:
    """Return the files that are new, gone or changed."""
    return {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}


def forget_modules(root: Path, changed: Iterable[Path]) -> None:
    """Have the next run of the program import infra and the modules beside __main__.py again, if one has changed.

    A process imports a module once. These modules know each other's classes, so the next run imports all of them again
    or none. Modules of the sandbox keep what they have imported from infra, which is one function that lists files.

    Python takes a compiled module for current if the module has the same size and the same second of change, so the
    compiled forms of changed modules are removed.
    """
    handler = root / "handler"
    python = [path for path in changed if path.suffix == ".py" and not path.is_relative_to(handler)]
    for path in python:
        Path(importlib.util.cache_from_source(str(path))).unlink(missing_ok=True)
    if any(path.name != "__main__.py" for path in python):
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None)
            if name.partition(".")[0] == "infra" or (name != "__main__" and file and Path(file).parent == root):
                del sys.modules[name]
    importlib.invalidate_caches()
