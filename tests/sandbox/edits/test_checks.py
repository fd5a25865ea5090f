"""Mistakes that are found before anything is deployed."""

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from sandbox.edits.checks import Checked, ImportCheck, check_files, using
from sandbox.edits.problems import ProblemError

FILES = {
    "__main__.py": "x = 1\n",
    "Pulumi.yaml": "name: x\n",
    "Pulumi.local.yaml": "config: {}\n",
    "handler/__init__.py": "",
    "handler/one.py": "import os\nfrom handler import shared\nprint('not shown')\nkey = os.environ['KEY']\n",
    "handler/two.py": "import package_of_the_test\n",
    "handler/shared.py": "y = 1\n",
}
ONE, TWO = Checked("handler.one.handler", {"KEY": "k"}), Checked("handler.two.handler", {})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    write(root, FILES)
    return root.resolve()


def write(root: Path, files: Mapping[str, str]) -> list[Path]:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return [root / name for name in files]


def test_files_without_mistakes(root: Path) -> None:
    check_files(root, "local", [root / name for name in FILES] + [root / "handler" / "removed.py"])


def test_all_mistakes_are_in_one_message(root: Path) -> None:
    mistakes = {"__main__.py": " \n", "handler/one.py": "x = 1\nif x\n", "handler/shared.py": "x = '\0'"}
    changed = write(root, mistakes)
    (root / "Pulumi.local.yaml").unlink()
    with pytest.raises(ProblemError) as raised:
        check_files(root, "local", [*changed, root / "Pulumi.local.yaml"])
    assert str(raised.value).splitlines() == [
        "__main__.py:1: the file is empty",
        "Pulumi.local.yaml:1: the file is gone",
        "handler/one.py:2: SyntaxError: expected ':'",
        "    if x",
        "handler/shared.py:1: source code string cannot contain null bytes",
    ]


def test_a_function_uses_its_module_and_what_this_imports(root: Path) -> None:
    assert using([ONE, TWO], root, [root / "handler" / "shared.py"]) == [ONE]
    assert using([ONE, TWO], root, [root / "handler" / "two.py"]) == [TWO]
    assert using([ONE, TWO], root, [root / "handler" / "requirements.txt"]) == []


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as packed:
        packed.writestr("package_of_the_test.py", "")
        packed.writestr("handler/one.py", "this is not imported")
    return tmp_path / "archive.zip"


@pytest.fixture
def imports(root: Path, tmp_path: Path) -> ImportCheck:
    return ImportCheck(root, tmp_path / "imports", "http://127.0.0.1:9", "eu-west-1")


def test_modules_are_imported_with_the_functions_packages_and_variables(
    imports: ImportCheck, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KEY", raising=False)
    imports.check([ONE, TWO], archive, [])
    imports.check([], archive, [])
    with pytest.raises(ProblemError, match=r"^handler/one\.py:4: KeyError: 'KEY'\n    key = os\.environ\['KEY'\]$"):
        imports.check([Checked(ONE.handler, {})], archive, [])
    assert "KEY" not in os.environ


def test_an_error_in_a_shared_module_is_told_once(imports: ImportCheck, archive: Path, root: Path) -> None:
    """The second text has the size and, most likely, the second of change of the first."""
    imports.check([ONE], archive, [])
    files = {"handler/shared.py": "y = z\n", "handler/two.py": "from handler.shared import nothing\n"}
    changed = write(root, files)
    message = r"^handler/shared\.py:1: NameError: name 'z' is not defined\n    y = z$"
    with pytest.raises(ProblemError, match=message):
        imports.check([ONE, TWO], archive, changed)
    changed = write(root, {"handler/shared.py": "y = 2\n"})
    with pytest.raises(ProblemError, match=r"^handler/two\.py:1: ImportError: cannot import name 'nothing' from 'hand"):
        imports.check([ONE, TWO], archive, changed)


def test_a_module_that_exits_or_kills_its_process(imports: ImportCheck, archive: Path, root: Path) -> None:
    write(root, {"handler/one.py": "import sys\nsys.exit('over')\n", "handler/two.py": "import os\nos._exit(3)\n"})
    with pytest.raises(ProblemError) as raised:
        imports.check([ONE, TWO], archive, [])
    first, _, last = str(raised.value).splitlines()
    assert first == "handler/one.py:2: SystemExit: over"
    assert last == "handler.two ended the process that imported it (exit code 3)"
