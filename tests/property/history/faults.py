"""Faults of a history, all drawn from its seed; each kind is absent from most histories."""

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

MINUTE, HOUR = 60.0, 3600.0
QUIET_AFTER = 2 * HOUR
"""Faults that come by chance end after so much time, or later where a longer one is drawn."""

Span = tuple[float, float]
"""From when, until when: epoch seconds."""


def is_during(span: Span | None, now: float) -> bool:
    """Whether it is now."""
    return span is not None and span[0] <= now < span[1]


@dataclass(frozen=True)
class HandlerFaults:
    """Faults of the consumer's own code and of what it needs: chances for each try, and changes by their numbers."""

    transient: float
    """A try fails."""
    poison: frozenset[int]
    """Changes of which every try fails."""
    permanent: frozenset[int]
    """Changes that raise PermanentError."""
    undecodable: frozenset[int]
    """Changes whose record is malformed."""
    killers: frozenset[int]
    """Changes of which the function dies."""
    stuck: frozenset[int]
    """Changes whose handler never ends."""
    flood: frozenset[int]
    """Changes of many items, all of which fail."""
    fixed_at: float
    """When a deployment mends poison, floods, killers and stuck handlers; infinity where none does."""
    outage: Span | None
    """Every try fails."""
    hang: float
    """A handler runs until the function's time is over, its effect done or not."""
    linger: float
    """A handler runs into the reserve, and ends well or not."""
    slow: bool
    """Handlers take seconds, so that a batch does not end in its time."""


@dataclass(frozen=True)
class LambdaFaults:
    """What Lambda does wrong."""

    crash: float
    """The function dies: around an effect, between two changes, before or after a service has done what was asked."""
    late: float
    """An invocation has little time left from the start."""
    throttled: Span | None
    """The function is not run: no concurrency is left for it."""
    lost_answer: float
    """The function has done its work; Lambda says it failed."""
    cut_off: float
    """Lambda says that an invocation has failed, and it goes on."""
    second: float
    """The same batch is delivered once more, to another environment, while the first runs or later."""
    replaced: bool
    """The mapping is replaced, while the function runs, by a new one that starts at the oldest record."""
    recut: float
    """The mapping cuts what is not settled anew, by another batch size."""
    cold: float
    """An environment is not used again."""
    skewed: bool
    """Clocks of environments differ by up to four seconds."""
    refused: bool
    """The mapping's destination refuses."""
    stalled: float
    """The mapping is disabled for so many seconds; 0 where it is not."""
    tick_dropped: float
    """A retry run that the schedule asks for does not take place."""
    tick_late: float
    """A retry run begins up to a minute late."""
    tick_twice: float
    """A retry run takes place twice."""


@dataclass(frozen=True)
class StoreFaults:
    """What ledger and failure store do wrong."""

    flaky: float
    """A request fails, is lost or is done in part; or its answer is lost."""
    laggy: bool
    """Requests take up to half a second."""
    ledger_down: Span | None
    """No request to the ledger is answered."""
    ledger_throttled: Span | None
    """Most writes to the ledger are refused."""
    store_down: Span | None
    """Every request to the failure store fails."""
    purge: float
    """How soon time to live takes what has expired: the chance at each retry run."""


@dataclass(frozen=True)
class Faults:
    """All of one history."""

    handlers: HandlerFaults
    lambdas: LambdaFaults
    stores: StoreFaults
    quiet_at: float
    """When the faults that come by chance are over."""
    operator: float
    """How often, in seconds, an operator redrives, skips, or makes everything due; 0: never."""

    @property
    def is_calm(self) -> bool:
        """Whether handlers fail, succeed or take their time, and that is all."""
        stores, lambdas, handlers = self.stores, self.lambdas, self.handlers
        chances = lambdas.crash + lambdas.lost_answer + lambdas.cut_off + lambdas.second + stores.flaky
        chances += handlers.hang + handlers.linger + lambdas.late + lambdas.tick_dropped + lambdas.stalled
        spans = stores.ledger_down or stores.ledger_throttled or stores.store_down or lambdas.throttled
        return not (chances or spans or lambdas.replaced or handlers.killers or handlers.stuck or self.operator)

    @property
    def ended_at(self) -> float:
        """When all faults are over but those of single changes."""
        stores, lambdas, handlers = self.stores, self.lambdas, self.handlers
        spans = (stores.ledger_down, stores.ledger_throttled, stores.store_down, lambdas.throttled, handlers.outage)
        return max([self.quiet_at, *(span[1] for span in spans if span)])

    @property
    def failing_changes(self) -> frozenset[int]:
        """Changes that fail by themselves."""
        handlers = self.handlers
        failing = handlers.poison | handlers.permanent | handlers.undecodable | handlers.killers | handlers.stuck
        return failing | handlers.flood


