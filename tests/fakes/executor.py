"""An executor without threads."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any


class InlineExecutor:
    """An executor without threads: the items take turns, with one change per turn.

    A handler may call `deadline` to reach the deadline while it runs, or `another` to let another item's handler run
    meanwhile.
    """

    def __init__(self) -> None:
        self.deadline: Callable[[], None] = lambda: None
        self._waiting: list[Iterator[None]] = []

    def __call__(self, items: Any, left: Callable[[], float] | None, on_deadline: Callable[[], None]) -> None:
        outer = self.deadline, self._waiting  # an invocation may begin during another one
        self.deadline, self._waiting = on_deadline if left else lambda: None, list(items)
        try:
            while self._waiting:
                self.another()
        finally:
            self.deadline, self._waiting = outer

    def another(self) -> None:
        """Give the next item its turn."""
        waiting = self._waiting
        item = waiting.pop(0)
        with contextlib.suppress(StopIteration):
            next(item)
            waiting.append(item)
