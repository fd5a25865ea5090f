"""A program `shop` that uses the components as docs/components.md describes, deployed with the Pulumi CLI."""

import re
import subprocess
from pathlib import Path

import pytest

from sandbox import ROOT
from tests.engine.project import Project
from tests.local import LocalAws

pytestmark = pytest.mark.timeout(300)

DOCUMENT = (ROOT / "docs" / "components.md").read_text()
FILES = dict(re.findall(r"^`shop/(\S+)`:\n\n```\w+\n(.*?)^```", DOCUMENT, re.DOTALL | re.MULTILINE))
COMMANDS = re.findall(r"^\$ ((?:mkdir|cp) .*)", DOCUMENT, re.MULTILINE)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """The directory of the program, with archives for this machine."""
    (tmp_path / "table-stream").symlink_to(ROOT)
    for command in COMMANDS:
        subprocess.run(["bash", "-c", command], cwd=tmp_path, check=True)
    for name, text in FILES.items():
        (tmp_path / "shop" / name).write_text(text.replace('build("arm64")', 'build("host")'), encoding="utf-8")
    return tmp_path / "shop"


def test_another_program_deploys_the_copied_components(
    provider: str, shop: Path, tmp_path: Path, aws: LocalAws
) -> None:
    project = Project(tmp_path, provider, source=shop, stack="dev")
    project.up()
    table, group = project.outputs()["table"], project.outputs()["consumer"]["logGroup"]
    aws.write(table, {"id": "pen", "price": 1}, {"id": "pen", "price": 2})
    aws.wait_until_idle()
    [entry] = aws.log_entries(group, "price")
    assert (entry["item"], entry["service"]) == ({"id": "pen"}, "price-watch")

    project.edit("__main__.py", 'key="id",', 'key="id", view_type="NEW_IMAGE",')
    project.confirm(project.expect_failure("preview"))  # sets its configuration key `confirmedDrained`
    of_mapping = [f"alarms-price-watch-{name}" for name in ("discarded", "items-nothing-read", "lost")]
    follow = dict.fromkeys([*of_mapping, "alarms-dashboard"], "update")  # the metrics of the new mapping
    assert project.preview() == {"items-table": "update", "price-watch-items": "replace", **follow}
    project.destroy()
