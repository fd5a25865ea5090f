"""Journal of a history that the laws judge. Changes are told by their numbers; times are epoch seconds."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

Row = dict[str, Any]


@dataclass(eq=False)
class Run:
    """One invocation of the function."""

    kind: str
    """What it was asked for: batch, retry, helper, redrive, skip."""
    numbers: list[int]
    """The changes of its batch."""
    start: float
    deadline: float
    end: float = float("inf")
    answer: Any = None
    has_crashed: bool = False
    is_doubled: bool = False
    """One of its changes is delivered to another run at the same time or after this one's end."""
    first: int | None = None
    """The change whose handler began first."""
    attempts: Counter[int] = field(default_factory=Counter[int])
    failed: set[int] = field(default_factory=set[int])
    effects: set[int] = field(default_factory=set[int])
    """Effects."""
    finished: set[int] = field(default_factory=set[int])
    """Changes whose handler has ended well."""
    parked: set[int] = field(default_factory=set[int])
    running: set[int] = field(default_factory=set[int])
    """Changes whose handler has begun and not ended."""
    running_at_crash: set[int] = field(default_factory=set[int])
    """Those of them at the function's death."""
    interrupted: set[int] = field(default_factory=set[int])
    """Those of them at the time of the deadline."""
    claimed: set[int] = field(default_factory=set[int])
    """Changes whose claim is taken and not marked."""
    recorded_done: set[int] = field(default_factory=set[int])
    """Changes of which the ledger says, in this run's words, that they are done."""
    reported: set[int] = field(default_factory=set[int])
    ledger_failed: bool = False
    """A call to the ledger did not do what it was asked for, as far as the engine can know."""
    note_failed: bool = False
    bucket_failed: bool = False
    holds_in_doubt: set[str] = field(default_factory=set[str])
    """Holds whose last call failed."""
    leased: list[str] = field(default_factory=list[str])
    makes_all_due: bool = False
    """It was asked to take everything as due."""
    due_holds: set[str] = field(default_factory=set[str])
    """Holds that were due as a retry run began, and that nobody had leased."""
    waiting_since: dict[str, float] = field(default_factory=dict[str, float])
    """The same, with those that could be due by a clock that is wrong; and since when each of them fails."""
    suspects: set[str] = field(default_factory=set[str])
    """Those of them of which a function may have died."""


@dataclass(frozen=True)
class Effect:
    """What a handler has done in the history."""

    number: int
    item: str
    when: float


@dataclass(frozen=True)
class Parked:
    """A change put into the failure store."""

    number: int
    when: float
    reason: str
    run: Run


@dataclass(frozen=True)
class Transition:
    """One write that moved a hold's row; `kind` is what it did."""

    kind: str
    when: float
    digest: str
    item: str
    run: Run
    before: Row
    after: Row
    in_a_row: int
    """Failures in a row, without a success between them, in the environment that wrote it."""
    taken: frozenset[int]
    """Changes that the hold has taken in with it."""


@dataclass(frozen=True)
class Overlap:
    """Two handlers that ran at once for one item."""

    item: str
    numbers: tuple[int, int]
    when: float


class Journal:
    """All that has happened."""

    def __init__(self) -> None:
        self.item_of: dict[int, str] = {}
        self.created: dict[int, float] = {}
        self.changes_of: defaultdict[str, list[int]] = defaultdict(list)
        """The changes of each item, in order."""
        self.source: dict[str, int | None] = {}
        """Each item's last change; None where it was removed."""
        self.runs: list[Run] = []
        self.delivered: set[int] = set()
        self.unsettled: set[int] = set()
        """Changes that the mapping has delivered, and will deliver again unless it is told that they are settled."""
        self.doubled: set[int] = set()
        """Changes that were delivered to two runs at once, or once more after they were settled."""
        self.effects: list[Effect] = []
        self.finished: dict[int, list[float]] = {}
        """Ends of handlers that ended well."""
        self.failures: defaultdict[int, list[tuple[float, str]]] = defaultdict(list)
        """Of each change: when a try failed, and why."""
        self.slow_failures: list[float] = []
        """When changes failed in batches after half of a handler's time."""
        self.parked: dict[int, list[Parked]] = {}
        self.discarded: dict[int, tuple[float, str]] = {}
        """Changes that the mapping gave up, and on which condition."""
        self.refused: set[int] = set()
        """Those of them that the destination refused."""
        self.expired: set[int] = set()
        self.excused: dict[int, str] = {}
        """Changes whose effects may be repeated, or come late, and the reason."""
        self.redriven: dict[int, list[float]] = {}
        """When the function said that it has put a change back."""
        self.asked_to_redrive: set[int] = set()
        self.asked_to_skip: set[str] = set()
        """Items."""
        self.killed: Counter[int] = Counter()
        """How often the function died while a change's handler ran."""
        self.deaths: Counter[int] = Counter()
        """How often a claim's holder died."""
        self.failed_marks: Counter[int] = Counter()
        self.transitions: list[Transition] = []
        self.overlaps: list[Overlap] = []
        self.overran: set[int] = set()
        """Changes, a run's first apart, whose handlers had not their time, though they took less than a handler may."""
        self.incidents: Counter[str] = Counter()
        """Kinds of trouble, counted."""

    def excuse(self, numbers: Iterable[int], reason: str) -> None:
        """Repeats may follow of these."""
        self.excused = dict.fromkeys(numbers, reason) | self.excused

    def mark_doubled(self, run: Run | None, numbers: Iterable[int]) -> None:
        """These are delivered to a second run."""
        if run is not None:
            run.is_doubled = True
        numbers = set(numbers)
        self.doubled |= numbers
        self.excuse(numbers, "a doubled delivery")

    def excuse_delivered(self, reason: str) -> None:
        """Repeats may follow of whatever has been delivered by now."""
        self.excuse(self.delivered, reason)

    def failed_or_came_first(self, each: int) -> Iterator[float]:
        """When tries of a change failed, and when the change before it was settled."""
        yield from (when for when, _ in self.failures[each])
        before = max((other for other in self.changes_of[self.item_of[each]] if other < each), default=0)
        yield from self.finished.get(before, ())
        yield from (parked.when for parked in self.parked.get(before, ()))

    def count_incidents(self) -> Counter[str]:
        """Trouble that this history has met, and what became of its changes."""
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
        counts["death of a claim's holder"] += sum(self.deaths.values())
        counts["repeated effect"] += len(self.effects) - len({effect.number for effect in self.effects})
        counts["redriven"] += sum(map(len, self.redriven.values()))
        return +counts
