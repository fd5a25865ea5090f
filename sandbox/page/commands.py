"""Runs the operator's commands, python -m ops, as processes of their own that see the sandbox as AWS."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sandbox import ROOT

TIMEOUT_SECONDS = 120
COULD_NOT_RUN = 2
"""The exit code of a command that could not run."""


@dataclass(frozen=True)
class FinishedCommand:
    """The exit code of a command, its result (standard output), and its messages (standard error)."""

    code: int
    output: str
    messages: str


def run_ops(arguments: Sequence[str], variables: Mapping[str, str]) -> FinishedCommand:
    """Run `python -m ops` with arguments and the sandbox's AWS variables; the caller's own ones do not reach it.

    A command that has not ended after TIMEOUT_SECONDS is killed and could not run.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    try:
        process = subprocess.run(
            [sys.executable, "-m", "ops", *arguments],
            cwd=ROOT,
            env={**environment, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return FinishedCommand(COULD_NOT_RUN, "", f"{arguments[0]} has not ended after {TIMEOUT_SECONDS} s")
    return FinishedCommand(process.returncode, process.stdout, process.stderr)
