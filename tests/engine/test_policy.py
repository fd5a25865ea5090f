"""The policy pack in its own environment, with the Pulumi CLI; tests/policy/ tests each rule."""

from collections.abc import Callable

import pytest

from tests.engine.project import Project

pytestmark = pytest.mark.timeout(300)


def test_the_pack_accepts_the_program_and_rejects_an_unsafe_one(new_project: Callable[..., Project]) -> None:
    project, pack = new_project(), ("--policy-pack", "policy")
    assert "table-stream@v1.0.0" in project.run("preview", *pack)
    project.up(*pack)
    project.run("preview", "--expect-no-changes", *pack)
    project.configure("tuning.mirror.startingPosition", "LATEST")
    project.preview()
    before = project.ids()
    for command in (["preview"], ["up", "--yes", "--skip-preview"]):
        output = project.expect_failure(*command, *pack)
        assert "position-latest" in output
    assert project.ids() == before
