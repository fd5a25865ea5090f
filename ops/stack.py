"""A deployed stack as its outputs tell it, and clients for where it is."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import boto3  # pyright: ignore[reportMissingTypeStubs] -- boto3 is untyped
from botocore.config import Config  # pyright: ignore[reportMissingTypeStubs] -- as above
from pydantic import BaseModel, Field, ValidationError

from ops import OpsError

Client = Callable[[str], Any]
"""boto3's client of a service."""


class TableOutputs(BaseModel):
    """A table, as the program exports it."""

    name: str
    arn: str


class ConsumerOutputs(BaseModel):
    """A consumer, as the program exports it; `mappings` is by the names in the program of the tables that it reads."""

    log_group: str = Field(alias="logGroup")
    mappings: dict[str, str]


class FailureBucketOutputs(BaseModel):
    """The failure bucket."""

    bucket: str


class StoresOutputs(BaseModel):
    """Where failures are kept."""

    failures: FailureBucketOutputs


class Stack(BaseModel):
    """The stack's outputs, as far as the commands use them."""

    tables: dict[str, TableOutputs] = Field(min_length=1)
    consumers: dict[str, ConsumerOutputs]
    stores: StoresOutputs

    @classmethod
    def load(cls, outputs: Path | None, name: str | None) -> "Stack":
        """The outputs in a file (`-` is the standard input), or of a stack as the Pulumi CLI tells them.

        Raises
        ------
        OpsError
            They cannot be had, or are not those of this program.
        """
        try:
            if outputs is None:
                text = _cli_outputs(name)
            else:
                text = sys.stdin.read() if outputs == Path("-") else outputs.read_text(encoding="utf-8")
        except OSError as error:
            raise OpsError(f"{outputs} cannot be read: {error.strerror}") from error
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
            raise OpsError(
                f"these are not the outputs of this program, as pulumi stack output --json prints them: {problems}"
            ) from error

    def client(self, service: str) -> Any:
        """boto3's client in the stack's own region, whatever the caller's is."""
        region = next(iter(self.tables.values())).arn.split(":")[3]
        config = Config(connect_timeout=5, read_timeout=30, retries={"mode": "standard", "total_max_attempts": 5})
        return cast("Any", boto3).client(service, region_name=region, config=config)


def _cli_outputs(name: str | None) -> str:
    command = ["pulumi", "stack", "output", "--json", *(["--stack", name] if name else [])]
    try:
        process = subprocess.run(
            command, capture_output=True, text=True, check=False, env=os.environ | {"PULUMI_SKIP_UPDATE_CHECK": "true"}
        )
    except FileNotFoundError as error:
        raise OpsError("pulumi is not on the PATH: install its CLI, or give the outputs as --outputs FILE") from error
    if process.returncode:
        raise OpsError(f"{' '.join(command)} failed: {process.stderr.strip()}")
    return process.stdout
