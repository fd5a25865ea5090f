"""`python -m sandbox new` adds to programs of many forms, and says what to do where it cannot."""

import logging
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from sandbox import SandboxError
from sandbox.new import templates
from sandbox.new.consumer import NewConsumer
from sandbox.new.edit import Entry
from sandbox.new.program import Source, UnclearError
from tests.consumers.project import SAMPLE
from tests.program import recording as kinds
from tests.program.recording import record_program


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the sample project."""
    return Path(shutil.copytree(SAMPLE, tmp_path / "project", symlinks=True))


def test_what_it_writes_works_as_it_is(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    new = NewConsumer.plan(project, "stock_alert")
    new.write()
    caplog.set_level(logging.WARNING, "pulumi")
    for stack in ("local", "prod"):
        recorded = record_program(project, stack, mailFrom="shop@example.com")
        assert recorded.outputs["consumers"]["stock-alert"]["mappings"] == {"items": "uuid-of-stock-alert-items"}
        assert "items" in recorded.outputs["tables"]
        assert recorded.one(kinds.COMPOSITE, "alarms-stock-alert-page")
    assert [each.message for each in caplog.records] == []
    test = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(new.test_path)]
    done = subprocess.run(test, cwd=project, env=os.environ, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout[:1]) == (0, "."), done.stdout
    assert [line.split()[0] for line in new.summary()] == [
        "handler/stock_alert.py",
        "tests/mine/test_stock_alert.py",
        "__main__.py",
        "Next:",
    ]
    with pytest.raises(SandboxError, match=r"^__main__.py has a consumer stock-alert already"):
        NewConsumer.plan(project, "stock-alert")


def test_it_reads_a_table_of_the_program(project: Path) -> None:
    """The test that it writes names the table's keys."""
    new = NewConsumer.plan(project, "audit", existing="orders-mirror")
    new.write()
    recorded = record_program(project, "local")
    assert recorded.outputs["consumers"]["audit"]["mappings"] == {"orders-mirror": "uuid-of-audit-orders-mirror"}
    test = new.test_path.read_text()
    assert 'inserted("orders-mirror", key=("customer_id", "order_id"), customer_id="1", order_id="1")' in test, test


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("StockAlert", {}, r"'StockAlert': the name of a consumer has small letters, .*; take stock-alert$"),
        ("stock--alert", {}, r"; take stock-alert$"),
        ("1st", {}, r"a letter first; take st$"),
        ("stock alert!", {}, r"; take stock-alert$"),
        ("é", {}, r"a letter first$"),
        ("../x", {}, r"; take x$"),
        ("class", {}, r"^'class' is a word of Python's own"),
        ("x" * 48, {}, r"has 48 characters, and AWS allows 47 here"),
        ("stream", {}, r"^handler/stream is the engine's"),
        ("mirror", {}, r"^__main__.py has a consumer mirror already"),
        ("shared", {}, r"^handler/shared.py exists already"),
        ("audit", {"table": "users"}, r"^__main__.py has a table users already: read it with --from users"),
        ("audit", {"table": "alarms"}, r"^__main__.py uses the name alarms for something else"),
        ("audit", {"table": "Items"}, r"^'Items': the name of a table"),
        (
            "audit",
            {"existing": "user"},
            r"^__main__.py makes no table user; its tables are users, orders, ",
        ),
        (
            "audit",
            {"existing": "users"},
            r"has change-log and welcome-email as readers, .* take users.changes\(\) out of .*--from orders-mirror",
        ),
    ],
)
def test_refused(project: Path, name: str, options: dict[str, str], message: str) -> None:
    (project / "handler" / "shared.py").touch()
    before = {path: path.read_bytes() for path in project.rglob("*.py")}
    with pytest.raises(SandboxError, match=message):
        NewConsumer.plan(project, name, **options)
    assert {path: path.read_bytes() for path in project.rglob("*.py")} == before


@pytest.mark.parametrize(
    ("keys", "arguments"),
    [
        ({"id": '"1"'}, '"t", id="1"'),
        ({"n": "1"}, '"t", key="n", n=1'),
        ({"a": '"1"', "b": "1"}, '"t", key=("a", "b"), a="1", b=1'),
        ({"order-id": '"1"'}, '"t", {"order-id": "1"}, key="order-id"'),
        ({"key": '"1"', "class": "1"}, '"t", {"key": "1", "class": 1}, key=("key", "class")'),
    ],
)
def test_the_test_names_the_keys_of_the_table(keys: dict[str, str], arguments: str) -> None:
    table = templates.ReadTable("t", "t", keys, has_new_image=True)
    assert f"change = inserted({arguments})\n" in templates.text_of_test("audit", table)


