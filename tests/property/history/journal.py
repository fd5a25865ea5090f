"""The journal of a history, which the laws check. Changes are named by number; times are epoch seconds."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

Row = dict[str, Any]


@dataclass(eq=False)
class Run:
    """One invocation of the function."""

    kind: str
    """The kind of its request: batch, retry, helper, redrive or skip."""
    numbers: list[int]
    """The changes of its batch."""
    start: float
    deadline: float
    end: float = float("inf")
    answer: Any = None
    has_crashed: bool = False
    is_doubled: bool = False
    """Another run receives one of its changes at the same time, or after this run's end."""
    first: int | None = None
    """The change whose handler began first."""
    attempts: Counter[int] = field(default_factory=Counter[int])
    failed: set[int] = field(default_factory=set[int])
    effects: set[int] = field(default_factory=set[int])
    """Changes that had their effect."""
    finished: set[int] = field(default_factory=set[int])
    """Changes whose handler returned."""
    parked: set[int] = field(default_factory=set[int])
    running: set[int] = field(default_factory=set[int])
    """Changes whose handler runs now."""
    running_at_crash: set[int] = field(default_factory=set[int])
    """Changes whose handler ran when the function crashed."""
    interrupted: set[int] = field(default_factory=set[int])
    """Changes whose handler ran, or whose claim was open, at the deadline."""
    claimed: set[int] = field(default_factory=set[int])
    """Changes whose claim is taken and not marked as done."""
    recorded_done: set[int] = field(default_factory=set[int])
    """Changes that this run recorded as done in the ledger."""
    reported: set[int] = field(default_factory=set[int])
    ledger_failed: bool = False
    """The engine received an error, or a partial answer, from the ledger."""
    note_failed: bool = False
    bucket_failed: bool = False
    holds_in_doubt: set[str] = field(default_factory=set[str])
    """Holds whose last write ended in an error, so that the engine does not know the result."""
    leased: list[str] = field(default_factory=list[str])
    makes_all_due: bool = False
    """Its request makes every hold due."""
    due_holds: set[str] = field(default_factory=set[str])
    """Holds that were due, and not leased, when a retry run began."""
    waiting_since: dict[str, float] = field(default_factory=dict[str, float])
    """The due holds, and those that a skewed clock makes due, each with the time since when it waits."""
    suspects: set[str] = field(default_factory=set[str])
    """Holds of this queue that may have crashed a function."""


@dataclass(frozen=True)
class Effect:
    """The effect of one handler."""

    number: int
    item: str
    when: float


@dataclass(frozen=True)
class Parked:
    """A change in the failure bucket."""

    number: int
    when: float
    reason: str
    run: Run


@dataclass(frozen=True)
class Transition:
    """One write to a hold's row; `kind` says what the write did."""

    kind: str
    when: float
    digest: str
    item: str
    run: Run
    before: Row
    after: Row
    in_a_row: int
    """Consecutive failures of batch handlers in the environment that wrote the row."""
    taken: frozenset[int]
    """Changes that this write added to the hold."""


@dataclass(frozen=True)
class Overlap:
    """Two handlers that ran at the same time for one item."""

    item: str
    numbers: tuple[int, int]
    when: float


class Journal:
    """Everything that happened in a history."""

    def __init__(self) -> None:
        self.item_of: dict[int, str] = {}
        self.created: dict[int, float] = {}
        self.changes_of: defaultdict[str, list[int]] = defaultdict(list)
        """The changes of each item, in order."""
        self.source: dict[str, int | None] = {}
        """Each item's last change; None if this change removed the item."""
        self.runs: list[Run] = []
        self.delivered: set[int] = set()
        self.unsettled: set[int] = set()
        """Changes that the mapping has delivered and not settled."""
        self.doubled: set[int] = set()
        """Changes that two runs received at the same time, or that came again after they were settled."""
        self.effects: list[Effect] = []
        self.finished: dict[int, list[float]] = {}
        """The times at which a change's handler returned."""
        self.failures: defaultdict[int, list[tuple[float, str]]] = defaultdict(list)
        """Each change's failed tries: the time and the reason."""
        self.slow_failures: list[float] = []
        """The times of failures in batches that took half of the handler time-out."""
        self.parked: dict[int, list[Parked]] = {}
        self.discarded: dict[int, tuple[float, str]] = {}
        """Changes that the mapping discarded: the time and the condition."""
        self.refused: set[int] = set()
        """Discarded changes that the destination refused."""
        self.expired: set[int] = set()
        self.excused: dict[int, str] = {}
        """Changes whose effect may be repeated or late, each with the reason."""
        self.redriven: dict[int, list[float]] = {}
        """The times at which the function answered that it holds a redriven change again."""
        self.asked_to_redrive: set[int] = set()
        self.asked_to_skip: set[str] = set()
        """Items."""
        self.killed: Counter[int] = Counter()
        """Crashes of the function while a change's handler ran."""
        self.deaths: Counter[int] = Counter()
        """Crashes of the holder of a change's claim."""
        self.failed_marks: Counter[int] = Counter()
        self.transitions: list[Transition] = []
        self.overlaps: list[Overlap] = []
        self.overran: set[int] = set()
        """Changes, except the first of a run, whose handler met the function's time-out within its own time-out."""
        self.incidents: Counter[str] = Counter()
        """Counts of each kind of incident."""

    def excuse(self, numbers: Iterable[int], reason: str) -> None:
        """Allow repeated effects of these changes."""
        self.excused = dict.fromkeys(numbers, reason) | self.excused

    def mark_doubled(self, run: Run | None, numbers: Iterable[int]) -> None:
        """Take in that a second run receives these changes."""
        if run is not None:
            run.is_doubled = True
        numbers = set(numbers)
        self.doubled |= numbers
        self.excuse(numbers, "a doubled delivery")

    def excuse_delivered(self, reason: str) -> None:
        """Allow repeated effects of every change that is delivered by now."""
        self.excuse(self.delivered, reason)

    def failed_or_came_first(self, each: int) -> Iterator[float]:
        """Yield the times at which tries of a change failed and at which the item's change before was settled."""
        yield from (when for when, _ in self.failures[each])
        before = max((other for other in self.changes_of[self.item_of[each]] if other < each), default=0)
        yield from self.finished.get(before, ())
        yield from (parked.when for parked in self.parked.get(before, ()))

    def count_incidents(self) -> Counter[str]:
        """Count the history's incidents and what became of its changes."""
        counts = Counter(self.incidents)
        for parked in self.parked.values():
            counts.update(f"parked: {each.reason}" for each in parked)
        counts.update(f"discarded: {condition}" for _, condition in self.discarded.values())
        counts.update(f"excused for {reason}" for reason in self.excused.values())
        counts.update(f"hold: {transition.kind}" for transition in self.transitions)
        counts.update(f"{run.kind} run" for run in self.runs)
        counts["refused by the destination"] += len(self.refused)
        counts["expired"] += len(self.expired)
        counts["failed mark"] += sum(self.failed_marks.values())
        counts["crash of a claim's holder"] += sum(self.deaths.values())
        counts["repeated effect"] += len(self.effects) - len({effect.number for effect in self.effects})
        counts["redriven"] += sum(map(len, self.redriven.values()))
        return +counts
