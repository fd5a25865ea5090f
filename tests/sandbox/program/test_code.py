"""Which files of handler/ a function uses, and that its digest follows these files."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from sandbox.program.code import digest_of_code, used_files
from sandbox.resources.assets import Archive, Bundle

FILES = {
    "handler/__init__.py": "",
    "handler/stream/__init__.py": "from handler.stream import engine",
    "handler/stream/engine.py": "import importlib",
    "handler/words.json": "{}",
    "handler/alone.py": "import os\nfrom handler.stream import consumer",
    "handler/reads.py": "def late():\n    from handler.shared import things",
    "handler/relative.py": "from . import shared",
    "handler/absolute.py": "import handler.package.part",
    "handler/star.py": "from handler.package import *",
    "handler/dynamic.py": "from importlib import import_module",
    "handler/broken.py": "def",
    "handler/shared.py": "from handler.deep import x",
    "handler/deep.py": "",
    "handler/package/__init__.py": "",
    "handler/package/part.py": "from ..deep import x\nfrom .other import y",
    "handler/package/other.py": "",
}
ALWAYS = {"__init__", "stream/__init__", "stream/engine", "words.json"}


def used(module: str) -> set[str]:
    files = used_files({name: text.encode() for name, text in FILES.items()}, f"handler.{module}")
    return {name.removeprefix("handler/").removesuffix(".py") for name in files}


@pytest.mark.parametrize(
    ("module", "others"),
    [
        ("alone", set[str]()),
        ("reads", {"shared", "deep"}),
        ("relative", {"shared", "deep"}),
        ("absolute", {"package/__init__", "package/part", "package/other", "deep"}),
        ("star", {"package/__init__", "package/part", "package/other", "deep"}),
        ("package", {"package/__init__"}),
    ],
)
def test_a_module_uses_what_it_imports(module: str, others: set[str]) -> None:
    assert used(module) - {module} == ALWAYS | others


@pytest.mark.parametrize("module", ["dynamic", "broken", "nobody"])
def test_a_module_that_may_import_anything_uses_everything(module: str) -> None:
    assert len(used(module)) == len(FILES)


def archive(path: Path, changes: Mapping[str, str]) -> Archive:
    with zipfile.ZipFile(path, "w") as packed:
        for name, text in {**FILES, "package/__init__.py": "", **changes}.items():
            packed.writestr(zipfile.ZipInfo(name), text)
    return Archive(str(path))


def test_the_digest_follows_the_used_files_and_the_packages(tmp_path: Path) -> None:
    def digest(module: str, **changes: str) -> str:
        files = {name.replace("__", "/") + ".py": text for name, text in changes.items()}
        return digest_of_code({"handler": f"handler.{module}.handler", "code": archive(tmp_path / "a.zip", files)})

    before = digest("reads")
    assert before == digest("reads", handler__alone="x = 1")
    different = {
        digest("reads", handler__deep="x = 1"),
        digest("reads", handler__stream__engine="x = 1"),
        digest("reads", package__module="x = 1"),
        digest("alone"),
    }
    assert len(different | {before}) == 5


def test_code_that_is_no_zip_file_has_no_digest(tmp_path: Path) -> None:
    assert digest_of_code({"handler": "m.handler", "code": Archive(str(tmp_path))}) == ""
    assert digest_of_code({"handler": "m.handler", "code": Bundle({})}) == ""
    assert digest_of_code({}) == ""
