"""The README's consumer and its test, as they stand there, do what they say."""

import re
import sys
import types
from pathlib import Path

import pytest

import handler

BLOCKS = [
    re.sub(r"^ {3}", "", block, flags=re.MULTILINE) if block.startswith("   ") else block
    for block in re.findall(r"```python\n(.*?)```", (Path(__file__).parent.parent / "README.md").read_text(), re.DOTALL)
]


def block(holding: str) -> str:
    (found,) = (block for block in BLOCKS if holding in block)
    return found


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
