"""Fixtures of the resource types' tests."""

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from sandbox.resources.assets import Archive
from sandbox.resources.resource_type import Aws
from tests.local import REGION, LocalAws, zip_module
from tests.sandbox.mapping.source import Source
from tests.sandbox.resource_factory import RecordedMappings, ResourceFactory


@pytest.fixture
def factory(aws: LocalAws) -> Generator[ResourceFactory]:
    mappings = RecordedMappings()
    factory = ResourceFactory(Aws(aws.client, REGION, mappings, mappings), mappings)
    yield factory
    for resource_type, identity, inputs in reversed(factory.created):
        resource_type.delete(identity, inputs)
    remaining = [identity for resource_type, identity, _ in factory.created if resource_type.read(identity) is not None]
    assert remaining == []


@pytest.fixture
def code(tmp_path: Path) -> Callable[[str], Archive]:
    def write(answer: str) -> Archive:
        path = tmp_path / f"{answer}.zip"
        path.write_bytes(zip_module(f"def handler(event, context): return {answer!r}\n"))
        return Archive(str(path))

    return write


@pytest.fixture
def source(aws: LocalAws) -> Generator[Callable[..., Source]]:
    """`source("name", BatchSize=7)`: a table and a function of these names, with a poller for the mapping."""
    sources: list[Source] = []

    def create(name: str, **options: Any) -> Source:
        sources.append(Source(aws, name, **options))
        return sources[-1]

    yield create
    for each in sources:
        each.close()
