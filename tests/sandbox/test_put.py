"""A file's items reach their table exactly and in order; a line that cannot is named and costs no other."""

import gzip
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pulumi_aws as resources
import pytest

from sandbox.program.deploy import Deployment
from sandbox.put import TRIES, PutError, put
from tests.local import LocalAws


def program() -> None:
    resources.dynamodb.Table(
        "put-items",
        attributes=[{"name": "id", "type": "S"}, {"name": "n", "type": "N"}],
        hash_key="id",
        range_key="n",
        billing_mode="PAY_PER_REQUEST",
    )


@pytest.fixture
def table(deployed: Callable[..., Deployment]) -> str:
    return deployed(program, config={}).made[0].id


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
    assert (report.table, report.written, report.refused) == (table, 1, [])
    [found] = aws.items(table)
    assert found["n"] == Decimal(EXACT)
    assert bytes(found["binary"]) == b"\x00\xff"
    assert found["set"] == {Decimal(1), Decimal("2.5")}
    assert found["deep"] == {"list": [None, False, {b"\x00"}]}


def test_plain_json_lines(aws: LocalAws, table: str, file: Callable[..., Path]):
    lines = [
        f'{{"id": "a", "n": {EXACT}, "x": [1, 2.50, true, null, {{"y": "z"}}]}}',
        "",
        {"id": "b", "n": 2, "Item": "i"},
    ]
    assert put(aws.client("dynamodb"), table, file(*lines)).written == 2
    items = {item["id"]: item for item in aws.items(table)}
    assert items["a"]["n"] == Decimal(EXACT)
    assert items["a"]["x"] == [1, Decimal("2.5"), True, None, {"y": "z"}]
    assert items["b"]["Item"] == "i"


def test_an_item_that_comes_twice_ends_as_it_came_last(aws: LocalAws, table: str, file: Callable[..., Path]):
    lines = [{"id": "a", "n": number % 10, "written": number} for number in range(60)]
    assert put(aws.client("dynamodb"), table, file(*lines)).written == 60
    assert {item["written"] for item in aws.items(table)} == set(range(50, 60))


def test_each_bad_line_is_named_and_no_other_lost(aws: LocalAws, table: str, file: Callable[..., Path]):
    huge = {"id": "huge", "n": 1, "text": "x" * 500_000}
    lines: list[Any] = [
        {"id": "a", "n": 1},
        "{oops",
        [1],
        {"id": "b"},
        {"id": "c", "n": "1"},
        {"Item": {"id": {"S": "d"}, "n": {"N": "1"}, "x": {"Q": 1}}},
        '{"id": "e", "n": NaN}',
        huge,
        {"id": "f", "n": 1},
        b'{"id": "\xff", "n": 1}',
    ]
    report = put(aws.client("dynamodb"), table, file(*lines))
    assert report.written == 2
    assert {item["id"] for item in aws.items(table)} == {"a", "f"}
    assert [number for number, _ in report.refused] == [2, 3, 4, 5, 6, 7, 8, 10]
    reasons = dict(report.refused)
    assert reasons[2].startswith("not JSON: Expecting property name")
    assert reasons[3] == "not an object"
    assert reasons[4] == "the key n must be of type N, it is missing"
    assert reasons[5] == "the key n must be of type N, it is {'S': '1'}"
    assert reasons[6] == "'Q' is not a DynamoDB type"
    assert reasons[7] == "NaN is no number"
    assert "can't decode byte 0xff" in reasons[10]
    assert "400" in reasons[8] or "size" in reasons[8]


def test_what_is_not_there_is_said(aws: LocalAws, table: str, tmp_path: Path):
    with pytest.raises(PutError, match=f"there is no table nobody; there are .*{table}"):
        put(aws.client("dynamodb"), "nobody", tmp_path / "missing")
    with pytest.raises(PutError, match=r"missing cannot be read: .*No such file"):
        put(aws.client("dynamodb"), table, tmp_path / "missing")
    (tmp_path / "broken.gz").write_bytes(gzip.compress(b'{"id": "a", "n": 1}\n' * 1000)[:-20])
    with pytest.raises(PutError, match=r"broken\.gz cannot be read"):
        put(aws.client("dynamodb"), table, tmp_path / "broken.gz")


class Throttled:
    """A client whose BatchWriteItem leaves one item of each call unprocessed, so many times; it stores nothing."""

    def __init__(self, client: Any, times: int) -> None:
        self.client, self.times, self.sent = client, times, list[int]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)

    def batch_write_item(self, RequestItems: dict[str, list[Any]]) -> dict[str, Any]:  # noqa: N803 -- boto3's name
        [(table, requests)] = RequestItems.items()
        self.sent.append(len(requests))
        self.times -= 1
        return {"UnprocessedItems": {table: requests[-1:]}} if self.times >= 0 else {}


def test_unprocessed_items_are_sent_again_and_not_for_ever(
    aws: LocalAws, table: str, file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
):
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    path = file(*({"id": "a", "n": number} for number in range(30)))
    patient = Throttled(aws.client("dynamodb"), times=3)
    assert put(patient, table, path).written == 30
    assert patient.sent == [25, 1, 1, 1, 5]
    assert pauses == [0.05, 0.1, 0.2]
    with pytest.raises(PutError, match=f"leaves 1 items unprocessed, {TRIES} times in a row"):
        put(Throttled(aws.client("dynamodb"), times=99), table, path)
