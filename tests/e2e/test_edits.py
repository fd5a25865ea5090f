"""Edits of the whole program: no failure is the sandbox's own, and components are edited as consumers are."""

import sys
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import pytest

from sandbox.edits.watcher import SETTLED_SECONDS, Watcher
from sandbox.program.deploy import Deployment
from sandbox.program.in_process import stack_config
from sandbox.watch.feed import Feed
from tests.consumers.project import copy_sample
from tests.local import REGION, LocalAws, wait_for


@pytest.fixture
def root(tmp_path: Path) -> Generator[Path]:
    """A copy of the sample project. The modules of infra that this process has imported come back after the test."""
    root = copy_sample(tmp_path.resolve() / "project", "infra")
    edit(root / "Pulumi.local.yaml", "us-east-1", REGION)
    before = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "infra"}
    yield root
    for name in [name for name in sys.modules if name.partition(".")[0] == "infra"]:
        del sys.modules[name]
    sys.modules.update(before)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_a_handler_that_runs_ends_with_the_old_code(
    aws: LocalAws, root: Path, deployed: Callable[..., Deployment], tmp_path: Path
):
    """It takes longer than the deployment on a quiet machine."""
    deployment, now = deployed(root, config=stack_config("local", root)), [0.0]
    changes: list[Sequence[str]] = []
    watcher = Watcher(aws.sandbox, deployment, Feed(), lambda _: False, changes.append, root=root, clock=lambda: now[0])

    def save(name: str, old: str, new: str) -> Sequence[str]:
        edit(root / name, old, new)
        assert not watcher.look()
        now[0] += SETTLED_SECONDS
        assert watcher.look()
        return changes[-1]

    module, sends = "handler/welcome_email.py", "    user = change.new_image or {}"
    users, function = (
        deployment.outputs["tables"]["users"]["name"],
        deployment.outputs["consumers"]["welcome-email"]["function"],
    )
    begins = f"pathlib.Path({str(tmp_path / 'begun')!r}).touch()"
    slow, raises = f"    import pathlib, time; {begins}; time.sleep(3)", "    raise OSError('no mail server')"
    assert save(module, sends, f"{slow}\n{sends}") == ["welcome-email-function"]
    aws.write(users, {"id": "edits-1", "email": "edits-1@example.com"})
    wait_for((tmp_path / "begun").exists, "the slow handler", timeout_seconds=60)
    assert save(module, slow, raises) == ["welcome-email-function"]
    aws.wait_until_idle()
    aws.write(users, {"id": "edits-2", "email": "edits-2@example.com"})
    aws.wait_until_idle(include_held=False)
    assert save(module, f"{raises}\n", "") == ["welcome-email-function"]
    aws.wait_until_idle()

    batches = aws.invocations(function)
    assert [(each.error, each.attempt) for each in batches] == [(None, 1), (None, 1)]
    assert ["no mail server" in each.log for each in batches] == [False, True]
    mails = [to for mail in aws.mails() for to in mail["To"] if to.startswith("edits-")]
    assert mails == ["edits-1@example.com", "edits-2@example.com"]
    assert save("infra/stores.py", '"id": "expiry"', '"id": "expires"') == ["stores-failures-expiry"]
    assert save("handler/mirror.py", "import os", "import os, json") == ["mirror-function"]
