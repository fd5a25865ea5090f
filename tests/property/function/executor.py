"""Runs items in steps, in an order that a seed decides; a handler may let others go on in its midst."""

from collections.abc import Callable, Iterator, Sequence
from random import Random


class InterleavingExecutor:
    """An executor for the engine: in place of threads, one step at a time.

    Two items never run at the same instant, as threads can: what one step does to the engine's state is never seen half
    done. Locks are therefore not put to the test. The first item begins first, as workers pull them. Whoever lets time
    pass calls `on_deadline`, once, where the time is over.
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
        for _ in range(3):  # up to its first change, once more where something is held, and that change
            self._step(1)
        while self._items:
            self._step(self._workers)
        self.on_deadline = None
        self.at_end()

    def step_others(self) -> None:
        """Called by a handler: items that could run beside it go on for a while."""
        for _ in range(self._rng.randint(0, 2)):
            self._step(self._workers)

    def finish_others(self) -> None:
        """Called by a handler that runs on: all that can run beside it ends."""
        while len(self._items) > len(self._busy) and len(self._busy) < self._workers:
            self._step(self._workers)

    def _step(self, first: int) -> None:
        """A step of one of the first items."""
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
