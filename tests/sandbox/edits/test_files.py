"""Which files are watched, and what is imported again."""

import importlib.util
import os
import sys
from collections.abc import Generator
from pathlib import Path
from types import ModuleType

import pytest

from sandbox.edits.files import Files, differing, forget_modules

WATCHED = (
    *("__main__.py", "shapes.py", "Pulumi.yaml", "Pulumi.local.yaml", "infra/table.py", "infra/rules/names.py"),
    *("handler/mirror.py", "handler/words.json", "handler/requirements.txt"),
)
OTHERS = ("README.md", "Pulumi.prod.yaml", "infra/notes.txt", "handler/__pycache__/mirror.pyc", "tests/test_a.py")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in (*WATCHED, *OTHERS):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("", encoding="utf-8")
    return tmp_path


def test_the_programs_files_are_watched(root: Path) -> None:
    assert set(Files(root, "local").stamps()) == {root / name for name in WATCHED}


def test_directories_are_listed_again_when_they_change(root: Path) -> None:
    """Directories that have not changed for a while are not; links to directories are no directories of ours."""
    folders = [root, *(path for path in root.rglob("*") if path.is_dir())]
    for folder in folders:
        os.utime(folder, (0, 0))
    files = Files(root, "local")
    before = files.stamps()
    assert files.stamps() == before
    new = (root / "new.py", root / "infra" / "rules" / "new.py", root / "handler" / "package" / "new.py")
    for path in new:
        path.parent.mkdir(exist_ok=True)
        path.write_text("", encoding="utf-8")
        assert differing(before, before := files.stamps()) == {path}
    for path in new:
        path.unlink()
        assert differing(before, before := files.stamps()) == {path}


@pytest.fixture
def modules(root: Path) -> Generator[None]:
    """Modules as the program has imported them; those of this process come back after the test."""
    before = dict(sys.modules)
    for name, file in (("shapes_of_the_test", "shapes.py"), ("elsewhere_of_the_test", "tests/test_a.py")):
        sys.modules[name] = ModuleType(name)
        sys.modules[name].__file__ = str(root / file)
    sys.modules.setdefault("infra", ModuleType("infra"))
    sys.modules["infra.of_the_test"] = ModuleType("infra.of_the_test")
    yield
    sys.modules.clear()
    sys.modules.update(before)


@pytest.mark.usefixtures("modules")
def test_a_change_of_infra_has_the_program_import_it_again(root: Path) -> None:
    compiled = Path(importlib.util.cache_from_source(str(root / "infra" / "table.py")))
    compiled.parent.mkdir()
    compiled.write_bytes(b"")
    forget_modules(root, [root / "infra" / "table.py"])
    assert not [name for name in sys.modules if name.partition(".")[0] in ("infra", "shapes_of_the_test")]
    assert "elsewhere_of_the_test" in sys.modules
    assert not compiled.exists()


@pytest.mark.usefixtures("modules")
def test_a_change_of_the_program_alone_leaves_the_modules(root: Path) -> None:
    forget_modules(root, [root / "__main__.py", root / "handler" / "mirror.py", root / "Pulumi.yaml"])
    assert {"infra.of_the_test", "shapes_of_the_test"} <= set(sys.modules)
