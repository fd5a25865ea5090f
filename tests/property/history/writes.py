"""The writes of a history, all drawn beforehand, and the note that an engine without holds may have left."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

THEMES = {"any": 58, "flood": 5, "short of time": 13, "overlaps": 12, "busy items": 12}
"""The themes of histories, with their percentages: rare coincidences must happen often enough."""
NUMBER_KEYS = ("n=1", "n=1.0", "n=1.00", "n=10", "n=10.0")
"""Keys that are different items although their normalized numbers are equal."""


@dataclass(frozen=True)
class Sizes:
    """The size of a history: its changes, its items and its largest batch size."""

    changes: int
    items: int
    batch: int


@dataclass(frozen=True)
class Write:
    """One change; `kind` is its event's name."""

    number: int
    item: str
    when: float
    kind: str


@dataclass(frozen=True)
class Plan:
    """All writes of one history."""

    writes: list[Write]
    flood: frozenset[int]
    """The changes of a burst: one change of each of many items."""
    noted: dict[int, str] = field(default_factory=dict[int, str])
    """The states of the first changes in the note of an engine without holds."""


def plan(rng: Random, theme: str, sizes: Sizes, start: float) -> Plan:
    """Draw the writes."""
    flood, few_items = theme == "flood", theme == "busy items"
    number_keys = rng.random() < 0.15

    def name(index: int) -> str:
        return NUMBER_KEYS[index] if number_keys and index < len(NUMBER_KEYS) else f"item-{index}"

    changes = 3 * sizes.changes if few_items else sizes.changes
    items = [name(rng.randrange(min(sizes.items, 2) if few_items else sizes.items)) for _ in range(changes)]
    burst_at = rng.randrange(len(items)) if flood else len(items)
    burst = [f"flood-{index}" for index in range(rng.randint(25, 45))] if flood else []
    gaps = {"busy items": 0.8, "short of time": 0.05}.get(theme, 0.3)
    pause = 15.0 if few_items else 20.0 if theme != "any" else rng.choice([20.0, 20.0, 60.0, 120.0, 900.0])
    noted = rng.randint(2, 8) if rng.random() < 0.15 and sizes.changes > 1 and burst_at > 8 else 0
    writes, exists, now = list[Write](), set[str](), start
    for index, item in enumerate([*items[:burst_at], *burst, *items[burst_at:]]):
        if index >= noted and item not in burst and rng.random() < gaps:
            now += rng.expovariate(1 / pause)
        kind = "INSERT" if item not in exists else "REMOVE" if rng.random() < 0.2 else "MODIFY"
        exists.symmetric_difference_update({item} if kind != "MODIFY" else ())
        writes.append(Write(index + 1, item, now, kind))
    first = burst_at + 1
    return Plan(*(writes, frozenset(range(first, first + len(burst)))), dict(_noted(rng, writes[:noted])))


def _noted(rng: Random, writes: list[Write]) -> Iterator[tuple[int, str]]:
    """Draw states that a note can have: the first change is undone, and so is an item's rest after an undone change."""
    undone: set[str] = set()
    for write in writes:
        state = "." if write.number == 1 or write.item in undone else rng.choice("..+++x")
        undone |= {write.item} if state == "." else set()
        yield write.number, state


def old_note(rng: Random, noted: dict[int, str], stream: str, consumer: str, now: float) -> dict[str, Any]:
    """Return a note in the format of the engine without holds, with the clocks of items and of the checkpoint."""
    before, clock, parts = 0, 0, list[str]()
    for number, state in noted.items():
        sequence = 10**20 + number
        part = f"{sequence - before}{state}"
        if state == "." and rng.random() < 0.5:
            since = int(now) - rng.randint(0, 900)
            part, clock = f"{part}{since - clock}", since
        parts.append(part)
        before = sequence
    item: dict[str, Any] = {
        "pk": {"S": f"note#{consumer}#{stream}"},
        "sk": {"S": f"{10**20 + 1:040}"},
        "records": {"B": zlib.compress(",".join(parts).encode())},
        "expiry": {"N": str(int(now) + 48 * 3600)},
    }
    return item | ({"alone": {"N": str(int(now) - 60)}} if rng.random() < 0.5 else {})
