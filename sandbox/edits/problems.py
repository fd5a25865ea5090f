"""Says what is wrong with a program, first with the file and the line."""

import linecache
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from pulumi import RunError

from sandbox import SandboxError


class ProblemError(SandboxError):
    """A mistake in the program's files: the message begins with the file, and the line if there is one."""


class Frame(NamedTuple):
    """A line that was running when an error was raised."""

    file: str
    line: int


def is_of_program(error: BaseException, root: Path) -> bool:
    """Return whether an error is one of the program: it says so, or a line of the user's code was running."""
    frames = [Frame(each.filename, each.lineno or 1) for each in traceback.extract_tb(error.__traceback__)]
    return isinstance(error, (RunError, SyntaxError)) or user_frame(frames, root) is not None


def describe(error: BaseException, root: Path) -> str:
    """Return what is wrong, with the line of the user's code that was running when the error was raised.

    The lines of the message stay as they are. An error that is not meant for users has its type and source line.
    """
    notes = "".join(f"\n{note}" for note in getattr(error, "__notes__", ()))
    if isinstance(error, ProblemError):
        return f"{error}{notes}"
    frames = [Frame(each.filename, each.lineno or 1) for each in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        return _with_source(Frame(error.filename, error.lineno or 1), f"{type(error).__name__}: {error.msg}", root)
    if isinstance(error, (RunError, SandboxError)):
        where = user_frame(frames, root)
        return f"{f'{_place(where, root)}: ' if where else ''}{error}{notes}"
    return describe_frames(type(error).__name__, f"{error}{notes}", frames, root)


def describe_frames(kind: str, message: str, frames: list[Frame], root: Path) -> str:
    """Return what is wrong, from an error's type, its message, and the lines that were running, outermost first."""
    text = f"{kind}: {message}" if message else kind
    where = user_frame(frames, root)
    if where is None:
        return text
    described = _with_source(where, text, root)
    deepest = next((each for each in reversed(frames) if _inside(each, root)), where)
    return described if deepest == where else f"{described}\n    raised at {_place(deepest, root)}"


def user_frame(frames: Iterable[Frame], root: Path) -> Frame | None:
    """Return the innermost line of the user's own code: outside infra/, the engine and packages; None without one."""
    own = [each for each in frames if (parts := _inside(each, root)) and _is_user_s(parts)]
    return own[-1] if own else None


def _inside(frame: Frame, root: Path) -> tuple[str, ...]:
    """Return the parts of the file's path within the project; empty for a file of another place or an environment."""
    path = Path(frame.file)
    parts = path.relative_to(root).parts if path.is_relative_to(root) else ()
    return () if any(part.startswith(".") for part in parts) else parts


def _is_user_s(parts: tuple[str, ...]) -> bool:
    return len(parts) == 1 or (parts[0] == "handler" and parts[1] != "stream")


def _place(frame: Frame, root: Path) -> str:
    parts = _inside(frame, root)
    return f"{'/'.join(parts) if parts else frame.file}:{frame.line}"


def _with_source(frame: Frame, text: str, root: Path) -> str:
    linecache.checkcache(frame.file)
    source = linecache.getline(frame.file, frame.line).strip()
    return f"{_place(frame, root)}: {text}" + (f"\n    {source}" if source else "")
