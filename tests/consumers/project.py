"""Assembles the sample project: this folder's program and consumers, with the engine and components of this repository.

Tests of the engine, the components, the rules, the sandbox and the commands use the sample project, so that they do not
depend on the consumers of the program in the root of the repository.
"""

import atexit
import shutil
import tempfile
from pathlib import Path

from sandbox import ROOT

HERE = Path(__file__).parent
LINKED = (".cache", ".venv", ".venv-aws", "infra", "ops", "policy", "requirements.txt", "sandbox")
"""The parts of the repository that the sample project shares: the archives, the environments, and code."""


def _assembled() -> Path:
    """Return a directory with the sample project, which is removed when the process ends."""
    root = Path(tempfile.mkdtemp(prefix="table-stream-")).resolve()
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(HERE / "handler", root / "handler", ignore=ignored)
    shutil.copytree(ROOT / "handler" / "stream", root / "handler" / "stream", ignore=ignored)
    for path in (ROOT / "handler").glob("requirements.*"):
        shutil.copy(path, root / "handler")
    for path in (HERE / "__main__.py", *HERE.glob("Pulumi*.yaml")):
        shutil.copy(path, root)
    (ROOT / ".cache").mkdir(exist_ok=True)
    for name in LINKED:
        (root / name).symlink_to(ROOT / name)
    return root


SAMPLE = _assembled()
"""The directory of the sample project."""
