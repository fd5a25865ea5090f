"""Edits of a small program are deployed again, or refused, in the emulator. The clock is the tests' own."""

import json
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from sandbox.edits.deployed import deployed_fields
from sandbox.edits.files import Files
from sandbox.edits.watcher import EMPTY_SECONDS, SETTLED_SECONDS, Watcher
from sandbox.program.deploy import Deployment
from sandbox.program.in_process import Program
from tests.local import LocalAws

MAIN = """
import hashlib, pathlib, zipfile
import pulumi
import pulumi_aws as aws
from shapes_of_watcher import KEY

root = pathlib.Path(__file__).parent
config = pulumi.Config()
files = {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.glob("handler/*.py"))}
archive = root / (hashlib.sha256(repr(files).encode()).hexdigest() + ".zip")
with zipfile.ZipFile(archive, "w") as packed:
    for name, data in files.items():
        packed.writestr(zipfile.ZipInfo(name), data)

keys = [aws.dynamodb.TableAttributeArgs(name=KEY, type="S")]
images = {"stream_enabled": True, "stream_view_type": "NEW_IMAGE"}
table = aws.dynamodb.Table("things", attributes=keys, hash_key=KEY, billing_mode="PAY_PER_REQUEST", **images)
for name in config.require("consumers").split():
    function = aws.lambda_.Function(
        name, role="arn:aws:iam::000000000000:role/r", handler=f"handler.{name}.handler", runtime="python3.11",
        code=pulumi.FileArchive(str(archive)), timeout=20, environment={"variables": {"TABLE": table.name}},
    )
    aws.lambda_.EventSourceMapping(
        f"{name}-things", event_source_arn=table.stream_arn, function_name=function.name,
        starting_position="TRIM_HORIZON",
    )
pulumi.export("table", table.name)
"""
HANDLER = "import os\nTABLE = os.environ['TABLE']\ndef handler(event, context):\n    return 'first'\n"
SHARED = "from handler.shared import word\ndef handler(event, context):\n    return word\n"
STACK = "config:\n  aws:region: eu-west-1\n  consumers: {}\n"
FILES = {
    "__main__.py": MAIN,
    "shapes_of_watcher.py": "KEY = 'id'\n",
    "Pulumi.yaml": "name: small\n",
    "Pulumi.local.yaml": STACK.format("one two"),
    "handler/__init__.py": "",
    "handler/one.py": HANDLER,
    "handler/two.py": SHARED,
    "handler/shared.py": "word = 'shared'\n",
}


class Feed:
    """Keeps the facts."""

    def __init__(self) -> None:
        self.facts: list[Mapping[str, Any]] = []

    def publish(self, kind: str, at: float | None = None, **fields: Any) -> None:
        self.facts.append({"kind": kind, **fields})


class Edits:
    """A project in a directory, deployed, with a watcher; `answer` is what the user answers to every question."""

    def __init__(self, aws: LocalAws, root: Path) -> None:
        self.aws, self.root, self.feed = aws, root, Feed()
        self.questions: list[str] = []
        self.answer, self.now = False, 0.0
        self.while_asked: Callable[[], object] = lambda: None
        for name, text in FILES.items():
            self.write(name, text)
        self.deployment: Deployment = aws.sandbox.deploy(Program(root))
        self.watcher = Watcher(
            *(aws.sandbox, self.deployment, self.feed, self._ask, self._publish), root=root, clock=lambda: self.now
        )

    def _publish(self, changed: Sequence[str]) -> None:
        self.feed.publish("deployed", **deployed_fields(self.deployment), changed=changed)

    def _ask(self, question: str) -> bool:
        self.questions.append(question)
        self.while_asked()
        return self.answer

    def write(self, name: str, text: str) -> None:
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_text(text, encoding="utf-8")

    def look(self, seconds: float = SETTLED_SECONDS) -> Mapping[str, Any] | None:
        """Let the watcher look, wait, and let it look again; return the fact of it, if there is one."""
        count = len(self.feed.facts)
        assert not self.watcher.look()
        self.now += seconds
        deployed = self.watcher.look()
        facts = self.feed.facts[count:]
        assert [fact["kind"] == "deployed" for fact in facts] == ([deployed] if facts else [])
        return facts[0] if facts else None

    def save(self, name: str, text: str) -> list[str] | str:
        """Save a file; return the names of the changed resources, or the problem."""
        self.write(name, text)
        fact = self.look()
        assert fact
        return fact["changed"] if fact["kind"] == "deployed" else fact["text"]

    def call(self, function: str) -> Any:
        """Return the answer of a function."""
        name = next(each.id for each in self.deployment.resources if each.registration.name == function)
        return json.load(self.aws.client("lambda").invoke(FunctionName=name)["Payload"])


