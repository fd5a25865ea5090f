"""The tests of the example that the repository ships: its three consumers, its program and its README.

They are yours: change them with the example, and delete the folder with it. No other test needs the example.
"""

import shutil
from pathlib import Path

import pytest

from sandbox import ROOT
from tests.consumers.project import SAMPLE
from tests.handler.conftest import log_lines as log_lines


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sample project, which is the example as it is shipped, with a cache of its own."""
    root = Path(shutil.copytree(SAMPLE, tmp_path_factory.mktemp("copy") / "project", symlinks=True))
    (root / ".cache").unlink()
    (root / ".cache").mkdir()
    for path in (ROOT / ".cache").glob("wheels-*"):
        (root / ".cache" / path.name).symlink_to(path)
    return root
