"""The program's files, and when they have last changed."""

import contextlib
import importlib
import importlib.util
import os
import stat
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from infra.archive.sources import files

Stamp = tuple[int, int]
"""The time of a file's last change in ns, and its size in bytes."""
RESOLUTION_NS = 2_000_000_000
"""The coarsest resolution of a file system's times (FAT: 2 s)."""


class Files:
    """The program's files, read again and again at little cost: a directory is listed only after it has changed.

    The files are the modules beside __main__.py and of infra/, the stack file, Pulumi.yaml, the files of handler/ that
    the archive contains, and their requirements.
    """

    def __init__(self, root: Path, stack: str) -> None:
        self._root, self._stack = root, stack
        self._paths: list[Path] = []
        self._directories: dict[Path, int] = {}  # the time of each one's last change, in ns

    def stamps(self) -> dict[Path, Stamp]:
        """Return the files with their stamps. A link changes with its target."""
        if not self._directories or _times(self._directories) != self._directories:
            self._list()
        stamps: dict[Path, Stamp] = {}
        for path in self._paths:
            with contextlib.suppress(FileNotFoundError):  # an editor that saves by renaming removes it for a moment
                itself = os.lstat(path)
                of = [itself, path.stat()] if stat.S_ISLNK(itself.st_mode) and path.exists() else [itself]
                # ctime, because a change of the file's mode does not change mtime.
                stamps[path] = max(each.st_ctime_ns for each in of), of[-1].st_size
        return stamps

    def _list(self) -> None:
        infra, handler = self._root / "infra", self._root / "handler"
        beneath = [path for folder in (infra, handler) for path in folder.rglob("*/") if path.name != "__pycache__"]
        before = _times([self._root, infra, handler, *(path for path in beneath if path.is_dir())])
        self._paths = [
            *(self._root / "Pulumi.yaml", self._root / f"Pulumi.{self._stack}.yaml"),
            *(handler / "requirements.in", handler / "requirements.txt"),
            *self._root.glob("*.py"),
            *infra.rglob("*.py"),
            *files(handler),
        ]
        # A directory that has just changed may change again within the resolution of its time.
        just_now = time.time_ns() - RESOLUTION_NS
        self._directories = {} if any(changed > just_now for changed in before.values()) else before


def _times(directories: Iterable[Path]) -> dict[Path, int]:
    times: dict[Path, int] = {}
    for directory in directories:
        with contextlib.suppress(FileNotFoundError):
            times[directory] = directory.stat().st_mtime_ns
    return times


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
