"""What the tests of the real engine share: the provider, and projects of their own."""

import shutil
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from sandbox.program.in_process import stack_config
from sandbox.program.provider import serving
from tests.consumers.project import SAMPLE
from tests.engine.project import Project
from tests.local import LocalAws


@pytest.fixture(scope="session")
def provider(aws: LocalAws) -> Generator[str]:
    """Where the sandbox's resources are served, as PULUMI_DEBUG_PROVIDERS says it."""
    if not shutil.which("pulumi"):
        pytest.skip("the real engine is not tried: there is no pulumi on the PATH")
    aws.sandbox.verify_sender(stack_config("local", SAMPLE))
    with serving(aws.sandbox.aws) as address:
        yield address


@pytest.fixture
def project(provider: str, tmp_path: Path) -> Generator[Callable[..., Project]]:
    """`project(program=…)`: a copy of the project with a stack of its own, destroyed when the test ends."""
    made: list[Project] = []

    def make(**options: Any) -> Project:
        made.append(Project(tmp_path / str(len(made)), provider, **options))
        return made[-1]

    yield make
    for each in made:
        each.destroy()
