"""Fixtures of the resource types' tests."""

import io
import zipfile
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from sandbox.program.values import Archive
from sandbox.resources.resource_type import Aws
from tests.local import REGION, LocalAws
from tests.sandbox.making import Maker, Mappings
from tests.sandbox.mapping.source import Source


@pytest.fixture
def maker(aws: LocalAws) -> Generator[Maker]:
    mappings = Mappings()
    maker = Maker(Aws(aws.client, REGION, mappings, mappings), mappings)
    yield maker
    for made, identity, inputs in reversed(maker.made):
        made.delete(identity, inputs)
    left = [identity for made, identity, _ in maker.made if made.read(identity) is not None]
    assert left == []


@pytest.fixture
def code(tmp_path: Path) -> Callable[[str], Archive]:
    def write(answer: str) -> Archive:
        path = tmp_path / f"{answer}.zip"
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("m.py", f"def handler(event, context): return {answer!r}\n")
        path.write_bytes(packed.getvalue())
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
