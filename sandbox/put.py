"""Writes a file of items to a table: DynamoDB's JSON lines as a table export has them, or plain JSON lines."""

import gzip
import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn, cast

from botocore.exceptions import ClientError  # pyright: ignore[reportMissingTypeStubs] -- botocore is untyped

from handler.stream.codec import decode, encode_item
from sandbox import SandboxError

BATCH = 25
"""Items of one BatchWriteItem; AWS's limit."""
TRIES = 8
"""How often what AWS leaves unprocessed is sent, with 0.05 s between the first two and twice as long each time."""


class PutError(SandboxError):
    """The file or the table cannot be used, or AWS keeps refusing to take items."""


@dataclass
class Report:
    """How many items were written, and each line that was not, with why."""

    table: str
    written: int = 0
    refused: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])


def put(dynamodb: Any, table: str, path: Path) -> Report:
    """Write every item of `path` (gzipped or not) to `table`, in the file's order; a line that cannot be is told.

    Parameters
    ----------
    dynamodb
        boto3's client.
    table
        The table's name, or its name in the program (`users` for users-table-1a2b3c4).

    Raises
    ------
    PutError
        There is no such table or file, or items are left unprocessed after all tries.
    """
    report = Report(_physical_name(dynamodb, table))
    keys = {key["AttributeName"]: kind for key, kind in _keys(dynamodb, report.table)}
    batch: dict[tuple[str, ...], tuple[int, dict[str, Any]]] = {}
    for number, line in _lines(path):
        try:
            item = encode_item(_item(line))
            key = tuple(_key_of(item, name, kind) for name, kind in keys.items())
        except (ValueError, TypeError) as error:
            report.refused.append((number, str(error)))
            continue
        if key in batch or len(batch) == BATCH:  # one batch takes one item once
            _write(dynamodb, report, batch)
            batch = {}
        batch[key] = number, item
    _write(dynamodb, report, batch)
    report.refused.sort()
    return report


def _physical_name(dynamodb: Any, name: str) -> str:
    names: list[str] = [
        each for page in dynamodb.get_paginator("list_tables").paginate() for each in page["TableNames"]
    ]
    made = re.compile(rf"{re.escape(name)}(-table)?-[0-9a-f]{{7}}")
    found = [each for each in names if each == name] or [each for each in names if made.fullmatch(each)]
    if len(found) != 1:
        raise PutError(f"there is {'no' if not found else 'more than one'} table {name}; there are {', '.join(names)}")
    return found[0]


def _keys(dynamodb: Any, table: str) -> Iterator[tuple[Mapping[str, str], str]]:
    description = dynamodb.describe_table(TableName=table)["Table"]
    kinds = {each["AttributeName"]: each["AttributeType"] for each in description["AttributeDefinitions"]}
    for key in description["KeySchema"]:
        yield key, kinds[key["AttributeName"]]


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with path.open("rb") as file:
            packed = file.peek(2).startswith(b"\x1f\x8b")
            with gzip.GzipFile(fileobj=file) if packed else file as content:
                for number, line in enumerate(content, 1):
                    if line.strip():
                        yield number, line
    except (OSError, EOFError) as error:
        raise PutError(f"{path} cannot be read: {error}") from error


def _item(line: bytes) -> dict[str, Any]:
    """The item of a line, as native values; numbers exact."""
    try:
        item = json.loads(line, parse_float=Decimal, parse_int=Decimal, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error}") from error
    if not isinstance(item, dict):
        raise ValueError("not an object")  # noqa: TRY004 -- of the line's content, not of a type in here
    item = cast("dict[str, Any]", item)
    exported = item.get("Item")
    if set(item) == {"Item"} and isinstance(exported, dict):
        return {name: decode(value) for name, value in cast("dict[str, Any]", exported).items()}
    return item


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


def _key_of(item: Mapping[str, Any], name: str, kind: str) -> str:
    if kind not in item.get(name, {}):
        raise ValueError(f"the key {name} must be of type {kind}, it is {item.get(name, 'missing')}")
    return str(item[name][kind])


def _write(dynamodb: Any, report: Report, batch: Mapping[tuple[str, ...], tuple[int, dict[str, Any]]]) -> None:
    if not batch:
        return
    try:
        _write_all(dynamodb, report.table, [item for _, item in batch.values()])
        report.written += len(batch)
    except ClientError as error:
        if len(batch) == 1:
            [(number, _)] = batch.values()
            report.refused.append((number, str(cast("Any", error).response["Error"]["Message"])))
            return
        for key, line in batch.items():  # one bad item fails the whole batch: each on its own tells which
            _write(dynamodb, report, {key: line})


def _write_all(dynamodb: Any, table: str, items: list[dict[str, Any]]) -> None:
    left = {table: [{"PutRequest": {"Item": item}} for item in items]}
    for attempt in range(TRIES):
        left = dynamodb.batch_write_item(RequestItems=left).get("UnprocessedItems")
        if not left:
            return
        time.sleep(0.05 * 2**attempt)
    raise PutError(f"{table} leaves {len(left[table])} items unprocessed, {TRIES} times in a row: try again later")
