"""Fixtures of several rooms: the emulator, and programs deployed in it."""

import gc
import signal
from collections.abc import Callable, Generator
from typing import Any

import pytest

from sandbox.program.deploy import Deployment
from tests.local import LocalAws


def pytest_sessionstart() -> None:
    """Collect garbage rarely, since a search of pulumi_aws's objects takes long.

    The commands that tests start have Ctrl-C, which a shell ignores for what it runs in the background.
    """
    gc.set_threshold(200_000, 50, 1000)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def aws() -> Generator[LocalAws]:
    """The embedded AWS with its poller. All tests share it, so each test uses other resources."""
    local = LocalAws()
    yield local
    local.close()


@pytest.fixture
def deployed(aws: LocalAws) -> Generator[Callable[..., Deployment]]:
    """Deploy `Program(*arguments, **options)` until the test ends: `deployed(program, config={...})`."""
    deployments: list[Deployment] = []

    def deploy(*arguments: Any, **options: Any) -> Deployment:
        deployments.append(aws.deploy(*arguments, **options))
        return deployments[-1]

    yield deploy
    for deployment in reversed(deployments):
        deployment.destroy()


@pytest.fixture(scope="session")
def pipeline(aws: LocalAws) -> Generator[Deployment]:
    """The whole program as stack `local`, deployed once; each test uses other keys."""
    deployment = aws.deploy()
    yield deployment
    deployment.destroy()
