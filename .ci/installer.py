"""Installs lock files with uv where the package index has it, and with pip elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from pip_configuration import read, uv_variables
from progress import Progress

OPTIONS = ["--no-input", "--disable-pip-version-check", "--progress-bar=off", "--no-compile", "--require-hashes"]
UV = Path(".venv") / "bin" / "uv"
"""The first environment has uv for all of them."""


def install(python: Path, locks: list[Path], progress: Progress) -> str | None:
    """Install `locks` into the environment of `python`, which has no pip yet; return the problem in sentences."""
    pip = find_pip(python)
    if pip is None and progress.run([str(python), "-m", "ensurepip"]):
        return f"ensurepip failed: {progress.last_line}."
    pip = pip or [str(python), "-m", "pip"]
    if run_uv(python, pip, locks, progress) or not progress.run([*pip, "install", *OPTIONS, *_files(locks)]):
        return None
    errors = [line for line in progress.lines if line.startswith("ERROR: ")]
    problem = errors[-1][len("ERROR: ") :].rstrip(".") if errors else f"pip failed: {progress.last_line}"
    return f"{problem}." + (" Is the package index reachable?" if "No matching distribution" in problem else "")


def find_pip(python: Path) -> list[str] | None:
    """Return this interpreter's pip as a command for the environment of `python`; None without a recent pip."""
    command = [sys.executable, "-m", "pip", f"--python={python}"]
    silence = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return None if subprocess.run([*command, "--version"], check=False, **silence).returncode else command


def run_uv(python: Path, pip: list[str], locks: list[Path], progress: Progress) -> bool:
    """Install `locks` with uv, as pip is configured; return whether they are installed."""
    variables = uv_variables(read(pip), os.environ)
    if variables is None or not (UV.exists() or get_uv(pip, locks, progress)):
        return False
    command = [str(UV), "pip", "install", f"--python={python}", "--require-hashes", "--color=never"]
    if not progress.run([*command, *_files(locks)], {**os.environ, **variables}):
        return True
    print(f"pip installs, since uv has failed: {progress.last_line}", flush=True)
    return False


def get_uv(pip: list[str], locks: list[Path], progress: Progress) -> bool:
    """Install uv alone with pip, if a lock has it; return whether it is there."""
    found = (re.search(r"^uv==.*(?:\n .*)*\n", lock.read_text(encoding="utf-8"), re.MULTILINE) for lock in locks)
    lines = next((match[0] for match in found if match), None)
    if lines is None:
        return False
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as lock:
        lock.write(lines)
        lock.flush()
        # A source distribution would need a compiler, so that pip is better.
        return not progress.run([*pip, "install", *OPTIONS, "--only-binary=uv", "-r", lock.name]) and UV.exists()


def _files(locks: list[Path]) -> list[str]:
    return [word for lock in locks for word in ("-r", str(lock))]
