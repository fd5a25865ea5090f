"""The consumer in the README and its test work as printed."""

import re
import sys
import types
from pathlib import Path
from typing import Any

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
    tests: dict[str, Any] = {}
    exec(block("def test_an_item_without"), tests)  # noqa: S102 -- our own README
    tests["test_an_item_without_a_warehouse_is_parked"]()
    tests["test_an_alert_is_sent_when_the_topic_is_back"](monkeypatch)
