"""Writes the items of a file to a table: DynamoDB JSON lines as a table export has them, or plain JSON lines."""

import gzip
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn, cast

from botocore.exceptions import ClientError  # pyright: ignore[reportMissingTypeStubs] -- botocore is untyped

from handler.stream.codec import decode, encode_item
from sandbox import SandboxError


class PutError(SandboxError):
    """The file or the table does not exist or cannot be read."""


@dataclass
class PutReport:
    """The number of items written, and the lines that are not written: their numbers, each with the reason."""

    table: str
    written: int = 0
    rejected: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])


def put(dynamodb: Any, table: str, path: Path) -> PutReport:
    """Write the items of `path` (gzipped or not) to `table` one after the other, in the order of the file.

    Parameters
    ----------
    dynamodb
        boto3's client.
    table
        The table's name, or its name in the program (`users` for users-table-1a2b3c4).

    Raises
    ------
    PutError
        The table or the file does not exist, or the file cannot be read.
    """
    report = PutReport(_find_table(dynamodb, table))
    for number, line in _read_lines(path):
        try:
            dynamodb.put_item(TableName=report.table, Item=encode_item(parse_item(line)))
            report.written += 1
        except (ValueError, TypeError) as error:
            report.rejected.append((number, str(error)))
        except ClientError as error:
            report.rejected.append((number, str(cast("Any", error).response["Error"]["Message"])))
    return report


def _find_table(dynamodb: Any, name: str) -> str:
    names: list[str] = [
        each for page in dynamodb.get_paginator("list_tables").paginate() for each in page["TableNames"]
    ]
    generated = re.compile(rf"{re.escape(name)}(-table)?-[0-9a-f]{{7}}")
    matches = [each for each in names if each == name] or [each for each in names if generated.fullmatch(each)]
    if len(matches) != 1:
        raise PutError(f"there is {'more than one' if matches else 'no'} table {name}; there are {', '.join(names)}")
    return matches[0]


def _read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with path.open("rb") as file:
            is_gzipped = file.peek(2).startswith(b"\x1f\x8b")
            with gzip.GzipFile(fileobj=file) if is_gzipped else file as content:
                for number, line in enumerate(content, 1):
                    if line.strip():
                        yield number, line
    except (OSError, EOFError) as error:
        raise PutError(f"{path} cannot be read: {error}") from error


def parse_item(line: bytes) -> dict[str, Any]:
    """Return the item of a line as native values; numbers keep all their digits. Raises ValueError."""
    try:
        item = json.loads(line, parse_float=Decimal, parse_int=Decimal, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error}") from error
    if not isinstance(item, dict):
        raise ValueError("not an object")  # noqa: TRY004 -- the content of the line is wrong, not a type in here
    item = cast("dict[str, Any]", item)
    exported = item.get("Item")
    if set(item) == {"Item"} and isinstance(exported, dict):
        return {name: decode(value) for name, value in cast("dict[str, Any]", exported).items()}
    return item


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number in JSON")
