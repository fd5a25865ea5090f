"""The texts that `python -m sandbox new` writes. The README shows them, and a test compares."""

from collections.abc import Mapping
from dataclasses import dataclass
from keyword import iskeyword

HANDLER = '''\
"""Runs for each change of {table}."""

from handler.stream import Change, consumer


@consumer
def handler(change: Change) -> None:
    """Return when the change is done; raise an error to have it tried again, a PermanentError to have it parked."""
    print({printed})
'''

TEST = '''\
"""Tests {consumer} without AWS: `deliver` hands it changes as Lambda does."""

from handler import {module}
from handler.stream.testing import deliver, inserted


def test_a_new_item() -> None:
    change = inserted({arguments})
    assert deliver({module}.handler, change).applied == [change]
'''


@dataclass(frozen=True)
class ReadTable:
    """What a template needs to know about the table that a consumer reads.

    Attributes
    ----------
    variable
        The variable of the table in `__main__.py`.
    keys
        The key attributes, each with an example of its value as Python source.
    has_new_image
        Whether the stream has the new image of an item, as far as `__main__.py` says it.
    """

    name: str
    variable: str
    keys: Mapping[str, str]
    has_new_image: bool


def text_of_handler(consumer: str, table: ReadTable) -> str:
    """Return the consumer's module."""
    printed = "change.event_name, change.keys" + (", change.new_image" if table.has_new_image else "")
    return HANDLER.format(consumer=consumer, table=table.name, printed=printed)


def text_of_test(consumer: str, table: ReadTable) -> str:
    """Return the test of the consumer's module."""
    names = [f'"{name}"' for name in table.keys]
    if any(name == "key" or not name.isidentifier() or iskeyword(name) for name in table.keys):
        pairs = ", ".join(f'"{name}": {value}' for name, value in table.keys.items())
        item = [f"{{{pairs}}}"]
    else:
        item = [f"{name}={value}" for name, value in table.keys.items()]
    joined = ", ".join(names)
    key = [] if joined == '"id"' else [f"key=({joined})" if len(names) > 1 else f"key={joined}"]
    first, last = (item, key) if item[0].startswith("{") else (key, item)
    arguments = ", ".join([f'"{table.name}"', *first, *last])
    return TEST.format(consumer=consumer, module=consumer.replace("-", "_"), arguments=arguments)


def text_of_table(name: str, settings: str | None, encryption_key: str | None) -> str:
    """Return the statement that makes a table; the arguments name the program's variables, if it has them."""
    lines = [f'"{name}",', 'key="id",']
    if encryption_key:
        lines.append(f"encryption_key={encryption_key},")
    if settings:
        lines += [f"protect={settings}.protect,", f'confirmed_drained={settings}.confirmed_drained.get("{name}"),']
    return "\n".join([f"{name.replace('-', '_')} = StreamTable(", *(f"    {line}" for line in lines), ")"])


def text_of_consumer(consumer: str, table: ReadTable, stores: str, package: str, settings: str | None) -> str:
    """Return the call that makes the consumer, without a comma after it."""
    lines = [
        f'"{consumer}",',
        f"reads=[{table.variable}.changes()],",
        "environment={},",
        *(['images="NEW_IMAGE",'] if table.has_new_image else []),
        f"stores={stores},",
        *([f'tuning={settings}.tuning("{consumer}"),'] if settings else []),
        f"package={package},",
    ]
    return "\n".join(["StreamConsumer(", *(f"    {line}" for line in lines), ")"])
