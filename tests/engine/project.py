"""A copy of the sample project, or of another one, with its own stack, deployed with the Pulumi CLI."""

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sandbox import ROOT
from tests.consumers.project import SAMPLE

COPIED = ("__main__.py", "Pulumi.yaml", "Pulumi.*.yaml", "requirements.txt", "handler", "infra", "policy")
LINKED = (".venv", ".cache", "policy/.venv")
"""Shared by all copies: the environments of the program and of the policy pack, and the archives."""

SECRETS_PROVIDER = ("encryptionsalt:", "encryptedkey:", "secretsprovider:")
"""The keys of a stack file that say how the CLI encrypts values."""


class Project:
    """A directory in which `pulumi` runs without the caller's stacks, plugins and credentials."""

    def __init__(
        self, directory: Path, provider: str, *, program: str | None = None, stack: str = "local", source: Path = SAMPLE
    ) -> None:
        self.directory = directory / "project"
        self.directory.mkdir(parents=True)
        for path in (path for pattern in COPIED for path in source.glob(pattern)):
            if path.is_dir():
                shutil.copytree(path, self.directory / path.name, ignore=shutil.ignore_patterns(".venv", "__pycache__"))
            else:
                shutil.copy(path, self.directory)
        for path in self.directory.glob("Pulumi.*.yaml"):  # the project has a passphrase of its own
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [line for line in lines if not line.startswith(SECRETS_PROVIDER)]
            path.write_text("".join(kept), encoding="utf-8")
        for path, link in ((ROOT / name, self.directory / name) for name in LINKED):
            if path.exists() and link.parent.exists():
                link.symlink_to(path)
        if program:
            (self.directory / "__main__.py").write_text(program, encoding="utf-8")
        (directory / "state").mkdir()
        # Without compiled modules, every command takes 3 s longer.
        left_out = ("AWS_", "PULUMI_", "PYTHONDONTWRITEBYTECODE")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
        self._environment = inherited | {
            "PULUMI_HOME": str(directory / "home"),
            "PULUMI_BACKEND_URL": f"file://{directory / 'state'}",
            "PULUMI_CONFIG_PASSPHRASE": "",
            "PULUMI_DEBUG_PROVIDERS": provider,
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
        }
        self.run("stack", "init", stack)

    def run(self, *arguments: str) -> str:
        """Run `pulumi`, which must succeed, and return its output."""
        code, out, error = self._pulumi(*arguments)
        assert code == 0, f"pulumi {' '.join(arguments)}: {code}\n{out}\n{error}"
        return out

    def expect_failure(self, *arguments: str) -> str:
        """Run `pulumi`, which must fail, and return its output and errors."""
        code, out, error = self._pulumi(*arguments)
        assert code != 0, f"pulumi {' '.join(arguments)} was expected to fail\n{out}\n{error}"
        return out + error

    def up(self, *arguments: str) -> None:
        """Update without a preview."""
        self.run("up", "--yes", "--skip-preview", *arguments)

    def preview(self, *arguments: str) -> dict[str, str]:
        """Return the operations of an update by resource name, without unchanged resources."""
        steps: list[dict[str, Any]] = json.loads(self.run("preview", "--json", *arguments)).get("steps", [])
        return {_name(step): step["op"] for step in steps if step["op"] not in ("same", "create-replacement")}

    def configure(self, key: str, value: str) -> None:
        """Set a key of the project's configuration, such as `tuning.mirror.batchSize`."""
        self.run("config", "set", "--path", key, value)

    def confirm(self, output: str) -> None:
        """Run the command that an error message names."""
        command = re.search(r"confirm with: pulumi (.*)", output)
        assert command
        self.run(*shlex.split(command[1]))

    def edit(self, file: str, old: str, new: str) -> None:
        """Replace `old`, which `file` has exactly once."""
        path = self.directory / file
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{file} has {text.count(old)} times {old!r}"
        path.write_text(text.replace(old, new), encoding="utf-8")

    def resources(self) -> dict[str, Mapping[str, Any]]:
        """Return the resources of the state by URN."""
        exported = json.loads(self.run("stack", "export"))
        return {each["urn"]: each for each in exported["deployment"].get("resources", [])}

    def ids(self) -> dict[str, str]:
        """Return the ids of the resources by name."""
        return {_name(each): each["id"] for each in self.resources().values() if "id" in each}

    def outputs(self) -> dict[str, Any]:
        """Return the stack's outputs."""
        return json.loads(self.run("stack", "output", "--json"))

    def destroy(self) -> None:
        """Destroy the stack."""
        self.run("destroy", "--yes", "--skip-preview")

    def _pulumi(self, *arguments: str) -> tuple[int, str, str]:
        done = subprocess.run(
            ["pulumi", "--non-interactive", "--color=never", *arguments],
            cwd=self.directory,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr


def _name(resource: Mapping[str, Any]) -> str:
    return resource["urn"].rpartition("::")[2]
