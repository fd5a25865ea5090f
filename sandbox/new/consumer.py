"""Writes a consumer's module, its test and its entry in `__main__.py`."""

import keyword
import re
from dataclasses import dataclass
from pathlib import Path

from sandbox import SandboxError
from sandbox.new import templates
from sandbox.new.edit import Entry
from sandbox.new.program import Source, UnclearError

TABLE = "items"
"""The name of a new table, unless the user names it."""

RESERVED = ("stream", "handler")
"""Modules of handler/ that no consumer can be: the engine's package, and one that is named as the package itself."""

MAX_CHARACTERS = 47
"""Of a consumer's name: AWS allows 64 in a function's name, and NAME-function-0a1b2c3 has 17 more."""


@dataclass(frozen=True)
class NewConsumer:
    """A consumer to add to the program in a directory, and the table that it reads."""

    root: Path
    consumer: str
    entry: Entry
    program: str  # the text of __main__.py; empty if the user must edit it
    reason: str  # why the user must edit __main__.py

    @property
    def module_path(self) -> Path:
        """The path of the consumer's module."""
        return self.root / "handler" / f"{self.consumer.replace('-', '_')}.py"

    @property
    def test_path(self) -> Path:
        """The path of the module's test."""
        return self.root / "tests" / "mine" / f"test_{self.consumer.replace('-', '_')}.py"

    @classmethod
    def plan(cls, root: Path, name: str, table: str | None = None, *, existing: str | None = None) -> "NewConsumer":
        """Return what to write for a consumer that reads the program's table `existing`, or else the new table `table`.

        Raises
        ------
        SandboxError
            A name is not possible, or one of the files exists.
        """
        consumer = checked_name(name, "a consumer", MAX_CHARACTERS)
        if consumer.replace("-", "_") in RESERVED:
            raise SandboxError(f"handler/{consumer.replace('-', '_')} is the engine's: choose another name")
        new_table = checked_name(table or TABLE, "a table", MAX_CHARACTERS) if existing is None else ""
        entry = Entry(read_program(root), consumer, existing or new_table, is_new=existing is None)
        try:
            program, reason = entry.added(), ""
        except UnclearError as error:
            program, reason = "", str(error)
        new = cls(root, consumer, entry, program, reason)
        taken = [path for path in (new.module_path, new.module_path.with_suffix(""), new.test_path) if path.exists()]
        if taken:
            raise SandboxError(f"{taken[0].relative_to(root)} exists already: choose another name, or remove it")
        return new

    def write(self) -> None:
        """Write the files. No file is replaced, except `__main__.py`, to which lines are added."""
        self.test_path.parent.mkdir(parents=True, exist_ok=True)
        for path, text in (
            (self.module_path, templates.text_of_handler(self.consumer, self.entry.table)),
            (self.test_path, templates.text_of_test(self.consumer, self.entry.table)),
        ):
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        if self.program:
            (self.root / "__main__.py").write_text(self.program, encoding="utf-8", newline="")

    def summary(self) -> list[str]:
        """Return lines that say what was written, and what comes next."""
        table, module, test = (
            self.entry.table,
            *(str(p.relative_to(self.root)) for p in (self.module_path, self.test_path)),
        )
        width = max(len(module), len(test)) + 2
        lines = [
            f"{module:{width}}the consumer: a function of one change",
            f"{test:{width}}its test",
        ]
        if not self.program:
            parts = [line for part in self.entry.parts() for line in [*part.splitlines(), ""]]
            table_too = f", and {table.variable} to the exported tables" if self.entry.makes_table else ""
            return [
                *lines,
                f"__main__.py is as it was, because {self.reason}. Add this to it, and the consumer to those that "
                f"Alarms watches and pulumi.export names{table_too}:",
                "",
                *(f"    {line}".rstrip() for line in parts),
            ]
        entry = f"{'the new table' if self.entry.makes_table else 'the table'} {table.name} → {self.consumer}"
        return [
            *lines,
            f"{'__main__.py':{width}}{entry}",
            "Next: make mine runs the test, make sandbox runs it all, and make test checks everything",
        ]


def read_program(root: Path) -> Source:
    """Return the source of the program in a directory.

    Raises
    ------
    SandboxError
        There is none, or it is not Python in UTF-8.
    """
    try:
        with (root / "__main__.py").open(encoding="utf-8", newline="") as file:
            return Source(file.read())
    except FileNotFoundError as error:
        raise SandboxError("there is no __main__.py, to which the consumer belongs") from error
    except UnicodeDecodeError as error:
        raise SandboxError(f"__main__.py is not in UTF-8: {error}") from error


def checked_name(name: str, what: str, most: int) -> str:
    """Return a name with dashes.

    Raises
    ------
    SandboxError
        It cannot be the name of a module or of AWS's resources.
    """
    dashed = name.replace("_", "-")
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", dashed):
        better = re.sub(r"[^a-z0-9]+", "-", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()).strip("-0123456789")
        hint = f"; take {better}" if better else ""
        raise SandboxError(
            f"{name!r}: the name of {what} has small letters, digits and dashes, and a letter first{hint}"
        )
    if keyword.iskeyword(dashed):
        raise SandboxError(f"{name!r} is a word of Python's own, so no module can have this name: choose another")
    if len(dashed) > most:
        raise SandboxError(f"{name!r} has {len(dashed)} characters, and AWS allows {most} here: shorten it")
    return dashed
