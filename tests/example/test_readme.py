"""The consumer in the README and its test work as printed."""

import re
import sys
import types
from pathlib import Path

import pytest

import handler

BLOCKS = [
    re.sub(r"^ {3}", "", block, flags=re.MULTILINE) if block.startswith("   ") else block
    for block in re.findall(r"```python\n(.*?)```", (Path(__file__).parents[2] / "README.md").read_text(), re.DOTALL)
]


def block(part: str) -> str:
    """Return the one block that holds `part`."""
    [text] = (block for block in BLOCKS if part in block)
    return text


def test_the_consumer_and_its_test_work(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("handler.stock_alert")
    exec(block("Tell the warehouse"), module.__dict__)  # noqa: S102 -- our own README
    monkeypatch.setitem(sys.modules, "handler.stock_alert", module)
    monkeypatch.setattr(handler, "stock_alert", module, raising=False)
    test: dict[str, object] = {}
    exec(block("def test_an_item_without"), test)  # noqa: S102 -- our own README
    function = test["test_an_item_without_a_warehouse_is_parked"]
    assert callable(function)
    function()
