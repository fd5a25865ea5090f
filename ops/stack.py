"""Reads the outputs of a deployed stack, and makes clients for its Region."""

import contextlib
import http.client
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3  # pyright: ignore[reportMissingTypeStubs] -- boto3 is untyped
import botocore.session  # pyright: ignore[reportMissingTypeStubs] -- as above
from botocore.config import Config  # pyright: ignore[reportMissingTypeStubs] -- as above
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError
from pydantic.alias_generators import to_camel

from ops import OpsError

Client = Callable[[str], Any]
"""Returns boto3's client for a service."""

SANDBOX_OUTPUTS = "/_table-stream/outputs"
"""The path at which the sandbox answers with the outputs of its stack."""
LONGEST_INVOCATION_SECONDS = 910
"""Lambda's longest time-out (900 s), and 10 s for the answer."""
CONNECTIONS = 32
"""Connections of a client, and so the most calls of one service that run at the same time."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")
NO_PROFILE = {"profile": (None, None, None, None)}
"""For a session that ignores AWS_PROFILE, whose profile need not exist for the sandbox."""


class Outputs(BaseModel):
    """Outputs of one thing of the program, by the names that the stack exports."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True)


class TableOutputs(Outputs):
    """Outputs of a table."""

    name: str
    arn: str = Field(pattern="^arn:[^:]+:dynamodb:[^:]+:")
    stream_arn: str = ""


class ConsumerOutputs(Outputs):
    """Outputs of a consumer; the keys of `mappings` are the program's names of the tables that the consumer reads."""

    function: str
    role: str
    log_group: str
    mappings: dict[str, str]
    ledger_name: str | None = None
    """The consumer's name in the ledger and the failure bucket; None for a consumer without stores."""
    schedule: str | None = None
    """The name of the schedule that retries held items; None for a consumer without stores."""
    fenced: bool = False
    """Whether `put_if_newer` makes all of the consumer's writes to tables."""
    claimed: bool = False
    """Whether the consumer claims its changes."""
    alarms: list[str] = []
    """The names of the consumer's alarms, composite alarms included."""


class FailureBucketOutputs(Outputs):
    """Outputs of the failure bucket."""

    bucket: str


class LedgerOutputs(Outputs):
    """Outputs of the ledger table."""

    name: str
    arn: str = ""


class StoresOutputs(Outputs):
    """Outputs of the stores."""

    failures: FailureBucketOutputs
    ledger: LedgerOutputs


class Stack(Outputs):
    """Outputs of the stack that the commands use."""

    tables: dict[str, TableOutputs] = Field(min_length=1)
    consumers: dict[str, ConsumerOutputs]
    stores: StoresOutputs
    _clients: dict[str, Any] = PrivateAttr(default_factory=dict[str, Any])
    _lock: threading.Lock = PrivateAttr(default_factory=threading.Lock)

    @classmethod
    def load(cls, outputs: Path | None, name: str | None) -> "Stack":
        """Read the outputs from a file (`-` is standard input), or from the stack `name` with the Pulumi CLI.

        Without both, the outputs are those of the sandbox if AWS_ENDPOINT_URL names one, else of the selected stack.

        Raises
        ------
        OpsError
            The outputs cannot be read, or another program exported them.
        """
        try:
            if outputs is None:
                text = (None if name else _sandbox_outputs()) or _cli_outputs(name)
            else:
                text = sys.stdin.read() if outputs == Path("-") else outputs.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise OpsError(f"{outputs or 'pulumi'} cannot be read: {reason}") from error
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(map(str, each['loc']))}: {each['msg']}".removeprefix(": ") for each in error.errors()
            )
            raise OpsError(
                f"the JSON is not the output of pulumi stack output --json for this program: {problems}"
            ) from error

    def consumer(self, name: str) -> ConsumerOutputs:
        """Return the outputs of a consumer. Raises OpsError if the stack has no such consumer."""
        if name not in self.consumers:
            near = get_close_matches(name, self.consumers, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(self.consumers)) or 'none'}"
            raise OpsError(f"the stack has no consumer {name}; {hint}")
        return self.consumers[name]

    def client(self, service: str) -> Any:
        """Return boto3's client for a service in the stack's Region, whatever the environment's Region is.

        All callers and threads share one client of a service.
        """
        with self._lock:  # boto3 creates clients in one thread at a time; the clients themselves are thread-safe
            if service not in self._clients:
                config: Any = Config(
                    connect_timeout=5,
                    read_timeout=LONGEST_INVOCATION_SECONDS if service == "lambda" else 30,
                    max_pool_connections=CONNECTIONS,
                    retries={"mode": "standard", "total_max_attempts": 5},
                )
                region = next(iter(self.tables.values())).arn.split(":")[3]
                session: Any = boto3
                if _is_local(os.environ.get("AWS_ENDPOINT_URL", "")):
                    session = boto3.Session(botocore_session=botocore.session.Session(session_vars=NO_PROFILE))
                    config = config.merge(Config(proxies={}))
                try:
                    self._clients[service] = session.client(service, region_name=region, config=config)
                except ValueError as error:  # "Invalid endpoint: …"
                    raise OpsError(f"{error}: correct AWS_ENDPOINT_URL, or unset it") from error
            return self._clients[service]


def _sandbox_outputs() -> str | None:
    """Return the outputs of the sandbox at AWS_ENDPOINT_URL; None if the variable names no sandbox."""
    url = os.environ.get("AWS_ENDPOINT_URL", "")
    endpoint = urlsplit(url)
    if not _is_local(url) or not endpoint.hostname:
        return None
    try:
        port = endpoint.port or 80
    except ValueError as error:
        raise OpsError(
            f"AWS_ENDPOINT_URL is {endpoint.geturl()}: {error}; run the export lines of the sandbox"
        ) from error
    connection = http.client.HTTPConnection(endpoint.hostname, port, timeout=5)
    with contextlib.closing(connection):
        try:
            connection.request("GET", SANDBOX_OUTPUTS)
            response = connection.getresponse()
            return response.read().decode() if response.status == http.HTTPStatus.OK else None
        except OSError as error:
            raise OpsError(
                f"no sandbox answers at {endpoint.geturl()} ({error.strerror or error}): run make sandbox and the "
                "export lines that it prints, or unset AWS_ENDPOINT_URL"
            ) from error


def _is_local(url: str) -> bool:
    return urlsplit(url).hostname in LOOPBACK


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
        raise OpsError(
            f"{' '.join(command)} failed: {' '.join(process.stderr.split())}: select a stack with pulumi stack select "
            "or --stack, or pass the outputs with --outputs FILE"
        )
    return process.stdout
