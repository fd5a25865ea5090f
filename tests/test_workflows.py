"""Properties of the workflows that no linter checks: they agree on the stacks, and on one version of everything."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from virtual_environment import OLDEST

from infra.archive.targets import PYTHON

ROOT = Path(__file__).parent.parent
WORKFLOWS = {path.stem: path.read_text() for path in (ROOT / ".github" / "workflows").glob("*.yml")}


def jobs(workflow: str) -> dict[str, Any]:
    return yaml.safe_load(WORKFLOWS[workflow])["jobs"]


DEPLOYED = {job["with"]["stack"]: job.get("needs") for job in jobs("deploy").values()}
"""The stacks that deploy.yml deploys, each with the one before it."""


@pytest.mark.parametrize("stack", DEPLOYED)
def test_each_stack_that_is_deployed_has_a_stack_file(stack: str) -> None:
    there = (ROOT / f"Pulumi.{stack}.yaml").exists()
    assert there, f"there is no Pulumi.{stack}.yaml: take {stack} out of .github/workflows, too"


@pytest.mark.parametrize("workflow", ["pr", "drift"])
def test_every_stack_is_previewed_with_its_own_role(workflow: str) -> None:
    matrix = jobs(workflow)["preview"]["strategy"]["matrix"]["include"]
    assert {each["stack"] for each in matrix} == DEPLOYED.keys(), f"{workflow}.yml and deploy.yml name other stacks"
    for each in matrix:
        assert each["role"] == f"${{{{ vars.PREVIEW_ROLE_{each['stack'].upper()} }}}}"


def test_pull_requests_are_tested_on_every_python_that_is_supported() -> None:
    versions = jobs("pr")["check"]["strategy"]["matrix"]["python"]
    oldest, newest = OLDEST[1], int(versions[-1].partition(".")[2])
    assert versions == [f"3.{minor}" for minor in range(oldest, newest + 1)]
    assert ".".join(map(str, PYTHON)) in versions


def test_every_stack_is_deployed_after_the_one_before_it() -> None:
    assert list(DEPLOYED.values()) == [None, *list(DEPLOYED)[:-1]]
    assert "up" in jobs("stack")


def test_the_smoke_test_follows_each_update() -> None:
    steps = jobs("stack")["up"]["steps"]
    up = next(number for number, step in enumerate(steps) if step.get("with", {}).get("command") == "up")
    assert [step["run"] for step in steps[up + 1 :]] == [
        '.venv/bin/python -m ops smoke --stack "$STACK" --within 600 --yes'
    ]


def test_a_fork_gets_a_notice_where_others_get_a_preview() -> None:
    """The condition of each job is the negation of the other, term by term."""
    opposite = {"==": "!=", "!=": "==", "&&": "||"}
    preview, notice = (jobs("pr")[job]["if"] for job in ("preview", "no-preview"))
    assert re.sub(r"==|!=|&&", lambda match: opposite[match[0]], preview) == notice


def test_actions_are_pinned_by_hash_each_at_one_version() -> None:
    uses = [line for text in WORKFLOWS.values() for line in re.findall(r"uses: (.*)", text) if "./" not in line]
    matches = [re.fullmatch(r"([\w-]+/[\w-]+)@[0-9a-f]{40} # v\d+\.\d+\.\d+", each) for each in uses]
    assert all(matches), uses
    assert len(set(uses)) == len({match[1] for match in matches if match})


def test_the_cli_is_of_the_sdk_s_version() -> None:
    version = (ROOT / ".pulumi.version").read_text().strip()
    assert f"pulumi=={version}\n" in (ROOT / "requirements.in").read_text()
    used = [line for text in WORKFLOWS.values() for line in re.findall(r"pulumi-version.*", text)]
    assert set(used) == {"pulumi-version-file: .pulumi.version"}
    assert len(used) == sum(text.count("pulumi/actions@") for text in WORKFLOWS.values())
