"""The faults of a history, all drawn from its seed. Most histories have few kinds of faults."""

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

MINUTE, HOUR = 60.0, 3600.0
QUIET_AFTER = 2 * HOUR
"""Random faults end 2 h after the start, so that the history can settle."""

Span = tuple[float, float]
"""Start and end, in epoch seconds."""


def is_during(span: Span | None, now: float) -> bool:
    """Return whether a moment is in a span."""
    return span is not None and span[0] <= now < span[1]


@dataclass(frozen=True)
class HandlerFaults:
    """Faults of the consumer's code and of its dependencies: probabilities a try, and changes by number."""

    transient: float
    """A try fails."""
    poison: frozenset[int]
    """Changes whose every try fails."""
    permanent: frozenset[int]
    """Changes that raise PermanentError."""
    undecodable: frozenset[int]
    """Changes whose record is malformed."""
    killers: frozenset[int]
    """Changes that crash the function."""
    stuck: frozenset[int]
    """Changes whose handler never ends."""
    flood: frozenset[int]
    """A burst of changes of many items, all of which fail."""
    fixed_at: float
    """When a deployment fixes poison, flood, crashing and stuck handlers; infinite without such a deployment."""
    outage: Span | None
    """The span in which every try fails."""
    hang: float
    """A handler runs until the function's time-out, before or after its effect."""
    linger: float
    """A handler runs into the time that the engine reserves at an invocation's end, and then returns or fails."""
    slow: bool
    """Handlers take seconds, so that a batch does not end within the function's time-out."""


@dataclass(frozen=True)
class LambdaFaults:
    """Faults of Lambda and of the mapping."""

    crash: float
    """The function crashes: around an effect, between two changes, before or after a service carries out a request."""
    late: float
    """An invocation starts with little time left."""
    throttled: Span | None
    """Lambda throttles the function."""
    lost_answer: float
    """Lambda reports a failure although the function returned."""
    cut_off: float
    """Lambda reports a failure while the invocation continues."""
    second: float
    """Another environment receives the same batch, during the first invocation or later."""
    replaced: bool
    """A new mapping, which starts at the oldest record, replaces the mapping while the function runs."""
    recut: float
    """An update of the batch size makes the mapping cut its unsettled records again."""
    cold: float
    """Lambda drops an environment after an invocation."""
    skewed: bool
    """Clocks of environments differ by up to four seconds."""
    refused: bool
    """The mapping's on-failure destination refuses records."""
    stalled: float
    """Seconds for which the mapping is disabled."""
    tick_dropped: float
    """A scheduled retry run does not start."""
    tick_late: float
    """A retry run starts up to a minute late."""
    tick_twice: float
    """A retry run starts twice."""


@dataclass(frozen=True)
class StoreFaults:
    """Faults of the ledger and of the failure bucket."""

    flaky: float
    """A request fails, is lost or is carried out in part; or its answer is lost."""
    laggy: bool
    """Requests take up to half a second."""
    ledger_down: Span | None
    """The ledger answers no request."""
    ledger_throttled: Span | None
    """The ledger throttles most writes."""
    store_down: Span | None
    """Every request to the failure bucket fails."""
    purge: float
    """The probability, at each retry run, that DynamoDB removes the expired rows."""


@dataclass(frozen=True)
class Faults:
    """All faults of one history."""

    handlers: HandlerFaults
    lambdas: LambdaFaults
    stores: StoreFaults
    quiet_at: float
    """When random faults end."""
    operator: float
    """Seconds between an operator's requests to redrive, to skip or to make everything due; 0: no operator."""

    @property
    def is_calm(self) -> bool:
        """Whether only handlers fail or are slow."""
        stores, lambdas, handlers = self.stores, self.lambdas, self.handlers
        chances = lambdas.crash + lambdas.lost_answer + lambdas.cut_off + lambdas.second + stores.flaky
        chances += handlers.hang + handlers.linger + lambdas.late + lambdas.tick_dropped + lambdas.stalled
        spans = stores.ledger_down or stores.ledger_throttled or stores.store_down or lambdas.throttled
        return not (chances or spans or lambdas.replaced or handlers.killers or handlers.stuck or self.operator)

    @property
    def ended_at(self) -> float:
        """When all faults end, except those of single changes."""
        stores, lambdas, handlers = self.stores, self.lambdas, self.handlers
        spans = (stores.ledger_down, stores.ledger_throttled, stores.store_down, lambdas.throttled, handlers.outage)
        return max([self.quiet_at, *(span[1] for span in spans if span)])

    @property
    def failing_changes(self) -> frozenset[int]:
        """Changes that fail by themselves, whatever else happens."""
        handlers = self.handlers
        failing = handlers.poison | handlers.permanent | handlers.undecodable | handlers.killers | handlers.stuck
        return failing | handlers.flood


def draw(rng: Random, theme: str, item_of: Mapping[int, str], flood: frozenset[int], start: float) -> Faults:
    """Draw the faults of one history with these changes. A theme combines faults that rarely meet by chance."""
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
        """Draw a change, and return this change and the item's later ones."""
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
