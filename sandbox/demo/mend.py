"""Mends the demo's failure as an operator does: deploys a template for the failing user, and redrives the change."""

import io
import zipfile
from collections.abc import Mapping

from sandbox.demo.workload import FAILING_LANGUAGE
from sandbox.mapping.poller import Poller
from sandbox.page.commands import run_ops
from sandbox.program.deploy import DeployedResource
from sandbox.resources.assets import zipped

MODULE = "handler/welcome_email.py"
TEMPLATE = f'TEMPLATES["{FAILING_LANGUAGE}"] = TEMPLATES["en"]\n'
REDRIVE = ("python", "-m", "ops", "redrive", "welcome-email", "--yes")


def add_template(function: DeployedResource, poller: Poller) -> None:
    """Give the function of welcome-email a template in FAILING_LANGUAGE: invocations from now on have it.

    The function starts at once, while the command that redrives starts, too.
    """
    code = append_to_member(zipped(function.inputs["code"]), MODULE, TEMPLATE)
    functions = function.resource_type.client
    with poller.pause(function.id):
        functions.update_function_code(FunctionName=function.id, ZipFile=code)
    functions.invoke(FunctionName=function.id, InvocationType="Event", Payload='{"table-stream": "retry"}')


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
    finished = run_ops(REDRIVE[3:], variables)
    if not finished.code:
        return None
    lines = (finished.messages or finished.output).strip().splitlines()
    return f"redrive ended with {finished.code}: {lines[-1] if lines else ''}"
