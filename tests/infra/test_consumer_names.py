"""A consumer's name: its module, its children, and the names that it had before."""

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pulumi
import pytest

from infra.archive import Package, build
from infra.archive.handler_module import module_of
from tests.consumers.project import SAMPLE
from tests.infra.programs import bare_consumer, refusal, stores, users
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
    ],
)
def test_a_wiring_that_cannot_work_is_refused(program: Callable[[], object], message: str) -> None:
    assert refusal(program) == message


def test_every_module_of_a_consumer_is_found() -> None:
    assert [module_of(name, SAMPLE) for name in ("change-log", "mirror", "welcome-email")] == [
        "change_log",
        "mirror",
        "welcome_email",
    ]


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
    before, after = (
        each.one(kinds.FUNCTION, "mirror-function").inputs["environment"]["variables"] for each in (plain, renamed)
    )
    assert before | {"LEDGER_NAME": "order-mirror"} == after
    assert (before["LEDGER_NAME"], after["POWERTOOLS_SERVICE_NAME"]) == ("mirror", "mirror")


def test_after_a_second_rename_the_name_in_between_is_an_alias() -> None:
    opts = pulumi.ResourceOptions(aliases=[pulumi.Alias("copy")])
    recorder = record(lambda: bare_consumer(users().changes(), stores=stores(), former_name="order-mirror", opts=opts))
    assert list(recorder.one(kinds.STREAM_CONSUMER, "mirror").aliases) == ["copy", "order-mirror"]
    variables = recorder.one(kinds.FUNCTION, "mirror-function").inputs["environment"]["variables"]
    assert variables["LEDGER_NAME"] == "order-mirror"


def test_without_stores_a_former_name_is_an_alias_alone() -> None:
    recorder = record(lambda: bare_consumer(users().changes(), former_name="order-mirror"))
    assert list(recorder.one(kinds.STREAM_CONSUMER, "mirror").aliases) == ["order-mirror"]


@pytest.mark.parametrize("former_name", ["mirror", "", "Mirror", "*", "a#b", "a/b", "a-", "order_mirror"])
def test_a_former_name_is_that_of_another_consumer(former_name: str) -> None:
    assert refusal(lambda: bare_consumer(users().changes(), former_name=former_name)) == (
        f"mirror: former_name={former_name!r} is not the name of another consumer, as in former_name='order-mirror'"
    )


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            [("mirror", "change-log"), ("change-log", None)],
            "change-log and mirror would both be change-log in the ledger, and each would run the items that the other "
            "holds; when the ledger holds none of them, remove former_name= from the consumer that has it",
        ),
        (
            [("mirror", "old"), ("change-log", "old")],
            "change-log and mirror would both be old in the ledger, and each would run the items that the other holds; "
            "when the ledger holds none of them, remove former_name= from the consumer that has it",
        ),
    ],
)
def test_two_consumers_do_not_share_what_they_hold(names: Sequence[tuple[str, str | None]], message: str) -> None:
    def program() -> None:
        kept = stores()
        for name, former_name in names:
            bare_consumer(users(f"{name}-source").changes(), name=name, stores=kept, former_name=former_name)

    assert refusal(program) == message


def test_names_of_children_do_not_collide() -> None:
    def program() -> None:
        kept = stores()
        bare_consumer(users("orders-archive").changes(), name="mirror", stores=kept, package=packaged("mirror"))
        bare_consumer(users("archive").changes(), name="mirror-orders", stores=kept, package=packaged("mirror_orders"))

    assert refusal(program) == "mirror-orders and mirror would both make mirror-orders-archive: rename one of them"


def packaged(*modules: str) -> Package:
    """Return a package of a project with these modules."""
    root = Path(tempfile.mkdtemp())
    (root / "handler").mkdir()
    for module in modules:
        (root / "handler" / f"{module}.py").write_text("def handler(event, context): ...")
    return replace(build("host", SAMPLE), root=root)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("def handle(change): ...", "handler/mirror.py defines no handler for Lambda to call"),
        ("def handler(change:", "handler/mirror.py:1 is not Python"),
    ],
)
def test_a_module_that_lambda_could_not_call_is_refused(module: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "handler").mkdir()
    (tmp_path / "handler" / "mirror.py").write_text(module)
    package = replace(build("host", SAMPLE), root=tmp_path)
    assert refusal(lambda: bare_consumer(users().changes(), package=package)).startswith(message)
