"""The policy pack, run by the real engine in an environment of its own; tests/policy/ has what each rule says."""

from collections.abc import Callable

import pytest

from tests.engine.project import Project

pytestmark = pytest.mark.timeout(300)


def test_the_pack_lets_the_program_pass_and_stops_what_is_unsafe(project: Callable[..., Project]) -> None:
    made, pack = project(), ("--policy-pack", "policy")
    assert "table-stream@v1.0.0" in made.run("preview", *pack)
    made.up(*pack)
    made.run("preview", "--expect-no-changes", *pack)
    made.configure("tuning.mirror.startingPosition", "LATEST")
    made.preview()
    before = made.ids()
    for command in (["preview"], ["up", "--yes", "--skip-preview"]):
        told = made.refused(*command, *pack)
        assert "position-latest" in told
    assert made.ids() == before
