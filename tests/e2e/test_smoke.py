"""python -m ops smoke, as a person or a pipeline runs it, against the whole program in the embedded AWS."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from sandbox.program.deploy import Deployment
from tests.local import LocalAws, run_ops

EVENTS = ("INSERT", "MODIFY", "REMOVE")


@pytest.fixture
def smoke(aws: LocalAws, pipeline: Deployment) -> Callable[..., tuple[int, str, str]]:
    """`smoke("--yes", …)` returns its exit code, output and errors, for the deployed program by default."""

    def run(*arguments: str, outputs: Mapping[str, Any] = pipeline.outputs) -> tuple[int, str, str]:
        return run_ops(aws.variables(), "smoke", *arguments, outputs=outputs)

    return run


def marked_items(aws: LocalAws, pipeline: Deployment, marker: str) -> list[tuple[str, dict[str, Any]]]:
    return [
        (name, item)
        for name, table in pipeline.outputs["tables"].items()
        for item in aws.items(table["name"])
        if any(str(value).startswith(marker) for value in item.values())
    ]


def test_it_sees_every_effect_sends_no_mail_and_cleans_up(
    aws: LocalAws, pipeline: Deployment, smoke: Callable[..., tuple[int, str, str]]
):
    mails = len(aws.mails())
    code, out, error = smoke("--yes", "--json")
    assert code == 0, error
    result = json.loads(out)
    pairs = (("change-log", "orders"), ("change-log", "users"), ("mirror", "orders"))
    effects = sorted((each["consumer"], each["table"], each["event"]) for each in result["seen"])
    assert effects == [(*pair, event) for pair in pairs for event in EVENTS]
    assert (result["missing"], result["untried"]) == ([], ["welcome-email"])
    assert result["verdict"] == "✔ all is well with change-log and mirror; not tried: welcome-email"
    aws.wait_until_idle()
    assert len(aws.mails()) == mails
    [(table, tombstone)] = marked_items(aws, pipeline, result["marker"])
    assert table == "orders-mirror"
    assert set(tombstone) == {"customer_id", "order_id", "change_version", "expiry"}


def test_it_names_missing_effects_and_still_cleans_up(
    aws: LocalAws, pipeline: Deployment, smoke: Callable[..., tuple[int, str, str]]
):
    """The mirror writes to a table that does not exist, so only the change-log's effects are seen."""
    function, group = (pipeline.outputs["consumers"]["mirror"][each] for each in ("function", "logGroup"))
    aws.set_variables(function, MIRROR_TABLE="no-such-table")
    try:
        code, out, error = smoke("--yes", "--within", "6")
    finally:
        aws.set_variables(function, MIRROR_TABLE=pipeline.outputs["tables"]["orders-mirror"]["name"])
    assert (code, error) == (1, "")
    lines = out.splitlines()
    marker = lines[0].rpartition(" ")[2]
    seen = sorted(line.split()[1:4] for line in lines if line.startswith("✔"))
    assert seen == [["change-log", "orders", "INSERT"], ["change-log", "users", "INSERT"]]
    assert [line for line in lines[:-1] if line.startswith("✖")] == [
        "✖ mirror       orders       INSERT  not within 6 s"
    ]
    assert lines[-2].startswith(f"mirror: check log group {group}, ")
    assert lines[-1] == "✖ not as it should be: mirror; see above; not tried: welcome-email"
    aws.wait_until_idle()  # the mended mirror processes the waiting changes
    [(table, tombstone)] = marked_items(aws, pipeline, marker)
    assert (table, set(tombstone) - {"change_version", "expiry"}) == ("orders-mirror", {"customer_id", "order_id"})


def test_a_dry_run_prints_the_plan_and_writes_nothing(pipeline: Deployment, smoke: Callable[..., tuple[int, str, str]]):
    code, out, error = smoke("--dry-run")
    assert (code, error) == (0, "")
    users, orders = (pipeline.outputs["tables"][name]["name"] for name in ("users", "orders"))
    assert set(out.splitlines()[1:]) == {
        f"  {users}: write, update and delete an item;",
        "    read by change-log, welcome-email",
        f"  {orders}: write, update and delete an item;",
        "    read by change-log, mirror",
        "  welcome-email is not tried: smoke sees only what change-log logs and mirror copies; to try it, write an "
        "item to users, and look for its effect,",
        "    with python -m ops tail welcome-email",
        "nothing was changed (--dry-run)",
    }
    assert len(out.splitlines()) == 8


def test_without_consent_nothing_is_written(smoke: Callable[..., tuple[int, str, str]]):
    code, _, error = smoke()
    message = "standard input is not a terminal: pass --yes to execute the plan, or --dry-run to only print it\n"
    assert (code, error) == (2, message)
