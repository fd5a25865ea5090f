"""The embedded AWS: one ministack process on loopback, which starts empty and ends with this process."""

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
"""The emulator accepts any access key and any secret."""
OUTPUTS_PATH = "/_table-stream/outputs"
"""Where the sandbox's endpoint answers with the stack's outputs as JSON."""
USERS_OWN = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN")
"""Variables of a user's shell that lead clients past the sandbox's credentials. An empty profile is an error for boto3,
so a client of the sandbox must not have them at all."""
PYTHON = ROOT / ".venv-aws" / "bin" / "python"

_START_TIMEOUT_SECONDS = 30.0
_STOP_TIMEOUT_SECONDS = 5.0

# The emulator reads from a pipe that this process holds. When this process ends, for whatever reason, the pipe closes;
# the emulator then deletes its files and kills its process group, with the functions' processes.
#
# When a function is updated or deleted, ministack kills its processes, with the invocations that run. On AWS these
# invocations end by themselves, with the old code: here, too, a process that runs an invocation is killed after it.
_SERVER_SCRIPT = """
import os, shutil, signal, tempfile, threading, time
def guard():
    os.read(0, 1)
    shutil.rmtree(tempfile.gettempdir(), ignore_errors=True)
    os.killpg(0, signal.SIGKILL)
threading.Thread(target=guard, daemon=True).start()
from ministack.app import main
from ministack.core import lambda_runtime
kill = lambda_runtime.kill_workers
def kill_after_invocation(worker, longest_seconds=901):
    end = time.monotonic() + longest_seconds
    while worker.in_use and time.monotonic() < end:
        time.sleep(0.02)
    kill([worker])
def kill_without_invocations(workers):
    running = [worker for worker in workers if worker is not None and worker.in_use]
    kill([worker for worker in workers if worker not in running])
    for worker in running:
        threading.Thread(target=kill_after_invocation, args=[worker], daemon=True).start()
lambda_runtime.kill_workers = kill_without_invocations
main()
"""

_CLIENT_CONFIG = Config(
    connect_timeout=5,
    read_timeout=910,  # Lambda's longest time-out (900 s), and 10 s for the answer
    retries={"total_max_attempts": 1},  # a retry would invoke the function a second time
    max_pool_connections=32,
    proxies={},  # never send loopback traffic through a proxy
    s3={"addressing_style": "path"},
)


class EmulatorError(SandboxError):
    """The emulator cannot start, or it has ended."""


class Clients:
    """boto3 clients of one endpoint: one per service, for all threads. They ignore the user's AWS profiles.

    `key` is an access key and its secret.
    """

    def __init__(self, endpoint: str, region: str, key: tuple[str, str] = (CREDENTIAL, CREDENTIAL)) -> None:
        self._options = {"endpoint_url": endpoint, "region_name": region, "config": _CLIENT_CONFIG}
        self._session: Any = botocore.session.Session(session_vars={"profile": (None, None, None, None)})
        self._session.set_credentials(*key)
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()  # threads may share a client, but must not create clients at the same time

    def __call__(self, service: str) -> Any:
        """Return the client of a service."""
        with self._lock:
            if service not in self._clients:
                self._clients[service] = self._session.create_client(service, **self._options)
            return self._clients[service]


class Emulator:
    """An emulator. The constructor starts it and does not wait; `client` waits until the emulator is up.

    Parameters
    ----------
    region
        The Region of all resources.
    port
        Port on loopback. Default: a free port.
    environment
        Environment variables of the emulator's process; every function inherits them.

    Raises
    ------
    EmulatorError
        The port is taken, or .venv-aws is missing.
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
                start_new_session=True,  # Ctrl-C reaches this process only, and one signal ends the group
            )
        waiting = ThreadPoolExecutor(1, "emulator")
        self._up = waiting.submit(self._wait_until_up)  # the caller loads the program meanwhile
        waiting.shutdown(wait=False)

    def client(self, service: str) -> Any:
        """Return the boto3 client of a service, one for all threads; wait until the emulator is up.

        Raises
        ------
        EmulatorError
            The emulator does not come up; the message has the last line of its log.
        """
        self._up.result()
        return self._clients(service)

    @property
    def boot_seconds(self) -> float:
        """The seconds until the emulator was up; waits and raises like `client`."""
        return self._up.result()

    @property
    def process_id(self) -> int:
        """The process id, which is also the id of the process group with the functions."""
        return self._process.pid

    def _environment(self) -> dict[str, str]:
        """Return the variables of the emulator and its functions; of the caller's variables, they see only PATH."""
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
            "IOT_MTLS_ENABLED": "0",  # it would listen on another port
            "SFTP_ENABLED": "0",
            "DOCKER_HOST": f"unix://{self.directory}/no-docker",  # it would remove containers that it has not started
        }

    def _wait_until_up(self) -> float:
        started = time.monotonic()
        while time.monotonic() < started + _START_TIMEOUT_SECONDS:
            self.raise_if_dead()
            with contextlib.suppress(OSError, http.client.HTTPException):
                self._get("health")
                return time.monotonic() - started
            time.sleep(0.02)
        raise EmulatorError(f"the embedded AWS is not up after {_START_TIMEOUT_SECONDS:.0f} s: {self._last_log()}")

    def raise_if_dead(self) -> None:
        """Raise EmulatorError if the process has ended."""
        if self._process.poll() is not None:
            raise EmulatorError(
                f"the embedded AWS ended (exit code {self._process.returncode}): {self._last_log()}. Run the command "
                f"again; if it ends again, run make clean, which removes its environment"
            )

    def _last_log(self) -> str:
        lines = (self.directory / "log").read_text(encoding="utf-8", errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "its log is empty")

    def mails(self) -> list[dict[str, Any]]:
        """Return every e-mail that was sent, oldest first, with Source, To, Subject, BodyText and more."""
        return self._get("ses/messages")["messages"].get(ACCOUNT, [])

    def _get(self, what: str) -> Any:
        with contextlib.closing(http.client.HTTPConnection(HOST, self.port, timeout=5)) as connection:
            connection.request("GET", f"/_ministack/{what}")
            return json.load(connection.getresponse())

    def close(self) -> None:
        """Stop the emulator with all function processes, and delete its files. A second call does nothing."""
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


def client_variables(endpoint: str, region: str) -> dict[str, str]:
    """Return the environment variables that point any AWS client at an endpoint of the sandbox, past any proxy.

    The client's environment must not have the variables of `USERS_OWN`.
    """
    outside = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    direct = ",".join(dict.fromkeys([HOST, "localhost", *filter(None, outside.split(","))]))
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_ACCESS_KEY_ID": CREDENTIAL,
        "AWS_SECRET_ACCESS_KEY": CREDENTIAL,
        "NO_PROXY": direct,
        "no_proxy": direct,  # which wins for Python and curl
    }


def free_port(port: int | None = None) -> int:
    """Return `port` if it is free on loopback; without `port`, return any free port.

    Raises
    ------
    EmulatorError
        The port is taken.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port or 0))
        except OSError as error:
            raise EmulatorError(f"port {port} cannot be used ({error.strerror}): choose another, or omit it") from error
        return probe.getsockname()[1]
