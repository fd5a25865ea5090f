"""The first line of a problem is a line of the user's code, if any was running."""

from collections.abc import Callable
from pathlib import Path

import pulumi
import pytest

from sandbox.edits.problems import Frame, ProblemError, describe, describe_frames, is_of_program, user_frame


def raised(call: Callable[[], object]) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011 -- the test is about the text of any error
        call()
    return caught.value


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("handler/stream", "infra", ".venv/lib"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


def run(root: Path, main: str, infra: str = "") -> Exception:
    """Run a program that calls `infra(…)`, and return its error."""
    paths = {root / "__main__.py": main, root / "infra" / "component.py": infra}
    for path, source in paths.items():
        path.write_text(source, encoding="utf-8")

    def call() -> None:
        names: dict[str, object] = {"pulumi": pulumi}
        for path, source in reversed(paths.items()):
            exec(compile(source, path, "exec"), names)  # noqa: S102 -- the source is this test's

    return raised(call)


def test_an_error_of_the_program_has_its_line_and_its_source(root: Path) -> None:
    assert describe(run(root, "x = 1\ny = Setings.load()\n"), root) == (
        "__main__.py:2: NameError: name 'Setings' is not defined\n    y = Setings.load()"
    )


def test_an_error_of_a_component_names_both_places(root: Path) -> None:
    error = run(root, "\ncomponent()\n", "def component():\n    return nobody\n")
    assert describe(error, root) == (
        "__main__.py:2: NameError: name 'nobody' is not defined\n    component()\n    raised at infra/component.py:2"
    )


def test_a_refusal_keeps_its_lines_and_needs_no_type(root: Path) -> None:
    refuse = "def component():\n    raise pulumi.RunError('two errors:\\n  one\\n  two')\n"
    assert describe(run(root, "component()\n", refuse), root) == "__main__.py:1: two errors:\n  one\n  two"


def test_only_errors_of_the_program_are_told_without_a_traceback(root: Path) -> None:
    assert is_of_program(run(root, "y = Setings.load()\n"), root)
    assert is_of_program(raised(lambda: compile("if", "m.py", "exec")), root)
    assert is_of_program(pulumi.RunError("two errors"), root)
    assert not is_of_program(raised(lambda: int("x")), root)


def test_invalid_syntax_has_its_own_line(root: Path) -> None:
    path = root / "handler" / "mirror.py"
    path.write_text("x = 1\nif x\n", encoding="utf-8")
    error = raised(lambda: compile(path.read_bytes(), path, "exec"))
    assert describe(error, root) == "handler/mirror.py:2: SyntaxError: expected ':'\n    if x"


def test_an_error_without_a_line_of_the_user_is_its_message(root: Path) -> None:
    error = raised(lambda: int("x"))
    error.add_note("a note")
    assert describe(error, root) == "ValueError: invalid literal for int() with base 10: 'x'\na note"
    assert describe(ProblemError("__main__.py:1: the file is empty"), root) == "__main__.py:1: the file is empty"
    assert describe_frames("KeyboardInterrupt", "", [], root) == "KeyboardInterrupt"


def test_the_users_code_is_neither_the_engine_nor_a_package(root: Path) -> None:
    own = Frame(str(root / "handler" / "mirror.py"), 3)
    others = ("handler/stream/entry.py", "infra/consumer.py", ".venv/lib/pulumi.py", "sandbox/put.py")
    frames = [Frame(str(root / name), 1) for name in others]
    assert user_frame([own, *frames, Frame("/usr/lib/python3/json.py", 1)], root) == own
    assert user_frame(frames, root) is None
