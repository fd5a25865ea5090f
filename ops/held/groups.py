"""Groups held items by the cause of their failure, the worst group first."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ops.held.ledger import HeldItem

SOON_SECONDS = 86_400
"""An item that the engine gives up within a day comes first: its order is then lost."""


@dataclass(frozen=True)
class Group:
    """Held items whose last errors have one cause, the longest failing one first."""

    cause: str
    items: Sequence[HeldItem]
    give_up_after_seconds: float | None

    @property
    def changes(self) -> int:
        """How many changes wait."""
        return sum(item.changes for item in self.items)

    @property
    def since(self) -> float:
        """Since when the longest failing item fails, in seconds since 1970."""
        return self.items[0].row.since

    @property
    def due(self) -> float:
        """When the next item is due."""
        return min(item.row.due for item in self.items)

    def gives_up_at(self) -> float | None:
        """Return when the engine gives up the first item; None if the time is unknown."""
        return None if self.give_up_after_seconds is None else self.since + self.give_up_after_seconds

    def gives_up_soon(self, now: float) -> bool:
        """Return whether the engine gives up an item within a day."""
        at = self.gives_up_at()
        return at is not None and at - now < SOON_SECONDS

    def deadly_items(self, now: float) -> int:
        """Return the number of items on whose first waiting change the function died."""
        return sum(item.deaths(now) > 0 for item in self.items)

    def as_json(self, now: float) -> dict[str, Any]:
        """Return the group for --json."""
        return {
            "cause": self.cause,
            "items": len(self.items),
            "changes": self.changes,
            "since": self.since,
            "next_try": self.due,
            "gives_up": self.gives_up_at(),
            "suspects": self.deadly_items(now),
            "keys": [{"item": item.digest, "table": item.table_name, "keys": item.keys} for item in self.items],
        }


def group_by_cause(items: Iterable[HeldItem], give_up_after_seconds: float | None, now: float) -> list[Group]:
    """Return the groups: those with an item that is given up soon first, then those with the most items."""
    by_cause: dict[str, list[HeldItem]] = {}
    for item in items:
        by_cause.setdefault(item.cause, []).append(item)
    groups = [
        Group(cause, sorted(members, key=lambda item: item.row.since), give_up_after_seconds)
        for cause, members in by_cause.items()
    ]
    return sorted(groups, key=lambda group: (not group.gives_up_soon(now), -len(group.items), group.since))
