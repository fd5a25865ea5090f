"""The embedded AWS: one ministack process on loopback, started empty, never left behind."""

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from concurrent import futures
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import botocore.session  # pyright: ignore[reportMissingTypeStubs] -- botocore is untyped
from botocore.config import Config  # pyright: ignore[reportMissingTypeStubs] -- as above

from sandbox import ROOT, SandboxError

HOST = "127.0.0.1"
ACCOUNT = "000000000000"
CREDENTIAL = "sandbox"
"""The emulator takes anything for a key and for its secret."""
PYTHON = ROOT / ".venv-aws" / "bin" / "python"

_START_TIMEOUT_SECONDS = 30.0
_STOP_TIMEOUT_SECONDS = 5.0

# The emulator holds the read end of a pipe of ours. However this process ends, the pipe does too, and the emulator
# takes with it the functions' processes and everything it has written.
_SERVER_SCRIPT = """
import os, shutil, signal, tempfile, threading
def guard():
    os.read(0, 1)
    shutil.rmtree(tempfile.gettempdir(), ignore_errors=True)
    os.killpg(0, signal.SIGKILL)
threading.Thread(target=guard, daemon=True).start()
from ministack.app import main
main()
"""

_CLIENT_CONFIG = Config(
    connect_timeout=5,
    read_timeout=910,  # the longest a function may run (900 s) and a little more
    retries={"total_max_attempts": 1},  # a retried invocation would be a second one
    max_pool_connections=32,
    proxies={},  # loopback is nobody else's
    s3={"addressing_style": "path"},
)


class EmulatorError(SandboxError):
    """The emulator cannot be started, or it has died."""


class Clients:
    """Clients of one endpoint: one a service, for all threads. No AWS profile of the user's is looked at."""

    def __init__(self, endpoint: str, region: str) -> None:
        self._options = {"endpoint_url": endpoint, "region_name": region, "config": _CLIENT_CONFIG}
        self._session: Any = botocore.session.Session(session_vars={"profile": (None, None, None, None)})
        self._session.set_credentials(CREDENTIAL, CREDENTIAL)
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()  # clients may be shared by threads, but not made by several at once

    def __call__(self, service: str) -> Any:
        """The client of a service."""
        with self._lock:
            if service not in self._clients:
                self._clients[service] = self._session.create_client(service, **self._options)
            return self._clients[service]


class Emulator:
    """An emulator, started at once: its address, and clients for it when it is up.

    Parameters
    ----------
    region
        The region everything is in.
    port
        Port on loopback; a free one unless given.
    environment
        Variables for the emulator's process, which every function inherits.

    Raises
    ------
    EmulatorError
        The port is taken or .venv-aws is missing: one line, with the way out.
    """

    def __init__(self, region: str, *, port: int | None = None, environment: Mapping[str, str] | None = None) -> None:
        if not PYTHON.exists():
            raise EmulatorError(f"the embedded AWS is not installed ({PYTHON.parent.parent.name} is missing): run make")
        self.region = region
        self.port = free_port(port)
        self.endpoint = f"http://{HOST}:{self.port}"
        self.directory = Path(tempfile.mkdtemp(prefix="table-stream-"))
        self._clients = Clients(self.endpoint, region)
        with (self.directory / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [PYTHON, "-c", _SERVER_SCRIPT],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                env=self._environment() | dict(environment or {}),
                start_new_session=True,  # Ctrl-C is ours to handle, and the group is one to end
            )
        waiting = ThreadPoolExecutor(1, "emulator")
        self._up = waiting.submit(self._wait_until_up)  # while it comes up, the caller has a program to load
        waiting.shutdown(wait=False)

    def client(self, service: str) -> Any:
        """The boto3 client of a service: one for all threads. Waits for the emulator to be up.

        Raises
        ------
        EmulatorError
            It does not come up: one line, with its last words and the way out.
        """
        self._up.result()
        return self._clients(service)

    @property
    def boot_seconds(self) -> float:
        """How long it took to come up; waits for that, and raises what `client` raises."""
        return self._up.result()

    @property
    def process_id(self) -> int:
        """Process id; also that of the group in which its functions run."""
        return self._process.pid

    def _environment(self) -> dict[str, str]:
        """Nothing of the caller's environment but where programs are: a function must not see what AWS has not."""
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "TMPDIR": str(self.directory),
            "HOME": str(self.directory),
            "GATEWAY_PORT": str(self.port),
            "BIND_HOST": HOST,
            "MINISTACK_HOST": HOST,
            "MINISTACK_ACCOUNT_ID": ACCOUNT,
            "MINISTACK_REGION": self.region,
            "PERSIST_STATE": "0",
            "S3_PERSIST": "0",
            "IOT_MTLS_ENABLED": "0",  # it would listen on a port of its own
            "SFTP_ENABLED": "0",
            "DOCKER_HOST": f"unix://{self.directory}/no-docker",  # it would clear away containers of others
        }

    def _wait_until_up(self) -> float:
        started = time.monotonic()
        while time.monotonic() < started + _START_TIMEOUT_SECONDS:
            self.raise_if_dead()
            with contextlib.suppress(OSError, http.client.HTTPException):
                self._get("health")
                return time.monotonic() - started
            time.sleep(0.02)
        raise EmulatorError(
            f"the embedded AWS did not come up within {_START_TIMEOUT_SECONDS:.0f} s: {self._last_log_line()}"
        )

    def raise_if_dead(self) -> None:
        """Raise EmulatorError when the process has died."""
        if self._process.poll() is not None:
            raise EmulatorError(
                f"the embedded AWS died (exit code {self._process.returncode}): {self._last_log_line()}. Run it again; "
                f"should it die again, make clean makes its environment anew"
            )

    def _last_log_line(self) -> str:
        lines = (self.directory / "log").read_text(encoding="utf-8", errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "it logged nothing")

    def variables(self) -> dict[str, str]:
        """Environment variables that point any other AWS client at this emulator."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ACCESS_KEY_ID": CREDENTIAL,
            "AWS_SECRET_ACCESS_KEY": CREDENTIAL,
        }

    def mails(self) -> list[dict[str, Any]]:
        """Every e-mail sent so far, oldest first: Source, To, Subject, BodyText and more."""
        return self._get("ses/messages")["messages"].get(ACCOUNT, [])

    def _get(self, what: str) -> Any:
        with contextlib.closing(http.client.HTTPConnection(HOST, self.port, timeout=5)) as connection:
            connection.request("GET", f"/_ministack/{what}")
            return json.load(connection.getresponse())

    def close(self) -> None:
        """Stop it, with every function process and all it holds. Harmless when it is stopped already."""
        with contextlib.suppress(BrokenPipeError):
            if self._process.stdin:
                self._process.stdin.close()
        try:
            self._process.wait(_STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self.process_id, 9)
            self._process.wait()
        futures.wait([self._up])
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def free_port(port: int | None = None) -> int:
    """`port` when it is free on loopback, else any free one when none is asked for.

    Raises
    ------
    EmulatorError
        The port asked for is taken.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port or 0))
        except OSError as error:
            raise EmulatorError(f"port {port} cannot be used ({error.strerror}): name another, or none") from error
        return probe.getsockname()[1]
