"""`pulumi new` makes a project with a name of the user's own from a copy of this one."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from sandbox import ROOT
from tests.engine.project import Project

pytestmark = pytest.mark.timeout(300)

IGNORED = [line.rstrip("/") for line in (ROOT / ".gitignore").read_text().split()]


def test_a_new_project_has_its_own_name_and_reads_its_own_settings(provider: str, tmp_path: Path) -> None:
    template, shop = tmp_path / "template", tmp_path / "shop"
    shutil.copytree(ROOT, template, ignore=shutil.ignore_patterns(".git", *IGNORED))
    subprocess.run(
        ["pulumi", "new", template, "--dir", shop, "--name", "shop", "--generate-only", "--yes", "--offline"],
        env=os.environ | {"PULUMI_HOME": str(tmp_path / "home"), "PULUMI_SKIP_UPDATE_CHECK": "true"},
        check=True,
    )
    assert "quickstart" not in (shop / "Pulumi.yaml").read_text()

    project = Project(tmp_path, provider, source=shop)
    assert "shop-local" in project.preview()
    project.configure("mailFrom", "nobody")
    assert 'shop:mailFrom = "nobody": ' in project.expect_failure("preview")
