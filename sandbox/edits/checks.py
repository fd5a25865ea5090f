"""Checks the program's files before anything is deployed."""

import hashlib
import importlib.util
import json
import subprocess
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from infra.archive.sources import read_sources
from sandbox.edits.problems import Frame, ProblemError, describe, describe_frames
from sandbox.emulator import PYTHON, client_variables
from sandbox.program.code import used_files

INIT_SECONDS = 10.0
"""How long Lambda waits for the import of a function's module, at first (Lambda's execution environment)."""
IMPORTS = 2
"""Imports at the same time: a developer's machine has other work."""


@dataclass(frozen=True)
class Checked:
    """A function whose module is to be imported.

    Attributes
    ----------
    handler
        The name of the function's handler, as in handler.mirror.handler.
    variables
        The function's environment variables.
    """

    handler: str
    variables: Mapping[str, str]

    @property
    def module(self) -> str:
        """The module with the handler."""
        return self.handler.rpartition(".")[0]


def check_files(root: Path, stack: str, changed: Iterable[Path]) -> None:
    """Check that no file is empty that must not be, and that the changed modules are Python.

    Raises
    ------
    ProblemError
        The message has all mistakes.
    """
    problems = [
        f"{path.name}:1: the file is {'empty' if path.exists() else 'gone'}"
        for path in (root / "__main__.py", root / f"Pulumi.{stack}.yaml", root / "Pulumi.yaml")
        if not path.exists() or not path.read_bytes().strip()
    ]
    for path in sorted(changed):
        if path.suffix == ".py" and path.exists():
            try:
                compile(path.read_bytes(), path, "exec", dont_inherit=True)
            except (SyntaxError, ValueError) as error:
                has_place = isinstance(error, SyntaxError) and error.filename
                problems.append(describe(error, root) if has_place else f"{path.relative_to(root)}:1: {error}")
    if problems:
        raise ProblemError("\n".join(problems))


def using(functions: Iterable[Checked], root: Path, changed: Iterable[Path]) -> list[Checked]:
    """Return the functions that use one of the changed files."""
    files = {source.name: source.data for source in read_sources(root / "handler")}
    names = {path.relative_to(root).as_posix() for path in changed}
    return [each for each in functions if names & used_files(files, each.module)]


class ImportCheck:
    """Imports modules of handler/ with the functions' Python and packages, so that an error is known before a change.

    Unlike a function's process, the check has no layers, and its working directory is not that of the code.

    Parameters
    ----------
    root
        The program's directory.
    directory
        A directory for the packages, which are unpacked once.
    endpoint, region
        Where the emulator is: a module may call AWS when it is imported.
    """

    def __init__(self, root: Path, directory: Path, endpoint: str, region: str) -> None:
        self._root, self._directory = root, directory
        self._compiled = directory / "compiled"
        self._variables = client_variables(endpoint, region) | {
            "HOME": str(directory),
            "TMPDIR": str(directory),
            "LAMBDA_TASK_ROOT": str(root),
            "PYTHONPYCACHEPREFIX": str(self._compiled),
        }

    def check(self, functions: Sequence[Checked], archive: Path, changed: Iterable[Path]) -> None:
        """Import the module of each function that names one.

        Parameters
        ----------
        functions
            The functions to check.
        archive
            An archive of functions, which has the packages of handler/requirements.txt.
        changed
            The files that have changed since the last call.

        Raises
        ------
        ProblemError
            Some cannot be imported; the message has each error once.
        """
        for module in (path for path in changed if path.suffix == ".py"):
            compiled = Path(importlib.util.cache_from_source(str(module))).name
            # As for the program's own modules: Python may take a compiled module for current that is not.
            (self._compiled / module.parent.relative_to("/") / compiled).unlink(missing_ok=True)
        functions = [function for function in functions if function.module]
        if not functions:
            return
        path = [str(self._root), str(self._unpacked(archive))]
        with ThreadPoolExecutor(IMPORTS, "import") as pool:
            problems = pool.map(partial(self._import, path), functions)
        if found := list(dict.fromkeys(filter(None, problems))):
            raise ProblemError("\n".join(found))

    def _import(self, path: list[str], function: Checked) -> str:
        try:
            process = subprocess.run(
                [PYTHON, "-P", Path(__file__).parent / "import_module.py"],
                input=json.dumps({"path": path, "module": function.module}) + "\n",
                capture_output=True,
                text=True,
                cwd=self._root,
                env={**self._variables, **function.variables},
                timeout=INIT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return ""  # as on AWS, where the first invocation imports the module again, within its own time-out
        try:
            failure: dict[str, Any] | None = json.loads(process.stdout)
        except ValueError:
            return f"{function.module} ended the process that imported it (exit code {process.returncode})"
        if not failure:
            return ""
        frames = [Frame(file, line) for file, line in failure["frames"]]
        return describe_frames(failure["type"], failure["message"], frames, self._root)

    def _unpacked(self, archive: Path) -> Path:
        """Return a directory with the archive's packages: all its members outside handler/."""
        with zipfile.ZipFile(archive) as packed:
            members = [info for info in packed.infolist() if not info.filename.startswith("handler/")]
            digest = hashlib.sha256(repr([(info.filename, info.CRC) for info in members]).encode()).hexdigest()
            directory = self._directory / f"packages-{digest[:16]}"
            if not directory.exists():
                packed.extractall(directory, members)
        return directory
