"""What must hold in every history, whatever goes wrong in it."""

from collections import defaultdict
from collections.abc import Callable, Iterator

from sandbox.actions import AGE_EXCEEDED
from tests.property.world import World

Law = Callable[[World], Iterator[str]]


def nothing_is_lost(world: World) -> Iterator[str]:
    """(a) Each change is applied, parked, at the destination or refused there, or taken by retention."""
    if world.unsettled:
        yield "the mapping does not come to rest"
    for each in sorted(world.item_of.keys() - world.settled - world.expired):
        yield f"change {each} is neither applied, nor parked, nor discarded, nor expired"


def nothing_is_repeated_or_turned_back(world: World) -> Iterator[str]:
    """(b) But for what is excused; under a fence, never."""
    latest: dict[str, int] = {}
    for effect in world.effects:
        before = latest.get(effect.item, 0)
        if effect.number <= before and (world.kind == "fenced" or effect.number not in world.excused):
            yield f"the effect of {effect.number} on {effect.item} comes after that of {before}"
        latest[effect.item] = max(before, effect.number)


def the_mirror_equals_its_source(world: World) -> Iterator[str]:
    """(c) Of every item of which no change was parked, discarded or lost."""
    if world.kind != "fenced":
        return
    gone = world.settled - world.applied.keys() | world.parked.keys() | world.expired
    spoilt = {world.item_of[each] for each in gone}
    for item in sorted(world.source.keys() - spoilt):
        if world.mirrored(item) != world.source[item]:
            yield f"{item} is {world.mirrored(item)} in the mirror and {world.source[item]} in its source"


def a_claimed_effect_happens_once(world: World) -> Iterator[str]:
    """(d) And once more for each death of its holder, and for each mark that failed, which is counted as such."""
    if world.kind != "claimed":
        return
    times = defaultdict[int, int](int)
    for effect in world.effects:
        times[effect.number] += 1
    for each, count in times.items():
        allowed = 1 + world.deaths[each] + world.failed_marks[each]
        if count > allowed:
            yield f"the claimed effect of {each} happened {count} times, at most {allowed} are accounted for"


def nothing_holds_its_lane_for_long(world: World) -> Iterator[str]:
    """(e) Where nothing disturbs the clocks: no longer than what the engine promises, one back-off and two runs."""
    if not world.faults.calm:
        return
    slack = world.longest_back_off + 2 * world.longest_run + 2  # notes keep whole seconds
    settings = world.settings
    over = (world.applied, _times(world.parked), _times(world.discarded), _times(world.lost))
    for each, held in world.held.items():
        end = min((times[each] for times in over if each in times), default=float("inf"))
        if held.others_since is not None:
            until = held.others_since + (0 if held.given_up else settings.give_up_after_seconds)
        else:
            until = held.since + settings.give_up_alone_after_seconds
        until = max(held.since, min(until, world.created[each] + world.margin_ends)) + slack
        if end > until:
            yield f"change {each} held its lane from {held.since:.0f} to {end:.0f}, and should have until {until:.0f}"
    for each, (_, condition) in (world.discarded | world.lost).items():
        if condition == AGE_EXCEEDED:
            yield f"the mapping discarded change {each}, whose age was the engine's to watch"


def recovery_parks_nothing_sound(world: World) -> Iterator[str]:
    """(f) But for what was in a batch of each lane as the outage began."""
    outage = world.faults.outage
    if outage is None or not world.faults.calm:
        return
    slack = world.longest_run
    for each, (when, reason) in world.parked.items():
        causes = {cause for _, cause in world.failures[each]}
        if causes != {"outage"} or each in world.at_outage:
            continue
        if reason == "GiveUpAfterExceeded" or when > outage[1] + slack:
            yield f"change {each} was parked ({reason}) for an outage alone"


LAWS: tuple[Law, ...] = (
    nothing_is_lost,
    nothing_is_repeated_or_turned_back,
    the_mirror_equals_its_source,
    a_claimed_effect_happens_once,
    nothing_holds_its_lane_for_long,
    recovery_parks_nothing_sound,
)


def breaches(world: World) -> list[str]:
    """Every breach of a law, each with the law's name."""
    return [f"{law.__name__}: {breach}" for law in LAWS for breach in law(world)]


def _times(given: dict[int, tuple[float, str]]) -> dict[int, float]:
    return {each: when for each, (when, _) in given.items()}
