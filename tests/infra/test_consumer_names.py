"""A consumer's name: its module, its children, and the names that it had before."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pulumi
import pytest

from infra.archive import Package, build
from infra.archive.handler_module import module_of
from tests.consumers.project import SAMPLE
from tests.infra.programs import bare_consumer, refusal, stores, users, variables
from tests.program import recording as kinds
from tests.program.recording import record


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (bare_consumer, "mirror reads nothing: name changes, as in reads=[users.changes()]"),
        (lambda: bare_consumer(users().changes(), name="mirorr"), "no handler/mirorr.py; did you mean mirror?"),
        (lambda: bare_consumer(users().changes(), name="change_log"), "a consumer's name has dashes: change-log"),
        (
            lambda: bare_consumer(
                users().changes(), environment={"WORKERS": "3", "MINE": "", "LEDGER_TABLE": "x"}, stores=stores()
            ),
            "mirror sets LEDGER_TABLE, WORKERS: the engine sets this variable; choose another name",
        ),
        (
            lambda: bare_consumer(users().changes(), images="NEWIMAGE"),
            "mirror: images='NEWIMAGE' is no choice; did you mean NEW_IMAGE?",
        ),
        (
            lambda: bare_consumer(users().changes(), images="both"),
            "mirror: images='both' is no choice; there are KEYS_ONLY, NEW_IMAGE, OLD_IMAGE, NEW_AND_OLD_IMAGES",
        ),
        (
            lambda: users(view_type="new_and_old_image"),
            "users: view_type='new_and_old_image' is no choice; did you mean NEW_AND_OLD_IMAGES?",
        ),
        (
            lambda: bare_consumer(*cast("Any", [users(), "users"])),
            "mirror: reads names the table users: name its changes, as in users.changes()\n"
            "mirror: reads has a str: name changes, as in reads=[users.changes()]",
        ),
        (
            lambda: bare_consumer(
                users().changes(), environment=cast("Any", {"A": users("t"), "B": 5, "C": None, 1: ""})
            ),
            "mirror: A is the table t: say what the handler does with it, as in read_from(t) or write_to(t)\n"
            "mirror: B is a int: a variable is text, as in str(...), or a grant\n"
            "mirror: C is None: a variable is text, as in str(...), or a grant\n"
            "mirror: environment has a int as a name: a name is text",
        ),
        (
            lambda: bare_consumer(users().changes(), environment=cast("Any", ["A"])),
            "mirror: environment=a list: pass a dictionary of variables by name",
        ),
        (
            lambda: bare_consumer(users().changes(), tuning={"batchSize": 5}, stores=cast("Any", True)),
            "mirror: tuning=a dict: pass settings.tuning('mirror'), or Tuning(batch_size=...)\n"
            "mirror: stores=a bool: pass Stores(...), or None",
        ),
    ],
)
def test_a_wiring_that_cannot_work_is_refused(program: Callable[[], object], message: str) -> None:
    assert refusal(program) == message


def test_every_module_of_a_consumer_exists() -> None:
    modules = [module_of(name, SAMPLE) for name in ("change-log", "mirror", "welcome-email")]
    assert modules == ["change_log", "mirror", "welcome_email"]


@pytest.mark.parametrize(
    ("aliases", "names"),
    [
        ([], []),
        ([pulumi.Alias("people")], ["mirror-people"]),
        (["urn:pulumi:test::table-stream::table-stream:index:StreamTable::people"], ["mirror-people"]),
        ([pulumi.Alias("people"), pulumi.Alias("clients")], ["mirror-people", "mirror-clients"]),
        ([pulumi.Alias(parent=pulumi.ROOT_STACK_RESOURCE)], []),
    ],
)
def test_a_mapping_was_called_after_every_name_of_its_table(
    aliases: list[str | pulumi.Alias], names: list[str]
) -> None:
    recorder = record(lambda: bare_consumer(users(opts=pulumi.ResourceOptions(aliases=aliases)).changes()))
    assert list(recorder.one(kinds.MAPPING, "mirror-users").aliases) == names


def test_a_renamed_consumer_keeps_its_name_in_ledger_and_failure_bucket_and_its_resources() -> None:
    """tests/engine shows that Pulumi's engine applies the alias to the children."""
    plain = record(lambda: bare_consumer(users().changes(), stores=stores()))
    renamed = record(lambda: bare_consumer(users().changes(), stores=stores(), former_name="order-mirror"))
    assert renamed.registered.keys() == plain.registered.keys()
    assert list(renamed.one(kinds.STREAM_CONSUMER, "mirror").aliases) == ["order-mirror"]
    assert list(plain.one(kinds.STREAM_CONSUMER, "mirror").aliases) == []
    assert [json.dumps(each) for each in renamed.statements("mirror")] == [
        json.dumps(each).replace("#mirror", "#order-mirror").replace("engine/mirror/", "engine/order-mirror/")
        for each in plain.statements("mirror")
    ]
    before, after = variables(plain), variables(renamed)
    assert before | {"LEDGER_NAME": "order-mirror"} == after
    assert (before["LEDGER_NAME"], after["POWERTOOLS_SERVICE_NAME"]) == ("mirror", "mirror")


