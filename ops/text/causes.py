"""Groups errors by their cause: the error's text without what differs from item to item."""

import re

AWS_CALL = re.compile(r"^An error occurred \(\w+\) when calling the (\w+) operation(?: \([^)]*\))?: ")
"""The beginning of boto3's text of an AWS error, which repeats the error's type."""
MAX_CHARACTERS = 300
"""Characters of an error's text that make its cause."""
REPLACED = (
    (re.compile(r"\s+"), " "),
    (re.compile(r'"[^"]*"'), '"…"'),
    (re.compile(r"(?<!\w)'[^']*'(?!\w)"), "'…'"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d([.,]\d+)?)?(Z|[+-]\d\d:?\d\d)?"), "#"),
    (re.compile(r"\b[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"), "#"),
    (re.compile(r"\b(?=\w*\d)(?:0x)?[0-9a-fA-F]{8,}\b"), "#"),
    (re.compile(r"\b(?=\w*\d)(?=\w*[A-Za-z])\w{16,}\b"), "#"),
    (re.compile(r"\d+([.,:]\d+)*"), "#"),
)
"""The parts that differ from item to item, each with its replacement: white space, quoted values, times, UUIDs,
hexadecimal numbers, other long ids, and numbers, also within a word."""


def cause_of(error_type: str, error_text: str) -> str:
    """Return the cause of an error: `TimeoutError: timed out after # ms`. Errors of one cause have equal texts."""
    text = error_text[:MAX_CHARACTERS]
    for pattern, replacement in REPLACED:
        text = pattern.sub(replacement, text)
    return one_line(error_type, text)


def one_line(error_type: str, error_text: str) -> str:
    """Return an error's type and text on one line."""
    text = AWS_CALL.sub(r"\1: ", " ".join(error_text.split()))
    return f"{error_type}: {text}" if text else error_type
