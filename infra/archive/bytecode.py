"""Compiles the modules of the archive for Lambda's Python, so that no cold start compiles them."""

import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pulumi

from infra.archive import compile_modules, zip_file
from infra.archive.targets import Target, runtime
from infra.archive.zip_file import Member


@dataclass(frozen=True)
class Compiler:
    """An interpreter that has the Python version of a target."""

    executable: str
    version: str  # with the maintenance release, since another one may compile differently

    def compile(self, members: Mapping[str, Member]) -> dict[str, bytes]:
        """Return the bytecode file of each module among `members`, by its name in the archive."""
        with tempfile.TemporaryDirectory() as directory:
            sources, bytecode = Path(directory, "sources.zip"), Path(directory, "bytecode.zip")
            with sources.open("wb") as file:
                zip_file.write_zip({name: each for name, each in members.items() if name.endswith(".py")}, file)
            _run(self.executable, str(compile_modules.__file__), str(sources), str(bytecode))
            with zipfile.ZipFile(bytecode) as packed:
                return {name: packed.read(name) for name in packed.namelist()}


def find_compiler(target: Target) -> Compiler:
    """Return the interpreter that runs the program, if it has the version of `target`, or one of that version in PATH.

    Raises
    ------
    pulumi.RunError
        There is none; the message says how to install it.
    """
    name = runtime(target)
    if name == runtime("host") and platform.python_implementation() == "CPython":
        return Compiler(sys.executable, platform.python_version())
    path = shutil.which(name)
    try:
        version = path and _run(path, "-c", "import platform; print(platform.python_version())").strip()
    except subprocess.CalledProcessError:  # such as pyenv's command for a version that is not active
        version = None
    if not path or not version or not f"python{version}".startswith(f"{name}."):
        raise pulumi.RunError(
            f"table-stream:bytecode needs {name}, which Lambda runs, and the program runs on Python "
            f"{platform.python_version()}: put {name} into PATH (uv python install {name.removeprefix('python')}), or "
            "remove the setting"
        )
    return Compiler(path, version)


def _run(executable: str, *arguments: str) -> str:
    """Run an interpreter without site-packages and without the variables that change how it compiles."""
    return subprocess.run([executable, "-I", "-S", *arguments], check=True, capture_output=True, text=True).stdout
