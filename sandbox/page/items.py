"""Reads and writes the items of the program's tables as JSON text, in which numbers keep all their digits."""

import base64
import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, cast

from botocore.exceptions import BotoCoreError, ClientError  # pyright: ignore[reportMissingTypeStubs] -- untyped

from handler.stream.codec import encode_item
from sandbox import SandboxError
from sandbox.put import parse_item

MAX_ITEMS = 200
"""The number of items that the page lists of a table."""
INDENT = "  "

Value = Mapping[str, Any]
"""A value in DynamoDB's JSON, as boto3 has it: binary values are bytes."""


class ItemsError(SandboxError):
    """The program has no such table, or DynamoDB refuses the item."""


class Items:
    """The items of the program's tables.

    Parameters
    ----------
    dynamodb
        Returns boto3's client of "dynamodb".
    tables
        Returns the physical names of the tables, by name in the program.
    """

    def __init__(self, dynamodb: Callable[[], Any], tables: Callable[[], Mapping[str, str]]) -> None:
        self._dynamodb, self._tables = dynamodb, tables

    def read(self, table: str) -> dict[str, Any]:
        """Return the key attributes of a table, its first MAX_ITEMS items, and whether it has more.

        Each item has its `key` and its whole `text`, both as JSON text. The items are sorted by their keys.

        Raises
        ------
        ItemsError
            The program has no such table, or it is not there.
        """
        name = self._name(table)
        types = self._key_types(name)
        answer = self._call("scan", TableName=name, Limit=MAX_ITEMS, ConsistentRead=True)
        items: list[dict[str, Value]] = answer["Items"]
        items.sort(key=lambda item: [_sort_value(item[key]) for key in types])
        return {
            "table": table,
            "keys": [{"name": key, "type": kind} for key, kind in types.items()],
            "items": [{"key": _key_text(item, types), "text": item_text(item)} for item in items],
            "more": "LastEvaluatedKey" in answer,
        }

    def put(self, table: str, text: bytes) -> None:
        """Write an item, given as plain JSON, or as DynamoDB JSON in `{"Item": …}`.

        Raises
        ------
        ItemsError
            There is no such table, the text is not an item, or DynamoDB refuses it.
        """
        name = self._name(table)
        self._call("put_item", TableName=name, Item=_encoded(text))

    def delete(self, table: str, text: bytes) -> None:
        """Delete the item with the key attributes of the given one, of which other attributes are ignored.

        Raises
        ------
        ItemsError
            As for `put`.
        """
        name, item = self._name(table), _encoded(text)
        types = self._key_types(name)
        if missing := [key for key in types if key not in item]:
            raise ItemsError(f"the item has no {' and no '.join(missing)}, so it names none of {table}")
        self._call("delete_item", TableName=name, Key={key: item[key] for key in types})

    def _name(self, table: str) -> str:
        tables = self._tables()
        if table not in tables:
            raise ItemsError(f"the program has no table {table}; it has {', '.join(tables) or 'none'}")
        return tables[table]

    def _key_types(self, name: str) -> dict[str, str]:
        description = self._call("describe_table", TableName=name)["Table"]
        kinds = {each["AttributeName"]: each["AttributeType"] for each in description["AttributeDefinitions"]}
        return {each["AttributeName"]: kinds[each["AttributeName"]] for each in description["KeySchema"]}

    def _call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        try:
            return getattr(self._dynamodb(), operation)(**arguments)
        except ClientError as error:
            raise ItemsError(cast("Any", error).response["Error"]["Message"]) from error
        except BotoCoreError as error:
            raise ItemsError(f"the embedded AWS does not answer: {error}") from error


def item_text(item: Mapping[str, Value]) -> str:
    """Return an item as plain JSON; as DynamoDB JSON in `{"Item": …}` if it has sets or binary values."""
    if any(map(_has_special, item.values())):
        return json.dumps({"Item": item}, indent=INDENT, ensure_ascii=False, default=_base64)
    return _plain({"M": item}, "\n")


def _has_special(value: Value) -> bool:
    [(kind, content)] = value.items()
    parts: Any = content.values() if kind == "M" else content if kind == "L" else ()
    return kind in ("B", "SS", "NS", "BS") or any(map(_has_special, parts))


def _plain(value: Value, newline: str) -> str:
    """Return a value without sets and binary parts as JSON; `newline` begins each of its lines."""
    [(kind, content)] = value.items()
    inner = newline + INDENT
    match kind:
        case "N":
            return str(Decimal(content))
        case "NULL":
            return "null"
        case "M" if content:
            pairs = (f"{inner}{_text(name)}: {_plain(part, inner)}" for name, part in content.items())
            return "{" + ",".join(pairs) + newline + "}"
        case "L" if content:
            return "[" + ",".join(f"{inner}{_plain(part, inner)}" for part in content) + newline + "]"
        case _:
            return "{}" if kind == "M" else _text(content)


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _key_text(item: Mapping[str, Value], names: Mapping[str, str]) -> str:
    """Return the key as people read it: `customer_id=c7 order_id=31`."""
    contents = {name: next(iter(item[name].values())) for name in names}
    return " ".join(
        f"{name}={_base64(content) if isinstance(content, bytes) else content}" for name, content in contents.items()
    )


def _sort_value(value: Value) -> tuple[str, Any]:
    [(kind, content)] = value.items()
    return kind, Decimal(content) if kind == "N" else content


def _encoded(text: bytes) -> dict[str, Any]:
    try:
        return encode_item(parse_item(text))
    except RecursionError as error:
        raise ItemsError("the item is nested more deeply than DynamoDB allows (32 levels)") from error
    except (ValueError, TypeError) as error:
        raise ItemsError(str(error)) from error