def draw(rng: Random, theme: str, item_of: Mapping[int, str], flood: frozenset[int], start: float) -> Faults:
    """The faults of one history with these changes; a theme lets those meet that trace little alone."""
    changes = sorted(item_of.keys() - flood)

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

    def rest_of_item(of: float) -> frozenset[int]:
        """From some change on, all of its item."""
        first = rng.choice(changes) if rng.random() < of else max(changes) + 1
        return frozenset(each for each in changes if each >= first and item_of[each] == item_of[first])

    few = 0.2 if rng.random() < (0.6 if theme in ("any", "flood") else 0.2) else 0.0
    is_short_of_time, has_overlaps, is_busy = (theme == each for each in ("short of time", "overlaps", "busy items"))
    is_slow = is_short_of_time or has_overlaps or (is_busy and rng.random() < 0.5)
    handlers = HandlerFaults(
        transient=0.7 if is_busy else chance(1.0 if has_overlaps else 0.5, 0.05, 0.3, 0.7),
        poison=frozenset() if is_busy else some(0.25, 3) | rest_of_item(0.15),
        permanent=some(0.15, 2),
        undecodable=some(0.1, 2),
        killers=some(few / 2, 2),
        stuck=some(few / 2, 1),
        flood=flood,
        fixed_at=start + rng.choice([600, 3 * HOUR, 30 * HOUR]) if rng.random() < 0.4 else float("inf"),
        outage=span(0.0 if is_busy else 0.2, 60, 1200, 5000, 4 * HOUR),
        hang=chance(few, 0.05),
        linger=chance(few, 0.1),
        slow=is_slow or rng.random() < 0.1,
    )
    lambdas = LambdaFaults(
        crash=chance(few, 0.005, 0.02, 0.1),
        late=chance(1.0 if is_short_of_time else 0.1, 0.3, 1.0),
        throttled=span(few, 60, 3000, 2 * HOUR),
        lost_answer=chance(few, 0.1),
        cut_off=chance(few, 0.1),
        second=chance(few / 2, 0.2),
        replaced=rng.random() < few / 2,
        recut=chance(0.8 if is_short_of_time else 0.2, 0.3, 0.8),
        cold=chance(0.2, 0.2),
        skewed=rng.random() < 0.3,
        refused=rng.random() < 0.2,
        stalled=chance(few / 2, 23.8 * HOUR, 23.9 * HOUR, 23.94 * HOUR, 25 * HOUR),
        tick_dropped=chance(few, 0.3),
        tick_late=chance(1.0 if has_overlaps else 0.15, 0.5, 1.0),
        tick_twice=chance(1.0 if has_overlaps else 0.1, 0.2, 0.8),
    )
    stores = StoreFaults(
        flaky=chance(few, 0.02, 0.1),
        laggy=rng.random() < (0.7 if is_busy else few),
        ledger_down=span(few, 60, 600, HOUR),
        ledger_throttled=span(few, 60, 600),
        store_down=span(few, 60, 3000, 3 * HOUR),
        purge=rng.choice([0.0, 0.3, 1.0]),
    )
    return Faults(
        *(handlers, lambdas, stores),
        quiet_at=start + QUIET_AFTER,
        operator=chance(1.0 if has_overlaps else 0.15, 400, 1200, 2 * HOUR),
    )
