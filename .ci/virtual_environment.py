"""Installs lock files into a virtual environment: python3 .ci/virtual_environment.py MARKER LOCK [LOCK ...].

MARKER is a file in the environment's directory, such as .venv/.installed. It is written last, so that make runs this
again until an installation is complete. Everything here uses the standard library only, and syntax that older Pythons
can parse, so that an unsupported Python prints one sentence instead of a traceback.
"""

from __future__ import annotations

import fcntl
import shutil
import signal
import sys
from pathlib import Path
from typing import IO

import installer
from progress import Progress

OLDEST = (3, 11)
UNFINISHED = ".unfinished"
"""This file is in an environment from the start of an installation until its end."""
MARKERS = ".installed", ".tests", ".checks"
APT = "On Debian and Ubuntu: apt install python3-venv"
ASIDE = ".aside"
TURN = Path(".cache") / "installation"
"""One installation runs at a time, in all of make's jobs, so that only one progress line is on the screen."""


def main(marker: Path, locks: list[Path]) -> str | None:
    """Create the environment of `marker` if necessary and install `locks`; return the error message if that fails."""
    if sys.version_info < OLDEST:
        needed, current = (".".join(map(str, version)) for version in (OLDEST, sys.version_info[:3]))
        return f"Python {needed} or newer is needed, but this is {current}: choose one, as in make PYTHON=python3.13"
    TURN.parent.mkdir(exist_ok=True)
    with TURN.open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        return install(marker, locks, turn)


def install(marker: Path, locks: list[Path], turn: IO[str]) -> str | None:
    """Install `locks`. Each process that it starts inherits `turn`, so that a process that outlives it ends first."""
    directory = marker.parent
    remove_unfinished(directory)
    directory.mkdir(exist_ok=True)
    (directory / UNFINISHED).touch()
    others = [each for each in (directory / name for name in MARKERS) if each.exists() and each != marker]
    for other in others:  # they come back with their times: their locks may have changed, too
        other.rename(f"{other}{ASIDE}")
    if marker.exists():
        marker.unlink()
    with Progress(f"installing {' and '.join(map(str, locks))} into {directory}", turn) as progress:
        python = directory / "bin" / "python"
        if not python.exists() and progress.run([sys.executable, "-m", "venv", "--without-pip", str(directory)]):
            return f"{directory} could not be created: {progress.last_line}. {APT}"
        problem = installer.install(python, locks, progress)
        if problem:
            return f"{directory} is incomplete: {problem} Fix this and run make again."
        marker.touch()
        for other in others:
            Path(f"{other}{ASIDE}").rename(other)
        (directory / UNFINISHED).unlink()
        progress.end(f"{directory} is ready")
    return None


def remove_unfinished(directory: Path) -> None:
    """Remove what an interrupted installation has left; its mark goes last, since this can be interrupted, too."""
    if (directory / UNFINISHED).exists():
        for path in directory.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != UNFINISHED:
                path.unlink()


if __name__ == "__main__":
    for interrupt in (signal.SIGINT, signal.SIGTERM):
        signal.signal(interrupt, signal.SIG_DFL)  # nothing needs to be put in order, so no traceback is shown
    sys.exit(main(Path(sys.argv[1]), [Path(lock) for lock in sys.argv[2:]]))