@pytest.fixture
def edits(aws: LocalAws, tmp_path: Path) -> Generator[Edits]:
    edits = Edits(aws, tmp_path.resolve())
    yield edits
    edits.deployment.destroy()
    sys.modules.pop("shapes_of_watcher", None)


def test_only_the_functions_that_use_the_edited_file_are_deployed(edits: Edits) -> None:
    assert edits.save("handler/one.py", HANDLER.replace("first", "second")) == ["one"]
    assert (edits.call("one"), edits.call("two")) == ("second", "shared")
    assert edits.save("handler/shared.py", "word = 'changed'\n") == ["two"]
    assert (edits.call("one"), edits.call("two")) == ("second", "changed")
    assert edits.save("handler/nobody.py", "x = 1\n") == []
    (fact, *_) = edits.feed.facts
    table = edits.deployment.outputs["table"]
    assert fact["tables"] == {"things": {"name": table, "keys": ["id"]}}
    assert fact["consumers"]["two"]["reads"] == ["things"]


def test_a_mistake_is_told_and_nothing_is_deployed_until_it_is_mended(edits: Edits) -> None:
    before = edits.deployment.resources
    broken = edits.save("handler/one.py", "def handler(event, context)\n    return 'second'\n")
    assert broken == "handler/one.py:1: SyntaxError: expected ':'\n    def handler(event, context)"
    assert edits.look() is None
    also = edits.save("handler/shared.py", "from handler import nothing_of_this\n")
    assert str(also).startswith("handler/one.py:1: SyntaxError")
    imports = edits.save("handler/one.py", HANDLER)
    assert str(imports).startswith("handler/shared.py:1: ImportError: cannot import name 'nothing_of_this'")
    program = edits.save("__main__.py", MAIN.replace("config = pulumi.Config()", "config = pulumi.Confg()"))
    assert str(program).startswith(
        "__main__.py:8: AttributeError: module 'pulumi' has no attribute 'Confg'\n    config"
    )
    yaml = edits.save("Pulumi.local.yaml", "config: {\n")
    assert str(yaml).startswith("Pulumi.local.yaml:2: this is not YAML: ")
    elsewhere = edits.save("Pulumi.local.yaml", STACK.format("one two").replace("eu-west-1", "eu-west-2"))
    assert str(elsewhere).startswith("Pulumi.local.yaml: aws:region is eu-west-2, and the sandbox runs in eu-west-1")
    assert edits.deployment.resources == before
    assert str(edits.save("Pulumi.local.yaml", STACK.format("one two"))).startswith("__main__.py:8: AttributeError")
    assert str(edits.save("__main__.py", MAIN)).startswith("handler/shared.py:1: ImportError")
    assert edits.save("handler/shared.py", "word = 'mended'\n") == ["two"]
    assert edits.call("two") == "mended"


@pytest.mark.parametrize("text", ["", "import pulumi\n"])
def test_an_emptied_program_deletes_nothing(edits: Edits, text: str) -> None:
    edits.write("__main__.py", text)
    assert edits.look() is None or text
    fact = edits.feed.facts[0] if text else edits.look(EMPTY_SECONDS)
    assert fact
    assert fact["text"] == f"__main__.py:1: the {'program registers no resource' if text else 'file is empty'}"
    assert len(edits.deployment.resources) == 5