def test_after_a_second_rename_the_name_in_between_is_an_alias() -> None:
    opts = pulumi.ResourceOptions(aliases=[pulumi.Alias("copy")])
    recorder = record(lambda: bare_consumer(users().changes(), stores=stores(), former_name="order-mirror", opts=opts))
    assert list(recorder.one(kinds.STREAM_CONSUMER, "mirror").aliases) == ["copy", "order-mirror"]
    assert variables(recorder)["LEDGER_NAME"] == "order-mirror"


def test_without_stores_a_former_name_is_an_alias_alone() -> None:
    recorder = record(lambda: bare_consumer(users().changes(), former_name="order-mirror"))
    assert list(recorder.one(kinds.STREAM_CONSUMER, "mirror").aliases) == ["order-mirror"]


@pytest.mark.parametrize("former_name", ["mirror", "", "Mirror", "*", "a#b", "a/b", "a-", "order_mirror"])
def test_a_former_name_is_that_of_another_consumer(former_name: str) -> None:
    assert refusal(lambda: bare_consumer(users().changes(), former_name=former_name)) == (
        f"mirror: former_name={former_name!r} is not the name of another consumer, as in former_name='order-mirror'"
    )


@pytest.mark.parametrize(
    ("of_mirror", "of_change_log", "name"), [("change-log", None, "change-log"), ("old", "old", "old")]
)
def test_two_consumers_do_not_share_what_they_hold(of_mirror: str, of_change_log: str | None, name: str) -> None:
    def program() -> None:
        kept = stores()
        bare_consumer(users().changes(), stores=kept, former_name=of_mirror)
        bare_consumer(users("b").changes(), name="change-log", stores=kept, former_name=of_change_log)

    assert refusal(program) == (
        f"change-log and mirror would both be {name} in the ledger, and each would run the items that the other "
        "holds; when the ledger holds none of them, remove former_name= from the consumer that has it"
    )


def test_names_of_children_do_not_collide(tmp_path: Path) -> None:
    def program() -> None:
        kept = stores()
        for name, source in (("mirror", "orders-archive"), ("mirror-orders", "archive")):
            package = packaged(tmp_path, name.replace("-", "_"))
            bare_consumer(users(source).changes(), name=name, stores=kept, package=package)

    assert refusal(program) == "mirror-orders and mirror would both make mirror-orders-archive: rename one of them"


def packaged(root: Path, module: str, text: str = "def handler(event, context): ...") -> Package:
    """Return a package of a project in `root` with this module."""
    (root / "handler").mkdir(exist_ok=True)
    (root / "handler" / f"{module}.py").write_text(text)
    return replace(build("host", SAMPLE), root=root)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("def handle(change): ...", "handler/mirror.py defines no handler for Lambda to call"),
        ("def handler(change:", "handler/mirror.py:1 is not Python"),
    ],
)
def test_a_module_that_lambda_could_not_call_is_refused(module: str, message: str, tmp_path: Path) -> None:
    package = packaged(tmp_path, "mirror", module)
    assert refusal(lambda: bare_consumer(users().changes(), package=package)).startswith(message)
