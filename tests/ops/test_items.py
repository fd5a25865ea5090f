"""Names of items: each form of a key gives the digest under which the engine holds the item."""

import json
from typing import Any

import pytest

from handler.stream.change import Change
from handler.stream.ledger.rows import digest_of
from ops import OpsError
from ops.items import item_text, parse_item
from ops.stack import Stack

TABLES = {
    "orders": [("customer_id", "S", "HASH"), ("order_id", "N", "RANGE")],
    "users": [("id", "S", "HASH")],
    "counters": [("id", "N", "HASH")],
    "blobs": [("blob", "B", "HASH")],
}
ARN = "arn:aws:dynamodb:eu-west-1:1:table"
STACK = Stack.model_validate(
    {
        "tables": {name: {"name": f"{name}-1", "arn": f"{ARN}/{name}-1"} for name in TABLES},
        "consumers": {
            "all": {"function": "f", "role": "r", "logGroup": "g", "mappings": dict.fromkeys(TABLES, "uuid")},
            "users": {"function": "f", "role": "r", "logGroup": "g", "mappings": {"users": "uuid"}},
        },
        "stores": {"failures": {"bucket": "b"}, "ledger": {"name": "l"}},
    }
)


class Tables:
    """boto3's DynamoDB client; it answers only DescribeTable, and only the key."""

    def describe_table(self, TableName: str) -> Any:  # noqa: N803 -- as boto3 has it
        key = TABLES[TableName.removesuffix("-1")]
        attributes = [{"AttributeName": name, "AttributeType": kind} for name, kind, _ in reversed(key)]
        schema = [{"AttributeName": name, "KeyType": place} for name, _, place in key]
        return {"Table": {"AttributeDefinitions": attributes, "KeySchema": schema}}


def parse(text: str, consumer: str = "all") -> list[str]:
    return parse_item(text, STACK, STACK.consumer(consumer), lambda _: Tables())


def held(table: str, **keys: dict[str, str]) -> str:
    """Return the digest under which the engine holds an item."""
    source = f"{ARN}/{table}-1/stream/2026-01-01T00:00:00.000"
    return digest_of(Change({"eventSourceARN": source, "dynamodb": {"Keys": keys}}))


@pytest.mark.parametrize(
    "text",
    [
        "customer_id=c7,order_id=31",
        "order_id=31,customer_id=c7",
        " customer_id=c7,order_id=31.0 ",
        "customer_id=c7,order_id=3.1E1",
        '{"customer_id": "c7", "order_id": 31}',
        '{"order_id": {"N": "31"}, "customer_id": {"S": "c7"}}',
        held("orders", customer_id={"S": "c7"}, order_id={"N": "31"}),
    ],
)
def test_each_form_of_a_key_names_the_held_item(text: str):
    assert parse(text)[0] == held("orders", customer_id={"S": "c7"}, order_id={"N": "31"})


@pytest.mark.parametrize("value", ["a,b=c", "=", ",", "", "order_id=1", "ä\n"])
def test_a_value_may_contain_commas_and_equals_signs(value: str):
    assert parse(f"customer_id={value},order_id=1") == [held("orders", customer_id={"S": value}, order_id={"N": "1"})]


def test_json_names_what_the_short_form_cannot():
    value = "x,order_id=2"
    key = json.dumps({"customer_id": value, "order_id": 1})
    assert parse(key) == [held("orders", customer_id={"S": value}, order_id={"N": "1"})]


@pytest.mark.parametrize(
    ("text", "number"),
    [("0.10", "0.1"), ("-0", "0"), ("1e3", "1000"), ("1e-3", "0.001"), ("0" * 9 + "7", "7"), ("9" * 38, "9" * 38)],
)
def test_a_number_is_the_number_as_the_stream_writes_it_or_as_it_was_typed(text: str, number: str):
    digests = parse(f"customer_id=c,order_id={text}")
    written = [held("orders", customer_id={"S": "c"}, order_id={"N": each}) for each in (number, text)]
    assert digests == list(dict.fromkeys(written))


def test_a_key_of_several_tables_names_an_item_of_each():
    assert parse("id=7") == [held("users", id={"S": "7"}), held("counters", id={"N": "7"})]
    assert parse("id=seven") == [held("users", id={"S": "seven"})]
    assert parse("id=7", "users") == [held("users", id={"S": "7"})]


def test_a_binary_key_is_base64():
    assert parse("blob=AAE=") == [held("blobs", blob={"B": "AAE="})]
    with pytest.raises(OpsError, match=r"blob is binary in the table's key: write base64, not '\?'"):
        parse("blob=?")


def test_a_key_that_no_table_has_names_the_keys_that_they_have():
    with pytest.raises(
        OpsError, match=r"'name=7' is no item's key: write id=… \(users\), or the digest that held shows"
    ):
        parse("name=7", "users")
    with pytest.raises(
        OpsError, match=r"write customer_id=…,order_id=… \(orders\) or id=… \(users, counters\) or blob"
    ):
        parse("customer_id=c7")


@pytest.mark.parametrize("text", ['{"id": ', '{"id": true}', '{"id": {}}', '{"id": ["7"]}'])
def test_json_that_is_no_key_is_refused(text: str):
    with pytest.raises(OpsError, match=r"starts like JSON, but is not|is not the value of a key"):
        parse(text)


def test_a_number_that_is_none_is_named():
    with pytest.raises(OpsError, match="order_id is a number in the table's key, and 'x' is none"):
        parse("customer_id=c7,order_id=x")


def test_a_key_is_shown_as_it_is_typed():
    assert item_text({"customer_id": {"S": "c7"}, "order_id": {"N": "31"}}) == "customer_id=c7,order_id=31"
