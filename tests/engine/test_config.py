"""What the program gets of a stack file is the same with the CLI and without."""

import json
from pathlib import Path

import pytest

from sandbox import ROOT
from sandbox.program.in_process import stack_config
from tests.engine.project import Project

pytestmark = pytest.mark.timeout(300)

STACKS = sorted(path.name.split(".")[1] for path in ROOT.glob("Pulumi.*.yaml"))
SEEN = """
import os
import pathlib

pathlib.Path("seen.json").write_text(os.environ["PULUMI_CONFIG"])
"""


@pytest.mark.parametrize("stack", STACKS)
def test_the_configuration_is_the_cli_s(provider: str, tmp_path: Path, stack: str) -> None:
    made = Project(tmp_path, provider, program=SEEN, stack=stack, source=ROOT)
    made.run("preview")
    seen = json.loads((made.directory / "seen.json").read_text())
    assert seen == stack_config(stack)
    told = json.loads(made.run("config", "--json"))
    declared = {key: each["value"] for key, each in told.items()}
    assert declared == {key: value for key, value in seen.items() if key in declared}
