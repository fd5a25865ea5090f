"""The tests of the example that the repository ships: its three consumers, its program and its README.

They are yours: change them with the example, and delete the folder with it. No other test needs the example.
"""

import shutil
from pathlib import Path

import pytest

from sandbox import ROOT
from tests.handler.conftest import log_lines as log_lines


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the program, with links to what a new consumer does not change."""
    tmp_path = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "handler", tmp_path / "handler", ignore=shutil.ignore_patterns("__pycache__"))
    for path in ROOT.glob("Pulumi*.yaml"):
        shutil.copy(path, tmp_path)
    for name in ("infra", "ops", "sandbox", ".venv", ".venv-aws"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "tests").mkdir()
    (tmp_path / ".cache").mkdir()
    for path in (ROOT / ".cache").glob("wheels-*"):
        (tmp_path / ".cache" / path.name).symlink_to(path)
    # This process has imported the modules of infra, which take their own project for the program's.
    program = (ROOT / "__main__.py").read_text(encoding="utf-8")
    program = program.replace("Settings.load()", "Settings.load(ROOT)").replace(
        "(settings.target)", "(settings.target, ROOT)"
    )
    program = program.replace("\nimport pulumi\n", "\nfrom pathlib import Path\n\nimport pulumi\n", 1)
    program = program.replace("\nsettings = ", "\nROOT = Path(__file__).parent\n\nsettings = ", 1)
    (tmp_path / "__main__.py").write_text(program, encoding="utf-8")
    return tmp_path