def added(program: str) -> str:
    """The program with a consumer `audit` of a new table `items`."""
    return Entry(Source(program), "audit", "items", is_new=True).added()


SMALL = """\
import pulumi
from infra.archive import build
from infra.stores import Stores

stores = Stores("stores", retention_in_days=30)
package = build("host")
consumers = []
pulumi.export("tables", {table.name: table.outputs for table in ()})
"""


def test_a_program_without_a_table_gets_the_imports_and_all() -> None:
    assert (
        added(SMALL)
        == """\
import pulumi
from infra.archive import build
from infra.consumer import StreamConsumer
from infra.stores import Stores
from infra.table import StreamTable

stores = Stores("stores", retention_in_days=30)
package = build("host")
items = StreamTable(
    "items",
    key="id",
)

consumers = [
    StreamConsumer(
        "audit",
        reads=[items.changes()],
        environment={},
        images="NEW_IMAGE",
        stores=stores,
        package=package,
    ),
]
pulumi.export("tables", {table.name: table.outputs for table in (items,)})
"""
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("consumers = [one, two]", "consumers = [one, two,\n    AUDIT,\n]"),
        ("consumers = [one,\n  two]", "consumers = [one,\n  two,\n    AUDIT,\n]"),
        ("consumers = [\n  one  # 1\n  # 2\n]", "consumers = [\n  one,  # 1\n  # 2\n  AUDIT,\n]"),
        ("consumers = [\n\tone,\n\t]", "consumers = [\n\tone,\n\tAUDIT,\n\t]"),
        ("consumers: list[C] = [(one)]  # ä ]", "consumers: list[C] = [(one),\n    AUDIT,\n]  # ä ]"),
        ('consumers = [C("ä"), one]', 'consumers = [C("ä"), one,\n    AUDIT,\n]'),
    ],
)
def test_the_list_of_consumers_keeps_its_layout(before: str, after: str) -> None:
    result = added(SMALL.replace("consumers = []", before))
    call = result[result.index("StreamConsumer(\n") : result.index("package=package,")]
    (margin,) = {line[: len(line) - len(line.lstrip())] for line in result.splitlines() if "StreamConsumer(" in line}
    entry = textwrap.indent(after, "").replace("AUDIT", f"{call}package=package,\n{margin})")
    assert entry in result


def test_ends_of_lines_stay_those_of_the_file() -> None:
    assert "\n" not in added(SMALL.replace("\n", "\r\n")).replace("\r\n", "")


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ("consumers = []", "consumers = make()", "it has no list of all consumers"),
        ("stores = Stores", "del_ = Other", "no variable has the stores, as in stores = Stores"),
        ("package = build", "package = other", "no variable has the package"),
        ("for table in ()", "for table in made()", r'it has no pulumi.export\("tables"'),
        ("consumers = []", "consumers = []\nAlarms(consumers=[])\nAlarms(consumers=[])", "several Alarms"),
    ],
)
def test_a_program_of_another_form_says_what_is_missing(before: str, after: str, reason: str) -> None:
    with pytest.raises(UnclearError, match=reason):
        added(SMALL.replace(before, after))


def test_a_program_of_another_form_stays_and_the_user_reads_what_to_add(project: Path) -> None:
    program = project / "__main__.py"
    text = program.read_text().replace("consumers = [", "consumers = list() + [")
    program.write_text(text)
    new = NewConsumer.plan(project, "audit")
    new.write()
    assert (program.read_text(), new.module_path.exists(), new.test_path.exists()) == (text, True, True)
    said = "\n".join(new.summary())
    assert "__main__.py is as it was, because it has no list of all consumers" in said
    assert 'items = StreamTable(\n        "items",' in said
    assert 'StreamConsumer(\n        "audit",' in said


def test_a_program_that_is_not_python_is_named_with_its_line(project: Path) -> None:
    (project / "__main__.py").write_text("a = 1\nb =\n")
    with pytest.raises(SandboxError, match=r"^__main__.py:2 is not Python: .*; mend it first$"):
        NewConsumer.plan(project, "audit")
