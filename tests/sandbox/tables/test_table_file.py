"""Files of tables, as AWS's tools and the sandbox write them."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from sandbox.tables.making import invented, key_of
from sandbox.tables.table_file import TableContent, TableFileError, read, write

KEYS = {
    "KeySchema": [{"AttributeName": "sort", "KeyType": "RANGE"}, {"AttributeName": "id", "KeyType": "HASH"}],
    "AttributeDefinitions": [
        {"AttributeName": "id", "AttributeType": "S"},
        {"AttributeName": "sort", "AttributeType": "N"},
    ],
}
DESCRIBED = {"TableName": "things", **KEYS}
LINES = '{"Item": {"id": {"S": "1"}, "b": {"B": "AAE="}}}\n\n{"Item": {"id": {"S": "2"}}}\n'
ITEMS = [{"id": {"S": "1"}, "b": {"B": b"\0\1"}}, {"id": {"S": "2"}}]
MANIFEST = '{"itemCount": 2, "dataFileS3Key": "AWSDynamoDB/data/x.json.gz"}\n'


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (json.dumps({"Table": DESCRIBED}, indent=2), TableContent(DESCRIBED)),
        (json.dumps(DESCRIBED), TableContent(DESCRIBED)),
        (LINES, TableContent(items=ITEMS)),
        (LINES.splitlines()[0], TableContent(items=ITEMS[:1])),
        (json.dumps({"Items": [{"id": {"S": "2"}}], "Count": 1}, indent=2), TableContent(items=ITEMS[1:])),
        (MANIFEST + MANIFEST, TableContent()),
    ],
)
@pytest.mark.parametrize("is_gzipped", [False, True])
def test_the_answers_and_exports_of_aws_are_read(
    tmp_path: Path, text: str, content: TableContent, is_gzipped: bool
) -> None:
    path = tmp_path / "things.json"
    path.write_bytes(gzip.compress(text.encode()) if is_gzipped else text.encode())
    assert read(path) == content


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LINES + "{", "things.json:4: this is not JSON: Expecting"),
        ('{"id": "1"}', "things.json:1: this is neither an answer of aws dynamodb describe-table or scan, nor a line"),
        ('{"Item": {"id": "1"}}', "things.json:1: '1' is not an object with one type"),
        ('{"Item": {"id": {"N": "x"}}}', "things.json:1: 'x' is not a number"),
    ],
)
def test_other_content_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "things.json").write_text(text, encoding="utf-8")
    with pytest.raises(TableFileError) as raised:
        read(tmp_path / "things.json")
    assert message in str(raised.value)


def test_a_file_that_is_cut_or_missing_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "cut.gz").write_bytes(gzip.compress(LINES.encode())[:-9])
    for name in ("cut.gz", "nowhere"):
        with pytest.raises(TableFileError, match=f"{name} cannot be read: "):
            read(tmp_path / name)


def test_what_is_written_is_read_again_and_a_failure_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "kept" / "things.json.gz"
    write(path, DESCRIBED, ITEMS)
    with pytest.raises(TypeError):
        write(path, DESCRIBED, [{"id": {"S": object()}}])
    assert read(path) == TableContent(DESCRIBED, ITEMS)


def test_the_keys_of_a_description() -> None:
    assert key_of(DESCRIBED) == [("id", "S"), ("sort", "N")]


@pytest.mark.parametrize(
    ("items", "key"),
    [
        ([], ("id", "S")),
        ([{"id": {"S": "1"}, "n": {"N": "1"}}], ("id", "S")),
        ([{"kind": {"S": "a"}, "n": {"N": "1"}}, {"kind": {"S": "a"}, "n": {"N": "2"}}], ("n", "N")),
        ([{"tags": {"SS": ["a"]}, "number": {"S": "1"}}], ("number", "S")),
    ],
)
def test_an_invented_table_has_a_key_that_tells_its_items_apart(items: list[Any], key: tuple[str, str]) -> None:
    assert key_of(invented(items)) == [key]
