"""The sandboxes that run on this machine: each has a folder with its address, for commands in other terminals."""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sandbox import ROOT, SandboxError

SANDBOXES = ROOT / ".cache" / "sandboxes"
"""Has one folder for each sandbox, named after its port."""


class NotRunningError(SandboxError):
    """No sandbox runs, or several do and the command does not say which it means."""


@dataclass(frozen=True)
class RunningSandbox:
    """The address of a sandbox that runs.

    Attributes
    ----------
    page
        The page's URL with its token; empty if the sandbox serves no page.
    """

    process: int
    port: int
    endpoint: str
    region: str
    page: str = ""

    @property
    def directory(self) -> Path:
        """The folder of this sandbox."""
        return SANDBOXES / str(self.port)

    @property
    def outputs_path(self) -> Path:
        """The file with the stack's outputs."""
        return self.directory / "outputs.json"

    def announce(self) -> None:
        """Write the address, for the user of this machine only."""
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.directory / "sandbox.json"
        path.touch(mode=0o600)
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    def write_outputs(self, outputs: Mapping[str, Any]) -> None:
        """Write the stack's outputs as JSON."""
        self.outputs_path.write_text(json.dumps(outputs, indent=2), encoding="utf-8")

    def withdraw(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.directory, ignore_errors=True)


def running() -> list[RunningSandbox]:
    """Return the sandboxes whose process runs, by port; remove the folders of the others."""
    found: list[RunningSandbox] = []
    for path in sorted(SANDBOXES.glob("*/sandbox.json")):
        sandbox = RunningSandbox(**json.loads(path.read_text(encoding="utf-8")))
        if _is_alive(sandbox.process):
            found.append(sandbox)
        else:
            sandbox.withdraw()
    return found


def the_running_one(port: int | None = None) -> RunningSandbox:
    """Return the sandbox at a port; without a port, the one that AWS_ENDPOINT_URL names, or the only one.

    Raises
    ------
    NotRunningError
        There is no such sandbox, or there are several.
    """
    sandboxes = running()
    ports = ", ".join(str(each.port) for each in sandboxes)
    if not sandboxes:
        raise NotRunningError("no sandbox runs: start one in another terminal with make sandbox")
    if port is not None:
        sandboxes = [each for each in sandboxes if each.port == port]
        if not sandboxes:
            raise NotRunningError(f"no sandbox runs at port {port}; there are {ports}")
    elif len(sandboxes) > 1:
        named = urlsplit(os.environ.get("AWS_ENDPOINT_URL", "")).port
        sandboxes = [each for each in sandboxes if each.port == named]
        if not sandboxes:
            raise NotRunningError(f"several sandboxes run, at the ports {ports}: name one with --port")
    return sandboxes[0]


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
