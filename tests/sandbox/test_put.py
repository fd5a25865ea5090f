"""put writes items exactly and in order; it names each rejected line and writes all others."""

import gzip
import io
import json
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from sandbox.program.deploy import Deployment
from sandbox.put import PutError, put
from tests.local import LocalAws, declare_table


@pytest.fixture
def table(deployed: Callable[..., Deployment]) -> str:
    def program() -> None:
        attributes = [{"name": "id", "type": "S"}, {"name": "n", "type": "N"}]
        declare_table("put-items", attributes=attributes, range_key="n")

    return deployed(program, config={}).resources[0].id


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., Path]:
    def write(*lines: object, packed: bool = False) -> Path:
        content = b"".join(encoded(line) + b"\n" for line in lines)
        path = tmp_path / "items.json"
        path.write_bytes(gzip.compress(content) if packed else content)
        return path

    return write


def encoded(line: object) -> bytes:
    return line if isinstance(line, bytes) else (line if isinstance(line, str) else json.dumps(line)).encode()


EXACT = "123456789012345678901234567890.12345678"


@pytest.mark.parametrize("packed", [False, True])
def test_a_table_export(aws: LocalAws, table: str, file: Callable[..., Path], packed: bool):
    item = {
        "id": {"S": "a"},
        "n": {"N": EXACT},
        "binary": {"B": "AP8="},
        "set": {"NS": ["1", "2.50"]},
        "deep": {"M": {"list": {"L": [{"NULL": True}, {"BOOL": False}, {"BS": ["AA=="]}]}}},
    }
    report = put(aws.client("dynamodb"), "put-items", file({"Item": item}, packed=packed))
    assert (report.table, report.written, report.rejected) == (table, 1, [])
    [written] = aws.items(table)
    assert (written["n"], written["set"]) == (Decimal(EXACT), {Decimal(1), Decimal("2.5")})
    assert (bytes(written["binary"]), written["deep"]) == (b"\x00\xff", {"list": [None, False, {b"\x00"}]})


def test_plain_json_lines(aws: LocalAws, table: str, file: Callable[..., Path]):
    line = f'{{"id": "a", "n": {EXACT}, "x": [1, 2.50, true, null, {{"y": "z"}}]}}'
    assert put(aws.client("dynamodb"), table, file(line, "", {"id": "b", "n": 2, "Item": "i"})).written == 2
    items = {item["id"]: item for item in aws.items(table)}
    assert items["a"]["n"] == Decimal(EXACT)
    assert items["a"]["x"] == [1, Decimal("2.5"), True, None, {"y": "z"}]
    assert items["b"]["Item"] == "i"


def test_the_last_line_of_an_item_wins(aws: LocalAws, table: str, file: Callable[..., Path]):
    lines = [{"id": "a", "n": number % 10, "written": number} for number in range(60)]
    assert put(aws.client("dynamodb"), table, file(*lines)).written == 60
    assert {item["written"] for item in aws.items(table)} == set(range(50, 60))


def test_each_rejected_line_is_named_and_all_others_are_written(aws: LocalAws, table: str, file: Callable[..., Path]):
    huge = {"id": "huge", "n": 1, "text": "x" * 500_000}
    lines: list[Any] = [
        *({"id": "a", "n": 1}, "{oops", [1], {"id": "b"}, {"id": "c", "n": "1"}),
        {"Item": {"id": {"S": "d"}, "n": {"N": "1"}, "x": {"Q": 1}}},
        *('{"id": "e", "n": NaN}', huge, {"id": "f", "n": 1}, b'{"id": "\xff", "n": 1}'),
    ]
    report = put(aws.client("dynamodb"), table, file(*lines))
    assert report.written == 2
    assert {item["id"] for item in aws.items(table)} == {"a", "f"}
    assert [number for number, _ in report.rejected] == [2, 3, 4, 5, 6, 7, 8, 10]
    reasons = dict(report.rejected)
    assert reasons[2].startswith("not JSON: Expecting property name")
    assert reasons[3] == "not an object"
    assert reasons[4] == "One or more parameter values were invalid: Missing the key n in the item"
    assert reasons[5] == "One or more parameter values were invalid: Type mismatch for key n expected: N actual: S"
    assert reasons[6] == "'Q' is not a DynamoDB type"
    assert reasons[7] == "NaN is not a number in JSON"
    assert "can't decode byte 0xff" in reasons[10]
    assert "400" in reasons[8] or "size" in reasons[8]


