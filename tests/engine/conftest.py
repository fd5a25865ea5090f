"""Fixtures of the tests with the Pulumi CLI: the provider, and projects."""

import shutil
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from sandbox.program.in_process import stack_config
from sandbox.program.provider import serve_provider
from tests.consumers.project import SAMPLE
from tests.engine.project import Project
from tests.local import LocalAws


@pytest.fixture(scope="session")
def provider(aws: LocalAws) -> Generator[str]:
    """The value of PULUMI_DEBUG_PROVIDERS for the sandbox's provider."""
    if not shutil.which("pulumi"):
        pytest.skip("pulumi is not on the PATH")
    aws.sandbox.verify_sender(stack_config("local", SAMPLE))
    with serve_provider(aws.sandbox.aws) as address:
        yield address


@pytest.fixture
def new_project(provider: str, tmp_path: Path) -> Generator[Callable[..., Project]]:
    """`new_project(program=…)`: a copy of the project with its own stack, destroyed when the test ends."""
    projects: list[Project] = []

    def create(**options: Any) -> Project:
        projects.append(Project(tmp_path / str(len(projects)), provider, **options))
        return projects[-1]

    yield create
    for project in projects:
        project.destroy()
