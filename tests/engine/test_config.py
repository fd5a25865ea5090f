"""The configuration of the program is the same with the Pulumi CLI and without."""

import json
from pathlib import Path

import pytest

from sandbox import ROOT
from sandbox.program.in_process import stack_config
from sandbox.program.values import ProgramError
from tests.engine.project import Project
from tests.program.recording import stacks

pytestmark = pytest.mark.timeout(300)

SEEN = """
import os
import pathlib

pathlib.Path("seen.json").write_text(os.environ["PULUMI_CONFIG"])
"""


@pytest.mark.parametrize("stack", stacks(ROOT))
def test_the_configuration_is_the_cli_s(provider: str, tmp_path: Path, stack: str) -> None:
    try:
        expected = stack_config(stack)
    except ProgramError as error:
        if "is encrypted" in str(error):
            pytest.skip(str(error))
        raise
    project = Project(tmp_path, provider, program=SEEN, stack=stack, source=ROOT)
    project.run("preview")
    seen = json.loads((project.directory / "seen.json").read_text())
    assert seen == expected
    printed = json.loads(project.run("config", "--json"))
    declared = {key: each["value"] for key, each in printed.items()}
    assert declared == {key: value for key, value in seen.items() if key in declared}
