"""The example's program as it is shipped: the demo runs it, and no stack file causes a warning."""

import logging
import os
import subprocess
import sys

import pytest

from sandbox import ROOT
from tests.program.recording import record_program, stacks

for _name in ("mirror", "welcome_email"):
    pytest.importorskip(f"handler.{_name}", reason="the example is gone: delete tests/example, too")


def test_the_demo_runs() -> None:
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PULUMI_"))}
    done = subprocess.run(
        [sys.executable, "-m", "sandbox", "demo"], cwd=ROOT, env=variables, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


@pytest.mark.parametrize("stack", stacks(ROOT))
def test_no_stack_causes_a_warning(stack: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "pulumi")
    record_program(ROOT, stack, mailFrom="shop@example.com")
    assert [each.message for each in caplog.records] == []
