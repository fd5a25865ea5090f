"""The README: what `python -m sandbox new` writes is what it shows, and the consumer that it ends with works."""

import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox import ROOT
from sandbox.new.consumer import NewConsumer
from sandbox.program.in_process import read_project
from tests.program.recording import record_program

if read_project(ROOT)["name"] != "table-stream":
    pytest.skip("the README of another project is its own", allow_module_level=True)

BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)


def block(part: str) -> str:
    """Return the one block that has `part`."""
    [text] = (block for block in BLOCKS if part in block)
    return text


@pytest.fixture(scope="module")
def new(project: Path) -> NewConsumer:
    """The consumer of the README, as the command writes it."""
    new = NewConsumer.plan(project, "stock-alert")
    new.write()
    return new


def test_the_command_writes_what_the_readme_shows(new: NewConsumer) -> None:
    assert new.module_path.read_text() == block("Runs for each change of items")
    assert new.test_path.read_text() == block("def test_a_new_item")
    assert "\n\n".join(new.entry.parts()) + "\n" == block('items = StreamTable(\n    "items",\n    key="id",\n    enc')


def test_the_consumer_and_its_test_work(new: NewConsumer, project: Path, caplog: pytest.LogCaptureFixture) -> None:
    new.module_path.write_text(block("Tell the warehouse"))
    new.test_path.write_text(block("def test_an_item_without"))
    program = project / "__main__.py"
    made = new.entry.parts()[1].replace("\n", "\n    ")
    text = program.read_text().replace(made, block('items.changes("MODIFY"').strip())
    program.write_text(text.replace("\nstores = ", f"\n{block('import pulumi_aws as aws')}\nstores = ", 1))

    caplog.set_level(logging.WARNING, "pulumi")
    recorded = record_program(project, "local")
    assert [each.message for each in caplog.records] == []
    [publish] = [each for each in recorded.statements("stock-alert") if each["Action"] == ["sns:Publish"]]
    assert publish["Resource"] == ["arn:aws:sns:eu-central-1:123456789012:alerts-0a1b2c3"]
    test = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(new.test_path)]
    done = subprocess.run(test, cwd=project, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
