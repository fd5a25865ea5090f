"""Mends the demo's failure as an operator does: deploys a template for the failing user, and redrives the change."""

import io
import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping

from sandbox import ROOT
from sandbox.demo.workload import FAILING_LANGUAGE
from sandbox.mapping.poller import Poller
from sandbox.program.deploy import DeployedResource
from sandbox.resources.assets import zipped

MODULE = "handler/welcome_email.py"
TEMPLATE = f'TEMPLATES["{FAILING_LANGUAGE}"] = TEMPLATES["en"]\n'
REDRIVE = ("python", "-m", "ops", "redrive", "welcome-email", "--yes")
REDRIVE_TIMEOUT_SECONDS = 120


def add_template(function: DeployedResource, poller: Poller) -> None:
    """Give the function of welcome-email a template in FAILING_LANGUAGE, while no invocation of it runs."""
    code = append_to_member(zipped(function.inputs["code"]), MODULE, TEMPLATE)
    with poller.pause(function.id):
        function.resource_type.client.update_function_code(FunctionName=function.id, ZipFile=code)


def append_to_member(archive: bytes, member: str, text: str) -> bytes:
    """Return a zip file with a text at the end of one member. Raises KeyError if there is no such member."""
    written = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(written, "w") as new:
        members = {name: old.read(name) for name in old.namelist()}
        members[member] += text.encode()
        for name, content in members.items():
            new.writestr(name, content)
    return written.getvalue()


def redrive(variables: Mapping[str, str]) -> str | None:
    """Run the operator's command with the sandbox's AWS variables; return its problem, or None if all is done."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    try:
        process = subprocess.run(
            [sys.executable, *REDRIVE[1:]],
            cwd=ROOT,
            env={**environment, **variables},
            capture_output=True,
            text=True,
            timeout=REDRIVE_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"redrive has not ended after {REDRIVE_TIMEOUT_SECONDS} s"
    if not process.returncode:
        return None
    lines = (process.stderr or process.stdout).strip().splitlines()
    return f"redrive ended with {process.returncode}: {lines[-1] if lines else ''}"
