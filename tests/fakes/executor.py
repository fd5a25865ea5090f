"""An executor without threads."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any


class InlineExecutor:
    """An executor without threads: items take turns, a change each.

    A handler that calls `deadline` lets the invocation's time be over while it runs; one that calls `another` lets
    another item's handler run at the same time.
    """

    def __init__(self) -> None:
        self.deadline: Callable[[], None] = lambda: None
        self._waiting: list[Iterator[None]] = []

    def __call__(self, items: Any, left: Callable[[], float] | None, on_deadline: Callable[[], None]) -> None:
        outer = self.deadline, self._waiting  # an invocation may begin while another is under way
        self.deadline, self._waiting = on_deadline if left else lambda: None, list(items)
        try:
            while self._waiting:
                self.another()
        finally:
            self.deadline, self._waiting = outer

    def another(self) -> None:
        """Let the next item take its step."""
        waiting = self._waiting
        item = waiting.pop(0)
        with contextlib.suppress(StopIteration):
            next(item)
            waiting.append(item)
