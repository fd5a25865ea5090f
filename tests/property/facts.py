"""What has happened in a history: for the laws to judge."""

from collections import Counter, defaultdict
from collections.abc import Container, Iterable
from dataclasses import dataclass, field


@dataclass(eq=False)
class Run:
    """One invocation of the function."""

    numbers: list[int]
    start: float
    deadline: float
    given_up: set[str]
    """Items that its environment waits for no longer, as it begins."""
    end: float = 0.0
    first: int | None = None
    """The change whose handler began first."""
    failed: set[int] = field(default_factory=set[int])
    did: set[int] = field(default_factory=set[int])
    """Effects."""
    parked: set[int] = field(default_factory=set[int])
    finished: set[int] = field(default_factory=set[int])
    """Changes whose handler has ended well."""
    noted: set[int] = field(default_factory=set[int])
    """Those of them that its last words tell of."""
    inside: set[int] = field(default_factory=set[int])
    """Changes whose handler has begun and not ended."""
    claimed: set[int] = field(default_factory=set[int])
    """Those of them whose claim is not marked."""


@dataclass(frozen=True)
class Effect:
    """What a handler has done in the world."""

    number: int
    item: str


@dataclass(frozen=True)
class Parked:
    """A change in the failure store."""

    when: float
    reason: str
    others_done: bool
    """A change of another item of its batch was, as far as the function could know."""
    given_up: bool
    """Its environment waited no longer for its item."""


@dataclass
class Held:
    """A change that failed: since when as its lane's checkpoint, and since when another item had succeeded."""

    since: float | None = None
    others_since: float | None = None
    given_up: bool = False


class Facts:
    """All by the numbers of changes; times are epoch seconds."""

    def __init__(self) -> None:
        self.item_of: dict[int, str] = {}
        self.created: dict[int, float] = {}
        self.source: dict[str, int | None] = {}
        """Each item's last change; None where it was removed."""
        self.delivered: set[int] = set()
        self.effects: list[Effect] = []
        self.applied: dict[int, float] = {}
        self.done: dict[int, float] = {}
        """What the function has had occasion to note as done, and since when."""
        self.failures: defaultdict[int, list[tuple[float, str]]] = defaultdict(list)
        """Of each change: when a try failed, and why."""
        self.parked: dict[int, Parked] = {}
        self.discarded: dict[int, tuple[float, str]] = {}
        """What the mapping gave up, and on which condition."""
        self.refused: set[int] = set()
        """What of that the destination refused."""
        self.expired: set[int] = set()
        self.excused: set[int] = set()
        """Effects that may be repeated, or come late."""
        self.clocks_hidden: set[int] = set()
        """Delivered before a discard whose note another lane may hide, and with it their clocks."""
        self.deaths: Counter[int] = Counter()
        """How often a claim's holder died."""
        self.failed_marks: Counter[int] = Counter()
        self.held: dict[int, Held] = {}
        self.at_outage: set[int] = set()
        """What was in some lane's batch as the outage began."""
        self.overran: set[int] = set()
        """Changes, a run's first apart, whose handlers had not their time, though they took less than a handler may."""
        self.longest_run = 0.0
        self.met: set[str] = set()
        """Kinds of trouble."""

    def kinds(self) -> set[str]:
        """What this history has met: trouble, and what became of it."""
        found = self.met | {f"parked: {parked.reason}" for parked in self.parked.values()}
        found |= {f"discarded: {condition}" for _, condition in self.discarded.values()}
        repeated = len({effect.number for effect in self.effects}) < len(self.effects)
        outcomes = {
            "refused by the destination": self.refused,
            "expired": self.expired,
            "a failed mark": self.failed_marks,
            "a holder's death": self.deaths,
            "a repeated effect": repeated,
            "at the outage's begin": self.at_outage,
            "given up with one try": any(parked.given_up for parked in self.parked.values()),
        }
        return found | {name for name, is_met in outcomes.items() if is_met}

    @property
    def settled(self) -> set[int]:
        """What has come to its end, one way or another; retention apart."""
        return self.applied.keys() | self.parked.keys() | self.discarded.keys()

    def note(self, numbers: Iterable[int], now: float) -> None:
        """The function has had occasion to note these as done."""
        self.done = dict.fromkeys(numbers, now) | self.done

    def excuse_delivered(self) -> None:
        """Repeats may follow of whatever has been delivered by now."""
        self.excused |= self.delivered

    def others_among(self, found: Container[int], each: int, run: Run) -> bool:
        """Whether a change of another item of the batch is among what was found."""
        return any(other in found and self.item_of[other] != self.item_of[each] for other in run.numbers)

    def hold(self, run: Run) -> None:
        """Take down what holds a lane after a run."""
        undone = [
            each for each in run.numbers if each not in self.done.keys() | self.parked.keys() | self.discarded.keys()
        ]
        for each in undone:
            if each not in run.failed:
                continue
            held = self.held.setdefault(each, Held())
            if each == undone[0]:
                held.since = held.since or run.end
            if self.others_among(self.done, each, run):
                held.others_since = held.others_since or run.end
                held.given_up = self.item_of[each] in run.given_up
