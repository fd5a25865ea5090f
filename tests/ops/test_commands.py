"""The question that the commands ask."""

from io import StringIO

import pytest
from rich.console import Console

from ops.__main__ import ask_to_confirm


class Terminal(StringIO):
    """A terminal where a person types its contents."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("typed", "agreed"), [("y\n", True), ("\n", False)])
def test_the_question_shows_its_answers(monkeypatch: pytest.MonkeyPatch, typed: str, agreed: bool):
    monkeypatch.setattr("sys.stdin", Terminal(typed))
    shown = StringIO()
    assert ask_to_confirm(Console(file=shown)) is agreed
    assert shown.getvalue() == "Continue? [y/N] "
