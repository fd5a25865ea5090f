"""How long a failing change is tried: poison told from outage."""

import threading
from collections.abc import Iterable

from handler.stream.batch import Item
from handler.stream.environment import DAY, Environment
from handler.stream.progress import Note

MARGIN = 300.0
"""Seconds before the mapping would discard a record: longer than its longest back-off."""
REMEMBERED_ITEMS = 1_000
"""Given-up items that an environment remembers: forgetting one costs `give_up_after` once more, and no change."""


class Patience:
    """One batch's clocks: those that the note says run, and signs of health, first from the note's `healthy` items.

    `given_up` is the environment's: items whose clock has run out and of which no change has succeeded since.
    """

    def __init__(self, settings: Environment, note: Note, given_up: set[Item], healthy: Iterable[Item]) -> None:
        self._settings, self._note, self._given_up = settings, note, given_up
        self._alone_at = note.first_undone()
        self._signs: list[tuple[float, Item]] = []
        self._lock = threading.Lock()
        for item in healthy:
            self.succeeded(item, 0.0)

    def succeeded(self, item: Item, now: float) -> None:
        """A change of the item is done: a sign of health for every other item of the batch."""
        self._given_up.discard(item)
        if len(self._signs) < 2:  # with two items' signs, each item has one of another
            with self._lock:
                if all(item != other for _, other in self._signs):
                    self._signs.append((now, item))

    def others_succeed_since(self, item: Item) -> float | None:
        """When first a change of another item of the batch was done; None where none is."""
        return next((since for since, other in self._signs if other != item), None)

    def too_old(self, created: float | None, now: float) -> str | None:
        """Whether the mapping, or the stream, is about to discard the change."""
        allowed = self._settings.maximum_record_age_seconds
        end = min(allowed if allowed > 0 else DAY, DAY) - MARGIN
        return "RecordAgeExceeded" if created is not None and now - created >= end else None

    def over(self, item: Item, sequence: int, now: float) -> str | None:
        """Whether a change that has just failed is given up because its item is poison."""
        since = self._note.clocks.get(sequence)
        if since is not None and now - since >= self._settings.give_up_after_seconds:
            if len(self._given_up) >= REMEMBERED_ITEMS:
                self._given_up.clear()
            self._given_up.add(item)
        elif item not in self._given_up or self.others_succeed_since(item) is None:
            return None
        return "GiveUpAfterExceeded"

    def over_alone(self, item: Item, sequence: int, failed: float, now: float) -> str | None:
        """Whether a change that has failed is given up though nothing else succeeds: only the checkpoint's ever is."""
        exceeded = now - self.alone_since(sequence, failed) >= self._settings.give_up_alone_after_seconds
        return "GiveUpAloneAfterExceeded" if exceeded and self.others_succeed_since(item) is None else None

    def alone_since(self, sequence: int, failed: float) -> float:
        """Since when a change fails as the checkpoint's; for another checkpoint the clock starts anew."""
        return self._note.alone if self._note.alone is not None and self._alone_at == sequence else failed

    def clock(self, item: Item, sequence: int, failed: float | None) -> float | None:
        """Since when the item of this undone change has failed while another one succeeded."""
        since = self._note.clocks.get(sequence)
        if since is None and failed is not None:
            others = self.others_succeed_since(item)
            since = None if others is None else max(failed, others)
        return since
