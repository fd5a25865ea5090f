"""Which files of handler/ are shipped, and that the sandbox watches the same ones."""

import os
import time
from pathlib import Path

import pulumi
import pytest

from infra.archive.sources import Source, files, read_sources
from sandbox.edits.files import Files, differing
from tests.infra.archive.archives import put


def names(root: Path) -> list[str]:
    return [source.name.removeprefix("handler/") for source in read_sources(root / "handler")]


def tree(root: Path, *paths: str) -> Path:
    for path in paths:
        put(root / "handler" / path, path)
    return root / "handler"


def test_what_the_user_wrote_is_shipped_whatever_its_name(tmp_path: Path) -> None:
    written = [
        *(".config/a.toml", ".env", ".gitignore", "a.sw", "lab/.keep", "lab/requirements.txt"),
        *("lab/stream/testing/x.py", "lab/testing.py", "lab/tests/data.json", "lab/x.pyc.txt"),
        *("stream/testing.py", "testing.py", "tests/x.py"),
    ]
    tree(tmp_path, *written)
    assert names(tmp_path) == written


@pytest.mark.parametrize(
    "name",
    [
        *("requirements.in", "requirements.txt", "stream/testing/__init__.py", "stream/testing/more/x.py"),
        *("__pycache__/x.cpython-313.pyc", "lab/__pycache__/x.txt", "lab/x.pyc"),
        *("lab/.git/config", ".mypy_cache/x", ".pytest_cache/x", ".ruff_cache/x", "lab/.ipynb_checkpoints/x.ipynb"),
        *("lab/.DS_Store", "._x.py", "Thumbs.db", "desktop.ini", ".idea/x", "lab/.vscode/x.json"),
        *(".x.py.swp", "lab/.x.py.swo", ".x.kate-swp", "x.py~", ".#x.py", "#x.py#"),
    ],
)
def test_what_builds_tools_and_editors_leave_is_not(tmp_path: Path, name: str) -> None:
    tree(tmp_path, "a.py", name)
    assert names(tmp_path) == ["a.py"]


def test_a_link_to_a_file_inside_handler_becomes_its_copy(tmp_path: Path) -> None:
    handler = tree(tmp_path, "a.sh", "lab/b.py")
    (handler / "a.sh").chmod(0o755)
    (handler / "lab" / "again").symlink_to("../a.sh")
    (handler / "lab" / "twice").symlink_to(handler / "lab" / "again")
    assert read_sources(handler) == [
        Source("handler/a.sh", b"a.sh", executable=True),
        Source("handler/lab/again", b"a.sh", executable=True),
        Source("handler/lab/b.py", b"lab/b.py", executable=False),
        Source("handler/lab/twice", b"a.sh", executable=True),
    ]


def test_every_other_link_is_refused_by_name(tmp_path: Path) -> None:
    handler = tree(tmp_path, "a.py", "lab/b.py")
    put(tmp_path / "common" / "c.py", "")
    (handler / "dangling").symlink_to("nowhere")
    (handler / "directory").symlink_to("lab")
    (handler / "escaping").symlink_to("../common/c.py")
    (handler / "lab" / "up").symlink_to("..")
    (handler / "loop").symlink_to("loop")
    os.mkfifo(handler / "pipe")
    with pytest.raises(pulumi.RunError) as caught:
        read_sources(handler)
    assert str(caught.value).splitlines() == [
        "handler/dangling is a link to nowhere, which does not exist; fix or remove the link",
        "handler/directory is a link to lab, a directory, but only links to files are followed; move the directory "
        "itself to handler/directory",
        "handler/escaping is a link to ../common/c.py, outside handler/, but only links within handler/ are followed; "
        "copy the file to handler/escaping",
        "handler/lab/up is a link to .., a directory, but only links to files are followed; move the directory itself "
        "to handler/lab/up",
        "handler/loop is a link to loop, which does not exist; fix or remove the link",
        "handler/pipe is neither a file nor a directory; move it out of handler/",
    ]


def test_a_handler_that_is_itself_reached_by_a_link_is_read(tmp_path: Path) -> None:
    """As macOS reaches /tmp."""
    handler = tree(tmp_path / "real", "a.py")
    (handler / "b.py").symlink_to("a.py")
    (tmp_path / "project").symlink_to("real")
    assert names(tmp_path / "project") == ["a.py", "b.py"]


def test_the_sandbox_watches_what_is_shipped_and_what_it_is_built_from(tmp_path: Path) -> None:
    handler = tree(tmp_path, "a.py", ".env", "lab/tests/b.py", "stream/testing/c.py", ".a.py.swp", "d.pyc")
    put(handler / "requirements.txt", "")
    put(tmp_path / "__main__.py", "")
    (handler / "dangling").symlink_to("nowhere")
    assert Files(tmp_path, "dev").stamps().keys() == {
        tmp_path / "__main__.py",
        handler / "requirements.txt",
        *(handler / name for name in ("a.py", ".env", "lab/tests/b.py", "dangling")),
    }
    assert set(files(handler)) < Files(tmp_path, "dev").stamps().keys()


@pytest.mark.parametrize("change", ["write", "chmod", "retarget", "mend", "remove"])
def test_the_sandbox_notices_whatever_changes_the_archive(tmp_path: Path, change: str) -> None:
    handler = tree(tmp_path, "a.py", "b.py")
    (handler / "link").symlink_to("a.py")
    (handler / "dangling").symlink_to("c.py")
    before = Files(tmp_path, "dev").stamps()
    assert Files(tmp_path, "dev").stamps() == before
    time.sleep(0.02)  # a file system's clock may go on by 10 ms at a time
    match change:
        case "write":
            put(handler / "a.py", "changed")
            changed = {handler / "a.py", handler / "link"}
        case "chmod":
            (handler / "b.py").chmod(0o755)
            changed = {handler / "b.py"}
        case "retarget":
            (handler / "link").unlink()
            (handler / "link").symlink_to("b.py")
            changed = {handler / "link"}
        case "mend":
            put(handler / "c.py", "")
            changed = {handler / "c.py", handler / "dangling"}
        case _:
            (handler / "dangling").unlink()
            changed = {handler / "dangling"}
    after = Files(tmp_path, "dev").stamps()
    assert differing(before, after) == changed