def test_files_are_deployed_once_when_they_have_settled(edits: Edits) -> None:
    """As a checkout changes them, or an editor that empties a file before it writes it."""
    edits.write("handler/one.py", HANDLER.replace("first", "second"))
    assert edits.look(SETTLED_SECONDS / 2) is None
    edits.write("handler/shared.py", "")
    assert edits.look(SETTLED_SECONDS) is None
    edits.write("handler/shared.py", "word = 'changed'\n")
    fact = edits.look()
    assert fact
    assert fact["changed"] == ["one", "two"]
    assert edits.look() is None


def test_a_question_precedes_the_loss_of_a_consumer_or_of_items(edits: Edits) -> None:
    before = edits.deployment.resources
    declined = edits.save("Pulumi.local.yaml", STACK.format("two"))
    assert edits.questions == ["deploying deletes the consumer one: go on? y/n"]
    assert str(declined).startswith("it would delete the consumer one, so everything stays as it is. To deploy it, pre")
    assert edits.look() is None
    edits.save("shapes_of_watcher.py", "KEY = 'number'\n")
    losses = "the consumer one and the items of the table things"
    assert edits.questions[1:] == [f"deploying deletes {losses}: go on? y/n"]
    assert edits.deployment.resources == before
    edits.answer = True
    assert edits.watcher.redeploy()
    assert "one deleted" in edits.feed.facts[-1]["changed"]
    assert edits.feed.facts[-1]["tables"]["things"]["keys"] == ["number"]


def test_an_answer_counts_for_the_files_of_the_question_only(edits: Edits) -> None:
    edits.answer = True
    edits.while_asked = lambda: edits.write("handler/one.py", HANDLER.replace("first", "second"))
    changed = edits.save("Pulumi.local.yaml", STACK.format("two"))
    assert changed == "files have changed since the question: they are looked at again"
    assert edits.call("one") == "first"
    edits.while_asked = lambda: None
    fact = edits.look()
    assert fact
    assert "one deleted" in fact["changed"]


def test_an_edit_during_the_first_deployment_is_seen(edits: Edits) -> None:
    stamps = Files(edits.root, "local").stamps()
    edits.write("handler/one.py", HANDLER.replace("first", "second"))
    changes: list[Sequence[str]] = []
    edits.watcher = Watcher(
        edits.aws.sandbox,
        edits.deployment,
        edits.feed,
        bool,
        changes.append,
        stamps,
        root=edits.root,
        clock=lambda: edits.now,
    )
    assert not edits.watcher.look()
    edits.now += SETTLED_SECONDS
    assert edits.watcher.look()
    assert changes == [["one"]]


def test_a_new_consumer_is_imported_before_it_is_deployed(edits: Edits) -> None:
    """The table is replaced at the same time, so that its name is not known before."""
    edits.answer = True
    edits.write("shapes_of_watcher.py", "KEY = 'number'\n")
    edits.write("handler/three.py", HANDLER.replace("import os", "import os, nobody_s_package"))
    problem = edits.save("Pulumi.local.yaml", STACK.format("one two three"))
    assert str(problem).startswith("handler/three.py:1: ModuleNotFoundError: No module named 'nobody_s_package'")
    assert edits.questions == []
    changes = edits.save("handler/three.py", HANDLER.replace("first", "third"))
    assert {"three created", "three-things created", "things deleted", "things created"} <= set(changes)
    assert edits.call("three") == "third"


def test_the_key_deploys_an_unchanged_program(edits: Edits) -> None:
    assert edits.watcher.redeploy()
    assert [(fact["kind"], fact["changed"]) for fact in edits.feed.facts] == [("deployed", [])]
    assert edits.look() is None


def test_a_module_beside_the_program_is_imported_again(edits: Edits) -> None:
    assert edits.save("shapes_of_watcher.py", "KEY = nobody\n") == (
        "shapes_of_watcher.py:1: NameError: name 'nobody' is not defined\n    KEY = nobody"
    )
    assert edits.save("shapes_of_watcher.py", "KEY = 'id'\n") == []
