"""Files with the description of a table, with its items, or with both: read as AWS's tools write them, and written.

A file is a JSON object or has one on each line, gzipped or not. These objects are known:

- the answer of `aws dynamodb describe-table`, or the part of it below `Table` (a description);
- the answer of `aws dynamodb scan` (items);
- a line of a table export in DynamoDB JSON (an item). The export's manifests are skipped.
"""

import base64
import gzip
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from handler.stream.codec import decode, encode_item
from sandbox import SandboxError

Item = dict[str, Any]
"""An item as boto3's client takes it."""
MANIFEST = ("exportArn", "dataFileS3Key")
"""Keys of which the lines of an export's manifests have one (DynamoDB table export output format)."""


class TableFileError(SandboxError):
    """A file cannot be read, or its content is neither a description nor items."""


@dataclass
class TableContent:
    """A description of a table, as DescribeTable or CreateTable have it, if there is one; and items."""

    description: Mapping[str, Any] | None = None
    items: list[Item] = field(default_factory=list[Item])

    def add(self, other: "TableContent") -> None:
        """Add the content of another file of the table."""
        self.description = self.description or other.description
        self.items += other.items


def read(path: Path) -> TableContent:
    """Read a file.

    Raises
    ------
    TableFileError
        The message has the file and the line.
    """
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data).decode()
    except (OSError, EOFError, ValueError) as error:
        raise TableFileError(f"{path} cannot be read: {error}") from error
    content = TableContent()
    for number, value in _values(text, path):
        try:
            content.add(_content(value))
        except (ValueError, TypeError, KeyError) as error:
            raise TableFileError(f"{path}:{number}: {error}") from error
    return content


def _values(text: str, path: Path) -> Iterator[tuple[int, Any]]:
    """Yield the line number and the value of the only object, or of that on each line."""
    try:
        yield 1, json.loads(text)
    except json.JSONDecodeError:
        for number, line in enumerate(text.splitlines(), 1):
            try:
                if line.strip():
                    yield number, json.loads(line)
            except json.JSONDecodeError as error:
                raise TableFileError(f"{path}:{number}: this is not JSON: {error}") from error


def _content(value: Any) -> TableContent:
    match value:
        case {"Table": {"KeySchema": _} as description} | ({"KeySchema": _} as description):
            return TableContent(cast("dict[str, Any]", description))
        case {"Items": [*items]}:
            return TableContent(items=[_item(each) for each in items])
        case {"Item": item}:
            return TableContent(items=[_item(item)])
        case dict() if any(key in value for key in MANIFEST):
            return TableContent()
        case _:
            raise ValueError(
                "this is neither an answer of aws dynamodb describe-table or scan, nor a line of a table export in "
                "DynamoDB JSON"
            )


def _item(item: Any) -> Item:
    return encode_item({name: decode(value) for name, value in item.items()})


def write(path: Path, description: Mapping[str, Any], items: Iterable[Item]) -> None:
    """Write a gzipped file with the description on its first line and an item on each other.

    The file is whole at any time: another file is written, and takes its name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with gzip.open(temporary, "wt", encoding="utf-8", compresslevel=1) as file:
        for line in ({"Table": description}, *({"Item": item} for item in items)):
            file.write(json.dumps(line, default=_base64) + "\n")
    temporary.replace(path)


def _base64(value: Any) -> str:
    if not isinstance(value, bytes):
        raise TypeError(f"{value!r} is no value of DynamoDB")
    return base64.b64encode(value).decode()
