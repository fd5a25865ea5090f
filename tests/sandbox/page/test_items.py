"""The page's items are exact: what it shows can be saved as it is, and every refusal says why."""

import json
from collections.abc import Generator
from decimal import Decimal
from typing import Any

import pytest

from tests.local import LocalAws
from tests.sandbox.page.page_driver import PageDriver, serve

EXACT = "123456789012345678901234567890.12345678"


@pytest.fixture
def table(aws: LocalAws) -> Generator[str]:
    aws.create_table("page-items")
    yield "page-items"
    aws.client("dynamodb").delete_table(TableName="page-items")


@pytest.fixture
def page(aws: LocalAws, table: str) -> Generator[PageDriver]:
    with serve(aws.variables(), {"tables": {"things": {"name": table}, "gone": {"name": "page-gone"}}}) as driver:
        yield driver


def test_an_item_is_shown_and_saved_with_all_digits(page: PageDriver, aws: LocalAws, table: str):
    item = '{"id": "é", "n": EXACT, "small": 0.10, "large": 1E+20, "deep": {"list": [null, true, -7], "none": {}}}'
    item = item.replace("EXACT", EXACT)
    assert page.call("POST", "/items", item.encode(), table="things") == (200, None)
    [written] = aws.items(table)
    assert (written["n"], written["large"]) == (Decimal(EXACT), Decimal("1E+20"))
    _, answer = page.call("GET", "/items", table="things")
    [shown] = answer["items"]
    assert (answer["keys"], answer["more"], shown["key"]) == ([{"name": "id", "type": "S"}], False, "id=é")
    assert f'"n": {EXACT}' in shown["text"]
    assert json.loads(shown["text"]) == json.loads(item)
    page.call("POST", "/items", shown["text"].encode(), table="things")
    assert aws.items(table) == [written]


def test_sets_and_binary_values_are_shown_as_dynamodb_json(page: PageDriver, aws: LocalAws, table: str):
    item: dict[str, Any] = {"id": "a", "set": {Decimal(1), Decimal("2.5")}, "deep": [{"binary": b"\x00\xff"}]}
    aws.write(table, item)
    before = aws.items(table)
    _, answer = page.call("GET", "/items", table="things")
    [shown] = answer["items"]
    assert json.loads(shown["text"])["Item"]["deep"] == {"L": [{"M": {"binary": {"B": "AP8="}}}]}
    assert page.call("POST", "/items", shown["text"].encode(), table="things") == (200, None)
    assert aws.items(table) == before


def test_items_are_sorted_and_bounded(page: PageDriver, aws: LocalAws, table: str):
    aws.write(table, *({"id": f"{number:03}"} for number in range(201)))
    _, answer = page.call("GET", "/items", table="things")
    keys = [item["key"] for item in answer["items"]]
    assert (len(keys), answer["more"]) == (200, True)
    assert keys == sorted(keys)


def test_an_item_is_deleted_by_its_key(page: PageDriver, aws: LocalAws, table: str):
    aws.write(table, {"id": "a", "n": 1}, {"id": "b"})
    assert page.call("DELETE", "/items", b'{"id": "a", "n": 2}', table="things") == (200, None)
    assert aws.items(table) == [{"id": "b"}]


@pytest.mark.parametrize(
    ("method", "table_name", "body", "error"),
    [
        ("POST", "things", b'{"id": "a",}', "not JSON: "),
        ("POST", "things", b"[1]", "not an object"),
        ("POST", "things", b'{"id": NaN}', "NaN is not a number in JSON"),
        ("POST", "things", b"\xff", ""),
        ("POST", "things", b'{"id": "a", "x": ' + b"[" * 5_000 + b"]" * 5_000 + b"}", ""),
        ("POST", "things", b'{"n": 1}', ""),
        ("POST", "nothing", b'{"id": "a"}', "the program has no table nothing; it has things, gone"),
        ("POST", "gone", b'{"id": "a"}', ""),
        ("DELETE", "things", b'{"n": 1}', "the item has no id, so it names none of things"),
    ],
)
def test_a_refusal_says_why(
    page: PageDriver, aws: LocalAws, table: str, method: str, table_name: str, body: bytes, error: str
):
    status, answer = page.call(method, "/items", body, table=table_name)
    assert status == 400
    assert answer["error"]
    assert answer["error"].startswith(error)
    assert aws.items(table) == []
