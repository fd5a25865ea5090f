"""Writes the items of a file to a table: plain JSON lines, a table export, or the output of `aws dynamodb scan`."""

import contextlib
import gzip
import http.client
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from difflib import get_close_matches
from io import BufferedReader
from pathlib import Path
from typing import Any, NoReturn, cast
from urllib.parse import urlsplit

from botocore.exceptions import ClientError  # pyright: ignore[reportMissingTypeStubs] -- botocore is untyped

from handler.stream.codec import decode, encode_item
from sandbox import SandboxError
from sandbox.emulator import OUTPUTS_PATH

STANDARD_INPUT = Path("-")
TOO_DEEP = "nested too deeply: DynamoDB takes 32 levels"
EXPORTED_CHANGE = {"Metadata", "Keys", "NewImage", "OldImage"}
"""The fields of a line of an incremental export."""


class PutError(SandboxError):
    """The file or the table does not exist or cannot be read."""


@dataclass
class PutReport:
    """The numbers of items written and deleted, and the rejected lines: their numbers, each with the reason."""

    table: str
    written: int = 0
    deleted: int = 0
    rejected: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])


def put(dynamodb: Any, table: str, path: Path, outputs: Mapping[str, Any] | None = None) -> PutReport:
    """Write the items of `path` to `table` one after the other, in the order of the file.

    A line of an incremental export without a new image deletes its item.

    Parameters
    ----------
    dynamodb
        boto3's client.
    table
        The table's name in the program, or its physical name.
    path
        A file, gzipped or not; `-` is standard input.
    outputs
        The stack's outputs, which have the physical name of each table.

    Raises
    ------
    PutError
        The table or the file does not exist, or the file cannot be read.
    """
    report = PutReport(_find_table(dynamodb, table, outputs or {}))
    for number, content in _read_values(path):
        try:
            if isinstance(content, ValueError):
                raise content
            _apply(dynamodb, report, content)
        except RecursionError:  # of Python's own; the emulator refuses a smaller excess
            report.rejected.append((number, TOO_DEEP))
        except (ValueError, TypeError) as error:
            report.rejected.append((number, str(error)))
        except ClientError as error:
            report.rejected.append((number, str(cast("Any", error).response["Error"]["Message"])))
    return report


def outputs_at(endpoint: str) -> Mapping[str, Any]:
    """Return the outputs of the stack that the sandbox at an endpoint runs; none if another server answers.

    Raises
    ------
    PutError
        The endpoint is no URL, or nothing answers.
    """
    url = urlsplit(endpoint)
    try:
        with contextlib.closing(http.client.HTTPConnection(url.hostname or "", url.port, timeout=5)) as connection:
            connection.request("GET", OUTPUTS_PATH)
            response = connection.getresponse()
            value: Any = json.loads(response.read()) if response.status == http.HTTPStatus.OK else {}
    except (OSError, http.client.HTTPException) as error:
        raise PutError(
            f"nothing answers at {endpoint}: is python -m sandbox up running? python -m sandbox env prints the export "
            "lines of one that runs"
        ) from error
    except ValueError as error:
        raise PutError(f"{endpoint} does not answer as a sandbox does: {error}") from error
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _apply(dynamodb: Any, report: PutReport, content: Any) -> None:
    """Write or delete the item of one JSON value. Raises ValueError, TypeError, and the client's error."""
    if _is_exported_change(content) and "NewImage" not in content:
        dynamodb.delete_item(TableName=report.table, Key=encode_item(_decoded(content["Keys"])))
        report.deleted += 1
    else:
        dynamodb.put_item(TableName=report.table, Item=encode_item(_item_of(content)))
        report.written += 1


def parse_item(text: bytes) -> dict[str, Any]:
    """Return the item of a JSON text as native values; numbers keep all their digits. Raises ValueError."""
    return _item_of(_parse(text))


def _item_of(content: Any) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise ValueError("not an object")  # noqa: TRY004 -- the content of the line is wrong, not a type in here
    item = cast("dict[str, Any]", content)
    if _is_exported_change(item):
        return _decoded(item["NewImage"])
    if item.keys() == {"Item"} and isinstance(item["Item"], dict):
        return _decoded(item["Item"])
    return item


def _is_exported_change(content: Any) -> bool:
    """Return whether a value is a line of an incremental export."""
    if not isinstance(content, dict):
        return False
    names = cast("dict[str, Any]", content).keys()
    return {"Keys", "Metadata"} <= names <= EXPORTED_CHANGE


def _decoded(image: Any) -> dict[str, Any]:
    """Return an item in DynamoDB's JSON as native values; numbers keep all their digits. Raises ValueError."""
    if not isinstance(image, dict):
        raise ValueError("the item is not an object")  # noqa: TRY004 -- as above
    return {name: decode(value) for name, value in cast("dict[str, Any]", image).items()}


def _find_table(dynamodb: Any, name: str, outputs: Mapping[str, Any]) -> str:
    exported: dict[str, Any] = outputs.get("tables") or {}
    if name in exported:
        return exported[name]["name"]
    names: list[str] = [
        each for page in dynamodb.get_paginator("list_tables").paginate() for each in page["TableNames"]
    ]
    generated = re.compile(rf"{re.escape(name)}(-table)?-[0-9a-f]{{7}}")
    matches = [each for each in names if each == name] or [each for each in names if generated.fullmatch(each)]
    if len(matches) != 1:
        near = get_close_matches(name, [*exported, *names], n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join([*exported, *names]) or 'none'}"
        raise PutError(f"there is {'more than one' if matches else 'no'} table {name}; {hint}")
    return matches[0]


def _read_values(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield the number and the value of each JSON line, or of each item of a scan; a ValueError for what is no JSON."""
    numbered = ((number, line) for number, line in enumerate(_read_lines(path), 1) if line.strip())
    for number, line in numbered:
        is_one_value = line.strip() in (b"{", b"[")  # and not a line of its own
        text = b"".join([line, *(each for _, each in numbered)]) if is_one_value else line
        try:
            yield from _values_of(number, _parse(text))
        except ValueError as error:
            yield number, error


def _values_of(number: int, value: Any) -> Iterable[tuple[int, Any]]:
    """Return the items of a scan's output, numbered among them, or the value itself."""
    fields = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    items = fields.get("Items")
    if {"Items", "Count", "ScannedCount"} <= fields.keys() and isinstance(items, list):
        return enumerate(({"Item": item} for item in cast("list[Any]", items)), 1)
    return [(number, cast("Any", value))]


def _read_lines(path: Path) -> Iterator[bytes]:
    try:
        with sys.stdin.buffer if path == STANDARD_INPUT else path.open("rb") as file:
            is_gzipped = cast("BufferedReader", file).peek(2).startswith(b"\x1f\x8b")
            with gzip.GzipFile(fileobj=file) if is_gzipped else file as content:
                yield from content
    except (OSError, EOFError) as error:
        raise PutError(f"{path} cannot be read: {error}") from error


def _parse(text: bytes) -> Any:
    """Return the value of a JSON text; numbers keep all their digits. Raises ValueError."""
    try:
        return json.loads(text, parse_float=Decimal, parse_int=Decimal, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error}") from error
    except RecursionError as error:
        raise ValueError(TOO_DEEP) from error


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number in JSON")
