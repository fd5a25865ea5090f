"""Lines of the screens: at most 80 columns, and nothing in them that controls the terminal."""

import textwrap

WIDTH = 80
"""The columns of a screen."""


def printable(text: str, kept: str = "") -> str:
    """Return a text without characters that would control the terminal, except those in `kept`."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each in kept else ascii(each)[1:-1] for each in text)


def cut(text: str, width: int) -> str:
    """Return a text of at most `width` characters; a longer one ends with an ellipsis."""
    return text if len(text) <= width else f"{text[: width - 1]}…"


def one_printable_line(text: str, width: int) -> str:
    """Return a text on one line of at most `width` characters, without what would control the terminal."""
    return cut(printable(" ".join(text.split())), width)


def wrapped(text: str, first: str = "", following: str | None = None, *, most: int | None = None) -> list[str]:
    """Return a text as lines of a screen; names and keys, which the operator copies, stay whole.

    Parameters
    ----------
    first
        What the first line begins with, such as a label.
    following
        What the other lines begin with; by default, as many spaces.
    most
        The most lines; None for all. A text that needs more ends with an ellipsis.
    """
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=" " * len(first) if following is None else following,
        break_long_words=False,
        break_on_hyphens=False,
        max_lines=most,
        placeholder=" …",
    ) or [first.rstrip()]
