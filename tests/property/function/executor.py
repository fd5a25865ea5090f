"""An executor that interleaves items in an order that a seed decides."""

from collections.abc import Callable, Iterator, Sequence
from random import Random


class InterleavingExecutor:
    """An executor that takes one step at a time instead of running threads.

    Steps are atomic, so no item sees a half-done change of the engine's state, and locks are not tested. The first item
    begins first, as workers pull items in order. The environment calls `on_deadline` once, when time is short.
    """

    def __init__(self, rng: Random, workers: int) -> None:
        self._rng, self._workers = rng, workers
        self._items: list[Iterator[None]] = []
        self._busy: list[Iterator[None]] = []
        self.on_deadline: Callable[[], None] | None = None
        self.before_step: Callable[[], None] = lambda: None
        self.at_end: Callable[[], None] = lambda: None

    def __call__(
        self, items: Sequence[Iterator[None]], left: Callable[[], float] | None, on_deadline: Callable[[], None]
    ) -> None:
        """Run the items to their ends."""
        self._items, self._busy = list(items), []
        self.on_deadline = on_deadline if left else None
        for _ in range(3):  # to its first change, once more if the item is held, and through this change
            self._step(1)
        while self._items:
            self._step(self._workers)
        self.on_deadline = None
        self.at_end()

    def step_others(self) -> None:
        """Let other items take up to two steps; a running handler calls this."""
        for _ in range(self._rng.randint(0, 2)):
            self._step(self._workers)

    def finish_others(self) -> None:
        """Run other items to their ends; a handler that overruns calls this."""
        while len(self._items) > len(self._busy) and len(self._busy) < self._workers:
            self._step(self._workers)

    def _step(self, first: int) -> None:
        """Take a step of one of the first items."""
        free = [item for item in self._items[:first] if item not in self._busy]
        if not free or len(self._busy) >= self._workers:
            return
        item = self._rng.choice(free)
        self._busy.append(item)
        try:
            self.before_step()
            next(item)
        except StopIteration:
            self._items.remove(item)
        finally:
            self._busy.remove(item)
