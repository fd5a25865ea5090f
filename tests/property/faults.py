"""What goes wrong in a history, all drawn from its seed; each kind is absent from most histories."""

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

Span = tuple[float, float]
"""From when, until when: epoch seconds."""


def within(span: Span | None, now: float) -> bool:
    """Whether it is now."""
    return span is not None and span[0] <= now < span[1]


@dataclass(frozen=True)
class Faults:
    """Chances are for each try, each request or each invocation; changes are told by their numbers."""

    transient: float
    """A try fails."""
    poison: frozenset[int]
    """Changes of which every try fails."""
    permanent: frozenset[int]
    """Changes that raise PermanentError."""
    stuck: frozenset[int]
    """Changes whose handler never ends."""
    outage: Span | None
    """Every try fails."""
    crash: float
    """The function dies: around an effect, between two changes, before or after a store has done what was asked."""
    hang: float
    """A handler runs until the function's time is over, its effect done or not."""
    linger: float
    """A handler runs into the reserve, and ends well or not."""
    slow: bool
    """Handlers take seconds, so that a batch does not end in its time."""
    late: float
    """An invocation has little time left from the start."""
    throttled: Span | None
    """The function is not run: no concurrency is left for it."""
    lost_answer: float
    """The function has done its work; Lambda says it failed."""
    second: float
    """The same batch is delivered once more, to another environment, while the first runs or later."""
    replaced: bool
    """The mapping is replaced, while the function runs, by a new one that starts at the oldest record."""
    recut: float
    """The mapping cuts what is not settled anew, by another batch size."""
    flaky: float
    """A request to the ledger or the failure store fails, carried out or not."""
    ledger_down: Span | None
    """Every request to the ledger does."""
    store_down: Span | None
    """Every request to the failure store does."""
    cold: float
    """An environment is not used again."""
    refused: bool
    """The mapping's destination refuses."""
    stalled: bool
    """The mapping is disabled for longer than the stream keeps records."""

    @property
    def calm(self) -> bool:
        """Whether nothing disturbs the clocks: handlers fail, succeed or take their time, and that is all."""
        chances = self.crash + self.hang + self.linger + self.lost_answer + self.second + self.flaky
        spans = self.ledger_down or self.store_down or self.throttled
        return not (chances or spans or self.replaced or self.stalled)


def draw(rng: Random, item_of: Mapping[int, str], start: float) -> Faults:
    """The faults of one history with these changes."""
    changes = sorted(item_of)

    def chance(of: float, *values: float) -> float:
        return rng.choice(values) if rng.random() < of else 0.0

    def some(of: float, most: int) -> frozenset[int]:
        wanted = rng.randint(1, most) if rng.random() < of else 0
        return frozenset(rng.sample(changes, min(wanted, len(changes))))

    def span(of: float, *lengths: float) -> Span | None:
        if rng.random() >= of:
            return None
        begin = start + rng.uniform(0, 240)
        return begin, begin + rng.choice(lengths)

    def spoilt(of: float) -> frozenset[int]:
        """From some change on, all of its item."""
        first = rng.choice(changes) if rng.random() < of else max(changes) + 1
        return frozenset(each for each in changes if each >= first and item_of[each] == item_of[first])

    disturbed = rng.random() < 0.6
    few = 0.2 if disturbed else 0.0
    return Faults(
        transient=chance(0.5, 0.05, 0.3),
        poison=some(0.25, 3) | spoilt(0.15),
        permanent=some(0.15, 2),
        stuck=some(0.1, 1),
        outage=span(0.2, 60, 1200, 5000),
        crash=chance(few, 0.02, 0.1),
        hang=chance(few, 0.05),
        linger=chance(few, 0.1),
        slow=rng.random() < 0.1,
        late=chance(0.1, 0.3, 1.0),
        throttled=span(few, 60, 3000),
        lost_answer=chance(few, 0.1),
        second=chance(few, 0.2),
        replaced=rng.random() < few,
        recut=chance(0.25, 0.3, 0.8),
        flaky=chance(few, 0.05, 0.2),
        ledger_down=span(few, 60, 600),
        store_down=span(few, 60, 3000),
        cold=chance(0.2, 0.2),
        refused=rng.random() < 0.2,
        stalled=rng.random() < few / 3,
    )
