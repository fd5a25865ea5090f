"""Fixtures that several rooms share: the emulator, and programs deployed in it."""

from collections.abc import Callable, Generator, Mapping
from pathlib import Path

import pytest

from sandbox.program.deploy import Deployment
from tests.consumers.project import SAMPLE
from tests.local import LocalAws


@pytest.fixture(scope="session")
def aws() -> Generator[LocalAws]:
    """The embedded AWS with its poller: one for all tests, so each uses resources of its own."""
    local = LocalAws()
    yield local
    local.close()


@pytest.fixture
def deployed(aws: LocalAws) -> Generator[Callable[..., Deployment]]:
    """`deployed(program, stack="local", config={...})`: a program in the emulator until the test ends."""
    deployments: list[Deployment] = []

    def deploy(
        program: Callable[[], None] | Path = SAMPLE, *, stack: str = "local", config: Mapping[str, str] | None = None
    ) -> Deployment:
        deployments.append(aws.deploy(program, stack=stack, config=config))
        return deployments[-1]

    yield deploy
    for deployment in reversed(deployments):
        deployment.destroy()


@pytest.fixture(scope="session")
def pipeline(aws: LocalAws) -> Generator[Deployment]:
    """The sample program as stack `local`, deployed once; tests take keys of their own."""
    deployment = aws.deploy()
    yield deployment
    deployment.destroy()
