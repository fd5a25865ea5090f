"""The policy pack, run by the real engine in an environment of its own; tests/policy/ has what each rule says."""

from collections.abc import Callable

import pytest

from tests.engine.project import Project

pytestmark = pytest.mark.timeout(300)


def test_the_pack_lets_the_program_pass_and_stops_what_is_unsafe(new_project: Callable[..., Project]) -> None:
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
