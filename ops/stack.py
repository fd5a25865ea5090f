"""Reads the outputs of a deployed stack, and makes clients for its Region."""

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
"""Returns boto3's client for a service."""


class TableOutputs(BaseModel):
    """Outputs of a table."""

    name: str
    arn: str


class ConsumerOutputs(BaseModel):
    """Outputs of a consumer; the keys of `mappings` are the program's names of the tables that the consumer reads."""

    log_group: str = Field(alias="logGroup")
    mappings: dict[str, str]


class FailureBucketOutputs(BaseModel):
    """Outputs of the failure bucket."""

    bucket: str


class StoresOutputs(BaseModel):
    """Outputs of the stores."""

    failures: FailureBucketOutputs


class Stack(BaseModel):
    """Outputs of the stack that the commands use."""

    tables: dict[str, TableOutputs] = Field(min_length=1)
    consumers: dict[str, ConsumerOutputs]
    stores: StoresOutputs

    @classmethod
    def load(cls, outputs: Path | None, name: str | None) -> "Stack":
        """Read the outputs from a file (`-` is standard input), or from the stack `name` with the Pulumi CLI.

        Raises
        ------
        OpsError
            The outputs cannot be read, or another program exported them.
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
                f"the JSON is not the output of pulumi stack output --json for this program: {problems}"
            ) from error

    def client(self, service: str) -> Any:
        """Return boto3's client for a service in the stack's Region, whatever the environment's Region is."""
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
        raise OpsError(
            "pulumi is not on the PATH: install the Pulumi CLI, or pass the outputs with --outputs FILE"
        ) from error
    if process.returncode:
        raise OpsError(f"{' '.join(command)} failed: {process.stderr.strip()}")
    return process.stdout
