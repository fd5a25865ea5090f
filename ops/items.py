"""Names of items: a key as the operator types it, and the digest by which the ledger knows the item."""

import base64
import binascii
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from decimal import Context, Decimal, DecimalException
from itertools import permutations
from typing import Any, cast

from handler.stream.codec import brief
from handler.stream.ledger.rows import digest_of_key
from ops import OpsError
from ops.stack import Client, ConsumerOutputs, Stack

DIGEST = re.compile(r"[0-9a-f]{32}")
DIGITS = Context(prec=200)
"""More digits than a DynamoDB number has (38, with an exponent of up to 125), so that no number is rounded."""

KeyTypes = Mapping[str, str]
"""The types (S, N or B) of a table's key attributes, by name."""


def parse_item(text: str, stack: Stack, consumer: ConsumerOutputs, client: Client) -> list[str]:
    """Return the digests that an item's name may mean; more than one if several tables have such a key.

    Parameters
    ----------
    text
        `name=value` of each key attribute, separated by commas, in any order; JSON such as `{"id": "7"}` or
        `{"id": {"S": "7"}}`, for values that contain `,name=`; or the digest. A binary value is base64.
    stack, consumer
        The tables that the consumer reads; their key schemas say which type each attribute has.
    client
        Returns boto3's client of "dynamodb"; called only if the name is not a digest.

    Raises
    ------
    OpsError
        No table of the consumer has such a key, or a value is not of the attribute's type.
    """
    text = text.strip()
    if DIGEST.fullmatch(text):
        return [text]
    schemas = {
        table: key_types(client, stack.tables[table].name) for table in consumer.mappings if table in stack.tables
    }
    digests: list[str] = []
    problem: OpsError | None = None
    for table, types in schemas.items():
        values = _json_values(text) if text.startswith("{") else _typed_values(text, types)
        if values is None or values.keys() != types.keys():
            continue
        try:
            digests += [digest_of_key(stack.tables[table].arn, key) for key in _keys(values, types)]
        except OpsError as error:
            problem = error  # the key may be another table's
    if not digests and problem:
        raise problem
    if not digests:
        forms: dict[str, list[str]] = {}
        for table, types in schemas.items():
            forms.setdefault(",".join(f"{name}=…" for name in types), []).append(table)
        known = " or ".join(f"{form} ({', '.join(tables)})" for form, tables in forms.items())
        raise OpsError(f"{text!r} is no item's key: write {known}, or the digest that held shows")
    return list(dict.fromkeys(digests))


def item_digests(text: str, stack: Stack, consumers: Iterable[str]) -> list[str]:
    """Return the digests that an item's name may mean in the tables that any of these consumers reads.

    Raises
    ------
    OpsError
        No consumer reads a table with such a key.
    """
    digests: list[str] = []
    problem: OpsError | None = None
    for name in consumers:
        try:
            digests += parse_item(text, stack, stack.consumer(name), stack.client)
        except OpsError as error:
            problem = problem or error  # another consumer may read the item's table
    if problem and not digests:
        raise problem
    return list(dict.fromkeys(digests))


def key_types(client: Client, table: str) -> dict[str, str]:
    """Return the types of a table's key attributes, the partition key first."""
    description = client("dynamodb").describe_table(TableName=table)["Table"]
    kinds = {each["AttributeName"]: each["AttributeType"] for each in description["AttributeDefinitions"]}
    return {each["AttributeName"]: kinds[each["AttributeName"]] for each in description["KeySchema"]}


def item_text(keys: Mapping[str, Any]) -> str:
    """Return a key in DynamoDB's JSON as the operator types it: `customer_id=c7,order_id=31`, or JSON if it must be."""
    values = {name: str(next(iter(value.values()))) for name, value in keys.items()}
    text = ",".join(f"{name}={value}" for name, value in values.items())
    is_plain = text.isprintable() and _typed_values(text, values) == values
    return text if is_plain else json.dumps(values)


def _typed_values(text: str, types: KeyTypes) -> dict[str, str] | None:
    """Return the values of `name=value,…`. A value may contain commas and equals signs, but not `,name=`."""
    for names in permutations(types):
        pattern = ",".join(f"{re.escape(name)}=(.*?)" for name in names)
        match = re.fullmatch(pattern, text, re.DOTALL)
        if match:
            return dict(zip(names, match.groups(), strict=True))
    return None


def _json_values(text: str) -> dict[str, str]:
    try:
        values: Any = json.loads(text, parse_float=str, parse_int=str)
    except (ValueError, RecursionError) as error:
        raise OpsError(f"{brief(text)} starts like JSON, but is not: {error}") from error
    plain: dict[str, str] = {}
    for name, value in cast("dict[str, Any]", values).items():
        inner = next(iter(cast("dict[str, Any]", value).values()), None) if isinstance(value, dict) else value
        if not isinstance(inner, str):
            raise OpsError(f"{name}: {brief(value)} is not the value of a key: write a string or a number")
        plain[name] = inner
    return plain


def _keys(values: Mapping[str, str], types: KeyTypes) -> Iterator[dict[str, dict[str, str]]]:
    """Return the key as DynamoDB writes it, and as the operator wrote it: the digest depends on a number's digits."""
    yield {name: {kind: _as_stored(name, values[name], kind)} for name, kind in types.items()}
    yield {name: {kind: values[name]} for name, kind in types.items()}


def _as_stored(name: str, value: str, kind: str) -> str:
    match kind:
        case "N":
            try:
                number = Decimal(value)
                return format(DIGITS.add(number, 0).normalize(DIGITS), "f") if number.is_finite() else value
            except DecimalException as error:
                raise OpsError(f"{name} is a number in the table's key, and {value!r} is none") from error
        case "B":
            try:
                return base64.b64encode(base64.b64decode(value, validate=True)).decode()
            except binascii.Error as error:
                raise OpsError(f"{name} is binary in the table's key: write base64, not {value!r}") from error
        case _:
            return value