def test_an_incremental_export_writes_and_deletes(aws: LocalAws, table: str, file: Callable[..., Path]):
    def line(name: str, **images: object) -> dict[str, Any]:
        keys = {"id": {"S": name}, "n": {"N": "1"}}
        whole = {image: {**keys, "x": {"S": text}} for image, text in images.items()}
        return {"Metadata": {"WriteTimestampMicros": {"N": "1"}}, "Keys": keys, **whole}

    lines = [line("a", NewImage="1"), line("b", NewImage="1"), line("a", NewImage="2", OldImage="1")]
    report = put(aws.client("dynamodb"), table, file(*lines, line("b", OldImage="1"), line("c")))
    assert (report.written, report.deleted, report.rejected) == (3, 2, [])
    assert [(item["id"], item["x"]) for item in aws.items(table)] == [("a", "2")]


@pytest.mark.parametrize("indent", [None, 4])
def test_what_a_scan_prints(aws: LocalAws, table: str, file: Callable[..., Path], indent: int | None):
    items: list[Any] = [{"id": {"S": name}, "n": {"N": EXACT}} for name in "ab"]
    scan = {"Items": [items[0], {"id": {"S": "x"}}, items[1]], "Count": 3, "ScannedCount": 3, "ConsumedCapacity": None}
    report = put(aws.client("dynamodb"), table, file(json.dumps(scan, indent=indent)))
    assert report.written == 2
    assert [number for number, _ in report.rejected] == [2]
    assert {(item["id"], item["n"]) for item in aws.items(table)} == {("a", Decimal(EXACT)), ("b", Decimal(EXACT))}


def test_one_item_over_many_lines(aws: LocalAws, table: str, file: Callable[..., Path]):
    report = put(aws.client("dynamodb"), table, file(json.dumps({"id": "a", "n": 1}, indent=2)))
    assert (report.written, report.rejected) == (1, [])
    report = put(aws.client("dynamodb"), table, file("", "{", '"id": "a"', "oops"))
    assert [(number, reason[:9]) for number, reason in report.rejected] == [(2, "not JSON:")]


def test_an_item_that_is_nested_too_deeply_is_a_rejected_line(aws: LocalAws, table: str, file: Callable[..., Path]):
    def lists(levels: int) -> str:
        return f'{{"id": "{levels}", "n": 1, "x": {"[" * levels}{"]" * levels}}}'

    lines = ["[" * 5000 + "]" * 5000, *map(lists, (32, 33, 66, 500, 5000))]
    report = put(aws.client("dynamodb"), table, file(*lines))
    assert (report.written, {item["id"] for item in aws.items(table)}) == (1, {"32"})
    assert [number for number, _ in report.rejected] == [1, 3, 4, 5, 6]
    assert all("nest" in reason.lower() for _, reason in report.rejected), report.rejected


def test_standard_input(aws: LocalAws, table: str, monkeypatch: pytest.MonkeyPatch):
    text = gzip.compress(b'{"id": "a", "n": 1}')
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(text))))
    assert put(aws.client("dynamodb"), table, Path("-")).written == 1


def test_a_table_has_its_name_in_the_program(aws: LocalAws, table: str, file: Callable[..., Path]):
    outputs = {"tables": {"people": {"name": table}}}
    assert put(aws.client("dynamodb"), "people", file({"id": "a", "n": 1}), outputs).table == table
    with pytest.raises(PutError, match="there is no table peple; did you mean people"):
        put(aws.client("dynamodb"), "peple", file(), outputs)


def test_a_missing_table_or_file_is_named(aws: LocalAws, table: str, tmp_path: Path):
    with pytest.raises(PutError, match=f"there is no table nobody; there are .*{table}"):
        put(aws.client("dynamodb"), "nobody", tmp_path / "missing")
    with pytest.raises(PutError, match=r"missing cannot be read: .*No such file"):
        put(aws.client("dynamodb"), table, tmp_path / "missing")
    (tmp_path / "broken.gz").write_bytes(gzip.compress(b'{"id": "a", "n": 1}\n' * 1000)[:-20])
    with pytest.raises(PutError, match=r"broken\.gz cannot be read"):
        put(aws.client("dynamodb"), table, tmp_path / "broken.gz")
