"""The question that the commands ask, and their answers to errors."""

import os
import pty
from io import StringIO

import pytest
from rich.console import Console

from ops.cli import Session
from ops.stack import Stack

OUTPUTS = """{"tables": {"t": {"name": "t-1", "arn": "arn:aws:dynamodb:eu-west-3:1:table/t-1"}}, "consumers": {},
              "stores": {"failures": {"bucket": "b"}, "ledger": {"name": "l"}}}"""


class Terminal(StringIO):
    """A terminal where a person types its contents."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("typed", "agreed", "end"),
    [("y\n", True, ""), ("\n", False, "nothing was changed\n"), ("", False, "\nnothing was changed\n")],
    ids=["yes", "no", "end of file"],
)
def test_the_question_shows_its_answers(monkeypatch: pytest.MonkeyPatch, typed: str, agreed: bool, end: str):
    monkeypatch.setattr("sys.stdin", Terminal(typed))
    shown = StringIO()
    session = Session(Stack.model_validate_json(OUTPUTS), Console(file=shown))
    assert session.should_execute() is agreed
    assert shown.getvalue() == "Continue? [y/N] " + end


def test_what_was_typed_before_the_question_is_no_answer(monkeypatch: pytest.MonkeyPatch):
    person, terminal = pty.openpty()
    os.write(person, b"y\n")

    class Screen(StringIO):
        def write(self, text: str) -> int:
            if "[y/N]" in text:
                os.write(person, b"n\n")
            return super().write(text)

    with os.fdopen(terminal) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        assert not Session(Stack.model_validate_json(OUTPUTS), Console(file=Screen())).confirm("Continue?")
    os.close(person)
